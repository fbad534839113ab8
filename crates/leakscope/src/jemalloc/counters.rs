//! jemalloc's counters of what one thread has allocated and freed since it began.

use std::hint::black_box;

use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};

use super::Unavailable;

/// Where jemalloc counts for one thread. The addresses hold as long as the thread lives.
#[derive(Clone, Copy)]
pub(crate) struct Counters {
    allocated: ThreadLocal<u64>,
    freed: ThreadLocal<u64>,
}

impl Counters {
    /// Those of this thread; `None` where jemalloc has none.
    pub fn of_this_thread() -> Option<Self> {
        Self::find().ok()
    }

    fn find() -> Result<Self, tikv_jemalloc_ctl::Error> {
        Ok(Self { allocated: allocatedp::read()?, freed: deallocatedp::read()? })
    }

    /// Bytes allocated and freed by this thread, in jemalloc's size classes.
    pub fn read(self) -> [u64; 2] {
        [self.allocated.get(), self.freed.get()]
    }
}

/// Whether the counters exist, and count what this program allocates.
pub(crate) fn counters_move() -> Result<(), Unavailable> {
    let counters = Counters::find().map_err(|error| Unavailable::NoCounters(error.to_string()))?;
    // jemalloc answers even where another allocator serves the program; only its counters don't move.
    let before = counters.read();
    drop(black_box(Vec::<u8>::with_capacity(4096)));
    let after = counters.read();
    let moved = |i: usize| after[i].wrapping_sub(before[i]) >= 4096;
    if moved(0) && moved(1) { Ok(()) } else { Err(Unavailable::NotTheAllocator) }
}
