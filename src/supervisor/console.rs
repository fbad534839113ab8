//! What the lab shows: its own words, the service's output, and on a terminal one live line below them.

use std::{
    fmt::Display,
    io::{self, Write},
    time::Duration,
};

use humantime::format_duration;
use indicatif::{BinaryBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::recent::RecentVitals;
use crate::vitals::Vitals;

/// The lab's words go to standard error, so that standard output is the service's log and nothing else. The live line is
/// there only where standard error is a terminal; it gives way to each line that is written.
pub struct Console {
    live: ProgressBar,
}

impl Console {
    /// A live line for a service with that limit.
    pub fn new(limit_bytes: u64) -> Self {
        let live = ProgressBar::with_draw_target(Some(limit_bytes), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:20} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        live.set_style(style.progress_chars("█▌░"));
        Self { live }
    }

    /// Says something: our name before the first line, the others below it, so that they can be copied.
    pub fn say(&self, text: impl Display) {
        let text = text.to_string();
        let lines: Vec<_> = text.lines().collect();
        self.stderr(format!("leaklab: {}\n", lines.join("\n  ")).as_bytes());
    }

    /// A line of the service's standard output.
    pub fn stdout(&self, line: &[u8]) {
        self.write(io::stdout(), line);
    }

    /// A line of the service's standard error.
    pub fn stderr(&self, line: &[u8]) {
        self.write(io::stderr(), line);
    }

    /// A reader that has gone away must not take the service down: what can't be written is lost.
    fn write(&self, mut stream: impl Write, line: &[u8]) {
        self.live.suspend(|| drop(stream.write_all(line).and_then(|()| stream.flush())));
    }

    /// Draws the live line.
    pub fn show(&self, recent: &RecentVitals, limit_bytes: u64) {
        let Some(vitals) = recent.latest() else { return };
        self.live.set_position(used(vitals).min(limit_bytes));
        self.live.set_message(line(vitals, recent.requests_per_second(), limit_bytes));
    }

    /// The live line while there is no service.
    pub fn waiting(&self, delay: Duration) {
        self.live.set_position(0);
        self.live.set_message(match delay.as_secs_f64() {
            0.0 => "starting".to_owned(),
            seconds => format!("starts again in {seconds} s"),
        });
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.live.finish_and_clear();
    }
}

/// What counts against the limit. It can be less than RSS: the pages of the program's own file are in RSS, but they were
/// charged to whoever read them first.
fn used(vitals: &Vitals) -> u64 {
    vitals.usage_bytes.or(vitals.rss_bytes).unwrap_or(0)
}

/// Short enough for the width of most terminals; a narrow one loses its end.
fn line(vitals: &Vitals, requests_per_second: f64, limit_bytes: u64) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut parts = vec![format!("{:.1} of {:.0} MiB", mib(used(vitals)), mib(limit_bytes))];
    if let Some(rss) = vitals.rss_bytes {
        parts.push(format!("RSS {:.1}", mib(rss)));
    }
    if let Some(live) = vitals.live_heap_bytes {
        parts.push(format!("live heap {:.1}", mib(live)));
    }
    parts.push(format!("{} req/s", HumanCount(requests_per_second.round() as u64)));
    if let Some(growth) = vitals.growth_bytes_per_second {
        let sign = if growth < 0.0 { '-' } else { '+' };
        parts.push(format!("{sign}{}/s", BinaryBytes(growth.abs() as u64)));
    }
    if let Some(trend) = &vitals.trend {
        parts.push(match vitals.time_to_limit_seconds {
            Some(seconds) => format!("{trend}, limit in {}", format_duration(whole(seconds))),
            None => trend.clone(),
        });
    }
    let leaks = if vitals.leaks_on.is_empty() { "none".to_owned() } else { vitals.leaks_on.join(", ") };
    parts.push(format!("leaks: {leaks}"));
    parts.join(" · ")
}

/// Whole seconds, at most a year: no forecast is worth more.
fn whole(seconds: f64) -> Duration {
    Duration::from_secs(seconds.clamp(0.0, 31_557_600.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_line_says_everything_that_is_known_and_nothing_else() {
        let mut vitals = Vitals { rss_bytes: Some(64 << 20), ..Vitals::default() };
        assert_eq!(line(&vitals, 0.0, 256 << 20), "64.0 of 256 MiB · RSS 64.0 · 0 req/s · leaks: none");
        vitals.usage_bytes = Some(52 << 20);
        vitals.live_heap_bytes = Some(48 << 20);
        vitals.growth_bytes_per_second = Some(-1_048_576.0);
        vitals.trend = Some("flat".into());
        assert!(line(&vitals, 0.0, 256 << 20).contains(" · -1.00 MiB/s · flat · leaks"));
        vitals.trend = Some("growing".into());
        vitals.time_to_limit_seconds = Some(204.7);
        vitals.leaks_on = vec!["cache".into(), "history:fixed".into()];
        assert_eq!(
            line(&vitals, 49.6, 256 << 20),
            "52.0 of 256 MiB · RSS 64.0 · live heap 48.0 · 50 req/s · -1.00 MiB/s · growing, limit in 3m 25s · leaks: cache, history:fixed"
        );
    }
}
