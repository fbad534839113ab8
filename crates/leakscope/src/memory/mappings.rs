//! Whose memory is it? Sorts the resident pages of `/proc/self/smaps` by owner: files, shared memory, stacks, the
//! allocator, and the rest. It knows how the kernel, glibc and jemalloc lay out an address space, and nothing of what
//! any figure means to a reader.
//!
//! jemalloc's mappings are told apart by two things that can be checked. It maps with `MAP_NORESERVE` (`nr` in
//! `VmFlags`), which glibc's `malloc` and thread stacks don't, and the kernel never merges mappings whose flags
//! differ. And their sizes have to add up to `stats.mapped + stats.retained`, to the byte. Where they don't (another
//! library reserves memory the same way, or the system never overcommits) [`crate::jemalloc`] is asked page by page.

use crate::{
    jemalloc::{Books, resident_bytes},
    proc::{Backing, Mapping, PAGE, resident_in},
};

/// glibc's arenas are aligned to this, and reserve as much.
const GLIBC_ARENA: usize = 64 << 20;
/// The largest gap below a stack that is still taken for its guard.
const LARGEST_GUARD: usize = 64 << 10;
/// How far above a thread's list of robust locks its stack may end: the rest of its descriptor, on some machines its
/// thread-local variables.
const ABOVE_DESCRIPTOR: usize = 64 << 10;

/// Resident bytes by owner; the sum is that of all mappings.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owners {
    /// Files, static data that follows them, and the kernel's own pages.
    pub file: u64,
    pub shared: u64,
    pub stacks: u64,
    /// What jemalloc mapped, its tables included.
    pub allocator: u64,
    /// What nobody above made: C `malloc`, other libraries' mappings.
    pub rest: u64,
}

/// Sorts `mappings` (in the order of their addresses). `thread_descriptors` are addresses inside the descriptor that
/// the C library keeps at the top of each thread's stack; `jemalloc` is there if it is the program's allocator.
pub(super) fn sort(mappings: &[Mapping], thread_descriptors: &[usize], jemalloc: Option<&Books>) -> Owners {
    let mut owners = Owners::default();
    let mut reserved = Vec::new();
    let mut unreserved = Vec::new();
    for (index, mapping) in mappings.iter().enumerate() {
        let below = index.checked_sub(1).map(|i| &mappings[i]).filter(|below| below.end == mapping.start);
        let above = mappings.get(index + 1).filter(|above| above.start == mapping.end);
        match mapping.backing {
            Backing::File | Backing::Kernel => owners.file += mapping.rss_bytes,
            Backing::SharedMemory => owners.shared += mapping.rss_bytes,
            Backing::MainStack => owners.stacks += mapping.rss_bytes,
            Backing::Heap => owners.rest += mapping.rss_bytes,
            Backing::Anonymous if mapping.noreserve => {
                let own = without_glibc_arena(mapping, above);
                owners.rest += mapping.rss_bytes - own.map_or(0, |own| own.rss_bytes);
                reserved.extend(own);
            }
            Backing::Anonymous if is_static_data(mapping, below) => owners.file += mapping.rss_bytes,
            Backing::Anonymous => {
                let stack = stack_bytes(mapping, below, thread_descriptors);
                owners.stacks += stack;
                match stack {
                    0 => unreserved.push(*mapping),
                    _ => owners.rest += mapping.rss_bytes - stack,
                }
            }
        }
    }
    let rss = |mappings: &[Mapping]| mappings.iter().map(|mapping| mapping.rss_bytes).sum::<u64>();
    let candidates = rss(&reserved) + rss(&unreserved);
    owners.allocator = match jemalloc {
        None => 0,
        Some(stats)
            if reserved.iter().map(Mapping::len).sum::<usize>() as u64 == stats.address_space_bytes() =>
        {
            rss(&reserved)
        }
        Some(stats) => {
            reserved.append(&mut unreserved);
            // Asked later than `mappings` was read: what has become resident in between is in no other sum yet.
            resident_bytes(&reserved, stats.address_space_bytes(), stats.base_mapped_bytes).min(candidates)
        }
    };
    owners.rest += candidates - owners.allocator;
    owners
}

