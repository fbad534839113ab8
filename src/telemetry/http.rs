//! The middleware around every route: ids, spans, counters, durations.
//!
//! It knows routes by their pattern only, and nothing of what their handlers do.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Instant,
};

use axum::{
    BoxError, Router,
    http::{HeaderName, HeaderValue, Request, Response, StatusCode},
    routing::future::RouteFuture,
};
use bytes::Bytes;
use http_body::Body;
use leakscope::request::{self, Measured, ResponseBody, ResponseFuture, Sink};
use opentelemetry_sdk::trace::SdkTracer;
use pin_project_lite::pin_project;

use super::{
    logs,
    metrics::Metrics,
    metrics::{Endpoint, Requests, method_index, method_name},
    traces::{RequestContext, RequestSpan, Traces},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// Asked all the time by machines: counted, but not traced.
const UNTRACED: [&str; 4] = ["/metrics", "/health", "/livez", "/readyz"];

/// Wraps the routes. Handlers below can ask for a [`RequestContext`], and clients find its ids in the answer's headers
/// `x-request-id` and `x-trace-id`.
pub fn layer(routes: Router, metrics: &Metrics, traces: &Traces, api_requests: Arc<AtomicU64>) -> Service {
    let measured = match request::available() {
        Ok(()) => true,
        Err(reason) => {
            tracing::warn!(%reason, "what each request keeps is not measured");
            false
        }
    };
    let instruments =
        Instruments { requests: metrics.requests(), tracer: traces.tracer(), api_requests, measured };
    Service { routes, instruments: Arc::new(instruments) }
}

/// The routes with their instruments; cloned for each connection.
///
/// It stands around the router, not in it: there, each route would be boxed once more, as would both bodies.
#[derive(Clone)]
pub struct Service {
    routes: Router,
    instruments: Arc<Instruments>,
}

/// What every request is recorded with.
struct Instruments {
    requests: Arc<Requests>,
    tracer: Option<SdkTracer>,
    /// Those that a route under /api has answered since the start.
    api_requests: Arc<AtomicU64>,
    /// Whether a request's account ends its span; else its answer's head does.
    measured: bool,
}

impl<B> hyper::service::Service<Request<B>> for Service
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, mut request: Request<B>) -> Answering {
        let call = self.instruments.begin(&request);
        let over = self
            .instruments
            .measured
            .then(|| Over { endpoint: Arc::clone(&call.endpoint), context: call.context.clone() });
        // Handlers ask the request for it. This costs a clone and a small allocation; the router's own extensions are there anyway.
        request.extensions_mut().insert(call.context.clone());
        let inner = call.log_span.in_scope(|| request::call(&mut self.routes.clone(), request, over));
        Answering { inner, call }
    }
}

impl Instruments {
    fn begin<B>(self: &Arc<Self>, request: &Request<B>) -> Call {
        let started = Instant::now();
        let path = request.uri().path();
        let endpoint = Arc::clone(self.requests.endpoint(path));
        let method = method_index(request.method());
        let context = match self.tracer.as_ref().filter(|_| !UNTRACED.contains(&path)) {
            Some(tracer) => {
                let span = RequestSpan { method: method_name(method), route: endpoint.route(), path };
                RequestContext::traced(tracer, request.headers(), span)
            }
            None => RequestContext::untraced(request.headers()),
        };
        let log_span = logs::request_span(&context);
        Call { instruments: Arc::clone(self), endpoint, log_span, context, method, started }
    }
}

/// A request until it is answered.
struct Call {
    instruments: Arc<Instruments>,
    endpoint: Arc<Endpoint>,
    /// Entered while the routes work on the request, so that the log finds its ids.
    log_span: tracing::Span,
    context: RequestContext,
    method: usize,
    started: Instant,
}

impl Call {
    fn answered(&self, status: StatusCode) {
        let Instruments { requests, api_requests, measured, .. } = &*self.instruments;
        requests.record(&self.endpoint, self.method, status, self.started.elapsed());
        if self.endpoint.route().is_some_and(|route| route.starts_with("/api/")) {
            api_requests.fetch_add(1, Relaxed);
        }
        self.context.answered(status);
        if !measured {
            self.context.end();
        }
    }
}

