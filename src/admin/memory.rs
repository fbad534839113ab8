//! What the memory of the process consists of, and giving back what the allocator does not use.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use axum::{Json, extract::State};
use leakscope::{
    Instrument,
    heap::{self, By, Site, Snapshot, Unwinder},
    http::off_runtime,
    memory::{self, Limit, Missing, ProcessMemory, Quality, Report},
    proc::CgroupMemory,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Parts,
    leak_state::{LeakState, LeakStates, held},
    profiles::FreshProfile,
    sizes::{
        Active, Allocated, Anonymous, Freed, Mapped, MappedFiles, MemoryAfter, MemoryBefore, Metadata,
        PartSize, Pss, Resident, Retained, Rss, Swap, TopSize, TotalTraced, Vms, two_decimals,
    },
};
use crate::{
    leaks::Registry,
    recording::{Done, Recording},
};

pub(super) fn routes() -> OpenApiRouter<Parts> {
    OpenApiRouter::new().routes(routes!(overview)).routes(routes!(gc))
}

/// Places shown by the overview.
const TOP_OVERVIEW: usize = 10;

/// What the memory of the process consists of.
#[derive(Serialize, ToSchema)]
struct MemoryOverview {
    process: ProcessAnswer,
    limit: Limit,
    /// Signed parts whose sum is `process.rss_bytes` exactly.
    parts: Vec<MemoryPart>,
    /// The memory cgroup, where there is one.
    cgroup: Option<CgroupMemory>,
    /// The allocator's own figures, where it is jemalloc.
    jemalloc: Option<AllocatorMemory>,
    heap_profile: HeapProfile,
    /// Each leak by its name.
    #[schema(value_type = HashMap<String, LeakState>)]
    leaks: LeakStates,
    /// The sources that could not be read here.
    missing: Vec<Missing>,
}

/// The process as the kernel sees it.
#[derive(Serialize, ToSchema)]
struct ProcessAnswer {
    pid: u32,
    #[serde(flatten)]
    rss: Rss,
    #[serde(flatten)]
    vms: Vms,
    /// Resident memory as a share of what `percent_of` names, in percent.
    percent: Option<f64>,
    /// `limit`, or `host memory` where there is no limit.
    #[schema(example = "limit")]
    percent_of: &'static str,
    #[serde(flatten)]
    pss: Pss,
    #[serde(flatten)]
    anonymous: Anonymous,
    #[serde(flatten)]
    file: MappedFiles,
    #[serde(flatten)]
    swap: Swap,
    threads: Option<u64>,
    /// Open file descriptors.
    open_files: Option<u64>,
}

/// One signed part of resident memory.
#[derive(Serialize, ToSchema)]
struct MemoryPart {
    #[schema(example = "live_heap")]
    part: &'static str,
    #[serde(flatten)]
    size: PartSize,
    quality: Quality,
}

/// jemalloc's own figures.
#[derive(Serialize, ToSchema)]
struct AllocatorMemory {
    #[serde(flatten)]
    allocated: Allocated,
    #[serde(flatten)]
    active: Active,
    #[serde(flatten)]
    resident: Resident,
    #[serde(flatten)]
    metadata: Metadata,
    #[serde(flatten)]
    retained: Retained,
    #[serde(flatten)]
    mapped: Mapped,
}

/// The last heap profile, and how profiles are taken here.
#[derive(Serialize, ToSchema)]
struct HeapProfile {
    #[serde(flatten)]
    last: LastProfile,
    /// Mean number of bytes between two sampled allocations.
    sample_interval_bytes: u64,
    unwinder: Unwinder,
}

/// The last heap profile, or why there is none.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "lowercase")]
enum LastProfile {
    /// Profiling is off.
    Off(ProfileProblem),
    /// The first profile is being taken.
    Pending,
    /// The last profile failed.
    Failed(ProfileProblem),
    /// There is a profile.
    Ready(TopAllocations),
}

/// Why there is no profile.
#[derive(Serialize, ToSchema)]
struct ProfileProblem {
    problem: String,
}

/// The places that hold most in the last profile.
#[derive(Serialize, ToSchema)]
struct TopAllocations {
    /// Age of the profile, in seconds.
    age_seconds: f64,
    #[serde(flatten)]
    total_traced: TotalTraced,
    /// Live allocations.
    count: u64,
    /// At most ten places, the largest first.
    top_allocations: Vec<TopSite>,
}

/// One place in the code, and what it allocated that is still in use.
#[derive(Serialize, ToSchema)]
struct TopSite {
    file: String,
    /// `file:line`.
    location: String,
    function: String,
    #[serde(flatten)]
    size: TopSize,
    /// Standard error of the size.
    size_error_bytes: u64,
    /// Live allocations.
    count: u64,
}

