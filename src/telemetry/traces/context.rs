//! What a handler knows of its request: the ids, and the span where one is made.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, request::Parts},
};
use leakscope::request::Measured;
use opentelemetry::{
    Context, KeyValue, Value,
    trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer},
};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::ids::{self, Ids};

/// Attributes of a server span without those of the leaks that it met, which are few: room for all from the start.
const ATTRIBUTES: usize = 13;

/// The ids of one request, and its span where spans are made. A handler takes it as an argument.
#[derive(Clone)]
pub struct RequestContext(Arc<Known>);

struct Known {
    ids: Ids,
    span: Option<ServerSpan>,
}

struct ServerSpan {
    tracer: SdkTracer,
    /// Owns the span; parent of its children.
    context: Context,
}

/// What a server span says of its request.
pub(in crate::telemetry) struct RequestSpan<'a> {
    pub method: &'static str,
    /// Pattern of the route; `None`: none matched.
    pub route: Option<&'a str>,
    pub path: &'a str,
}

impl RequestContext {
    /// Ids only: the trace id is the caller's or a fresh one.
    pub(in crate::telemetry) fn untraced(headers: &HeaderMap) -> Self {
        let trace = ids::caller(headers).map_or_else(ids::fresh_trace_id, |caller| caller.trace_id());
        Self::new(Ids::new(trace), None)
    }

    /// With a span that continues the caller's trace, if the sampler wants it.
    pub(in crate::telemetry) fn traced(
        tracer: &SdkTracer,
        headers: &HeaderMap,
        request: RequestSpan<'_>,
    ) -> Self {
        let parent = match ids::caller(headers) {
            Some(caller) => Context::new().with_remote_span_context(caller),
            None => Context::new(),
        };
        let mut attributes = Vec::with_capacity(ATTRIBUTES);
        attributes.push(KeyValue::new("http.request.method", request.method));
        attributes.push(KeyValue::new("url.path", request.path.to_owned()));
        attributes.push(KeyValue::new("url.scheme", "http"));
        let mut name = request.method.to_owned();
        if let Some(route) = request.route {
            attributes.push(KeyValue::new("http.route", route.to_owned()));
            name = format!("{name} {route}");
        }
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes);
        let mut span = tracer.build_with_context(builder, &parent);
        let ids = Ids::new(span.span_context().trace_id());
        let span = span.is_recording().then(|| {
            span.set_attribute(KeyValue::new("request_id", ids.request().to_owned()));
            ServerSpan { tracer: tracer.clone(), context: Context::new().with_span(span) }
        });
        Self::new(ids, span)
    }

    fn new(ids: Ids, span: Option<ServerSpan>) -> Self {
        Self(Arc::new(Known { ids, span }))
    }

    /// Unique id of the request: a UUID v4 in its usual form.
    pub fn request_id(&self) -> &str {
        self.0.ids.request()
    }

    /// W3C trace id, 32 hex digits: the caller's, or a fresh one.
    pub fn trace_id(&self) -> &str {
        self.0.ids.trace()
    }

    /// A child span that ends when the guard is dropped; nothing where no span is made.
    pub fn child(&self, name: &'static str) -> ChildSpan {
        ChildSpan {
            span: self.0.span.as_ref().map(|server| {
                let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Internal);
                server.tracer.build_with_context(builder, &server.context)
            }),
        }
    }

    /// Sets an attribute of the request's span; nothing where no span is made.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(server) = &self.0.span {
            server.context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    /// Notes the answer's status on the span.
    pub(in crate::telemetry) fn answered(&self, status: StatusCode) {
        self.set("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error()
            && let Some(server) = &self.0.span
        {
            server.context.span().set_status(Status::error(""));
        }
    }

    /// Notes on the span what the request left behind.
    pub(in crate::telemetry) fn measured(&self, measured: Measured) {
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.set("leakscope.request.allocated_bytes", bytes(measured.allocated_bytes));
        self.set("leakscope.request.freed_bytes", bytes(measured.freed_bytes));
        self.set("leakscope.request.retained_bytes", measured.retained_bytes());
        self.set("leakscope.request.retained_class", measured.retained_class().as_str());
    }

    /// Ends the span.
    pub(in crate::telemetry) fn end(&self) {
        if let Some(server) = &self.0.span {
            server.context.span().end();
        }
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let context = parts.extensions.get().cloned();
        Ok(context.expect("every route is wrapped by `telemetry::http::layer`"))
    }
}

/// Ends its span when dropped.
#[must_use]
pub struct ChildSpan {
    span: Option<Span>,
}

impl ChildSpan {
    /// Sets an attribute of this span; nothing where no span is made.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.span {
            span.set_attribute(KeyValue::new(key, value));
        }
    }
}
