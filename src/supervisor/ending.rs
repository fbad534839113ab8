//! Why the service ended, how sure that is, and how it is told.

use std::{fmt, os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

use indicatif::{BinaryBytes, HumanCount};

use super::enforcer::Verdict;

/// Why the service ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Killed for its limit, at so many bytes.
    Limit {
        /// The last or largest reading; `None`: not known.
        bytes: Option<u64>,
    },
    /// SIGKILL, but not for the limit: from somebody else.
    Killed,
    /// Any other signal.
    Crashed {
        /// Its number.
        signal: i32,
    },
    /// It ended by itself.
    Exited {
        /// Exit code.
        code: i32,
    },
}

/// How sure a cause is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// The one who did it says so.
    Certain,
    /// Inferred.
    Likely,
}

/// The end of one life of the service.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// The process that ended.
    pub pid: u32,
    /// Why.
    pub cause: Cause,
    /// How sure that is.
    pub certainty: Certainty,
    /// How it is known.
    pub evidence: String,
    /// The limit in force.
    pub limit_bytes: u64,
    /// From start to end.
    pub lived: Duration,
    /// Requests answered on /api, as of the last reading of its metrics; `None`: there was none.
    pub requests: Option<u64>,
    /// What had been growing, for the user.
    pub growing: String,
}

/// A peak this near to the limit is taken for the limit where the kernel does not count its kills.
const NEAR_LIMIT: f64 = 0.98;

/// The cause, from what the kernel says of the child and what the enforcer knows.
pub fn judge(status: ExitStatus, verdict: Verdict, limit_bytes: u64) -> (Cause, Certainty, String) {
    use Certainty::{Certain, Likely};
    let signal = match (status.code(), status.signal()) {
        (Some(code), _) => {
            return (Cause::Exited { code }, Certain, format!("it ended with exit code {code}"));
        }
        (None, Some(libc::SIGKILL)) => libc::SIGKILL,
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            return (
                Cause::Crashed { signal },
                Certain,
                format!("it ended by signal {}", signal_name(signal)),
            );
        }
    };
    match verdict {
        Verdict::Killed { bytes, evidence } => (Cause::Limit { bytes }, Certain, evidence),
        Verdict::NotKilled { evidence } => (Cause::Killed, Certain, format!("SIGKILL, and {evidence}")),
        Verdict::Unknown { bytes }
            if bytes.is_some_and(|bytes| bytes as f64 >= NEAR_LIMIT * limit_bytes as f64) =>
        {
            (
                Cause::Limit { bytes },
                Likely,
                format!(
                    "{} at its limit; this kernel does not count the kills of a cgroup",
                    signal_name(signal)
                ),
            )
        }
        Verdict::Unknown { .. } => {
            (Cause::Killed, Likely, format!("{}, and its memory was not near the limit", signal_name(signal)))
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Limit { bytes: Some(bytes) } => {
                let (bytes, limit) = (BinaryBytes(*bytes), BinaryBytes(self.limit_bytes));
                write!(f, "killed by the memory limit at {bytes} of {limit}")?;
            }
            Cause::Limit { bytes: None } => {
                write!(f, "killed by the memory limit of {}", BinaryBytes(self.limit_bytes))?;
            }
            Cause::Killed => write!(f, "killed by somebody else, not by the memory limit")?,
            Cause::Crashed { signal } => write!(f, "crashed ({})", signal_name(*signal))?,
            Cause::Exited { code } => write!(f, "ended by itself (exit code {code})")?,
        }
        match self.requests {
            Some(requests) => write!(f, ", after {} requests", HumanCount(requests))?,
            None => write!(f, ", before it could be asked for its requests")?,
        }
        let certainty = match self.certainty {
            Certainty::Certain => "certain",
            Certainty::Likely => "likely",
        };
        writeln!(f, " and {:.1} s", self.lived.as_secs_f64())?;
        writeln!(f, "{certainty}: {}", self.evidence)?;
        write!(f, "{}", self.growing)
    }
}

fn signal_name(signal: i32) -> String {
    match signal {
        libc::SIGKILL => "SIGKILL".to_owned(),
        libc::SIGTERM => "SIGTERM".to_owned(),
        libc::SIGINT => "SIGINT".to_owned(),
        libc::SIGABRT => "SIGABRT".to_owned(),
        libc::SIGSEGV => "SIGSEGV".to_owned(),
        libc::SIGBUS => "SIGBUS".to_owned(),
        libc::SIGILL => "SIGILL".to_owned(),
        other => format!("signal {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 256 << 20;

    fn cause(raw_status: i32, verdict: Verdict) -> (Cause, Certainty) {
        let (cause, certainty, evidence) = judge(ExitStatus::from_raw(raw_status), verdict, LIMIT);
        assert!(!evidence.is_empty());
        (cause, certainty)
    }

    #[test]
    fn only_the_one_who_did_it_makes_a_limit_kill_certain() {
        let killed = || Verdict::Killed { bytes: Some(LIMIT), evidence: "counted".into() };
        let not_killed = || Verdict::NotKilled { evidence: "not counted".into() };
        let unknown = |bytes| Verdict::Unknown { bytes: Some(bytes) };
        let limit = Cause::Limit { bytes: Some(LIMIT) };
        assert_eq!(cause(libc::SIGKILL, killed()), (limit.clone(), Certainty::Certain));
        assert_eq!(cause(libc::SIGKILL, not_killed()), (Cause::Killed, Certainty::Certain));
        assert_eq!(cause(libc::SIGKILL, unknown(LIMIT)), (limit, Certainty::Likely));
        assert_eq!(cause(libc::SIGKILL, unknown(LIMIT / 2)), (Cause::Killed, Certainty::Likely));
        let segv = Cause::Crashed { signal: libc::SIGSEGV };
        assert_eq!(cause(libc::SIGSEGV, not_killed()), (segv, Certainty::Certain));
        // The high byte of a wait status is the exit code.
        assert_eq!(cause(3 << 8, not_killed()), (Cause::Exited { code: 3 }, Certainty::Certain));
    }

    #[test]
    fn it_says_at_how_many_bytes_after_how_many_requests_and_seconds() {
        let ending = Ending {
            pid: 4711,
            cause: Cause::Limit { bytes: Some(LIMIT) },
            certainty: Certainty::Certain,
            evidence: "the cgroup's kill counter moved from 0 to 1".into(),
            limit_bytes: LIMIT,
            lived: Duration::from_millis(104_250),
            requests: Some(5_212),
            growing: "it held cache 122.2 MiB".into(),
        };
        assert_eq!(
            ending.to_string(),
            "killed by the memory limit at 256.00 MiB of 256.00 MiB, after 5,212 requests and 104.2 s\n\
             certain: the cgroup's kill counter moved from 0 to 1\n\
             it held cache 122.2 MiB"
        );
    }
}