/// The process, its limit, its allocator, the parts that sum to RSS, and who allocated what is held. Never waits for a profile.
#[utoipa::path(
    get,
    path = "/admin/memory",
    tag = "memory",
    responses((status = 200, body = MemoryOverview))
)]
async fn overview(
    State(instrument): State<Instrument>,
    State(last): State<Arc<FreshProfile>>,
    State(leaks): State<Arc<Registry>>,
    State(recording): State<Arc<Recording>>,
) -> Json<MemoryOverview> {
    let profile = last.get();
    off_runtime(&leaks, move |leaks| {
        let (report, limit) = (instrument.memory(), instrument.limit());
        if leaks.iter().all(|leak| leak.variant().is_none()) {
            recording.look(instrument.requests().load(Relaxed), report.process.rss_bytes);
        }
        Json(MemoryOverview {
            process: process(&report.process, limit),
            limit,
            parts: parts(&report),
            cgroup: report.cgroup.clone(),
            jemalloc: jemalloc(&report),
            heap_profile: heap_profile(instrument.profiles().profiler().status(), profile),
            leaks: held(leaks),
            missing: report.missing.clone(),
        })
    })
    .await
}

fn process(process: &ProcessMemory, limit: Limit) -> ProcessAnswer {
    let (whole, percent_of) = match limit.bytes {
        Some(bytes) => (Some(bytes), "limit"),
        None => (host_memory_bytes(), "host memory"),
    };
    ProcessAnswer {
        pid: process.pid,
        rss: process.rss_bytes.into(),
        vms: process.virtual_bytes.into(),
        percent: whole.map(|whole| two_decimals(process.rss_bytes as f64 * 100.0 / whole as f64)),
        percent_of,
        pss: process.pss_bytes.into(),
        anonymous: process.anonymous_bytes.into(),
        file: process.file_bytes.into(),
        swap: process.swap_bytes.into(),
        threads: process.threads,
        open_files: process.open_files,
    }
}

/// Linux only; elsewhere nothing is known.
fn host_memory_bytes() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(total.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

fn parts(report: &Report) -> Vec<MemoryPart> {
    let part =
        |part: &memory::Part| MemoryPart { part: part.part, size: part.bytes.into(), quality: part.quality };
    report.parts.iter().map(part).collect()
}

fn jemalloc(report: &Report) -> Option<AllocatorMemory> {
    report.jemalloc.map(|jemalloc| AllocatorMemory {
        allocated: jemalloc.allocated_bytes.into(),
        active: jemalloc.active_bytes.into(),
        resident: jemalloc.resident_bytes.into(),
        metadata: jemalloc.metadata_bytes.into(),
        retained: jemalloc.retained_bytes.into(),
        mapped: jemalloc.mapped_bytes.into(),
    })
}

fn heap_profile(profiler: &heap::Status, last: Option<Result<Arc<Snapshot>, heap::Error>>) -> HeapProfile {
    let last = match (last, &profiler.problem) {
        (_, Some(problem)) if !profiler.enabled => {
            LastProfile::Off(ProfileProblem { problem: problem.clone() })
        }
        (None, _) => LastProfile::Pending,
        (Some(Err(error)), _) => LastProfile::Failed(ProfileProblem { problem: error.to_string() }),
        (Some(Ok(snapshot)), _) => LastProfile::Ready(TopAllocations {
            age_seconds: two_decimals(snapshot.age().as_secs_f64()),
            total_traced: snapshot.total_bytes.into(),
            count: snapshot.total_count,
            top_allocations: snapshot.sites(By::Line).into_iter().take(TOP_OVERVIEW).map(top_site).collect(),
        }),
    };
    HeapProfile {
        last,
        sample_interval_bytes: profiler.sample_interval_bytes,
        unwinder: profiler.unwinder.clone(),
    }
}

fn top_site(site: Site) -> TopSite {
    TopSite {
        file: site.file,
        location: site.location,
        function: site.function,
        size: site.bytes.into(),
        size_error_bytes: site.bytes_error,
        count: site.count,
    }
}

/// What giving pages back changed. All sizes are of resident memory.
#[derive(Serialize, ToSchema)]
struct GivenBack {
    #[serde(flatten)]
    memory_before: MemoryBefore,
    #[serde(flatten)]
    memory_after: MemoryAfter,
    #[serde(flatten)]
    freed: Freed,
    note: &'static str,
}

/// Gives the allocator's unused pages back to the system.
#[utoipa::path(post, path = "/admin/gc", tag = "memory", responses((status = 200, body = GivenBack)))]
async fn gc(State(recording): State<Arc<Recording>>) -> Json<GivenBack> {
    off_runtime(&recording, |recording| {
        let before = memory::report().process.rss_bytes;
        memory::purge();
        let after = memory::report().process.rss_bytes;
        let freed_bytes = before as i64 - after as i64;
        recording.event(Done::Gc { freed_bytes });
        Json(GivenBack {
            memory_before: before.into(),
            memory_after: after.into(),
            freed: freed_bytes.into(),
            note: GC_NOTE,
        })
    })
    .await
}

const GC_NOTE: &str = "Rust has no garbage collector: what is dropped is free at once, but the allocator keeps its pages \
    for a while. This gives them back now; what something still refers to stays.";
