//! Asks jemalloc, page by page, which addresses are its own, and the kernel which of them are resident. The slow way
//! of telling its mappings, for when their sizes alone don't prove it: about 0.1 us for each page or extent.

use std::{ffi::c_void, ptr};

use tikv_jemalloc_ctl::raw;

use crate::proc::{Mapping, PAGE, resident_in};

/// Other runtimes reserve terabytes, and the kernel may merge them with a mapping of jemalloc's. In a mapping that is
/// larger than this and twice what jemalloc has, stretches of this length with nothing resident are passed over.
const STRETCH: usize = 16 << 20;
/// jemalloc takes the memory for its own tables in multiples of this, aligned to it.
pub(crate) const BASE_BLOCK: usize = 2 << 20;

/// Resident bytes of `mappings` that are jemalloc's: the extents that it knows by address, and its own tables, which it
/// does not. Those are `base_bytes` of address space in aligned blocks: the smallest such runs are taken for them.
pub(crate) fn resident_bytes(mappings: &[Mapping], address_space_bytes: u64, base_bytes: u64) -> u64 {
    let Some(registry) = Registry::open() else { return 0 };
    let mut resident = 0;
    let mut blocks = Vec::new();
    let mut extent_end = 0;
    for mapping in mappings.iter().filter(|mapping| mapping.rss_bytes > 0) {
        let is_vast = mapping.len() > 2 * address_space_bytes as usize + STRETCH;
        let mut gaps = 0;
        let mut gap_start = None;
        let mut at = mapping.start;
        while at < mapping.end {
            if at < extent_end {
                at = extent_end.min(mapping.end);
            } else if let Some(size) = registry.extent_at(at) {
                gaps += close_gap(&mut gap_start, at, &mut blocks);
                extent_end = at + size;
            } else {
                let stretch = at + STRETCH;
                if is_vast
                    && at.is_multiple_of(STRETCH)
                    && stretch < mapping.end
                    && resident_in(at, stretch) == 0
                {
                    gaps += close_gap(&mut gap_start, at, &mut blocks);
                    at = stretch;
                } else {
                    gap_start.get_or_insert(at);
                    at += PAGE;
                }
            }
        }
        gaps += close_gap(&mut gap_start, mapping.end, &mut blocks);
        resident += mapping.rss_bytes.saturating_sub(gaps);
    }
    blocks.sort_unstable_by_key(|(start, end)| end - start);
    let mut left = base_bytes;
    for (start, end) in blocks {
        let Some(rest) = left.checked_sub((end - start) as u64) else { break };
        left = rest;
        resident += resident_in(start, end);
    }
    resident
}

/// Ends a run of pages that jemalloc doesn't know: returns what is resident of it, and keeps it if it may be a block
/// of jemalloc's tables.
fn close_gap(start: &mut Option<usize>, end: usize, blocks: &mut Vec<(usize, usize)>) -> u64 {
    let Some(start) = start.take() else { return 0 };
    if start.is_multiple_of(BASE_BLOCK) && (end - start).is_multiple_of(BASE_BLOCK) {
        blocks.push((start, end));
    }
    resident_in(start, end)
}

/// jemalloc's map from addresses to extents, by `arenas.lookup` and `experimental.utilization.batch_query`.
struct Registry {
    lookup: [usize; 2],
    query: [usize; 3],
}

impl Registry {
    fn open() -> Option<Self> {
        let mut registry = Self { lookup: [0; 2], query: [0; 3] };
        raw::name_to_mib(b"arenas.lookup\0", &mut registry.lookup).ok()?;
        raw::name_to_mib(b"experimental.utilization.batch_query\0", &mut registry.query).ok()?;
        Some(registry)
    }

    /// Size of the extent whose first page is at `address`, live or kept; `None` if jemalloc knows of none there.
    fn extent_at(&self, address: usize) -> Option<usize> {
        let mut address = address as *const c_void;
        let new = ptr::from_mut(&mut address).cast();
        let mut arena = 0u32;
        let mut len = size_of::<u32>();
        // SAFETY: `arenas.lookup` takes a pointer that need not be jemalloc's (jemalloc(3)) and never follows it; old
        // and new point to values of the sizes that it wants.
        let known = unsafe {
            tikv_jemalloc_sys::mallctlbymib(
                self.lookup.as_ptr(),
                self.lookup.len(),
                ptr::from_mut(&mut arena).cast(),
                &mut len,
                new,
                size_of::<*const c_void>(),
            )
        } == 0;
        if !known {
            return None;
        }
        let mut usage = Usage::default();
        let mut len = size_of::<Usage>();
        // SAFETY: the lookup has just found this address, so the node of jemalloc's radix tree that holds it exists,
        // and those are never freed. Should another thread free the extent meanwhile, its descriptor is stale or gone,
        // which reads as some size or as 0: descriptors are recycled, but stay mapped.
        let status = unsafe {
            tikv_jemalloc_sys::mallctlbymib(
                self.query.as_ptr(),
                self.query.len(),
                ptr::from_mut(&mut usage).cast(),
                &mut len,
                new,
                size_of::<*const c_void>(),
            )
        };
        (status == 0 && usage.extent_bytes >= PAGE).then_some(usage.extent_bytes)
    }
}

/// What `experimental.utilization.batch_query` answers for one pointer.
#[derive(Default)]
#[repr(C)]
struct Usage {
    free_regions: usize,
    regions: usize,
    extent_bytes: usize,
}
