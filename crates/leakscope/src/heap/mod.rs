//! Who allocated what is still held: snapshots of jemalloc's sampling profile, and the diff of two.
//!
//! A profile names the allocation, not the reference that keeps it.

use std::{sync::Arc, time::SystemTime};

use serde::Serialize;

/// The heap profiler of this process. Make one at the start, and share it.
pub struct Profiler {
    _private: (),
}

/// What the profiler can do here, decided at the start.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Whether snapshots can be taken.
    pub enabled: bool,
    /// If not: why, and how to switch it on.
    pub problem: Option<String>,
    /// Mean bytes between two sampled allocations (2^lg_prof_sample).
    pub sample_interval_bytes: u64,
    /// Which unwinder takes the stacks.
    pub unwinder: Unwinder,
}

/// Which unwinder takes the stacks of sampled allocations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[serde(rename_all = "lowercase")]
pub enum By {
    /// `file:line` of the first frame of the application.
    #[default]
    Line,
    /// That frame's function.
    Function,
    /// That frame's file.
    File,
}

/// Live memory of the whole process by allocation stack at one moment.
pub struct Snapshot {
    /// When it was taken.
    pub taken_at: SystemTime,
    /// Un-biased live bytes.
    pub total_bytes: u64,
    /// Un-biased live allocations.
    pub total_count: u64,
}

/// What one place allocated that is still held.
#[derive(Debug, Clone, Serialize)]
pub struct Site {
    /// `file:line`, function or file, as asked for: the key.
    pub location: String,
    /// Function, demangled.
    pub function: String,
    /// Source file; empty where unknown.
    pub file: String,
    /// Line; 0 where unknown or where the key spans several.
    pub line: u32,
    /// Un-biased live bytes.
    pub bytes: u64,
    /// Standard error of `bytes`.
    pub bytes_error: u64,
    /// Un-biased live allocations.
    pub count: u64,
    /// Standard error of `count`.
    pub count_error: u64,
    /// Sampled allocations behind the figures.
    pub samples: u64,
}

/// How one place changed between two snapshots.
#[derive(Debug, Clone, Serialize)]
pub struct Growth {
    /// The place, as it is in the later snapshot (zeros where it is gone).
    pub site: Site,
    /// Change in bytes.
    pub bytes_diff: i64,
    /// Standard error of `bytes_diff`.
    pub bytes_diff_error: u64,
    /// Change in allocations.
    pub count_diff: i64,
    /// Whether the change exceeds 1.96 standard errors.
    pub significant: bool,
}

impl Profiler {
    /// Checks the allocator, installs the unwinder, walks a known call. Never fails: [`Profiler::status`] says what is lost.
    pub fn start() -> Arc<Self> {
        unimplemented!()
    }

    /// What it can do here.
    pub fn status(&self) -> &Status {
        unimplemented!()
    }

    /// Takes a snapshot. Blocks for up to about 100 ms the first time and 10 ms later: call it off the async runtime.
    /// Single flight: a caller that comes while one is under way gets that one's result.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        unimplemented!()
    }
}

impl Snapshot {
    /// Live memory by place, largest first.
    pub fn sites(&self, by: By) -> Vec<Site> {
        let _ = by;
        unimplemented!()
    }
}

/// What changed from `base` to `now`, largest growth first.
pub fn diff(base: &Snapshot, now: &Snapshot, by: By) -> Vec<Growth> {
    let _ = (base, now, by);
    unimplemented!()
}
