//! Heap profiles for the admin routes: the baseline of diffs, and a last profile that nobody has to wait for.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use leakscope::{
    heap::{self, Profiler, Snapshot},
    memory::{self, Report},
};

use crate::http::error::Error;

/// Time between two refreshes of the last profile: with the time a profile takes, it is at most 10 s old.
const REFRESH: Duration = Duration::from_secs(8);

/// How long the last profile is kept fresh after somebody has asked for it.
const ATTENTION: Duration = Duration::from_secs(60);

/// The process's heap profiles.
pub struct Profiles {
    profiler: Arc<Profiler>,
    last: Mutex<Last>,
    baseline: Mutex<Option<Arc<Snapshot>>>,
    /// Memory just before the profile that is being taken.
    undisturbed: Mutex<Option<Arc<Report>>>,
}

#[derive(Default)]
struct Last {
    profile: Option<Result<Arc<Snapshot>, Error>>,
    asked: Option<Instant>,
    refreshing: bool,
}

impl Profiles {
    /// None taken yet.
    pub fn new(profiler: Arc<Profiler>) -> Arc<Self> {
        Arc::new(Self {
            profiler,
            last: Mutex::default(),
            baseline: Mutex::default(),
            undisturbed: Mutex::default(),
        })
    }

    /// Takes a profile. Blocks: call it off the async runtime.
    ///
    /// # Errors
    /// Profiling is off or failed.
    pub fn take(&self) -> Result<Arc<Snapshot>, Error> {
        locked(&self.undisturbed).get_or_insert_with(|| Arc::new(memory::report()));
        let profile = self.profiler.snapshot().map_err(refused);
        *locked(&self.undisturbed) = None;
        locked(&self.last).profile = Some(profile.clone());
        profile
    }

    /// Memory now; while a profile is being taken, memory just before it: naming the lines maps the whole program's debug
    /// information for a moment, and that would show as growth. Blocks for a few milliseconds.
    pub fn report(&self) -> Arc<Report> {
        let undisturbed = locked(&self.undisturbed).clone();
        undisturbed.unwrap_or_else(|| Arc::new(memory::report()))
    }

    /// The last profile, without waiting for one: `None` before the first. Asking keeps it fresh for a minute.
    pub fn last(self: &Arc<Self>) -> Option<Result<Arc<Snapshot>, Error>> {
        let mut last = locked(&self.last);
        last.asked = Some(Instant::now());
        if !last.refreshing && self.profiler.status().enabled {
            last.refreshing = true;
            tokio::spawn(Arc::clone(self).refresh());
        }
        last.profile.clone()
    }

    async fn refresh(self: Arc<Self>) {
        loop {
            let profiles = Arc::clone(&self);
            let profile = tokio::task::spawn_blocking(move || profiles.take().err()).await;
            if let Ok(Some(error)) = profile {
                tracing::warn!(%error, "no heap profile");
            }
            tokio::time::sleep(REFRESH).await;
            let mut last = locked(&self.last);
            if last.asked.is_none_or(|asked| asked.elapsed() > ATTENTION) {
                last.refreshing = false;
                return;
            }
        }
    }

    /// What the next diff compares with.
    pub fn baseline(&self) -> Option<Arc<Snapshot>> {
        locked(&self.baseline).clone()
    }

    /// Sets what the next diff compares with; returns what it was.
    pub fn set_baseline(&self, snapshot: Arc<Snapshot>) -> Option<Arc<Snapshot>> {
        locked(&self.baseline).replace(snapshot)
    }
}

/// Why there is no profile, as clients see it.
pub fn refused(error: heap::Error) -> Error {
    match error {
        heap::Error::Off(why) => Error::ProfilingOff(why),
        heap::Error::Failed(why) => Error::ProfileFailed(why),
    }
}

/// Seconds since a profile was taken; 0 where the clock went back.
pub fn age_seconds(snapshot: &Snapshot) -> f64 {
    SystemTime::now().duration_since(snapshot.taken_at).unwrap_or_default().as_secs_f64()
}

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
