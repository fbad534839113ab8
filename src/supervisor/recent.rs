//! The last seconds of the service as its metrics told them: what the live line shows, and what had been growing when it
//! ended.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use indicatif::BinaryBytes;

use crate::vitals::Vitals;

/// How far back it goes.
const WINDOW: Duration = Duration::from_secs(10);

/// Readings of one life, oldest first.
#[derive(Debug, Default)]
pub struct RecentVitals {
    readings: VecDeque<(Instant, Vitals)>,
}

impl RecentVitals {
    /// Adds a reading and forgets those older than the window.
    pub fn push(&mut self, at: Instant, vitals: Vitals) {
        self.readings.push_back((at, vitals));
        while self.readings.front().is_some_and(|(oldest, _)| at - *oldest > WINDOW) {
            self.readings.pop_front();
        }
    }

    /// The last reading.
    pub fn latest(&self) -> Option<&Vitals> {
        self.readings.back().map(|(_, vitals)| vitals)
    }

    /// Requests per second over the last two seconds or so.
    pub fn requests_per_second(&self) -> f64 {
        let Some((end, last)) = self.readings.back() else { return 0.0 };
        let recent = |at: &Instant| *end - *at <= Duration::from_secs(2);
        let Some((start, first)) = self.readings.iter().find(|(at, _)| recent(at)) else { return 0.0 };
        let seconds = (*end - *start).as_secs_f64();
        if seconds > 0.0 {
            last.api_requests.saturating_sub(first.api_requests) as f64 / seconds
        } else {
            0.0
        }
    }

    /// What had been growing, seen at `end`: the leaks by what they hold, or that none of them grew.
    pub fn growing(&self, end: Instant) -> String {
        let (Some((first_at, first)), Some((last_at, last))) = (self.readings.front(), self.readings.back())
        else {
            return "what had been growing is not known: its metrics were never read".to_owned();
        };
        let mut grown: Vec<_> = last
            .held_bytes
            .iter()
            .map(|(leak, held)| (leak, *held, held.saturating_sub(*first.held_bytes.get(leak).unwrap_or(&0))))
            .filter(|(_, _, growth)| *growth > 0)
            .collect();
        grown.sort_by_key(|(_, _, growth)| std::cmp::Reverse(*growth));
        let age = (end - *last_at).as_secs_f64();
        let seconds = (*last_at - *first_at).as_secs_f64();
        if grown.is_empty() {
            let rss = |vitals: &Vitals| BinaryBytes(vitals.rss_bytes.unwrap_or(0));
            return format!(
                "no leak had been growing; RSS went from {} to {} in the last {seconds:.1} s (read {age:.1} s before the end)",
                rss(first),
                rss(last)
            );
        }
        let list: Vec<_> = grown
            .iter()
            .map(|(leak, held, growth)| {
                let rate = BinaryBytes((*growth as f64 / seconds.max(0.001)) as u64);
                format!("{leak} {} (+{rate}/s)", BinaryBytes(*held))
            })
            .collect();
        let list = list.join(", ");
        format!("had been growing: {list} (over {seconds:.1} s, read {age:.1} s before the end)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(requests: u64, held: &[(&str, u64)]) -> Vitals {
        let held_bytes = held.iter().map(|(leak, bytes)| ((*leak).to_owned(), *bytes)).collect();
        Vitals { api_requests: requests, held_bytes, rss_bytes: Some(20 << 20), ..Vitals::default() }
    }

    #[test]
    fn what_grew_most_comes_first_and_what_did_not_grow_not_at_all() {
        let start = Instant::now();
        let mut recent = RecentVitals::default();
        recent.push(start, reading(0, &[("cache", 0), ("history", 0), ("listeners", 5 << 20)]));
        let later = start + Duration::from_secs(2);
        recent.push(later, reading(100, &[("cache", 2 << 20), ("history", 4 << 20), ("listeners", 5 << 20)]));
        assert_eq!(
            recent.growing(later + Duration::from_millis(200)),
            "had been growing: history 4.00 MiB (+2.00 MiB/s), cache 2.00 MiB (+1.00 MiB/s) \
             (over 2.0 s, read 0.2 s before the end)"
        );
        assert_eq!(recent.requests_per_second(), 50.0);
    }

    #[test]
    fn growth_before_the_window_is_forgotten() {
        let start = Instant::now();
        let mut recent = RecentVitals::default();
        for second in 0..30 {
            recent.push(start + Duration::from_secs(second), reading(second, &[("cache", second.min(5))]));
        }
        let told = recent.growing(start + Duration::from_secs(29));
        assert!(told.starts_with("no leak had been growing"), "{told}");
        assert!(RecentVitals::default().growing(start).contains("not known"));
    }
}
