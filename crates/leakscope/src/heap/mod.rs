//! Who allocated what is still held: snapshots of jemalloc's sampling profile, and the diff of two.
//!
//! A profile names the allocation, not the reference that keeps it.
//!
//! jemalloc picks an allocation every 64 KiB or so, notes its stack (found by frame pointers, where the program was built
//! with them) and strikes it out again when it is freed. A snapshot reads these notes, works out what they stand for, with
//! a standard error, looks the addresses up in the program's own line tables, and names for each stack the first frame of
//! the application: not the allocator's, not the standard library's, not a dependency's that allocated on its behalf.
//! Which crates are the application's own follows from where their sources lie; nothing needs to be registered.
//!
#![cfg_attr(feature = "jemalloc", doc = "```no_run")]
#![cfg_attr(not(feature = "jemalloc"), doc = "```ignore")]
//! leakscope::jemalloc!();
//!
//! fn main() -> Result<(), leakscope::heap::Error> {
//!     let profiler = leakscope::jemalloc::Profiler::start();
//!     let base = profiler.snapshot()?;
//!     // ... work ...
//!     let now = profiler.snapshot()?;
//!     for growth in leakscope::heap::diff(&base, &now, leakscope::heap::By::Line).iter().take(10) {
//!         println!("{:+} B +-{} {}", growth.bytes_diff, growth.bytes_diff_error, growth.site.location);
//!     }
//!     Ok(())
//! }
//! ```

use serde::Serialize;

mod debug_info;
mod diff;
mod estimate;
mod flamegraph;
mod frame;
mod parse;
mod pprof;
mod pprof_file;
mod protobuf;
mod saved;
mod snapshot;
mod symbolize;

pub use diff::{Growth, diff, growing};
#[cfg(feature = "jemalloc")]
pub(crate) use parse::{RawProfile, parse};
pub use pprof_file::read_pprof;
#[cfg(feature = "jemalloc")]
pub(crate) use saved::trailer;
pub use saved::{build_id, read_profile, read_saved};
pub use snapshot::{Position, Site, Snapshot};
#[cfg(feature = "jemalloc")]
pub(crate) use {
    estimate::Estimate,
    snapshot::{Stack, Taken},
    symbolize::Symbols,
};

/// What the profiler can do here, decided at the start.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Status))]
pub struct Status {
    /// Whether snapshots can be taken.
    pub enabled: bool,
    /// If not: why, and how to switch it on.
    pub problem: Option<String>,
    /// Mean bytes between two sampled allocations (2^lg_prof_sample); 0 where nothing is sampled.
    pub sample_interval_bytes: u64,
    /// Which unwinder takes the stacks.
    pub unwinder: Unwinder,
}

/// Which unwinder takes the stacks of sampled allocations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Unwinder))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Unwinder {
    /// Frame pointers: cheap.
    FramePointer,
    /// jemalloc's default (libgcc), about twelve times dearer a sample; why it was taken.
    Default {
        /// Why frame pointers can't be used.
        reason: String,
    },
}

/// Why there is no snapshot.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Profiling is off; says how to switch it on.
    #[error("{0}")]
    Off(String),
    /// The allocator could not write its profile, or the text could not be understood.
    #[error("{0}")]
    Failed(String),
}

/// What to group by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, serde::Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::By))]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// `file:line` of the first frame of the application.
    #[default]
    Line,
    /// That frame's function.
    Function,
    /// That frame's file.
    File,
    /// The whole stack: one place for each way to that line.
    Stack,
}
