//! One observation of a process's memory, in the form in which a trend is asked for.

use serde::Serialize;

/// Name of the quantity live heap, in answers and on disk.
pub(crate) const LIVE_HEAP: &str = "live_heap";
/// Name of the quantity resident set size.
pub(crate) const RSS: &str = "rss";
/// Name of the quantity that counts against the limit.
pub(crate) const USAGE: &str = "usage";
/// Name of the quantity of memory that no Rust allocator made; the part of the report has it too.
pub(crate) const UNACCOUNTED: &str = "unaccounted";

/// One observation of the process's memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Monotonic seconds; an instrument's are those since its start.
    pub seconds: f64,
    /// Resident set size.
    pub rss_bytes: u64,
    /// Live heap ([`super::Jemalloc::live_bytes`]); RSS where jemalloc is not there.
    pub live_heap_bytes: u64,
    /// What counts against the limit: the cgroup's working set where it has a limit and only this process in it, else RSS.
    pub usage_bytes: u64,
    /// Memory that no Rust allocator made, from a report at most 5 seconds older.
    pub unaccounted_bytes: i64,
    /// Requests served so far.
    pub requests: u64,
}
