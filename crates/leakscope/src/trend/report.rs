//! The whole report: the trend of each quantity of one process, and the answer on its memory that follows from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Config, DecidesIn, Interval, MemorySample, PerRequest, Sample, Trend, Verdict, analyze_with_headroom,
};
use crate::memory::{LIVE_HEAP, RSS, UNACCOUNTED};

/// Growth of memory over the usual window of five minutes that is too small to matter: at that pace it takes four days from
/// 0 to 256 MiB.
pub(crate) const NEGLIGIBLE_BYTES: f64 = 65_536.0;
/// The same for RSS. The allocator gives pages back when it likes, and a program touches pages of its own for the first time
/// for hours: the RSS of a service that keeps nothing was seen to wander by 400 KiB within minutes.
pub(crate) const NEGLIGIBLE_RSS_BYTES: f64 = 16.0 * NEGLIGIBLE_BYTES;

/// What a quantity is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Unit))]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things: descriptors, tasks.
    Count,
}

/// The samples of one quantity, oldest first, and how they are judged.
pub(crate) struct Column {
    /// Its name in the report.
    pub name: &'static str,
    pub unit: Unit,
    /// Which answer on memory rests on it.
    pub basis: Option<Basis>,
    /// Growth over the usual window that is too small to matter, at the usual [`Config`].
    pub negligible_growth: f64,
    /// Their `bytes` are values of any unit.
    pub samples: Vec<Sample>,
}

/// The trend of one quantity, in its unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::SeriesTrend))]
#[serde(untagged)]
pub enum SeriesTrend {
    /// Of something that is counted.
    Count(CountTrend),
    /// Of memory.
    Bytes(Trend),
}

/// What one series of counts says. The fields mean what those of [`Trend`] do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::CountTrend))]
pub struct CountTrend {
    /// Always `count`.
    pub unit: Unit,
    /// The answer.
    pub verdict: Verdict,
    /// What would decide it; only for `undecided`.
    pub decides_in: Option<DecidesIn>,
    /// Seconds between the first and the last sample looked at.
    pub window_seconds: f64,
    /// Samples looked at.
    pub samples: usize,
    /// Seconds of the newest stretch that the figures rest on.
    pub stretch_seconds: f64,
    /// Standard deviation of the samples around the line.
    pub noise: Option<f64>,
    /// Growth per second.
    pub per_second: Option<Interval>,
    /// Growth per request; `None` where no requests were served.
    pub per_request: Option<PerRequest>,
}

impl SeriesTrend {
    /// The answer.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Count(trend) => trend.verdict,
            Self::Bytes(trend) => trend.verdict,
        }
    }

    fn new(unit: Unit, trend: Trend) -> Self {
        match unit {
            Unit::Bytes => Self::Bytes(trend),
            Unit::Count => Self::Count(CountTrend {
                unit,
                verdict: trend.verdict,
                decides_in: trend.decides_in,
                window_seconds: trend.window_seconds,
                samples: trend.samples,
                stretch_seconds: trend.stretch_seconds,
                noise: trend.noise_bytes,
                per_second: trend.bytes_per_second,
                per_request: trend.bytes_per_request,
            }),
        }
    }
}

/// Which quantity an answer rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Basis))]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Live heap.
    LiveHeap,
    /// Resident set size.
    Rss,
    /// Memory that no Rust allocator made.
    Unaccounted,
}

/// The answer to "when does it run out?".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::TrendReport))]
pub struct TrendReport {
    /// The trend of the quantity named by `basis`.
    #[serde(flatten)]
    pub trend: Trend,
    /// The live heap, unless that does not grow and another quantity does. RSS where there is no live heap to be read: all
    /// that the program holds is unaccounted then.
    pub basis: Basis,
    /// The trend of each quantity that could be read, by its name (`live_heap`, `rss`, `unaccounted`, `open_descriptors`).
    pub series: BTreeMap<String, SeriesTrend>,
}

/// Reads the samples of one process, oldest first. `limit_bytes` is compared with `usage_bytes`. What is negligible is said of the
/// live heap; for RSS it is 16 times as much.
pub fn report(samples: &[MemorySample], limit_bytes: Option<u64>, config: &Config) -> TrendReport {
    let series = |name, basis, negligible, bytes: fn(&MemorySample) -> f64| {
        let sample =
            |of: &MemorySample| Sample { seconds: of.seconds, bytes: bytes(of), requests: of.requests };
        Column {
            name,
            unit: Unit::Bytes,
            basis: Some(basis),
            negligible_growth: negligible,
            samples: samples.iter().map(sample).collect(),
        }
    };
    let all = [
        series(LIVE_HEAP, Basis::LiveHeap, NEGLIGIBLE_BYTES, |sample| sample.live_heap_bytes as f64),
        series(RSS, Basis::Rss, NEGLIGIBLE_RSS_BYTES, |sample| sample.rss_bytes as f64),
        series(UNACCOUNTED, Basis::Unaccounted, NEGLIGIBLE_BYTES, |sample| sample.unaccounted_bytes as f64),
    ];
    report_of(all, samples.last().map(|last| last.usage_bytes).zip(limit_bytes), config)
}

/// The same for any series. `usage_and_limit_bytes` is what counts against the limit now, and the limit.
pub(crate) fn report_of(
    series: impl IntoIterator<Item = Column>,
    usage_and_limit_bytes: Option<(u64, u64)>,
    config: &Config,
) -> TrendReport {
    let headroom = usage_and_limit_bytes.map(|(usage, limit)| limit as f64 - usage as f64);
    let mut trends = BTreeMap::new();
    let mut of_memory = Vec::new();
    for Column { name, unit, basis, negligible_growth, samples } in series {
        let scale = negligible_growth / NEGLIGIBLE_BYTES;
        let config = Config { negligible_bytes: scale * config.negligible_bytes, ..*config };
        let headroom = headroom.filter(|_| unit == Unit::Bytes);
        let trend = analyze_with_headroom(&samples, headroom, &config);
        of_memory.extend(basis.map(|basis| (basis, trend.clone())));
        trends.insert(name.to_owned(), SeriesTrend::new(unit, trend));
    }
    let (basis, trend) = answer(of_memory).unwrap_or_else(|| {
        let nothing = analyze_with_headroom(&[], None, config);
        (Basis::Rss, nothing)
    });
    TrendReport { trend, basis, series: trends }
}

/// The trend that the answer on memory rests on: the first that grows, else the first.
fn answer(of_memory: Vec<(Basis, Trend)>) -> Option<(Basis, Trend)> {
    let has_live_heap = of_memory.iter().any(|(basis, _)| *basis == Basis::LiveHeap);
    let order: &[Basis] = match has_live_heap {
        true => &[Basis::LiveHeap, Basis::Unaccounted, Basis::Rss],
        false => &[Basis::Rss],
    };
    let find = |wanted: &Basis| of_memory.iter().find(|(basis, _)| basis == wanted);
    let candidates: Vec<_> = order.iter().filter_map(find).collect();
    let grows = candidates.iter().find(|(_, trend)| trend.verdict == Verdict::Growing);
    grows.or(candidates.first()).map(|answer| (*answer).clone())
}
