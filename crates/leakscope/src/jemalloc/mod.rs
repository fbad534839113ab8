//! What only jemalloc can tell: its books, its heap profiler, its counters for each thread.
//!
//! With the cargo feature `jemalloc` (on by default) all of this works where jemalloc is the program's allocator, and says
//! why not where it is not. Without the feature no line of jemalloc is compiled, and the same functions answer that. This
//! room knows the formats of [`crate::heap`], and nothing of the process, of HTTP or of what its figures are used for.

mod figures;

#[cfg(feature = "jemalloc")]
mod books;
#[cfg(feature = "jemalloc")]
mod controls;
#[cfg(all(feature = "jemalloc", feature = "tower"))]
mod counters;
#[cfg(feature = "jemalloc")]
mod dump;
#[cfg(feature = "jemalloc")]
mod extents;
#[cfg(feature = "jemalloc")]
mod profiler;
#[cfg(feature = "jemalloc")]
mod purge;
#[cfg(feature = "jemalloc")]
mod save;
#[cfg(feature = "jemalloc")]
mod tally;
#[cfg(feature = "jemalloc")]
mod unwind;

#[cfg(not(feature = "jemalloc"))]
mod absent;

#[cfg(all(not(feature = "jemalloc"), feature = "tower"))]
pub(crate) use absent::{Counters, counters_move};
#[cfg(not(feature = "jemalloc"))]
pub use absent::{Profiler, purge};
#[cfg(not(feature = "jemalloc"))]
pub(crate) use absent::{purge_thread, read_books, resident_bytes};
#[cfg(feature = "jemalloc")]
pub(crate) use books::read as read_books;
#[cfg(feature = "jemalloc")]
pub(crate) use controls::purge_thread;
#[cfg(all(feature = "jemalloc", feature = "tower"))]
pub(crate) use counters::{Counters, counters_move};
#[cfg(all(test, feature = "jemalloc"))]
pub(crate) use extents::BASE_BLOCK;
#[cfg(feature = "jemalloc")]
pub(crate) use extents::resident_bytes;
pub use figures::Jemalloc;
pub(crate) use figures::{Books, Sampled};
#[cfg(feature = "jemalloc")]
pub use profiler::Profiler;
#[cfg(feature = "jemalloc")]
pub use purge::purge;

/// Why requests can't be measured in this program.
#[cfg(feature = "tower")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// leakscope was built without its feature `jemalloc`.
    #[error("leakscope was built without its feature `jemalloc`")]
    NotBuilt,
    /// The program's allocator is another one.
    #[error(
        "jemalloc is not this program's allocator: set `#[global_allocator]` to `tikv_jemallocator::Jemalloc`"
    )]
    NotTheAllocator,
    /// jemalloc was built without statistics.
    #[error("jemalloc has no per-thread counters ({0}): build tikv-jemallocator with the feature `stats`")]
    NoCounters(String),
}
