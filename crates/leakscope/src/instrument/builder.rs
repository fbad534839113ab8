//! What to start, and how.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use serde_json::{Map, Value};

use super::{
    ring::{USUAL_CAPACITY, USUAL_INTERVAL},
    watch::OnChange,
};
use crate::{memory::Limit, trend::TrendReport};

/// What to start, and how. Nothing needs to be set.
pub struct InstrumentBuilder {
    pub(super) folder: Option<PathBuf>,
    pub(super) settings: Map<String, Value>,
    pub(super) figures: Box<dyn Fn() -> Map<String, Value> + Send + Sync>,
    pub(super) limit: Option<Limit>,
    pub(super) requests: Arc<AtomicU64>,
    pub(super) interval: Duration,
    pub(super) capacity: usize,
    pub(super) on_problem: Arc<dyn Fn(&str) + Send + Sync>,
    pub(super) on_verdict: OnChange,
}

impl Default for InstrumentBuilder {
    fn default() -> Self {
        Self {
            folder: None,
            settings: Map::new(),
            figures: Box::new(Map::new),
            limit: None,
            requests: Arc::default(),
            interval: USUAL_INTERVAL,
            capacity: USUAL_CAPACITY,
            on_problem: Arc::new(|problem| eprintln!("leakscope: {problem}")),
            on_verdict: Box::new(|_, _| ()),
        }
    }
}

impl InstrumentBuilder {
    /// Records into that folder, for a post-mortem at the next start: see [`recorder`](crate::recorder). One process at a time.
    pub fn record_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Settings of the program that the post-mortem is to show. At most 32 KiB.
    pub fn settings(mut self, settings: Map<String, Value>) -> Self {
        self.settings = settings;
        self
    }

    /// The program's own figures for each [reading](crate::recorder::Reading). It is asked every two seconds and at each event,
    /// also while the program is busy.
    pub fn figures(mut self, figures: impl Fn() -> Map<String, Value> + Send + Sync + 'static) -> Self {
        self.figures = Box::new(figures);
        self
    }

    /// The memory limit in force, where it is not the cgroup's.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The program's own count of requests served, which the trend is told by. Unless set, the instrument has one of its own:
    /// [`Instrument::requests`](super::Instrument::requests).
    pub fn requests(mut self, requests: Arc<AtomicU64>) -> Self {
        self.requests = requests;
        self
    }

    /// Time between two samples in memory: a second unless set; at least a millisecond is taken.
    pub fn sample_every(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Samples kept in memory: 1,800 unless set, at least one; each takes 64 bytes.
    pub fn keep_samples(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Is told what can't be done here, at the start and later. Unless set, standard error is.
    pub fn on_problem(mut self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_problem = Arc::new(tell);
        self
    }

    /// Who is told what can't be done.
    #[cfg(feature = "axum")]
    pub(crate) fn teller(&self) -> Arc<dyn Fn(&str) + Send + Sync> {
        Arc::clone(&self.on_problem)
    }

    /// Is told when the verdict on memory changes, within some seconds: the trend before, and the one now. It is called on
    /// the instrument's own thread: until it returns, nothing is sampled, and no heap profile is written at a threshold.
    pub fn on_verdict(mut self, tell: impl Fn(&TrendReport, &TrendReport) + Send + 'static) -> Self {
        self.on_verdict = Box::new(tell);
        self
    }
}
