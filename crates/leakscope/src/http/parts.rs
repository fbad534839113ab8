//! What the routes ask: the running parts of the instrument.
//!
//! The mount makes them and the routes read them, so that neither needs to know the other's file.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use serde_json::Value;
use tokio::sync::watch;

use super::{Guard, requests::Requests};
use crate::{
    heap::Profiles,
    memory::{Limit, Sampler},
    recorder::Recorder,
};

/// The running parts.
pub(super) struct Parts {
    pub profiles: Arc<Profiles>,
    pub sampler: Arc<Sampler>,
    pub limit: Limit,
    pub requests: Arc<Requests>,
    pub guard: Guard,
    pub recorder: Option<Arc<Recorder>>,
    /// Requests that came in, measured or not.
    pub served: Arc<AtomicU64>,
    /// What can't be done in this program, each with what would help.
    pub problems: Vec<String>,
    pub stopping: watch::Sender<bool>,
}

impl Parts {
    pub fn served(&self) -> u64 {
        self.served.load(Relaxed)
    }

    /// Returns once the program is about to stop.
    pub async fn stopping(&self) {
        let mut stopping = self.stopping.subscribe();
        let _ = stopping.wait_for(|stopping| *stopping).await; // the sender lives as long as `self`
    }

    pub fn record(&self, kind: &str, detail: Value) {
        if let (Some(recorder), Value::Object(detail)) = (&self.recorder, detail) {
            recorder.event(kind, detail);
        }
    }
}
