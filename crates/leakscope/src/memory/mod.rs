//! What is held: the process, its cgroup, the allocator, and the parts that sum to RSS. It asks the kernel and
//! jemalloc, and works with what there is; what is missing is named in the report. It knows nothing of the program.

use serde::Serialize;

mod mappings;
#[cfg(target_os = "linux")]
mod own_code;
mod process;
mod reconcile;
mod sample;

#[cfg(target_os = "linux")]
pub use own_code::lock_own_code;
pub use sample::Sample;
pub(crate) use sample::{LIVE_HEAP, RSS, UNACCOUNTED, USAGE};

pub use crate::jemalloc::{Jemalloc, purge};
use crate::{jemalloc, proc::CgroupMemory};

/// Memory of this process, of its cgroup and of its allocator at one moment, with the parts that sum to RSS.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Report))]
pub struct Report {
    /// What the kernel says of the process.
    pub process: ProcessMemory,
    /// The memory cgroup, where there is one.
    pub cgroup: Option<CgroupMemory>,
    /// jemalloc's own statistics; `None` where the program's allocator is not jemalloc.
    pub jemalloc: Option<Jemalloc>,
    /// Signed parts whose sum is `process.rss_bytes` exactly.
    pub parts: Vec<Part>,
    /// What could not be read here, and what is lost by that.
    pub missing: Vec<Missing>,
}

/// What the kernel says of the process. All figures in bytes or plain counts.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::ProcessMemory))]
pub struct ProcessMemory {
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
    let books =
        jemalloc::read_books().map_err(|reason| Missing { source: "jemalloc", reason: reason.to_owned() });
    let process::KernelReading { process, mappings, thread_descriptors, mut missing } = process::read();
    let (books, cgroup) = (keep(books, &mut missing), keep(process::cgroup(), &mut missing));
    let owners =
        (!mappings.is_empty()).then(|| mappings::sort(&mappings, &thread_descriptors, books.as_ref()));
    let parts =
        if process.rss_bytes > 0 { reconcile::parts(&process, owners, books.as_ref()) } else { Vec::new() };
    Report { process, cgroup, jemalloc: books.map(|books| books.public), parts, missing }
}

impl Report {
    /// The part that no Rust allocator made: C libraries, mappings of their own. 0 where RSS can't be read.
    pub fn unaccounted_bytes(&self) -> i64 {
        self.parts.iter().find(|part| part.part == UNACCOUNTED).map_or(0, |part| part.bytes)
    }
}

fn keep<T>(source: Result<T, Missing>, missing: &mut Vec<Missing>) -> Option<T> {
    source.map_err(|reason| missing.push(reason)).ok()
}

/// The limit in force: the cgroup's, or `watcher_bytes` where a supervising process enforces that many bytes. Where
/// both are there, the smaller one ends the process first.
pub fn limit(watcher_bytes: Option<u64>) -> Limit {
    smaller_limit(process::cgroup().ok().as_ref(), watcher_bytes)
}

fn smaller_limit(cgroup: Option<&CgroupMemory>, watcher_bytes: Option<u64>) -> Limit {
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

    fn cgroup(version: u8, limit_bytes: Option<u64>) -> CgroupMemory {
        CgroupMemory {
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
        let limit = |cgroup: Option<CgroupMemory>, watcher| {
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
