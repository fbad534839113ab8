//! How a run ended: the words for it, and what is written down of it.

use serde::{Deserialize, Serialize};

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Killed for its memory limit.
    LimitKill,
    /// Ended by a signal from outside.
    Killed,
    /// Ended by a fault of its own.
    Crashed,
    /// Stopped in good order.
    Stopped,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::LimitKill, Self::Killed, Self::Crashed, Self::Stopped];

    /// As in JSON and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::LimitKill => "limit_kill",
            Self::Killed => "killed",
            Self::Crashed => "crashed",
            Self::Stopped => "stopped",
        }
    }
}

/// How sure a cause is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// Whoever did it or saw it wrote it down.
    Certain,
    /// Inferred from the last sample.
    Likely,
}

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

/// As signal(7) has it.
pub(super) fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
