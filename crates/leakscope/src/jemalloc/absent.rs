//! What the room answers where it was built without the feature `jemalloc`: that, and nothing else.

use std::{path::Path, sync::Arc};

use super::Books;
use crate::{
    heap::{Error, Snapshot, Status, Unwinder},
    proc::Mapping,
};

const NOT_BUILT: &str = "leakscope was built without its feature `jemalloc`";

/// The heap profiler of this process: off.
pub struct Profiler {
    status: Status,
}

impl Profiler {
    /// Says in its status that it is off, and why.
    pub fn start() -> Arc<Self> {
        let problem = format!("heap profiling is off: {NOT_BUILT}");
        let unwinder = Unwinder::Default { reason: "heap profiling is off".to_owned() };
        let status = Status { enabled: false, problem: Some(problem), sample_interval_bytes: 0, unwinder };
        Arc::new(Self { status })
    }

    /// That it is off.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Takes no snapshot.
    ///
    /// # Errors
    /// Always [`Error::Off`].
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        Err(self.off())
    }

    /// Writes no profile.
    ///
    /// # Errors
    /// Always [`Error::Off`].
    pub fn save(&self, _path: &Path) -> Result<(), Error> {
        Err(self.off())
    }

    fn off(&self) -> Error {
        Error::Off(self.status.problem.clone().unwrap_or_default())
    }
}

/// Does nothing: there is no jemalloc.
pub fn purge() {}

/// Does nothing: there is no jemalloc.
pub(crate) fn purge_thread() {}

/// That there are none, and what that costs.
pub(crate) fn read_books() -> Result<Books, &'static str> {
    Err(
        "leakscope was built without its feature `jemalloc`: live heap, dirty pages and overhead can't be told apart, all are unaccounted",
    )
}

/// Nothing is jemalloc's.
pub(crate) fn resident_bytes(_mappings: &[Mapping], _address_space_bytes: u64, _base_bytes: u64) -> u64 {
    0
}

/// A thread's counters: there are none.
#[cfg(feature = "tower")]
#[derive(Clone, Copy)]
pub(crate) struct Counters;

#[cfg(feature = "tower")]
impl Counters {
    /// `None`: there are none.
    pub fn of_this_thread() -> Option<Self> {
        None
    }

    /// Bytes allocated and freed by this thread: none that are known.
    pub fn read(self) -> [u64; 2] {
        [0, 0]
    }
}

/// Whether the counters move with what this thread allocates: there are none.
#[cfg(feature = "tower")]
pub(crate) fn counters_move() -> Result<(), super::Unavailable> {
    Err(super::Unavailable::NotBuilt)
}
