//! Compares verdicts and intervals with the truth, counts, and knows what is demanded.

use std::fmt;

use leakscope::trend::{Config, Interval, Trend, Verdict, analyze};

use super::families::{Case, Truth};

/// Seconds, and samples, of the default window.
const WINDOW: usize = 300;
/// A leak of 1 KiB per request at 50 requests a second must be found so soon.
const SOON: usize = 90;
const SOON_BYTES_PER_SECOND: f64 = 1024.0 * 50.0;
/// Growth of so many times the noise must not be missed.
const VISIBLE: f64 = 5.0;
/// Cleared several times, then growing for so many seconds: that is judged, at one sample a second.
const RESUMED: std::ops::RangeInclusive<usize> = 40..=200;
/// Nobody doubts a rise that is so many times as high as any before it.
const HIGHER_THAN_ANY: f64 = 1.5;

/// How often it was right, and was asked.
#[derive(Debug, Default, Clone, Copy)]
pub struct Share {
    right: usize,
    asked: usize,
}

impl Share {
    fn count(&mut self, right: bool) {
        self.asked += 1;
        self.right += usize::from(right);
    }

    fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.right += other.right;
    }

    /// Whether the true share may lie within `low..=high`, allowing for four standard errors where few series were drawn: a right trend fails
    /// one fresh seed in thousands.
    fn may_be_within(self, low: f64, high: f64, strict: bool) -> bool {
        let slack = |limit: f64| {
            let errors = (limit * (1.0 - limit) * self.asked as f64).sqrt();
            if strict { 0.0 } else { 4.0 * errors + 1.0 }
        };
        let right = self.right as f64;
        right >= low * self.asked as f64 - slack(low) && right <= high * self.asked as f64 + slack(high)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.asked {
            0 => write!(f, "{:>13}", "-"),
            asked => write!(f, "{:5.1}% of {asked:4}", 100.0 * self.right as f64 / asked as f64),
        }
    }
}

/// What was counted over the series of a family.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    soon: Share,
    grown: Share,
    rate_covered: Share,
    per_request_covered: Share,
    not_growing: Share,
    flat: Share,
    not_flat: Share,
}

impl Tally {
    /// Judges one series.
    pub fn judge(&mut self, case: &Case) {
        match &case.truth {
            Truth::Leak { from, kept, by_request, deviation } => {
                let grown = |seconds: usize| kept[from + seconds] - kept[*from];
                let visible = |seconds: usize| grown(seconds) > VISIBLE * deviation;
                if grown(SOON) >= SOON_BYTES_PER_SECOND * SOON as f64 && visible(SOON) {
                    self.soon.count(trend_at(case, from + SOON).verdict == Verdict::Growing);
                }
                let trend = trend_at(case, from + WINDOW);
                if visible(WINDOW) {
                    self.grown.count(trend.verdict == Verdict::Growing);
                }
                let end = from + WINDOW;
                let start = end - trend.stretch_seconds as usize;
                let bytes = kept[end] - kept[start];
                if let Some(rate) = trend.bytes_per_second {
                    self.rate_covered.count(covers(rate, bytes / (end - start) as f64));
                }
                if let (true, Some(per_request)) = (by_request, trend.bytes_per_request) {
                    let served = case.samples[end].requests - case.samples[start].requests;
                    self.per_request_covered.count(covers(per_request.bytes, bytes / served as f64));
                }
            }
            Truth::Resumed { from, kept, deviation } => {
                let peak = kept[..*from].iter().copied().fold(0.0, f64::max);
                let risen_above = |level: f64| {
                    RESUMED.map(|seconds| from + seconds).find(|at| kept[*at] > level + VISIBLE * deviation)
                };
                if let Some(at) = risen_above(peak) {
                    self.not_flat.count(trend_at(case, at).verdict != Verdict::Flat);
                }
                if let Some(end) = risen_above(HIGHER_THAN_ANY * peak) {
                    let trend = trend_at(case, end);
                    self.grown.count(trend.verdict == Verdict::Growing);
                    // What it will go on at, whatever the earlier rises were like.
                    let rate = kept[end] - kept[end - 1];
                    self.rate_covered.count(trend.bytes_per_second.is_some_and(|given| covers(given, rate)));
                }
            }
            Truth::Still { settled } => {
                let verdict = trend_at(case, settled + WINDOW).verdict;
                self.not_growing.count(verdict != Verdict::Growing);
                self.flat.count(verdict == Verdict::Flat);
                if *settled == 0 {
                    self.not_growing.count(trend_at(case, SOON).verdict != Verdict::Growing);
                }
            }
        }
    }

    /// Adds what another family's counted.
    pub fn add(&mut self, other: &Self) {
        self.soon.add(other.soon);
        self.grown.add(other.grown);
        self.rate_covered.add(other.rate_covered);
        self.per_request_covered.add(other.per_request_covered);
        self.not_growing.add(other.not_growing);
        self.flat.add(other.flat);
        self.not_flat.add(other.not_flat);
    }

    /// What is demanded and was not met. `strict`: without allowance for few series.
    pub fn shortfalls(&self, strict: bool) -> Vec<&'static str> {
        [
            ("decided within 90 s", self.soon, 0.97, 1.0),
            ("growing within 5 minutes", self.grown, 0.98, 1.0),
            ("rate within its interval", self.rate_covered, 0.90, 0.98),
            ("bytes per request within their interval", self.per_request_covered, 0.90, 0.98),
            ("no false growing", self.not_growing, 0.99, 1.0),
            ("flat within 5 minutes", self.flat, 0.95, 1.0),
            ("no all-clear above all before", self.not_flat, 0.99, 1.0),
        ]
        .into_iter()
        .filter(|(_, share, low, high)| !share.may_be_within(*low, *high, strict))
        .map(|(name, ..)| name)
        .collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { soon, grown, rate_covered, per_request_covered, not_growing, flat, not_flat } = self;
        write!(
            f,
            "{soon} | {grown} | {rate_covered} | {per_request_covered} | {not_growing} | {flat} | {not_flat}"
        )
    }
}

/// What is said at that second, with one sample each second from 0 on.
fn trend_at(case: &Case, second: usize) -> Trend {
    analyze(&case.samples[..=second], None, &Config::default())
}

fn covers(interval: Interval, truth: f64) -> bool {
    interval.low <= truth && truth <= interval.high
}
