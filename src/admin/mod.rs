//! HTTP routes under /admin.
