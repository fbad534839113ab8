//! The words for how a run ended, for all who tell of one: the post-mortem, a supervising process, a metric.

use serde::{Deserialize, Serialize};

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Cause))]
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
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Certainty))]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// Whoever did it or saw it wrote it down.
    Certain,
    /// Inferred from the last sample.
    Likely,
}

/// Signals that the kernel sends for what the process itself did.
pub(super) fn is_fault(signal: i32) -> bool {
    [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS]
        .contains(&signal)
}

/// The name of a signal, such as `SIGKILL`; `signal 10` where it has none here.
pub fn signal_name(signal: i32) -> String {
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
