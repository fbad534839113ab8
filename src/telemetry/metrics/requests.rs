//! Counters and durations of requests: recorded without an allocation, in a number of series that clients can't raise.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use axum::http::{Method, StatusCode};
use leakscope::request::{self, Measured};
use metrics::{
    Counter, Histogram, counter, describe_counter, describe_histogram, histogram, with_local_recorder,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

const REQUESTS: &str = "http_requests_total";
const DURATION: &str = "http_request_duration_seconds";
const ALLOCATED: &str = "http_request_allocated_bytes_total";
const FREED: &str = "http_request_freed_bytes_total";
const BUCKETS_SECONDS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

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

struct Series {
    duration: Histogram,
    by_status: [OnceLock<Counter>; STATUSES.len()],
}

impl Requests {
    /// The recorder of requests, and the handle that renders it and does its upkeep.
    pub fn new(service: &str) -> (Self, PrometheusHandle) {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(DURATION.to_owned()), &BUCKETS_SECONDS)
            .expect("there are buckets")
            .build_recorder();
        with_local_recorder(&recorder, || {
            describe_counter!(REQUESTS, "Requests answered.");
            describe_histogram!(
                DURATION,
                "Time from a request's arrival until its answer's head is ready, in seconds."
            );
            describe_counter!(ALLOCATED, "Bytes that requests allocated, in the allocator's size classes.");
            describe_counter!(FREED, "Bytes that requests freed until their answers were sent.");
        });
        let handle = recorder.handle();
        let measured = request::available().is_ok();
        let requests = Self {
            other: Arc::new(Endpoint::new(
                OTHER.into(),
                measured.then(|| Memory::new(&recorder, OTHER.into())),
            )),
            recorder,
            service: service.into(),
            endpoints: RwLock::default(),
            measured,
        };
        (requests, handle)
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
        self.series(endpoint, method).duration.record(took);
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
            Some(place) => then(self.series(endpoint, method).by_status[place].get_or_init(new)),
            None => then(&new()),
        }
    }

    fn series<'a>(&self, endpoint: &'a Endpoint, method: usize) -> &'a Series {
        endpoint.series[method].get_or_init(|| {
            let duration = with_local_recorder(&self.recorder, || {
                histogram!(DURATION, "service" => Arc::clone(&self.service), "method" => method_name(method),
                    "endpoint" => Arc::clone(&endpoint.path))
            });
            Series { duration, by_status: [const { OnceLock::new() }; STATUSES.len()] }
        })
    }
}

impl Endpoint {
    fn new(path: Arc<str>, memory: Option<Memory>) -> Self {
        Self { path, series: [const { OnceLock::new() }; METHODS.len() + 1], memory }
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
