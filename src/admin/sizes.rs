//! Sizes as the contract has them: in MiB (or KiB) with two decimals and, next to that, in bytes.
//!
//! An answer flattens them: a field `rss: Rss` becomes `rss_mb` and `rss_bytes`. This module knows nothing of what is measured.

use serde::Serialize;
use utoipa::ToSchema;

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

/// Declares sizes, each with the two fields that it writes. A size is made from its bytes.
macro_rules! sizes {
    ($unit_bytes:ident, $unit:literal: $(
        #[doc = $about:literal]
        $name:ident { $units:ident: $in_units:ty, $bytes:ident: $number:ty }
    )+) => {$(
        #[doc = $about]
        #[derive(Debug, Clone, Serialize, ToSchema)]
        pub(super) struct $name {
            #[doc = $unit]
            $units: $in_units,
            /// In bytes.
            $bytes: $number,
        }

        impl From<$number> for $name {
            fn from(bytes: $number) -> Self {
                Self { $units: bytes.in_units_of($unit_bytes), $bytes: bytes }
            }
        }
    )+};
}

sizes! { MIB, "In MiB, with two decimals.":
    /// Resident memory of the process.
    Rss { rss_mb: f64, rss_bytes: u64 }
    /// Virtual memory of the process.
    Vms { vms_mb: f64, vms_bytes: u64 }
    /// Growth of resident memory since the process started.
    GrowthSinceStart { growth_since_start_mb: f64, growth_since_start_bytes: i64 }
    /// Proportional set size, where the kernel says it.
    Pss { pss_mb: Option<f64>, pss_bytes: Option<u64> }
    /// Resident anonymous pages, where the kernel says it.
    Anonymous { anonymous_mb: Option<f64>, anonymous_bytes: Option<u64> }
    /// Resident pages of mapped files, where the kernel says it.
    MappedFiles { file_mb: Option<f64>, file_bytes: Option<u64> }
    /// Pages that are swapped out, where the kernel says it.
    Swap { swap_mb: Option<f64>, swap_bytes: Option<u64> }
    /// Live allocations as jemalloc counts them.
    Allocated { allocated_mb: f64, allocated_bytes: u64 }
    /// Pages that hold live allocations.
    Active { active_mb: f64, active_bytes: u64 }
    /// Pages that may be resident: active, dirty and metadata.
    Resident { resident_mb: f64, resident_bytes: u64 }
    /// jemalloc's own tables.
    Metadata { metadata_mb: f64, metadata_bytes: u64 }
    /// Address space that is kept but has no memory behind it.
    Retained { retained_mb: f64, retained_bytes: u64 }
    /// Address space of the active extents.
    Mapped { mapped_mb: f64, mapped_bytes: u64 }
    /// The payload that a leak holds.
    EstimatedSize { estimated_size_mb: f64, estimated_size_bytes: u64 }
    /// One part of resident memory. It may be negative.
    PartSize { size_mb: f64, size_bytes: i64 }
    /// Live memory of one place.
    PlaceSize { size_mb: f64, size_bytes: u64 }
    /// Live memory of all places together.
    TotalTraced { total_traced_mb: f64, total_traced_bytes: u64 }
    /// The most live memory that was seen since the start.
    PeakTraced { peak_traced_mb: f64, peak_traced_bytes: u64 }
    /// Live memory in the baseline.
    BaselineSize { baseline_size_mb: f64, baseline_size_bytes: u64 }
    /// Growth of live memory since the baseline.
    TotalGrowth { total_growth_mb: f64, total_growth_bytes: i64 }
    /// Resident memory before.
    MemoryBefore { memory_before_mb: f64, memory_before_bytes: u64 }
    /// Resident memory after.
    MemoryAfter { memory_after_mb: f64, memory_after_bytes: u64 }
    /// The difference of the two.
    Freed { freed_mb: f64, freed_bytes: i64 }
}

sizes! { KIB, "In KiB, with two decimals.":
    /// Live memory of one of the top places.
    TopSize { size_kb: f64, size_bytes: u64 }
    /// Growth of one place since the baseline.
    SizeDiff { size_diff_kb: f64, size_diff_bytes: i64 }
    /// Live memory of one place now.
    CurrentSize { current_size_kb: f64, current_size_bytes: u64 }
}

/// A number of bytes that is shown in a larger unit too.
trait Bytes {
    type InUnits;

    fn in_units_of(self, unit_bytes: f64) -> Self::InUnits;
}

impl Bytes for u64 {
    type InUnits = f64;

    fn in_units_of(self, unit_bytes: f64) -> f64 {
        two_decimals(self as f64 / unit_bytes)
    }
}

impl Bytes for i64 {
    type InUnits = f64;

    fn in_units_of(self, unit_bytes: f64) -> f64 {
        two_decimals(self as f64 / unit_bytes)
    }
}

impl Bytes for Option<u64> {
    type InUnits = Option<f64>;

    fn in_units_of(self, unit_bytes: f64) -> Option<f64> {
        self.map(|bytes| bytes.in_units_of(unit_bytes))
    }
}

/// Rounded to two decimals.
pub(super) fn two_decimals(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Answer {
        z: u8,
        #[serde(flatten)]
        rss: Rss,
        #[serde(flatten)]
        freed: Freed,
        #[serde(flatten)]
        size: TopSize,
        #[serde(flatten)]
        swap: Swap,
    }

    #[test]
    fn sizes_come_in_pairs_and_keep_their_order() {
        let answer = Answer {
            z: 1,
            rss: (16 << 20).into(),
            freed: (-(1 << 19) - 1).into(),
            size: 1_000.into(),
            swap: None.into(),
        };
        assert_eq!(
            serde_json::to_string(&answer).expect("JSON"),
            r#"{"z":1,"rss_mb":16.0,"rss_bytes":16777216,"freed_mb":-0.5,"freed_bytes":-524289,"size_kb":0.98,"size_bytes":1000,"swap_mb":null,"swap_bytes":null}"#
        );
    }
}
