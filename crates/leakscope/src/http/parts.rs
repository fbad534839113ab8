//! What the routes ask: the instrument, and what its face adds to it.
//!
//! The mount makes them and the routes read them, so that neither needs to know the other's file.

use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use super::{Guard, requests::Requests};
use crate::instrument::Instrument;

/// Requests that may wait at a time: each of them holds a heap profile.
pub(super) const WAITING: usize = 4;

/// The instrument and its face.
pub(super) struct Parts {
    pub instrument: Instrument,
    pub requests: Requests,
    pub guard: Guard,
    /// What can't be done in this program, each with what would help.
    pub problems: Vec<String>,
    pub stopping: watch::Sender<bool>,
    /// Places for requests that wait.
    pub waiting: Semaphore,
}

impl Parts {
    /// Returns once the program is about to stop.
    pub async fn stopping(&self) {
        let mut stopping = self.stopping.subscribe();
        let _ = stopping.wait_for(|stopping| *stopping).await; // the sender lives as long as `self`
    }

    /// Writes down that a route was asked, where anything is recorded.
    pub fn record(&self, kind: &str, detail: Value) {
        if let (Some(recorder), Value::Object(detail)) = (self.instrument.recorder(), detail) {
            recorder.event(kind, detail);
        }
    }
}
