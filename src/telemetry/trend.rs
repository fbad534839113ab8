//! The trend of memory, read again every few seconds: what scrapes show of it, and one log line when the verdict changes.
//!
//! The instrument says what the samples mean; this room only asks it in time and passes the answer on.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use leakscope::{
    http::Window,
    memory::{Limit, Sampler},
    trend::TrendReport,
};
use tokio::time::MissedTickBehavior;

/// Time between two readings.
const PACE: Duration = Duration::from_secs(5);

/// Keeps the newest reading.
pub struct TrendWatch {
    latest: Mutex<Arc<TrendReport>>,
}

impl TrendWatch {
    /// With a first reading, so that there always is one.
    pub fn new(sampler: &Sampler, limit: Limit) -> Self {
        Self { latest: Mutex::new(Arc::new(Window::default().trend(sampler, limit))) }
    }

    /// The newest reading; a few seconds old at most while somebody [watches](Self::watch).
    pub fn latest(&self) -> Arc<TrendReport> {
        Arc::clone(&self.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads at a steady pace and says when the verdict changes. Never returns.
    pub async fn watch(&self, sampler: &Arc<Sampler>, limit: Limit) {
        let mut tick = tokio::time::interval(PACE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let sampler = Arc::clone(sampler);
            let reading = tokio::task::spawn_blocking(move || Window::default().trend(&sampler, limit));
            // A panic there has been printed; the last reading stays.
            if let Ok(report) = reading.await {
                self.renew(report);
            }
        }
    }

    fn renew(&self, report: TrendReport) {
        let report = Arc::new(report);
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *latest, Arc::clone(&report));
        drop(latest);
        if before.trend.verdict != report.trend.verdict {
            announce(&report, &before);
        }
    }
}

fn announce(report: &TrendReport, before: &TrendReport) {
    let trend = &report.trend;
    tracing::info!(
        verdict = trend.verdict.as_str(),
        before = before.trend.verdict.as_str(),
        window_seconds = trend.window_seconds.round(),
        bytes_per_second = trend.bytes_per_second.map(|slope| slope.value.round()),
        bytes_per_request = trend.bytes_per_request.map(|slope| slope.bytes.value.round()),
        time_to_limit_seconds = trend.time_to_limit_seconds.map(f64::round),
        decides_in = trend.decides_in.as_ref().map(|decides| decides.text.as_str()),
        "the trend of memory has changed"
    );
}

#[cfg(test)]
mod tests {
    use leakscope::{
        memory::Sample,
        trend::{self, Config},
    };

    use super::*;
    use crate::telemetry::logs::tests::Captured;

    /// A minute of one sample a second that grows by so many bytes each.
    fn minute(bytes_per_second: u64) -> TrendReport {
        let samples: Vec<Sample> = (0..60)
            .map(|second| {
                let bytes = (16 << 20) + bytes_per_second * second;
                Sample {
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
    fn a_change_of_verdict_is_one_line_and_the_same_verdict_none() {
        let log = Captured::default();
        let _logging = tracing::subscriber::set_default(log.json());
        let watch = TrendWatch { latest: Mutex::new(Arc::new(minute(0))) };
        for bytes_per_second in [0, 1 << 20, 1 << 20, 0, 0] {
            watch.renew(minute(bytes_per_second));
        }
        let lines: Vec<serde_json::Value> =
            log.lines().iter().map(|line| serde_json::from_str(line).expect(line)).collect();
        let changes: Vec<_> = lines.iter().map(|line| (&line["before"], &line["verdict"])).collect();
        assert_eq!(changes, [(&"flat".into(), &"growing".into()), (&"growing".into(), &"flat".into())]);
        assert_eq!(lines[0]["bytes_per_second"], 1_048_576.0);
        // 256 MiB less 16 and 59.
        assert_eq!(lines[0]["time_to_limit_seconds"], 181.0);
    }
}
