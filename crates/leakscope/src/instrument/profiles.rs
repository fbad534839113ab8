//! What a running program is asked for again and again: snapshots, with a baseline that later ones are compared with.

use std::sync::{Arc, Mutex};

use crate::{
    heap::{Error, Snapshot},
    jemalloc::Profiler,
    lock::lock,
    memory::{self, Report},
};

/// A profiler with the baseline of its diffs, and memory reports that its snapshots don't disturb.
pub struct Profiles {
    profiler: Arc<Profiler>,
    last: Mutex<Option<Result<Arc<Snapshot>, Error>>>,
    baseline: Mutex<Option<Arc<Snapshot>>>,
    /// Memory just before the snapshot that is being taken.
    undisturbed: Mutex<Option<Arc<Report>>>,
}

/// A snapshot and what it is to be compared with.
pub struct Compared {
    /// The baseline; `None`: there was none, and `now` has become it.
    pub base: Option<Arc<Snapshot>>,
    /// The snapshot just taken.
    pub now: Arc<Snapshot>,
}

impl Profiles {
    /// None taken yet.
    pub fn new(profiler: Arc<Profiler>) -> Self {
        Self { profiler, last: Mutex::default(), baseline: Mutex::default(), undisturbed: Mutex::default() }
    }

    /// What takes them.
    pub fn profiler(&self) -> &Profiler {
        &self.profiler
    }

    /// Takes a snapshot. Blocks as [`Profiler::snapshot`] does: call it off the async runtime.
    ///
    /// # Errors
    /// Those of [`Profiler::snapshot`].
    pub fn take(&self) -> Result<Arc<Snapshot>, Error> {
        lock(&self.undisturbed).get_or_insert_with(|| Arc::new(memory::report()));
        let disturbed = Disturbed(&self.undisturbed);
        let taken = self.profiler.snapshot();
        drop(disturbed);
        *lock(&self.last) = Some(taken.clone());
        taken
    }

    /// The last one taken, or why it could not be; `None` before the first.
    pub fn last(&self) -> Option<Result<Arc<Snapshot>, Error>> {
        lock(&self.last).clone()
    }

    /// Memory now; while a snapshot is being taken, memory just before it: naming the lines takes some megabytes for a
    /// moment, and that would show as growth. Blocks for a few milliseconds.
    pub fn report(&self) -> Arc<Report> {
        let undisturbed = lock(&self.undisturbed).clone();
        undisturbed.unwrap_or_else(|| Arc::new(memory::report()))
    }

    /// What the next diff compares with.
    pub fn baseline(&self) -> Option<Arc<Snapshot>> {
        lock(&self.baseline).clone()
    }

    /// Sets what the next diff compares with; returns what it was.
    pub fn set_baseline(&self, snapshot: Arc<Snapshot>) -> Option<Arc<Snapshot>> {
        lock(&self.baseline).replace(snapshot)
    }

    /// Takes a snapshot to compare with the baseline. It becomes the baseline itself where there was none, and with
    /// `replace` always.
    ///
    /// # Errors
    /// Those of [`Profiler::snapshot`].
    pub fn compare(&self, replace: bool) -> Result<Compared, Error> {
        let now = self.take()?;
        let mut baseline = lock(&self.baseline);
        let base = baseline.clone();
        if replace || base.is_none() {
            *baseline = Some(Arc::clone(&now));
        }
        Ok(Compared { base, now })
    }
}

/// While it lives, a snapshot is being taken; also if that panics, memory is read again afterwards.
struct Disturbed<'a>(&'a Mutex<Option<Arc<Report>>>);

impl Drop for Disturbed<'_> {
    fn drop(&mut self) {
        *lock(self.0) = None;
    }
}
