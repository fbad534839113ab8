//! The trend, read again every few seconds, and over which window it may be asked for.

use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::Deserialize;

use super::ring::{Ring, USUAL_CAPACITY};
use crate::{
    lock::lock,
    quantity::{self, Observation},
    trend::{Config, TrendReport},
};

/// Time between two readings of the trend.
pub(super) const PACE: Duration = Duration::from_secs(5);

/// How far back a trend looks: 10 to 1800 seconds, 300 unless told.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Window(Duration);

/// Enough samples to be judged at all, and no more than are kept at one a second.
const WINDOW_SECONDS: RangeInclusive<u64> = 10..=USUAL_CAPACITY as u64;

impl Window {
    /// What the ring says of it. A few milliseconds for the longest one.
    pub(super) fn trend(self, ring: &Mutex<Ring>, limit_bytes: Option<u64>) -> TrendReport {
        let observations: Vec<Observation> = lock(ring).window(self.0).copied().collect();
        let config = Config { window_seconds: self.0.as_secs_f64(), ..Config::default() };
        quantity::report(&observations, limit_bytes, &config)
    }
}

impl Default for Window {
    fn default() -> Self {
        Self(Duration::from_secs_f64(Config::default().window_seconds))
    }
}

impl TryFrom<u64> for Window {
    type Error = String;

    fn try_from(seconds: u64) -> Result<Self, String> {
        match WINDOW_SECONDS.contains(&seconds) {
            true => Ok(Self(Duration::from_secs(seconds))),
            false => Err(format!("the window is {seconds} seconds")),
        }
    }
}

/// Is told when the verdict changes: the trend before, and the one now.
pub(super) type OnChange = Box<dyn Fn(&TrendReport, &TrendReport) + Send>;

/// Keeps the newest reading.
pub(super) struct Latest(Mutex<Arc<TrendReport>>);

impl Latest {
    pub fn new(first: TrendReport) -> Self {
        Self(Mutex::new(Arc::new(first)))
    }

    pub fn get(&self) -> Arc<TrendReport> {
        Arc::clone(&lock(&self.0))
    }

    /// Takes a new reading, and tells `on_change` where the verdict is another one.
    pub fn renew(&self, report: TrendReport, on_change: &OnChange) {
        let report = Arc::new(report);
        let before = std::mem::replace(&mut *lock(&self.0), Arc::clone(&report));
        if before.trend.verdict != report.trend.verdict {
            on_change(&before, &report);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        memory,
        trend::{self, Verdict},
    };

    /// A minute of one sample a second that grows by so many bytes each.
    fn minute(bytes_per_second: u64) -> TrendReport {
        let samples: Vec<memory::Sample> = (0..60)
            .map(|second| {
                let bytes = (16 << 20) + bytes_per_second * second;
                memory::Sample {
                    seconds: second as f64,
                    rss_bytes: bytes,
                    live_heap_bytes: bytes,
                    usage_bytes: bytes,
                    unaccounted_bytes: 0,
                    requests: 50 * second,
                }
            })
            .collect();
        trend::report(&samples, Some(256 << 20), &Config::default())
    }

    #[test]
    fn a_change_of_verdict_is_told_and_the_same_verdict_is_not() {
        let latest = Latest::new(minute(0));
        let told = Arc::new(Mutex::new(Vec::new()));
        let on_change: OnChange = Box::new({
            let told = Arc::clone(&told);
            move |before, now| lock(&told).push((before.trend.verdict, now.trend.verdict))
        });
        for bytes_per_second in [0, 1 << 20, 1 << 20, 0, 0] {
            latest.renew(minute(bytes_per_second), &on_change);
        }
        use Verdict::{Flat, Growing};
        assert_eq!(*lock(&told), [(Flat, Growing), (Growing, Flat)]);
        assert_eq!(latest.get().trend.verdict, Flat);
    }
}
