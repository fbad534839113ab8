//! How a run ended, as it is written down.

use serde::{Deserialize, Serialize};

use super::cause::Cause;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Why.
    pub cause: Cause,
    /// When, in milliseconds since the Unix epoch: as somebody saw it, or the last sample.
    pub ended_unix_ms: u64,
    /// Requests served, as of the last sample.
    pub requests: Option<u64>,
    /// The last known usage by the limit.
    pub limit_share: Option<f64>,
    /// The line that held most in the last heap profile, `file:line`.
    pub growing: Option<String>,
}
