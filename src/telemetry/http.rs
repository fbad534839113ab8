//! The middleware around every route: ids, span, counters, durations.
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
    Router,
    extract::{FromRequestParts, MatchedPath, Request},
    http::{Extensions, HeaderName, HeaderValue, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use leakscope::request::{self, Measured, RequestAccounting, Sink};
use opentelemetry_sdk::trace::SdkTracer;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{
    metrics::{Endpoint, Requests, method_index, method_name},
    traces::{RequestContext, RequestSpan, ids},
};
use crate::app::App;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// Asked all the time by machines: counted, but not traced.
const UNTRACED: [&str; 4] = ["/metrics", "/health", "/livez", "/readyz"];

/// Wraps the routes. Handlers below can ask for a [`RequestContext`], and clients find its ids in the answer's headers
/// `x-request-id` and `x-trace-id`.
pub fn layer(routes: Router, app: &Arc<App>) -> Router {
    let measured = match request::available() {
        Ok(()) => true,
        Err(reason) => {
            tracing::warn!(%reason, "what each request keeps is not measured");
            false
        }
    };
    let instruments = Instruments {
        requests: app.metrics.requests(),
        tracer: app.traces.tracer(),
        api_requests: Arc::clone(&app.requests),
        measured,
    };
    let accounting = RequestAccounting::new(|request: &Parts| Over(Arc::clone(call(&request.extensions))));
    routes.layer((Instrument(Arc::new(instruments)), accounting))
}

/// Hears when a request is over: its memory is counted, and its span, open until the answer was sent, says it.
struct Over(Arc<Call>);

impl Sink for Over {
    fn finish(self, measured: Measured) {
        let Self(call) = self;
        call.endpoint.measured(measured);
        call.context.measured(measured);
        call.context.end();
    }
}

/// What [`Instrument`] knows of a request that has passed it.
fn call(extensions: &Extensions) -> &Arc<Call> {
    extensions.get().expect("every route is wrapped by `layer`")
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(request: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(call(&request.extensions).context.clone())
    }
}

fn route(extensions: &Extensions) -> Option<&str> {
    extensions.get::<MatchedPath>().map(MatchedPath::as_str)
}

/// What every request is recorded with.
struct Instruments {
    requests: Arc<Requests>,
    tracer: Option<SdkTracer>,
    api_requests: Arc<AtomicU64>,
    /// Whether a request's account ends its span; else its answer's head does.
    measured: bool,
}

#[derive(Clone)]
struct Instrument(Arc<Instruments>);

impl<S> Layer<S> for Instrument {
    type Service = Instrumented<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Instrumented { inner, instruments: Arc::clone(&self.0) }
    }
}

/// A route with its instruments; the router clones it for each request.
#[derive(Clone)]
struct Instrumented<S> {
    inner: S,
    instruments: Arc<Instruments>,
}

impl<S> Service<Request> for Instrumented<S>
where
    S: Service<Request, Error = Infallible>,
    S::Response: IntoResponse,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let started = Instant::now();
        let route = route(request.extensions());
        let method = method_index(request.method());
        let is_api = route.is_some_and(|route| route.starts_with("/api/"));
        let tracer =
            self.instruments.tracer.as_ref().filter(|_| !route.is_some_and(|r| UNTRACED.contains(&r)));
        let context = match tracer {
            Some(tracer) => {
                let span = RequestSpan { method: method_name(method), route, path: request.uri().path() };
                RequestContext::traced(tracer, request.headers(), span)
            }
            None => RequestContext::untraced(request.headers()),
        };
        let call = Arc::new(Call {
            endpoint: self.instruments.requests.endpoint(route),
            instruments: Arc::clone(&self.instruments),
            context,
            method,
            is_api,
            started,
        });
        request.extensions_mut().insert(Arc::clone(&call));
        let inner = {
            let _entered = ids::enter(call.context.ids());
            self.inner.call(request)
        };
        Answering { inner, call }
    }
}

/// What is known of a request until it is over. In its extensions.
struct Call {
    instruments: Arc<Instruments>,
    endpoint: Arc<Endpoint>,
    context: RequestContext,
    method: usize,
    is_api: bool,
    started: Instant,
}

impl Call {
    fn answered(&self, status: StatusCode) {
        self.instruments.requests.record(&self.endpoint, self.method, status, self.started.elapsed());
        if self.is_api {
            self.instruments.api_requests.fetch_add(1, Relaxed);
        }
        self.context.answered(status);
        if !self.instruments.measured {
            self.context.end();
        }
    }
}

pin_project! {
    struct Answering<F> {
        #[pin]
        inner: F,
        call: Arc<Call>,
    }
}

impl<F, R> Future for Answering<F>
where
    F: Future<Output = Result<R, Infallible>>,
    R: IntoResponse,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = ids::enter(this.call.context.ids());
        let Ok(answer) = ready!(this.inner.poll(cx));
        let mut response = answer.into_response();
        let context = &this.call.context;
        response.headers_mut().insert(REQUEST_ID, header(context.request_id()));
        response.headers_mut().insert(TRACE_ID, header(context.trace_id()));
        this.call.answered(response.status());
        Poll::Ready(Ok(response))
    }
}

fn header(id: &str) -> HeaderValue {
    HeaderValue::from_str(id).expect("an id is hex digits and hyphens")
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Method, routing::get};
    use tower::ServiceExt;

    use super::*;
    use crate::telemetry::logs::tests::Captured;

    struct Watched {
        routes: Router,
        requests: Arc<Requests>,
        api_requests: Arc<AtomicU64>,
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
            let requests = Arc::new(Requests::new("under-test"));
            let api_requests = Arc::new(AtomicU64::new(0));
            let instruments = Instruments {
                requests: Arc::clone(&requests),
                tracer: None,
                api_requests: Arc::clone(&api_requests),
                measured: false,
            };
            Self { routes: routes.layer(Instrument(Arc::new(instruments))), requests, api_requests }
        }

        async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
            let mut request = Request::builder().method(method).uri(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Body::empty()).expect("a request");
            self.routes.clone().oneshot(request).await.expect("infallible")
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
        watched.requests.expect(&Method::GET, "/api/items/{id}");
        assert_eq!(watched.value("http_requests_total", &[("method", "GET"), ("status", "200")]), 0.0);
        assert_eq!(watched.value("http_request_duration_seconds_count", &[("method", "GET")]), 0.0);
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
        let body = axum::body::to_bytes(response.into_body(), 1024).await.expect("a body");
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
        let log = Captured::default();
        let _logging = tracing::subscriber::set_default(log.json());
        let watched = Watched::new();
        let (one, two) = ("/api/items/1", "/api/items/2");
        tokio::join!(watched.send("GET", one, &[]), watched.send("GET", two, &[]));
        tracing::info!("outside");
        let lines: Vec<serde_json::Value> =
            log.lines().iter().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert_eq!(lines.len(), 3, "{lines:#?}");
        for line in &lines[..2] {
            assert_eq!(line["request_id"], line["seen"]);
            assert_eq!(line["trace_id"].as_str().expect("text").len(), 32);
        }
        assert_ne!(lines[0]["seen"], lines[1]["seen"]);
        assert_eq!(lines[2]["request_id"], serde_json::Value::Null, "the guard is gone with the request");
    }
}
