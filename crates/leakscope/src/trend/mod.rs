//! When it runs out: samples of memory in, a verdict with its slope and its interval out. Pure functions, no clock, no randomness: the same
//! samples always give the same answer. This room knows nothing of where the samples come from nor of what is done with the answer.
//!
//! How a series is read, each step in a file of its own:
//!
//! 1. `series`: the newest life of the process (a restart empties memory), within the window, lone spikes clipped (Hampel's identifier).
//! 2. `jumps`: sudden changes of level. A few are shifts and are taken out (the slope wanted is the one *between* them); many are how this program
//!    lives: then the troughs of its teeth count, or the whole stair. But they tell only what was held up to the last of them: what has since
//!    grown higher, or clearly longer, than any tooth before is a run of its own.
//! 3. `stretch`: a slower change, a slip of level or a bend (a cache that has filled, a leak switched on). After a bend only the newest
//!    straight stretch speaks of the future.
//! 4. `slope`: the slope by feasible generalized least squares and an interval that holds for autocorrelated samples.
//! 5. `verdict`: `growing`, `flat`, or `undecided` and what would decide it.
//!
//! Samples are expected about once a second. The statistics count samples, so another steady pace works too, with times scaled alike.

use serde::{Deserialize, Serialize};

mod jumps;
mod line;
mod report;
mod robust;
mod series;
mod slope;
mod stretch;
mod verdict;

/// One observation of a process's memory: what a running instrument keeps.
pub use crate::memory::Sample as MemorySample;
pub use report::{Basis, CountTrend, SeriesTrend, TrendReport, Unit, report};
pub(crate) use report::{Column, NEGLIGIBLE_BYTES, NEGLIGIBLE_RSS_BYTES, report_of};
pub use verdict::{DecidesIn, Verdict};

/// One observation of one quantity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Monotonic seconds. Where they go back, a new life of the process begins.
    pub seconds: f64,
    /// The quantity, in bytes. May be negative (unaccounted memory is a difference).
    pub bytes: f64,
    /// Requests served so far. Where they go back, a new life of the process begins.
    pub requests: u64,
}

/// What counts as growth, and over which time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Only samples of the last so many seconds are looked at.
    pub window_seconds: f64,
    /// Growth over the window that is too small to matter, in bytes.
    pub negligible_bytes: f64,
    /// `flat` means: growth of so many times the noise would have been seen.
    pub flat_noise_ratio: f64,
}

impl Default for Config {
    /// Five minutes; 64 KiB, that is 4 days from 0 to 256 MiB at a window of five minutes; 5 times the noise.
    fn default() -> Self {
        Self { window_seconds: 300.0, negligible_bytes: NEGLIGIBLE_BYTES, flat_noise_ratio: 5.0 }
    }
}

/// A figure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Interval))]
pub struct Interval {
    /// Best estimate.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Bytes that stay for each request, with the share of the series' variance that requests explain.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::PerRequest))]
pub struct PerRequest {
    /// Bytes per request, with its 95 % interval.
    #[serde(flatten)]
    pub bytes: Interval,
    /// Coefficient of determination, 0 to 1, after shifts of level were taken out.
    pub r2: f64,
}

/// What one series says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Trend))]
pub struct Trend {
    /// The answer.
    pub verdict: Verdict,
    /// What would decide it; only for `undecided`.
    pub decides_in: Option<DecidesIn>,
    /// Seconds between the first and the last sample looked at.
    pub window_seconds: f64,
    /// Samples looked at.
    pub samples: usize,
    /// Seconds of the newest straight stretch: what the figures below rest on.
    pub stretch_seconds: f64,
    /// Standard deviation of the samples around the line, in bytes.
    #[cfg_attr(feature = "utoipa", schema(required = true))]
    pub noise_bytes: Option<f64>,
    /// Growth per second. Where requests drive it: bytes per request times the window's mean request rate.
    #[cfg_attr(feature = "utoipa", schema(required = true))]
    pub bytes_per_second: Option<Interval>,
    /// Growth per request; `None` where no requests were served.
    pub bytes_per_request: Option<PerRequest>,
    /// Seconds until the limit, if it goes on so; only for `growing` under a limit.
    pub time_to_limit_seconds: Option<f64>,
    /// Requests until the limit, if it goes on so; only for `growing` under a limit.
    pub requests_to_limit: Option<u64>,
}

/// Reads one series, oldest sample first. `limit_bytes` is the limit that this same quantity must not reach.
///
/// Samples that are not finite are left out; too few samples are `undecided`, never an error. About 1 ms for 600 samples.
///
/// ```
/// use leakscope::trend::{Config, Sample, Verdict, analyze};
/// let leak: Vec<Sample> = (0..90)
///     .map(|i| Sample { seconds: f64::from(i), bytes: 1e7 + 51_200.0 * f64::from(i), requests: 50 * i as u64 })
///     .collect();
/// let trend = analyze(&leak, Some(256 << 20), &Config::default());
/// assert_eq!(trend.verdict, Verdict::Growing);
/// assert_eq!(trend.bytes_per_request.unwrap().bytes.value.round(), 1024.0);
/// ```
pub fn analyze(samples: &[Sample], limit_bytes: Option<u64>, config: &Config) -> Trend {
    let headroom = match (limit_bytes, samples.last()) {
        (Some(limit), Some(last)) => Some(limit as f64 - last.bytes),
        _ => None,
    };
    analyze_with_headroom(samples, headroom, config)
}

/// As [`analyze`], with `headroom_bytes` left under a limit that is counted in another quantity.
fn analyze_with_headroom(samples: &[Sample], headroom_bytes: Option<f64>, config: &Config) -> Trend {
    let series = series::newest_life(samples, config.window_seconds);
    verdict::judge(&series, headroom_bytes, config)
}
