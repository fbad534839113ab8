//! Constant-rate load for one URL, and its report.
