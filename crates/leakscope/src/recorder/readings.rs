//! Readings: where the program stands, every two seconds while something moves. An idle program costs nothing; what is not
//! written down has not moved.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::quantity::Observation;

/// Time between two readings of a program at work.
pub(crate) const PACE: Duration = Duration::from_secs(2);
/// The live heap of an idle program moves by less.
const MOVED_BYTES: u64 = 256 << 10;

/// Where the program stood at one moment.
///
/// The journal holds two hours of readings at the full pace, and more than an hour where the program's own figures take 130
/// bytes. The names are short for that.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Requests served since the run's start.
    pub requests: u64,
    /// Resident set size.
    #[serde(rename = "rss")]
    pub rss_bytes: u64,
    /// Live heap.
    #[serde(rename = "live")]
    pub live_heap_bytes: u64,
    /// What counts against the limit.
    #[serde(rename = "usage")]
    pub usage_bytes: u64,
    /// The program's own figures.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub program: Map<String, Value>,
}

impl Reading {
    /// Of that observation, with the program's own figures at the time.
    pub(super) fn new(of: &Observation, program: Map<String, Value>) -> Self {
        Self {
            requests: of.requests,
            rss_bytes: of.rss_bytes(),
            live_heap_bytes: of.live_heap_bytes(),
            usage_bytes: of.usage_bytes(),
            program,
        }
    }

    /// Whether it is worth writing down after `last`.
    pub(super) fn has_moved_from(&self, last: &Self) -> bool {
        self.requests != last.requests
            || self.program != last.program
            || self.live_heap_bytes.abs_diff(last.live_heap_bytes) >= MOVED_BYTES
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_the_program_or_the_heap_move_it_and_rss_alone_does_not() {
        let last = Reading { requests: 7, live_heap_bytes: 10 << 20, ..Reading::default() };
        let moved = |change: fn(&mut Reading)| {
            let mut now = last.clone();
            change(&mut now);
            now.has_moved_from(&last)
        };
        assert!(!moved(|_| {}), "an idle program costs nothing");
        assert!(!moved(|now| now.rss_bytes += 1 << 20));
        assert!(!moved(|now| now.live_heap_bytes -= MOVED_BYTES - 1));
        assert!(moved(|now| now.live_heap_bytes -= MOVED_BYTES));
        assert!(moved(|now| now.requests += 1));
        assert!(moved(|now| now.program = Map::from_iter([("on".to_owned(), json!(true))])));
    }
}
