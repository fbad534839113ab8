//! What every route shares: one error type, lenient bodies and strict fields, the server; and the client for those who ask
//! one.
//!
//! Nothing here knows which routes there are or what they do.

pub mod client;
pub mod error;
pub mod extract;
pub mod lifecycle;
pub mod server;
