//! The parts that sum to RSS. Everything is signed and nothing is clipped: what one source says too much, the part
//! beside it shows.

use super::{LIVE_HEAP, Part, ProcessMemory, Quality, UNACCOUNTED, mappings::Owners};
use crate::jemalloc::{Books, Sampled};

/// Splits `process.rss_bytes`. Without `owners` (no `smaps`) the kernel's count of file pages is all there is;
/// without `jemalloc` what anonymous memory there is stays unaccounted.
pub(super) fn parts(process: &ProcessMemory, owners: Option<Owners>, jemalloc: Option<&Books>) -> Vec<Part> {
    use Quality::{Estimate, Exact};
    let mut parts = Vec::with_capacity(10);
    let mut add = |part, bytes: i64, quality| parts.push(Part { part, bytes, quality });
    if let Some(stats) = jemalloc {
        let sampled = stats.sampled;
        let profiler_tables = stats.profiler_tables_bytes(process.threads.unwrap_or(1));
        let books = if sampled == Sampled::default() { Exact } else { Estimate };
        // `active` is what follows in the first three and the internal allocations; `resident` adds the rest.
        let in_active = stats.public.live_bytes + stats.internal_bytes + sampled.padding_bytes;
        add(LIVE_HEAP, stats.public.live_bytes as i64, books);
        add("allocator_overhead", stats.public.active_bytes as i64 - in_active as i64, books);
        add("profiler", (sampled.padding_bytes + profiler_tables) as i64, Estimate);
        add("dirty", stats.dirty_bytes as i64, Exact);
        add("metadata", (stats.base_resident_bytes + stats.internal_bytes - profiler_tables) as i64, books);
        if let Some(owners) = owners {
            let untouched = owners.allocator as i64 - stats.public.resident_bytes as i64;
            add("reserved_untouched", untouched, Estimate);
        }
    }
    match owners {
        Some(owners) => {
            add("file", owners.file as i64, Exact);
            add("shared", owners.shared as i64, Exact);
            add("stacks", owners.stacks as i64, Estimate);
        }
        None => add("file", process.file_bytes.unwrap_or(0) as i64, Exact),
    }
    let accounted: i64 = parts.iter().map(|part| part.bytes).sum();
    parts.push(Part { part: UNACCOUNTED, bytes: process.rss_bytes as i64 - accounted, quality: Estimate });
    parts
}
