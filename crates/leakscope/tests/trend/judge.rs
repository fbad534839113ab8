//! Compares verdicts and intervals with the truth, and counts.

use std::fmt;

use leakscope::trend::{Config, Interval, Trend, Verdict, analyze};

use crate::families::{Case, Truth};

const WINDOW: usize = 300;

/// Right out of asked.
#[derive(Debug, Default, Clone, Copy)]
pub struct Share {
    pub right: usize,
    pub asked: usize,
}

impl Share {
    fn count(&mut self, right: bool) {
        self.asked += 1;
        self.right += usize::from(right);
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.asked == 0 {
            return write!(f, "     -      ");
        }
        write!(f, "{:5.1}% ({:4})", 100.0 * self.right as f64 / self.asked as f64, self.asked)
    }
}

#[derive(Debug, Default)]
pub struct Tally {
    /// Leaks of 1 KiB at 50/s that are decided after 90 s.
    pub soon: Share,
    /// Leaks that are decided after 5 minutes, once growth exceeds 5 times the noise.
    pub grown: Share,
    pub covers_rate: Share,
    pub covers_request: Share,
    /// Look-alikes that are flat 5 minutes later.
    pub flat: Share,
    /// Not growing.
    pub quiet: Share,
    pub early: Share,
}

impl Tally {
    pub fn judge(&mut self, case: &Case) {
        let at = |second: usize| -> Trend {
            analyze(&case.samples[..second.min(case.samples.len())], None, &Config::default())
        };
        match case.truth {
            Truth::Leak { from, ref kept, by_request, deviation } => {
                let grown = |seconds: usize| kept[(from + seconds).min(kept.len() - 1)] - kept[from];
                if grown(90) >= 90.0 * 51_200.0 && grown(90) > 5.0 * deviation {
                    self.soon.count(at(from + 91).verdict == Verdict::Growing);
                    if std::env::var("TREND_SOON").is_ok() && at(from + 91).verdict != Verdict::Growing {
                        println!("SOON from {from} grown {} dev {deviation} {:?}", grown(90), at(from + 91));
                    }
                }
                let trend = at(from + WINDOW + 1);
                if grown(WINDOW) > 5.0 * deviation {
                    self.grown.count(trend.verdict == Verdict::Growing);
                    if std::env::var("TREND_SHOW").is_ok() && trend.verdict != Verdict::Growing {
                        println!("from {from} grown {} dev {deviation} {trend:?}", grown(WINDOW));
                    }
                }
                let covers = |interval: Interval, truth: f64| interval.low <= truth && truth <= interval.high;
                let end = (from + WINDOW + 1).min(kept.len()) - 1;
                let start = end - trend.stretch_seconds as usize;
                let bytes = kept[end] - kept[start];
                if let (true, Some(found)) = (by_request, trend.bytes_per_request) {
                    let truth = bytes / (case.samples[end].requests - case.samples[start].requests) as f64;
                    self.covers_request.count(covers(found.bytes, truth));
                    if std::env::var("TREND_MISS").is_ok() && !covers(found.bytes, truth) {
                        println!("MISS from {from} size {truth} dev {deviation} {trend:?}");
                    }
                }
                if let Some(found) = trend.bytes_per_second {
                    let truth = bytes / (end - start) as f64;
                    self.covers_rate.count(covers(found, truth));
                    if std::env::var("TREND_MISSR").is_ok() && !covers(found, truth) {
                        println!("MISS from {from} rate {truth} dev {deviation} {trend:?}");
                    }
                }
            }
            Truth::Still { settled } => {
                let trend = at(settled + WINDOW);
                self.flat.count(trend.verdict == Verdict::Flat);
                if std::env::var("TREND_SHOW").is_ok() && trend.verdict != Verdict::Flat {
                    println!("settled {settled} {trend:?}");
                }
                self.quiet.count(trend.verdict != Verdict::Growing);
                if settled == 0 {
                    self.early.count(at(90).verdict != Verdict::Growing);
                    if std::env::var("TREND_EARLY").is_ok() && at(90).verdict == Verdict::Growing {
                        println!(
                            "EARLY {:?} {:?}",
                            case.samples[..90].iter().map(|s| (s.bytes / 1000.0) as i64).collect::<Vec<_>>(),
                            at(90)
                        );
                    }
                } else {
                    self.early.count(at(settled + 90).verdict != Verdict::Growing);
                }
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "soon {} grown {} rate {} req {} | flat {} quiet {} early {}",
            self.soon, self.grown, self.covers_rate, self.covers_request, self.flat, self.quiet, self.early
        )
    }
}
