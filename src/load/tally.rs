//! What became of the requests: counts, latencies, and the times without any answer.

use std::{collections::BTreeMap, fmt, io, time::Duration};

use hdrhistogram::Histogram;
use indicatif::HumanCount;

use crate::http::client::Error;

/// What became of one request.
pub type Outcome = Result<(), Failed>;

/// Why a request was not answered as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failed {
    /// Nobody listens.
    Refused,
    /// The connection broke before the answer was whole: so ends what is on its way when a service is killed.
    Reset,
    /// No answer in time.
    TimedOut,
    /// An answer, but not of success.
    Status(u16),
    /// Anything else.
    Other,
}

impl Failed {
    /// The kind of a client's error, found in the chain of its causes.
    pub fn of(error: &Error) -> Self {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof,
        };
        if matches!(error, Error::TimedOut(_)) {
            return Self::TimedOut;
        }
        let mut source: Option<&dyn std::error::Error> = Some(error);
        while let Some(cause) = source {
            match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
                Some(ConnectionRefused) => return Self::Refused,
                Some(ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof) => return Self::Reset,
                _ => source = cause.source(),
            }
        }
        match error {
            // No name, no descriptor left.
            Error::Request(error) if error.is_connect() => Self::Other,
            // hyper's own "connection closed before message completed" has no io::Error below it.
            _ => Self::Reset,
        }
    }

    /// Whether there was no answer at all.
    pub fn is_silence(self) -> bool {
        !matches!(self, Self::Status(_))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Reset => f.write_str("connection reset"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Other => f.write_str("other"),
        }
    }
}

/// A time without any answer, from the start of the run: from the last answer before it to the first one after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last answer before.
    pub from: Duration,
    /// The first answer after; `None`: there was none by the end.
    pub to: Option<Duration>,
}

/// All outcomes of a run.
#[derive(Debug)]
pub struct Tally {
    /// Latencies of the good answers, in microseconds.
    pub latencies: Histogram<u64>,
    /// Failures by kind.
    pub failures: BTreeMap<Failed, u64>,
    /// Requests that left late since all connections were busy.
    pub late: u64,
    /// In the order of time.
    pub gaps: Vec<Gap>,
    last_answer: Duration,
}

impl Default for Tally {
    fn default() -> Self {
        // 1 µs to 10 minutes with three digits: about 170 KiB.
        let latencies = Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are in order");
        Self { latencies, failures: BTreeMap::new(), late: 0, gaps: Vec::new(), last_answer: Duration::ZERO }
    }
}

impl Tally {
    /// Adds an outcome that came `at` that time of the run. Outcomes come in the order of time.
    pub fn add(&mut self, outcome: Outcome, latency: Duration, at: Duration, late: bool) {
        self.late += u64::from(late);
        let answered = match outcome {
            Ok(()) => {
                self.latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
                true
            }
            Err(failed) => {
                *self.failures.entry(failed).or_default() += 1;
                !failed.is_silence()
            }
        };
        let open = self.gaps.last_mut().filter(|gap| gap.to.is_none());
        match (answered, open) {
            (true, Some(gap)) => gap.to = Some(at),
            (false, None) => self.gaps.push(Gap { from: self.last_answer, to: None }),
            _ => {}
        }
        if answered {
            self.last_answer = at;
        }
    }

    /// Requests that were answered well.
    pub fn good(&self) -> u64 {
        self.latencies.len()
    }

    /// Requests that were not.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// One line for the progress bar.
    pub fn line(&self, seconds: f64) -> String {
        let rate = HumanCount((self.good() as f64 / seconds).round() as u64);
        let p95 = self.latencies.value_at_quantile(0.95) as f64 / 1e3;
        let failed = HumanCount(self.failed());
        format!("{} answered · {rate}/s · p95 {p95:.1} ms · {failed} failed", HumanCount(self.good()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_gap_is_from_the_last_answer_before_to_the_first_after() {
        let mut tally = Tally::default();
        tally.add(Ok(()), MS, 10 * MS, false);
        tally.add(Err(Failed::Reset), MS, 12 * MS, false);
        tally.add(Err(Failed::Refused), MS, 30 * MS, true);
        tally.add(Err(Failed::Status(503)), MS, 40 * MS, false);
        tally.add(Ok(()), 3 * MS, 50 * MS, false);
        tally.add(Err(Failed::TimedOut), MS, 90 * MS, false);
        assert_eq!(tally.gaps, [Gap { from: 10 * MS, to: Some(40 * MS) }, Gap { from: 50 * MS, to: None }]);
        assert_eq!((tally.good(), tally.failed(), tally.late), (2, 4, 1));
        assert_eq!(tally.failures[&Failed::Status(503)], 1);
    }
}
