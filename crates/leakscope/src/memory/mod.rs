//! What is held: the process, its cgroup, the allocator, and the parts that sum to RSS.

use serde::Serialize;

mod sampler;
pub use sampler::{Sample, Sampler, SamplerConfig};

/// Memory of this process, of its cgroup and of its allocator at one moment, with the parts that sum to RSS.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What the kernel says of the process.
    pub process: Process,
    /// The memory cgroup, where there is one.
    pub cgroup: Option<Cgroup>,
    /// jemalloc's own statistics; `None` where the program's allocator is not jemalloc.
    pub jemalloc: Option<Jemalloc>,
    /// Signed parts whose sum is `process.rss_bytes` exactly.
    pub parts: Vec<Part>,
    /// What could not be read here, and what is lost by that.
    pub missing: Vec<Missing>,
}

/// What the kernel says of the process. All figures in bytes or plain counts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Resident set size.
    pub rss_bytes: u64,
    /// Virtual size.
    pub virtual_bytes: u64,
    /// Proportional set size.
    pub pss_bytes: Option<u64>,
    /// Resident anonymous pages.
    pub anonymous_bytes: Option<u64>,
    /// Resident pages of mapped files, shared memory included.
    pub file_bytes: Option<u64>,
    /// Pages swapped out.
    pub swap_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
}

/// One memory cgroup as the process sees it.
#[derive(Debug, Clone, Serialize)]
pub struct Cgroup {
    /// `1` or `2`.
    pub version: u8,
    /// Usage of the cgroup, page cache included.
    pub usage_bytes: u64,
    /// Usage less inactive file pages: what the kernel can't simply drop.
    pub working_set_bytes: u64,
    /// Smallest limit among the cgroup and its ancestors; `None`: no limit.
    pub limit_bytes: Option<u64>,
    /// Processes killed for this cgroup's limit since it was made.
    pub oom_kills: Option<u64>,
}

/// jemalloc's statistics (`stats.*` of jemalloc(3)), in bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Jemalloc {
    /// Live allocations. jemalloc 5.3 leaves sampled small objects out: at lg 16 about 3 % low.
    pub allocated_bytes: u64,
    /// Pages that hold live allocations.
    pub active_bytes: u64,
    /// Pages mapped and possibly resident: active, dirty and metadata.
    pub resident_bytes: u64,
    /// The allocator's own tables.
    pub metadata_bytes: u64,
    /// Address space kept but not mapped to memory.
    pub retained_bytes: u64,
    /// Address space of the active extents.
    pub mapped_bytes: u64,
}

/// One signed part of RSS.
#[derive(Debug, Clone, Serialize)]
pub struct Part {
    /// Name as in the metric `memory_part_bytes{part}`.
    pub part: &'static str,
    /// Bytes; negative for what is reserved but untouched.
    pub bytes: i64,
    /// Whether the figure is exact or an estimate.
    pub quality: Quality,
}

/// How far a figure can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Read from the kernel or the allocator.
    Exact,
    /// Derived.
    Estimate,
}

/// A source that could not be read.
#[derive(Debug, Clone, Serialize)]
pub struct Missing {
    /// What was looked for.
    pub source: &'static str,
    /// Why it is not there, and what that costs.
    pub reason: String,
}

/// The memory limit that would end this process, and who enforces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// Bytes; `None`: no limit.
    pub bytes: Option<u64>,
    /// Who enforces it.
    pub source: LimitSource,
}

/// Who enforces a memory limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum LimitSource {
    /// The kernel, cgroup v1.
    #[serde(rename = "cgroup-v1")]
    CgroupV1,
    /// The kernel, cgroup v2.
    #[serde(rename = "cgroup-v2")]
    CgroupV2,
    /// A supervising process that samples RSS.
    #[serde(rename = "watcher")]
    Watcher,
    /// Nobody.
    #[serde(rename = "none")]
    None,
}

/// Reads everything. A few milliseconds; call it off the async runtime.
pub fn report() -> Report {
    unimplemented!()
}

/// The limit in force: the cgroup's, or `watcher_bytes` where a supervising process enforces that many bytes.
pub fn limit(watcher_bytes: Option<u64>) -> Limit {
    let _ = watcher_bytes;
    unimplemented!()
}
