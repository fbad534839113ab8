//! What is held: the process, its cgroup, the allocator, and the parts that sum to RSS. It asks the kernel and
//! jemalloc, and works with what there is; what is missing is named in the report. It knows nothing of the program.

use std::path::Path;

use serde::Serialize;

mod cgroup;
mod extents;
mod jemalloc;
mod mappings;
#[cfg(target_os = "linux")]
mod own_code;
mod process;
mod purge;
mod reconcile;
mod sampler;
mod source;

#[cfg(target_os = "linux")]
pub use own_code::lock_own_code;
pub use purge::purge;
pub use sampler::{Sample, Sampler, SamplerConfig, USUAL_CAPACITY, USUAL_INTERVAL};
pub(crate) use source::Source;

/// Memory of this process, of its cgroup and of its allocator at one moment, with the parts that sum to RSS.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Report))]
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
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Process))]
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
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Cgroup))]
pub struct Cgroup {
    /// `1` or `2`.
    pub version: u8,
    /// Usage of the cgroup, page cache included.
    pub usage_bytes: u64,
    /// Usage less inactive file pages: what the kernel can't simply drop.
    pub working_set_bytes: u64,
    /// The largest usage so far, where the kernel keeps it (version 2: since Linux 5.19).
    pub peak_bytes: Option<u64>,
    /// Smallest limit among the cgroup and its ancestors; `None`: no limit.
    pub limit_bytes: Option<u64>,
    /// Processes killed for this cgroup's limit since it was made.
    pub oom_kills: Option<u64>,
}

/// jemalloc's statistics (`stats.*` of jemalloc(3)), in bytes.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Jemalloc))]
pub struct Jemalloc {
    /// What the program holds: `allocated` less jemalloc's internal allocations and the free objects in its threads'
    /// caches, plus the small objects that the heap profiler samples, which jemalloc 5.3 leaves out (reckoned).
    pub live_bytes: u64,
    /// `stats.allocated`. jemalloc 5.3 leaves sampled small objects out: at lg 16 about 3 % low.
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
///
/// | part | what it is |
/// |---|---|
/// | `live_heap` | what the program holds ([`Jemalloc::live_bytes`]) |
/// | `allocator_overhead` | the rest of the pages with live allocations: size classes, fragmentation, free objects in the threads' caches |
/// | `profiler` | the heap profiler's tables, and the pages around each object that it samples |
/// | `dirty` | freed pages that jemalloc has not yet given back |
/// | `metadata` | jemalloc's own tables |
/// | `reserved_untouched` | negative: what the five above count, but nobody has written to yet. Positive where the kernel gives more pages than were asked for (huge pages) |
/// | `file` | mapped files: the program, its static data, libraries, data |
/// | `shared` | shared memory |
/// | `stacks` | stacks of all threads |
/// | `unaccounted` | what no Rust allocator made: C `malloc`, mappings of other libraries |
///
/// Those of jemalloc are absent where it is not the program's allocator; the heap is unaccounted then.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Part))]
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
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Quality))]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Read from the kernel or the allocator.
    Exact,
    /// Derived.
    Estimate,
}

/// A source that could not be read.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Missing))]
pub struct Missing {
    /// What was looked for.
    pub source: &'static str,
    /// Why it is not there, and what that costs.
    pub reason: String,
}

/// The memory limit that would end this process, and who enforces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Limit))]
pub struct Limit {
    /// Bytes; `None`: no limit.
    pub bytes: Option<u64>,
    /// Who enforces it.
    pub source: LimitSource,
}

/// Who enforces a memory limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::LimitSource))]
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
    let jemalloc = jemalloc::read();
    let process::Reading { process, mappings, thread_descriptors, mut missing } = process::read();
    let cgroup = cgroup::locate(Path::new("/"), process.pid).and_then(|place| place.read());
    let (stats, cgroup) = (keep(jemalloc, &mut missing), keep(cgroup, &mut missing));
    let owners =
        (!mappings.is_empty()).then(|| mappings::sort(&mappings, &thread_descriptors, stats.as_ref()));
    let parts =
        if process.rss_bytes > 0 { reconcile::parts(&process, owners, stats.as_ref()) } else { Vec::new() };
    Report { process, cgroup, jemalloc: stats.map(|stats| stats.public), parts, missing }
}

impl Report {
    /// The part that no Rust allocator made: C libraries, mappings of their own. 0 where RSS can't be read.
    pub fn unaccounted_bytes(&self) -> i64 {
        self.parts.iter().find(|part| part.part == reconcile::UNACCOUNTED).map_or(0, |part| part.bytes)
    }
}

fn keep<T>(source: Result<T, Missing>, missing: &mut Vec<Missing>) -> Option<T> {
    source.map_err(|reason| missing.push(reason)).ok()
}

/// The limit in force: the cgroup's, or `watcher_bytes` where a supervising process enforces that many bytes. Where
/// both are there, the smaller one ends the process first.
pub fn limit(watcher_bytes: Option<u64>) -> Limit {
    let cgroup = cgroup::locate(Path::new("/"), std::process::id()).and_then(|place| place.read()).ok();
    smaller_limit(cgroup.as_ref(), watcher_bytes)
}

fn smaller_limit(cgroup: Option<&Cgroup>, watcher_bytes: Option<u64>) -> Limit {
    let cgroup = cgroup.and_then(|cgroup| Some((cgroup.limit_bytes?, cgroup.version)));
    match (cgroup, watcher_bytes) {
        (Some((bytes, _)), Some(watcher)) if watcher < bytes => {
            Limit { bytes: Some(watcher), source: LimitSource::Watcher }
        }
        (Some((bytes, 1)), _) => Limit { bytes: Some(bytes), source: LimitSource::CgroupV1 },
        (Some((bytes, _)), _) => Limit { bytes: Some(bytes), source: LimitSource::CgroupV2 },
        (None, Some(_)) => Limit { bytes: watcher_bytes, source: LimitSource::Watcher },
        (None, None) => Limit { bytes: None, source: LimitSource::None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(version: u8, limit_bytes: Option<u64>) -> Cgroup {
        Cgroup {
            version,
            usage_bytes: 0,
            working_set_bytes: 0,
            peak_bytes: None,
            limit_bytes,
            oom_kills: None,
        }
    }

    #[test]
    fn the_smaller_limit_is_in_force() {
        let limit = |cgroup: Option<Cgroup>, watcher| {
            let Limit { bytes, source } = smaller_limit(cgroup.as_ref(), watcher);
            (bytes, source)
        };
        assert_eq!(limit(None, None), (None, LimitSource::None));
        assert_eq!(limit(Some(cgroup(2, None)), None), (None, LimitSource::None));
        assert_eq!(limit(Some(cgroup(2, None)), Some(5)), (Some(5), LimitSource::Watcher));
        assert_eq!(limit(None, Some(5)), (Some(5), LimitSource::Watcher));
        assert_eq!(limit(Some(cgroup(1, Some(7))), None), (Some(7), LimitSource::CgroupV1));
        assert_eq!(limit(Some(cgroup(2, Some(7))), None), (Some(7), LimitSource::CgroupV2));
        assert_eq!(limit(Some(cgroup(2, Some(7))), Some(5)), (Some(5), LimitSource::Watcher));
        assert_eq!(limit(Some(cgroup(2, Some(7))), Some(9)), (Some(7), LimitSource::CgroupV2));
        assert_eq!(limit(Some(cgroup(2, Some(7))), Some(7)), (Some(7), LimitSource::CgroupV2));
    }
}
