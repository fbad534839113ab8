//! The last heap profile, for those who must not wait for one.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use leakscope::{
    Instrument,
    heap::{self, Snapshot},
};

/// Time between two refreshes of the last profile: with the time a profile takes, it is at most 10 s old.
const REFRESH: Duration = Duration::from_secs(8);

/// How long the last profile is kept fresh after somebody has asked for it.
const ATTENTION: Duration = Duration::from_secs(60);

/// Keeps the instrument's last profile fresh while somebody asks for it.
pub struct FreshProfile {
    instrument: Instrument,
    attention: Mutex<Attention>,
}

#[derive(Default)]
struct Attention {
    asked: Option<Instant>,
    refreshing: bool,
}

impl FreshProfile {
    /// None taken yet.
    pub fn new(instrument: Instrument) -> Arc<Self> {
        Arc::new(Self { instrument, attention: Mutex::default() })
    }

    /// The last profile, without waiting for one: `None` before the first. Asking keeps it fresh for a minute.
    pub fn get(self: &Arc<Self>) -> Option<Result<Arc<Snapshot>, heap::Error>> {
        let profiles = self.instrument.profiles();
        let mut attention = self.attention();
        attention.asked = Some(Instant::now());
        if !attention.refreshing && profiles.profiler().status().enabled {
            attention.refreshing = true;
            tokio::spawn(Arc::clone(self).refresh());
        }
        profiles.last()
    }

    async fn refresh(self: Arc<Self>) {
        loop {
            let profiles = Arc::clone(self.instrument.profiles());
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
