//! Counters and durations of requests: recorded without an allocation, in a number of series that clients can't raise.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use axum::http::{Method, StatusCode};
use leakscope::request::{self, Measured};
use metrics::{Counter, counter, describe_counter, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder, formatting::sanitize_label_value};

use super::durations::Durations;

const REQUESTS: &str = "http_requests_total";
const DURATION: &str = "http_request_duration_seconds";
const DURATION_HELP: &str = "Time from a request's arrival until its answer's head is ready, in seconds.";
const ALLOCATED: &str = "http_request_allocated_bytes_total";
const FREED: &str = "http_request_freed_bytes_total";

/// Label of what is not a route or not a usual method: clients must not make up label values.
const OTHER: &str = "other";

const METHODS: [(Method, &str); 7] = [
    (Method::GET, "GET"),
    (Method::POST, "POST"),
    (Method::HEAD, "HEAD"),
    (Method::OPTIONS, "OPTIONS"),
    (Method::PUT, "PUT"),
    (Method::DELETE, "DELETE"),
    (Method::PATCH, "PATCH"),
];

/// Status codes that the service gives; their counters are kept at hand. Others work too, a little slower.
const STATUSES: [u16; 12] = [200, 400, 403, 404, 405, 408, 409, 413, 415, 422, 500, 503];

/// The method's place among the labels.
pub(in crate::telemetry) fn method_index(method: &Method) -> usize {
    METHODS.iter().position(|(known, _)| known == method).unwrap_or(METHODS.len())
}

/// The label at that place.
pub(in crate::telemetry) fn method_name(index: usize) -> &'static str {
    METHODS.get(index).map_or(OTHER, |(_, name)| name)
}

/// All series of requests.
pub(in crate::telemetry) struct Requests {
    /// Of the counters.
    recorder: PrometheusRecorder,
    service: Arc<str>,
    /// By the route's pattern: as many as the router has routes.
    endpoints: RwLock<HashMap<Arc<str>, Arc<Endpoint>>>,
    /// Whether what requests allocate can be measured here: else there are no counters of it.
    measured: bool,
    other: Arc<Endpoint>,
}

/// The series of one route.
pub(in crate::telemetry) struct Endpoint {
    path: Arc<str>,
    series: [OnceLock<Series>; METHODS.len() + 1],
    memory: Option<Memory>,
}

/// What a route's requests allocated and freed; what they keep is the difference.
struct Memory {
    allocated: Counter,
    freed: Counter,
}

#[derive(Default)]
struct Series {
    durations: Durations,
    by_status: [OnceLock<Counter>; STATUSES.len()],
}

impl Requests {
    /// Nothing recorded yet. `service` is the label of that name.
    pub fn new(service: &str) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        with_local_recorder(&recorder, || {
            describe_counter!(REQUESTS, "Requests answered.");
            describe_counter!(ALLOCATED, "Bytes that requests allocated, in the allocator's size classes.");
            describe_counter!(FREED, "Bytes that requests freed until their answers were sent.");
        });
        let measured = request::available().is_ok();
        Self {
            other: Arc::new(Endpoint::new(
                OTHER.into(),
                measured.then(|| Memory::new(&recorder, OTHER.into())),
            )),
            recorder,
            service: service.into(),
            endpoints: RwLock::default(),
            measured,
        }
    }

    /// Prometheus text of all series.
    pub fn render(&self) -> String {
        let mut text = self.recorder.handle().render();
        let _ = writeln!(text, "# HELP {DURATION} {DURATION_HELP}\n# TYPE {DURATION} histogram");
        let endpoints = self.endpoints.read().unwrap_or_else(PoisonError::into_inner);
        for endpoint in endpoints.values().chain([&self.other]) {
            for (method, series) in endpoint.series.iter().enumerate() {
                let Some(series) = series.get() else { continue };
                let labels = [
                    ("service", &*self.service),
                    ("method", method_name(method)),
                    ("endpoint", &*endpoint.path),
                ]
                .map(|(label, value)| format!("{label}=\"{}\"", sanitize_label_value(value)));
                series.durations.write(&mut text, DURATION, &labels.join(","));
            }
        }
        text
    }

    /// The series of a route by its pattern; `None`: no route matched.
    pub fn endpoint(&self, route: Option<&str>) -> Arc<Endpoint> {
        let Some(path) = route else { return Arc::clone(&self.other) };
        let known = self.endpoints.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = known.get(path) {
            return Arc::clone(endpoint);
        }
        drop(known);
        let path: Arc<str> = path.into();
        let mut endpoints = self.endpoints.write().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let memory = self.measured.then(|| Memory::new(&self.recorder, Arc::clone(&path)));
            Arc::new(Endpoint::new(Arc::clone(&path), memory))
        };
        Arc::clone(endpoints.entry(Arc::clone(&path)).or_insert_with(new))
    }

    /// Makes the series of a route exist with 0.
    pub fn expect(&self, method: &Method, path: &str) {
        let endpoint = self.endpoint(Some(path));
        let method = method_index(method);
        self.with_counter(&endpoint, method, StatusCode::OK, |_| {});
    }

    /// One request answered.
    pub fn record(&self, endpoint: &Endpoint, method: usize, status: StatusCode, took: Duration) {
        endpoint.series(method).durations.record(took);
        self.with_counter(endpoint, method, status, |counter| counter.increment(1));
    }

    fn with_counter(&self, endpoint: &Endpoint, method: usize, status: StatusCode, then: impl Fn(&Counter)) {
        let new = || {
            with_local_recorder(&self.recorder, || {
                counter!(REQUESTS, "service" => Arc::clone(&self.service), "method" => method_name(method),
                    "endpoint" => Arc::clone(&endpoint.path), "status" => status.as_str().to_owned())
            })
        };
        match STATUSES.iter().position(|known| *known == status.as_u16()) {
            Some(place) => then(endpoint.series(method).by_status[place].get_or_init(new)),
            None => then(&new()),
        }
    }
}

impl Endpoint {
    fn new(path: Arc<str>, memory: Option<Memory>) -> Self {
        Self { path, series: [const { OnceLock::new() }; METHODS.len() + 1], memory }
    }

    fn series(&self, method: usize) -> &Series {
        self.series[method].get_or_init(Series::default)
    }

    /// One request over, its answer sent.
    pub fn measured(&self, measured: Measured) {
        if let Some(memory) = &self.memory {
            memory.allocated.increment(measured.allocated_bytes);
            memory.freed.increment(measured.freed_bytes);
        }
    }
}

impl Memory {
    fn new(recorder: &PrometheusRecorder, path: Arc<str>) -> Self {
        with_local_recorder(recorder, || Self {
            allocated: counter!(ALLOCATED, "endpoint" => Arc::clone(&path)),
            freed: counter!(FREED, "endpoint" => path),
        })
    }
}
