//! A thread that samples memory at a steady pace into a bounded ring.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::Limit;

/// One sample.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// Seconds since the sampler started (monotonic clock).
    pub seconds: f64,
    /// Resident set size.
    pub rss_bytes: u64,
    /// Live heap (jemalloc `stats.allocated`); RSS where jemalloc is not there.
    pub live_heap_bytes: u64,
    /// What counts against the limit: the cgroup's working set where it has a limit and only this process in it, else RSS.
    pub usage_bytes: u64,
    /// Memory that no Rust allocator made.
    pub unaccounted_bytes: i64,
    /// Requests served so far.
    pub requests: u64,
}

/// How to sample.
pub struct SamplerConfig {
    /// Time between samples.
    pub interval: Duration,
    /// Samples kept; each costs about 64 bytes.
    pub capacity: usize,
    /// The limit in force.
    pub limit: Limit,
    /// Number of requests served so far.
    pub requests: Box<dyn Fn() -> u64 + Send>,
}

/// Samples until dropped.
pub struct Sampler {
    _private: (),
}

impl Sampler {
    /// Starts the sampling thread.
    pub fn start(config: SamplerConfig) -> Arc<Self> {
        let _ = config;
        unimplemented!()
    }

    /// The newest sample.
    pub fn latest(&self) -> Sample {
        unimplemented!()
    }

    /// The samples of the last `window`, oldest first.
    pub fn window(&self, window: Duration) -> Vec<Sample> {
        let _ = window;
        unimplemented!()
    }

    /// The largest live heap of all samples since the start.
    pub fn peak_live_heap_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// Change of RSS per second over the last 30 seconds (fewer right after the start).
    pub fn growth_bytes_per_second(&self) -> f64 {
        unimplemented!()
    }
}
