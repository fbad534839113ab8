//! The figures in jemalloc's books, in bytes. It knows jemalloc's books, not the kernel's.

use serde::Serialize;

/// What a thread's cache takes of jemalloc's internal memory, with the default options of jemalloc 5.3.
const THREAD_CACHE_TABLES: u64 = 28 << 10;

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

/// The public figures, and those that the reconciliation needs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Books {
    pub public: Jemalloc,
    /// Address space of jemalloc's own tables.
    pub base_mapped_bytes: u64,
    /// Pages of those tables that were handed out, touched or not.
    pub base_resident_bytes: u64,
    /// Freed pages that were not yet given back.
    pub dirty_bytes: u64,
    /// What jemalloc allocated for itself: counted in `allocated` too.
    pub internal_bytes: u64,
    /// The heap profiler's samples, as jemalloc's books show them.
    pub sampled: Sampled,
    /// Whether the heap profiler is compiled in and on.
    pub profiling: bool,
}

/// Small objects that the heap profiler sampled. Each gets pages of its own, which `active` counts, and is left out of
/// `allocated` (jemalloc 5.3).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sampled {
    /// What the program asked for.
    pub payload_bytes: u64,
    /// The pages less the payload.
    pub padding_bytes: u64,
}

impl Books {
    /// Everything that jemalloc has mapped, in use or kept.
    pub fn address_space_bytes(&self) -> u64 {
        self.public.mapped_bytes + self.public.retained_bytes
    }

    /// The profiler's share of what jemalloc allocated for itself; the rest are the caches of `threads` threads.
    pub fn profiler_tables_bytes(&self, threads: u64) -> u64 {
        if !self.profiling {
            return 0;
        }
        self.internal_bytes.saturating_sub(threads * THREAD_CACHE_TABLES)
    }
}