/// `.bss` follows the file mapping that it belongs to.
fn is_static_data(mapping: &Mapping, below: Option<&Mapping>) -> bool {
    mapping.writable && below.is_some_and(|below| below.backing == Backing::File)
}

/// The part of a reserved mapping that does not belong to one of glibc's arenas. An arena is 64 MiB, aligned, and the
/// part that it has not yet used is inaccessible.
fn without_glibc_arena(mapping: &Mapping, above: Option<&Mapping>) -> Option<Mapping> {
    if mapping.inaccessible && mapping.end.is_multiple_of(GLIBC_ARENA) && mapping.len() < GLIBC_ARENA {
        return None;
    }
    let arena = above
        .filter(|above| above.noreserve && above.inaccessible && above.end.is_multiple_of(GLIBC_ARENA))
        .map(|above| above.end - GLIBC_ARENA);
    match arena {
        Some(arena) if arena <= mapping.start => None,
        Some(arena) if arena < mapping.end => {
            let rss_bytes = resident_in(mapping.start, arena).min(mapping.rss_bytes);
            Some(Mapping { end: arena, rss_bytes, ..*mapping })
        }
        _ => Some(*mapping),
    }
}

/// How much of `mapping` is a thread's stack: it has a guard below it, or a thread's descriptor in it. The kernel may
/// have merged it with a mapping above; the descriptor shows where the stack ends.
fn stack_bytes(mapping: &Mapping, below: Option<&Mapping>, thread_descriptors: &[usize]) -> u64 {
    let guarded = mapping.writable
        && below.is_some_and(|below| {
            below.inaccessible && below.backing == Backing::Anonymous && below.len() <= LARGEST_GUARD
        });
    let descriptor =
        thread_descriptors.iter().filter(|address| (mapping.start..mapping.end).contains(address)).max();
    match descriptor {
        Some(descriptor) if mapping.end - descriptor > ABOVE_DESCRIPTOR => {
            let top = (descriptor + PAGE).next_multiple_of(PAGE);
            resident_in(mapping.start, top).min(mapping.rss_bytes)
        }
        Some(_) => mapping.rss_bytes,
        None if guarded => mapping.rss_bytes,
        None => 0,
    }
}

#[cfg(all(test, feature = "jemalloc"))]
mod tests {
    use std::alloc::{GlobalAlloc, Layout, System};

    use super::*;
    use crate::jemalloc::BASE_BLOCK;

    /// At a service's start memory grows faster than it is looked at.
    #[test]
    fn pages_that_became_resident_after_the_mappings_were_read_are_not_counted() {
        const BLOCK: usize = BASE_BLOCK;
        let layout = Layout::from_size_align(BLOCK, BLOCK).expect("a power of two");
        // SAFETY: the layout has a size; the block is written within its bounds, and freed below with the same layout.
        let block = unsafe {
            let block = System.alloc(layout);
            assert!(!block.is_null());
            block.write_bytes(1, BLOCK);
            block
        };
        // All of it may be jemalloc's tables, and a single page was resident.
        let mapping = Mapping {
            start: block.addr(),
            end: block.addr() + BLOCK,
            backing: Backing::Anonymous,
            writable: true,
            inaccessible: false,
            noreserve: true,
            rss_bytes: PAGE as u64,
        };
        let stats = Books { base_mapped_bytes: BLOCK as u64, ..Books::default() };
        let owners = sort(&[mapping], &[], Some(&stats));
        // SAFETY: see above.
        unsafe { System.dealloc(block, layout) };
        assert_eq!(owners, Owners { allocator: mapping.rss_bytes, ..Owners::default() });
    }
}
