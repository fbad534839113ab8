//! The whole report: three quantities of one process, and the answer that follows from them.

use serde::{Deserialize, Serialize};

use super::{Config, MemorySample, Sample, Trend, Verdict, analyze_with_headroom};

/// Growth of RSS that is too small to matter, in multiples of what is too small for the live heap. The allocator gives pages back
/// when it likes and a program touches pages of its own for the first time for hours: the RSS of a service that keeps nothing
/// was seen to wander by 400 KiB within minutes.
const RSS_WANDERS: f64 = 16.0;

/// The trend of each quantity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::MemorySeries))]
pub struct MemorySeries {
    /// Live heap: the truest sign of a leak in Rust code.
    pub live_heap: Trend,
    /// Resident set size, with all that the allocator keeps.
    pub rss: Trend,
    /// Memory that no Rust allocator made.
    pub unaccounted: Trend,
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
    /// The live heap, unless that does not grow and another quantity does.
    pub basis: Basis,
    /// All three.
    pub series: MemorySeries,
}

/// Reads the samples of one process, oldest first. `limit_bytes` is compared with `usage_bytes`. What is negligible is said of the
/// live heap; for RSS it is 16 times as much.
pub fn report(samples: &[MemorySample], limit_bytes: Option<u64>, config: &Config) -> TrendReport {
    let headroom =
        limit_bytes.zip(samples.last()).map(|(limit, last)| limit as f64 - last.usage_bytes as f64);
    let trend_of = |bytes: fn(&MemorySample) -> f64, config: &Config| {
        let column: Vec<Sample> = samples
            .iter()
            .map(|sample| Sample { seconds: sample.seconds, bytes: bytes(sample), requests: sample.requests })
            .collect();
        analyze_with_headroom(&column, headroom, config)
    };
    let coarse = Config { negligible_bytes: RSS_WANDERS * config.negligible_bytes, ..*config };
    let series = MemorySeries {
        live_heap: trend_of(|sample| sample.live_heap_bytes as f64, config),
        rss: trend_of(|sample| sample.rss_bytes as f64, &coarse),
        unaccounted: trend_of(|sample| sample.unaccounted_bytes as f64, config),
    };
    let (basis, trend) = [
        (Basis::LiveHeap, &series.live_heap),
        (Basis::Unaccounted, &series.unaccounted),
        (Basis::Rss, &series.rss),
    ]
    .into_iter()
    .find(|(_, trend)| trend.verdict == Verdict::Growing)
    .unwrap_or((Basis::LiveHeap, &series.live_heap));
    TrendReport { trend: trend.clone(), basis, series }
}
