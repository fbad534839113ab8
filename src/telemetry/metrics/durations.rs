//! A histogram of durations in a few counters.
//!
//! The exporter's own keeps each duration until the next scrape or upkeep, and frees it by epochs: at 50 requests/s some
//! kilobytes of garbage a second, which is collected in lumps much later. In a service that is watched for leaks that
//! looks like one.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds of the buckets, and how Prometheus writes them. The last one, `+Inf`, is not among them.
const BUCKETS: [(Duration, &str); 9] = [
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(25), "0.025"),
    (Duration::from_millis(50), "0.05"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(250), "0.25"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(1), "1"),
    (Duration::from_millis(2_500), "2.5"),
    (Duration::from_secs(5), "5"),
];

/// Durations of one series.
#[derive(Default)]
pub(super) struct Durations {
    /// By bucket, each duration in one only.
    counts: [AtomicU64; BUCKETS.len() + 1],
    /// Of all; enough for 500 years.
    nanoseconds: AtomicU64,
}

impl Durations {
    /// Adds one.
    pub fn record(&self, took: Duration) {
        let bucket = BUCKETS.partition_point(|(bound, _)| *bound < took);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.nanoseconds.fetch_add(took.as_nanos() as u64, Relaxed);
    }

    /// Writes the series in Prometheus text. `labels` are written already, as in `a="b",c="d"`.
    pub fn write(&self, text: &mut String, name: &str, labels: &str) {
        let bounds = BUCKETS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        let mut count = 0;
        for (bound, bucket) in bounds.zip(&self.counts) {
            count += bucket.load(Relaxed);
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        let seconds = Duration::from_nanos(self.nanoseconds.load(Relaxed)).as_secs_f64();
        let _ = writeln!(text, "{name}_sum{{{labels}}} {seconds}\n{name}_count{{{labels}}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_their_bounds_belong_to_them() {
        let durations = Durations::default();
        for millis in [0, 10, 11, 5_000, 5_001] {
            durations.record(Duration::from_millis(millis));
        }
        let mut text = String::new();
        durations.write(&mut text, "took_seconds", "a=\"b\"");
        let counts = [
            ("0.01", 2),
            ("0.025", 3),
            ("0.05", 3),
            ("0.1", 3),
            ("0.25", 3),
            ("0.5", 3),
            ("1", 3),
            ("2.5", 3),
            ("5", 4),
            ("+Inf", 5),
        ];
        let mut expected = String::new();
        for (bound, count) in counts {
            expected += &format!("took_seconds_bucket{{a=\"b\",le=\"{bound}\"}} {count}\n");
        }
        expected += "took_seconds_sum{a=\"b\"} 10.022\ntook_seconds_count{a=\"b\"} 5\n";
        assert_eq!(text, expected);
    }
}
