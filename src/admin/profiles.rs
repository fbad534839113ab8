//! Heap profiles for the admin routes: the instrument's, and a last one that nobody has to wait for.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use leakscope::heap::{self, Profiler, Snapshot};

/// Time between two refreshes of the last profile: with the time a profile takes, it is at most 10 s old.
const REFRESH: Duration = Duration::from_secs(8);

/// How long the last profile is kept fresh after somebody has asked for it.
const ATTENTION: Duration = Duration::from_secs(60);

/// The process's heap profiles.
pub struct Profiles {
    profiles: Arc<heap::Profiles>,
    attention: Mutex<Attention>,
}

#[derive(Default)]
struct Attention {
    asked: Option<Instant>,
    refreshing: bool,
}

impl Profiles {
    /// None taken yet.
    pub fn new(profiler: Arc<Profiler>) -> Arc<Self> {
        Arc::new(Self { profiles: Arc::new(heap::Profiles::new(profiler)), attention: Mutex::default() })
    }

    /// The last profile, without waiting for one: `None` before the first. Asking keeps it fresh for a minute.
    pub fn last_and_fresh(self: &Arc<Self>) -> Option<Result<Arc<Snapshot>, heap::Error>> {
        let mut attention = self.attention();
        attention.asked = Some(Instant::now());
        if !attention.refreshing && self.profiler().status().enabled {
            attention.refreshing = true;
            tokio::spawn(Arc::clone(self).refresh());
        }
        self.last()
    }

    async fn refresh(self: Arc<Self>) {
        loop {
            let profiles = Arc::clone(&self);
            let profile = tokio::task::spawn_blocking(move || profiles.take().err()).await;
            if let Ok(Some(error)) = profile {
                tracing::warn!(%error, "no heap profile");
            }
            tokio::time::sleep(REFRESH).await;
            let mut attention = self.attention();
            if attention.asked.is_none_or(|asked| asked.elapsed() > ATTENTION) {
                attention.refreshing = false;
                return;
            }
        }
    }

    fn attention(&self) -> MutexGuard<'_, Attention> {
        self.attention.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Profiles {
    type Target = Arc<heap::Profiles>;

    fn deref(&self) -> &Self::Target {
        &self.profiles
    }
}
