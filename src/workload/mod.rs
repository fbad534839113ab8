//! The routes that a client of the service calls.
