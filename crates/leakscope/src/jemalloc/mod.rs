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

/// Why this thread's counters of allocated bytes say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg(feature = "tower")]
pub(crate) enum NoCounters {
    /// leakscope was built without its feature `jemalloc`.
    #[cfg_attr(feature = "jemalloc", expect(dead_code, reason = "only said where the feature is off"))]
    NotBuilt,
    /// The program's allocator is another one.
    #[cfg_attr(not(feature = "jemalloc"), expect(dead_code, reason = "only said where the feature is on"))]
    NotTheAllocator,
    /// jemalloc was built without statistics; what it says.
    #[cfg_attr(not(feature = "jemalloc"), expect(dead_code, reason = "only said where the feature is on"))]
    NotCompiledIn(String),
}
