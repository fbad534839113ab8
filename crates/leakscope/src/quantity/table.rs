//! The list of quantities. A new one is one entry here.

use super::{Pace, Quantity};
use crate::{
    memory::{LIVE_HEAP, RSS, UNACCOUNTED, USAGE},
    trend::{Basis, NEGLIGIBLE_BYTES, NEGLIGIBLE_RSS_BYTES, Unit},
};

/// A few connections more or fewer are no leak.
const NEGLIGIBLE_DESCRIPTORS: f64 = 16.0;

/// Every quantity that is read.
pub const QUANTITIES: [Quantity; 5] = [
    Quantity {
        name: LIVE_HEAP,
        about: "What the program holds of the heap: the truest sign of a leak in Rust code. Needs jemalloc.",
        unit: Unit::Bytes,
        pace: Pace::Each,
        negligible_growth: Some(NEGLIGIBLE_BYTES),
        basis: Some(Basis::LiveHeap),
        read: |now| now.books().map(|books| books.public.live_bytes as i64),
    },
    Quantity {
        name: UNACCOUNTED,
        about: "Memory that no Rust allocator made.",
        unit: Unit::Bytes,
        pace: Pace::Slow,
        negligible_growth: Some(NEGLIGIBLE_BYTES),
        basis: Some(Basis::Unaccounted),
        read: |now| Some(now.report().unaccounted_bytes()),
    },
    Quantity {
        name: RSS,
        about: "Resident set size, with all that the allocator keeps.",
        unit: Unit::Bytes,
        pace: Pace::Each,
        negligible_growth: Some(NEGLIGIBLE_RSS_BYTES),
        basis: Some(Basis::Rss),
        read: |now| now.rss_bytes(),
    },
    Quantity {
        name: USAGE,
        about: "What counts against the limit: the cgroup's working set where it has a limit and only this process in it, else RSS.",
        unit: Unit::Bytes,
        pace: Pace::Each,
        negligible_growth: None,
        basis: None,
        read: |now| now.usage_bytes(),
    },
    Quantity {
        name: "open_descriptors",
        about: "Open file descriptors: files, sockets, pipes.",
        unit: Unit::Count,
        pace: Pace::Slow,
        negligible_growth: Some(NEGLIGIBLE_DESCRIPTORS),
        basis: None,
        read: |now| now.report().process.open_files.map(|count| count as i64),
    },
];
