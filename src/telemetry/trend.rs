//! The line that the log has for each change of the trend's verdict.

use leakscope::trend::TrendReport;

/// One line that says what the verdict was and what it is now.
pub fn announce(before: &TrendReport, report: &TrendReport) {
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
pub(crate) mod tests {
    use leakscope::{
        memory::Sample,
        trend::{self, Config},
    };

    use super::*;
    use crate::telemetry::logs::tests::Captured;

    /// A minute of one sample a second that grows by so many bytes each.
    pub fn minute(bytes_per_second: u64) -> TrendReport {
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
    fn a_change_of_verdict_is_one_line() {
        let log = Captured::default();
        let _logging = tracing::subscriber::set_default(log.json());
        announce(&minute(0), &minute(1 << 20));
        announce(&minute(1 << 20), &minute(0));
        let lines = log.objects();
        let changes: Vec<_> = lines.iter().map(|line| (&line["before"], &line["verdict"])).collect();
        assert_eq!(changes, [(&"flat".into(), &"growing".into()), (&"growing".into(), &"flat".into())]);
        assert_eq!(lines[0]["bytes_per_second"], 1_048_576.0);
        // 256 MiB less 16 and 59.
        assert_eq!(lines[0]["time_to_limit_seconds"], 181.0);
    }
}
