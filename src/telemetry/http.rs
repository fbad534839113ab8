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
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
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

/// Wraps the routes. Handlers below find a [`RequestContext`] in the request's extensions, and clients its ids in the
/// answer's headers `x-request-id` and `x-trace-id`.
pub fn layer(routes: Router, app: &Arc<App>) -> Router {
    routes.layer(Instrument {
        requests: app.metrics.requests(),
        tracer: app.traces.tracer(),
        api_requests: Arc::clone(&app.requests),
    })
}

#[derive(Clone)]
struct Instrument {
    requests: Arc<Requests>,
    tracer: Option<SdkTracer>,
    api_requests: Arc<AtomicU64>,
}

impl<S> Layer<S> for Instrument {
    type Service = Instrumented<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Instrumented { inner, instrument: self.clone() }
    }
}

#[derive(Clone)]
struct Instrumented<S> {
    inner: S,
    instrument: Instrument,
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
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let method = method_index(request.method());
        let is_api = route.is_some_and(|route| route.starts_with("/api/"));
        let tracer =
            self.instrument.tracer.as_ref().filter(|_| !route.is_some_and(|r| UNTRACED.contains(&r)));
        let context = match tracer {
            Some(tracer) => {
                let span = RequestSpan { method: method_name(method), route, path: request.uri().path() };
                RequestContext::traced(tracer, request.headers(), span)
            }
            None => RequestContext::untraced(request.headers()),
        };
        let call = Call {
            endpoint: self.instrument.requests.endpoint(route),
            requests: Arc::clone(&self.instrument.requests),
            api_requests: is_api.then(|| Arc::clone(&self.instrument.api_requests)),
            context: context.clone(),
            method,
            started,
        };
        request.extensions_mut().insert(context);
        let inner = {
            let _entered = ids::enter(call.context.ids());
            self.inner.call(request)
        };
        Answering { inner, call }
    }
}

/// What is known of a request while it is answered.
struct Call {
    requests: Arc<Requests>,
    endpoint: Arc<Endpoint>,
    api_requests: Option<Arc<AtomicU64>>,
    context: RequestContext,
    method: usize,
    started: Instant,
}

impl Call {
    fn answered(&self, status: StatusCode) {
        self.requests.record(&self.endpoint, self.method, status, self.started.elapsed());
        if let Some(api_requests) = &self.api_requests {
            api_requests.fetch_add(1, Relaxed);
        }
        self.context.end(status);
    }
}

pin_project! {
    struct Answering<F> {
        #[pin]
        inner: F,
        call: Call,
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