/// Hears when a request is over: its memory is counted, and its span, open until the answer was sent, says it.
pub struct Over {
    endpoint: Arc<Endpoint>,
    context: RequestContext,
}

impl Sink for Over {
    fn finish(self, measured: Measured) {
        self.endpoint.measured(measured);
        self.context.measured(measured);
        self.context.end();
    }
}

/// An answer whose body is measured until it has been sent.
pub type Answer = Response<ResponseBody<axum::body::Body, Over>>;

pin_project! {
    /// A request's way through the routes.
    pub struct Answering {
        #[pin]
        inner: ResponseFuture<RouteFuture<Infallible>, Over>,
        call: Call,
    }
}

impl Future for Answering {
    type Output = Result<Answer, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = this.call.log_span.enter();
        let Ok(mut answer) = ready!(this.inner.poll(cx));
        let context = &this.call.context;
        answer.headers_mut().insert(REQUEST_ID, header(context.request_id()));
        answer.headers_mut().insert(TRACE_ID, header(context.trace_id()));
        this.call.answered(answer.status());
        Poll::Ready(Ok(answer))
    }
}

fn header(id: &str) -> HeaderValue {
    HeaderValue::from_str(id).expect("an id is hex digits and hyphens")
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Method, routing::get};
    use hyper::service::Service as _;

    use leakscope::http::RouteTotals;
    use tracing::subscriber::DefaultGuard;

    use super::*;
    use crate::telemetry::logs::tests::Captured;

    struct Watched {
        service: Service,
        requests: Arc<Requests>,
        /// Those that a route under /api has answered since the start.
        api_requests: Arc<AtomicU64>,
        log: Captured,
        /// Every test here has a log. A thread without one that is the first to reach a line or a span can switch it off for all.
        _logging: DefaultGuard,
    }

    impl Watched {
        /// Answers with the ids that the handler saw.
        fn new() -> Self {
            let echo = |context: RequestContext| async move {
                tokio::task::yield_now().await;
                tracing::info!(seen = context.request_id(), "handled");
                format!("{} {}", context.request_id(), context.trace_id())
            };
            let routes = Router::new().route("/api/items/{id}", get(echo)).route("/health", get(echo));
            let patterns = ["/api/items/{id}", "/health"].map(|pattern| (Method::GET, pattern));
            let requests = Arc::new(Requests::new("under-test", patterns, |_| RouteTotals::default()));
            let api_requests = Arc::<AtomicU64>::default();
            let instruments = Instruments {
                requests: Arc::clone(&requests),
                tracer: None,
                api_requests: api_requests.clone(),
                measured: false,
            };
            let service = Service { routes, instruments: Arc::new(instruments) };
            let log = Captured::default();
            let _logging = tracing::subscriber::set_default(log.json());
            Self { service, requests, api_requests, log, _logging }
        }

        async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
            let mut request = Request::builder().method(method).uri(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Body::empty()).expect("a request");
            self.service.call(request).await.expect("infallible")
        }

        /// The value of the only series of that metric that has all of these labels.
        #[track_caller]
        fn value(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
            let text = self.requests.render();
            let mut lines = text.lines().filter(|line| {
                line.starts_with(&format!("{metric}{{"))
                    && labels.iter().all(|(name, value)| line.contains(&format!("{name}=\"{value}\"")))
            });
            let line = lines.next().unwrap_or_else(|| panic!("no {metric} {labels:?} in:\n{text}"));
            assert_eq!(lines.next(), None, "{metric} {labels:?} is not unique");
            line.rsplit(' ').next().expect("a value").parse().expect("a number")
        }
    }

    #[tokio::test]
    async fn requests_are_counted_under_the_pattern_of_their_route() {
        let watched = Watched::new();
        for path in ["/api/items/1", "/api/items/2?x=y", "/health"] {
            assert_eq!(watched.send("GET", path, &[]).await.status(), 200);
        }
        let items = [("service", "under-test"), ("method", "GET"), ("endpoint", "/api/items/{id}")];
        assert_eq!(watched.value("http_requests_total", &[&items[..], &[("status", "200")]].concat()), 2.0);
        assert_eq!(watched.value("http_request_duration_seconds_count", &items), 2.0);
        assert_eq!(watched.value("http_requests_total", &[("endpoint", "/health")]), 1.0);
        assert_eq!(watched.api_requests.load(Relaxed), 2, "/health is no request of the API");
    }

    #[tokio::test]
    async fn clients_can_not_make_up_label_values() {
        let watched = Watched::new();
        for path in ["/api/nothing", "/random/1", "/random/2"] {
            assert_eq!(watched.send("GET", path, &[]).await.status(), 404);
        }
        assert_eq!(watched.send("BREW", "/api/items/1", &[]).await.status(), 405);
        assert_eq!(watched.send("STEEP", "/api/items/1", &[]).await.status(), 405);
        assert_eq!(watched.value("http_requests_total", &[("endpoint", "other"), ("status", "404")]), 3.0);
        assert_eq!(watched.value("http_requests_total", &[("method", "other"), ("status", "405")]), 2.0);
        assert_eq!(watched.api_requests.load(Relaxed), 2, "what no route took is no request of the API");
    }

    #[tokio::test]
    async fn a_route_exists_with_0_before_its_first_request() {
        let watched = Watched::new();
        let items = [("method", "GET"), ("endpoint", "/api/items/{id}")];
        let answered = [&items[..], &[("status", "200")]].concat();
        assert_eq!(watched.value("http_requests_total", &answered), 0.0);
        assert_eq!(watched.value("http_request_duration_seconds_count", &items), 0.0);
    }

    #[tokio::test]
    async fn the_ids_in_the_headers_are_those_that_the_handler_saw() {
        let watched = Watched::new();
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let caller = format!("00-{trace}-00f067aa0ba902b7-01");
        let response = watched.send("GET", "/api/items/1", &[("traceparent", &caller)]).await;
        let header = |name| response.headers().get(name).expect(name).to_str().expect("text").to_owned();
        let (request_id, trace_id) = (header("x-request-id"), header("x-trace-id"));
        assert_eq!(trace_id, trace);
        let body = axum::body::to_bytes(Body::new(response.into_body()), 1024).await.expect("a body");
        assert_eq!(body, format!("{request_id} {trace_id}"));
    }

    #[tokio::test]
    async fn a_malformed_traceparent_gets_a_fresh_trace_id() {
        let watched = Watched::new();
        let mut seen = std::collections::HashSet::new();
        for traceparent in
            ["00-abc-def-01", "", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\u{e9}"]
        {
            let response = watched.send("GET", "/api/items/1", &[("traceparent", traceparent)]).await;
            let trace = response.headers()["x-trace-id"].to_str().expect("text").to_owned();
            assert!(trace.len() == 32 && trace.bytes().all(|b| b.is_ascii_hexdigit()), "{trace}");
            assert!(seen.insert(trace), "not fresh");
        }
    }

    #[tokio::test]
    async fn what_a_handler_logs_carries_the_ids_of_its_own_request() {
        let watched = Watched::new();
        let (one, two) = ("/api/items/1", "/api/items/2");
        tokio::join!(watched.send("GET", one, &[]), watched.send("GET", two, &[]));
        tracing::info!("outside");
        let lines = watched.log.objects();
        assert_eq!(lines.len(), 3, "{lines:#?}");
        for line in &lines[..2] {
            assert_eq!(line["request_id"], line["seen"]);
            assert_eq!(line["trace_id"].as_str().expect("text").len(), 32);
        }
        assert_ne!(lines[0]["seen"], lines[1]["seen"]);
        assert_eq!(lines[2]["request_id"], serde_json::Value::Null, "the span was left with the request");
    }
}
