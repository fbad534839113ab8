//! Counters and durations of requests: recorded without an allocation, in a number of series that clients can't raise.

use std::{
    fmt::Write,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::http::{Method, StatusCode};
use leakscope::{
    http::RouteTotals,
    request::{self, Measured},
};
use matchit::Router;
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
const STATUSES: [u16; 14] = [101, 200, 400, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503];

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
    /// One for each route.
    endpoints: Vec<Arc<Endpoint>>,
    /// The same, to be found as the service's router finds the routes: it is axum's own.
    by_path: Router<Arc<Endpoint>>,
    /// For what no route takes.
    other: Arc<Endpoint>,
}

/// The series of one route.
pub(in crate::telemetry) struct Endpoint {
    /// Pattern of the route, which begins with a slash, or [`OTHER`].
    path: Arc<str>,
    series: [OnceLock<Series>; METHODS.len() + 1],
    totals: RouteTotals,
    memory: Option<Memory>,
}

/// What a route's requests allocated and freed, as Prometheus sees it; what they keep is the difference.
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
    /// Nothing recorded yet. `service` is the label of that name, `routes` are all that there are, by method and pattern:
    /// their series exist from the start. `totals` gives what the requests of a pattern keep, or those that no route takes.
    pub fn new<'a>(
        service: &str,
        routes: impl IntoIterator<Item = (Method, &'a str)>,
        totals: impl Fn(Option<&str>) -> RouteTotals,
    ) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        with_local_recorder(&recorder, || {
            describe_counter!(REQUESTS, "Requests answered.");
            describe_counter!(ALLOCATED, "Bytes that requests allocated, in the allocator's size classes.");
            describe_counter!(FREED, "Bytes that requests freed until their answers were sent.");
        });
        let mut requests = Self {
            other: Arc::new(Endpoint::new(OTHER, totals(None), &recorder)),
            endpoints: Vec::new(),
            by_path: Router::new(),
            service: service.into(),
            recorder,
        };
        for (method, path) in routes {
            let endpoint = requests.add(path, &totals);
            requests.with_counter(&endpoint, method_index(&method), StatusCode::OK, |_| {});
        }
        requests
    }

    /// The endpoint of that pattern, made where there is none.
    fn add(&mut self, path: &str, totals: &impl Fn(Option<&str>) -> RouteTotals) -> Arc<Endpoint> {
        if let Some(known) = self.endpoints.iter().find(|endpoint| *endpoint.path == *path) {
            return Arc::clone(known);
        }
        let endpoint = Arc::new(Endpoint::new(path, totals(Some(path)), &self.recorder));
        self.by_path.insert(path, Arc::clone(&endpoint)).expect("the service's router has taken it too");
        self.endpoints.push(Arc::clone(&endpoint));
        endpoint
    }

    /// Prometheus text of all series.
    pub fn render(&self) -> String {
        for endpoint in self.endpoints.iter().chain([&self.other]) {
            if let Some(memory) = &endpoint.memory {
                memory.allocated.absolute(endpoint.totals.allocated_bytes());
                memory.freed.absolute(endpoint.totals.freed_bytes());
            }
        }
        let mut text = self.recorder.handle().render();
        let _ = writeln!(text, "# HELP {DURATION} {DURATION_HELP}\n# TYPE {DURATION} histogram");
        for endpoint in self.endpoints.iter().chain([&self.other]) {
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

    /// The series of the route that a request with this path goes to.
    pub fn endpoint(&self, path: &str) -> &Arc<Endpoint> {
        self.by_path.at(path).map_or(&self.other, |found| found.value)
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
    fn new(path: &str, totals: RouteTotals, recorder: &PrometheusRecorder) -> Self {
        let path: Arc<str> = path.into();
        let memory = request::available().is_ok().then(|| Memory::new(recorder, Arc::clone(&path)));
        Self { path, totals, series: [const { OnceLock::new() }; METHODS.len() + 1], memory }
    }

    /// Pattern of the route; `None`: no route.
    pub fn route(&self) -> Option<&str> {
        (*self.path != *OTHER).then_some(&self.path)
    }

    fn series(&self, method: usize) -> &Series {
        self.series[method].get_or_init(Series::default)
    }

    /// One request over, its answer sent.
    pub fn measured(&self, measured: Measured) {
        self.totals.add(measured);
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
