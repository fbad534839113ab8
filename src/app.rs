//! Composition root: build, serve, drain.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use leakscope::{
    heap::Profiler,
    memory::{Limit, Sampler},
};

use crate::{
    config::Settings,
    leaks::Registry,
    telemetry::{metrics::Metrics, traces::Traces},
};

/// Everything that handlers share.
pub struct App {
    /// The settings in force.
    pub settings: Settings,
    /// The patient's bugs.
    pub leaks: Registry,
    /// What ends this process, and at how many bytes.
    pub limit: Limit,
    /// Whether leaks may be armed without a limit (`serve --no-limit`).
    pub no_limit: bool,
    /// Who allocated what is held.
    pub profiler: Arc<Profiler>,
    /// Memory over time.
    pub sampler: Arc<Sampler>,
    /// Prometheus metrics.
    pub metrics: Metrics,
    /// OTLP traces; does nothing without an endpoint.
    pub traces: Traces,
    /// When the process started.
    pub started: Instant,
    /// Requests answered on /api since the start.
    pub requests: Arc<AtomicU64>,
}
