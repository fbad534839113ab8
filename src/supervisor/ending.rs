//! Why the service ended, how sure that is, and how it is told where the recorder can't tell it.

use std::{fmt, os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

use indicatif::{BinaryBytes, HumanCount};
use leakscope::recorder::{Cause, Certainty, Witness, signal_name};

use super::enforcer::KillReport;

/// The end of one life of the service.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// What was seen of it: the process, its signal or exit code, the bytes, and how they are known.
    pub seen: Witness,
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

/// What was seen of an end, from what the kernel says of the child and what the enforcer knows.
pub fn witness(pid: u32, status: ExitStatus, report: KillReport, limit_bytes: u64) -> Witness {
    let (limit_kill, usage_bytes, evidence) = match (status.code(), status.signal(), report) {
        (Some(code), ..) => (Some(false), None, format!("it ended with exit code {code}")),
        (None, Some(libc::SIGKILL), report) => explain_kill(report, limit_bytes),
        (None, signal, _) => {
            let evidence = format!("it ended by signal {}", signal_name(signal.unwrap_or_default()));
            (Some(false), None, evidence)
        }
    };
    Witness { pid, signal: status.signal(), exit_code: status.code(), limit_kill, usage_bytes, evidence }
}

/// Whether a SIGKILL was for the limit, at how many bytes, and how that is known. Bytes without a certain answer are near
/// the limit.
fn explain_kill(report: KillReport, limit_bytes: u64) -> (Option<bool>, Option<u64>, String) {
    let is_near_limit = |bytes: &u64| *bytes as f64 >= NEAR_LIMIT * limit_bytes as f64;
    match report {
        KillReport::Killed { bytes, evidence } => (Some(true), bytes, evidence),
        KillReport::NotKilled { evidence } => (Some(false), None, format!("SIGKILL, and {evidence}")),
        KillReport::Unknown { bytes } => match bytes.filter(is_near_limit) {
            Some(bytes) => {
                let evidence = "SIGKILL at its limit; this kernel does not count the kills of a cgroup";
                (None, Some(bytes), evidence.to_owned())
            }
            None => (None, None, "SIGKILL, and its memory was not near the limit".to_owned()),
        },
    }
}

impl Ending {
    /// Why it ended, and how sure that is.
    fn cause(&self) -> (Cause, Certainty) {
        match (self.seen.proves(), self.seen.usage_bytes) {
            (Some(cause), _) => (cause, Certainty::Certain),
            (None, Some(_)) => (Cause::LimitKill, Certainty::Likely),
            (None, None) => (Cause::Killed, Certainty::Likely),
        }
    }

    fn signal(&self) -> String {
        self.seen.signal.map_or("no signal".to_owned(), signal_name)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = BinaryBytes(self.limit_bytes);
        let (cause, certainty) = self.cause();
        match (cause, self.seen.exit_code) {
            (Cause::LimitKill, _) => match self.seen.usage_bytes.map(BinaryBytes) {
                Some(usage) => write!(f, "killed by the memory limit at {usage} of {limit}")?,
                None => write!(f, "killed by the memory limit of {limit}")?,
            },
            (_, Some(code)) => write!(f, "ended by itself (exit code {code})")?,
            (Cause::Killed, None) => {
                write!(f, "killed by somebody else ({}), not by the memory limit", self.signal())?;
            }
            (Cause::Crashed | Cause::Stopped, None) => write!(f, "crashed ({})", self.signal())?,
        }
        match self.requests {
            Some(requests) => write!(f, ", after {} requests", HumanCount(requests))?,
            None => write!(f, ", before it could be asked for its requests")?,
        }
        let certainty = match certainty {
            Certainty::Certain => "certain",
            Certainty::Likely => "likely",
        };
        writeln!(f, " and {:.1} s", self.lived.as_secs_f64())?;
        writeln!(f, "{certainty}: {}", self.seen.evidence)?;
        write!(f, "{}", self.growing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 256 << 20;

    fn ending(raw_status: i32, report: KillReport) -> Ending {
        let seen = witness(4711, ExitStatus::from_raw(raw_status), report, LIMIT);
        assert!(!seen.evidence.is_empty());
        Ending {
            seen,
            limit_bytes: LIMIT,
            lived: Duration::from_millis(104_250),
            requests: Some(5_212),
            growing: "it held cache 122.2 MiB".into(),
        }
    }

    #[test]
    fn only_the_one_who_did_it_makes_a_limit_kill_certain() {
        use Cause::{Crashed, Killed, LimitKill, Stopped};
        use Certainty::{Certain, Likely};
        let judged = |raw_status, report| {
            let ending = ending(raw_status, report);
            (ending.cause(), ending.seen.usage_bytes)
        };
        let killed = || KillReport::Killed { bytes: Some(LIMIT), evidence: "counted".into() };
        let not_killed = || KillReport::NotKilled { evidence: "not counted".into() };
        let unknown = |bytes| KillReport::Unknown { bytes: Some(bytes) };
        assert_eq!(judged(libc::SIGKILL, killed()), ((LimitKill, Certain), Some(LIMIT)));
        assert_eq!(judged(libc::SIGKILL, not_killed()), ((Killed, Certain), None));
        assert_eq!(judged(libc::SIGKILL, unknown(LIMIT)), ((LimitKill, Likely), Some(LIMIT)));
        assert_eq!(judged(libc::SIGKILL, unknown(LIMIT / 2)), ((Killed, Likely), None));
        assert_eq!(judged(libc::SIGSEGV, not_killed()), ((Crashed, Certain), None));
        assert_eq!(judged(libc::SIGTERM, not_killed()), ((Killed, Certain), None));
        // The high byte of a wait status is the exit code.
        assert_eq!(judged(3 << 8, not_killed()), ((Crashed, Certain), None));
        assert_eq!(judged(0, not_killed()), ((Stopped, Certain), None));
    }

    #[test]
    fn it_says_at_how_many_bytes_after_how_many_requests_and_seconds() {
        let evidence = "the cgroup's kill counter moved from 0 to 1".to_owned();
        let ending = ending(libc::SIGKILL, KillReport::Killed { bytes: Some(LIMIT), evidence });
        assert_eq!(
            ending.to_string(),
            "killed by the memory limit at 256.00 MiB of 256.00 MiB, after 5,212 requests and 104.2 s\n\
             certain: the cgroup's kill counter moved from 0 to 1\n\
             it held cache 122.2 MiB"
        );
    }

    #[test]
    fn each_cause_has_its_words() {
        let not_killed = || KillReport::NotKilled { evidence: "the watcher sent no signal".into() };
        for (raw_status, words) in [
            (libc::SIGKILL, "killed by somebody else (SIGKILL), not by the memory limit, after"),
            (libc::SIGTERM, "killed by somebody else (SIGTERM), not by the memory limit, after"),
            (libc::SIGABRT, "crashed (SIGABRT), after"),
            (3 << 8, "ended by itself (exit code 3), after"),
            (0, "ended by itself (exit code 0), after"),
        ] {
            let told = ending(raw_status, not_killed()).to_string();
            assert!(told.starts_with(words), "{told}");
        }
        let told =
            ending(libc::SIGKILL, KillReport::Killed { bytes: None, evidence: "seen".into() }).to_string();
        assert!(told.starts_with("killed by the memory limit of 256.00 MiB, after"), "{told}");
    }
}
