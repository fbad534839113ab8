//! OTLP traces over gRPC where an endpoint is set; otherwise no span is made.

/// Where spans go.
pub struct Traces {}

impl Traces {
    /// Reads OpenTelemetry's standard environment variables. Needs a Tokio runtime where an endpoint is set.
    pub fn from_env() -> Self {
        Self {}
    }

    /// Spans dropped because the queue was full or the collector did not take them.
    pub fn dropped(&self) -> u64 {
        0
    }

    /// Sends what is queued; bounded to a few seconds.
    pub async fn shutdown(&self) {}
}

/// The ids of one request, and its span where spans are made. In the request's extensions.
#[derive(Clone)]
pub struct RequestContext {}

impl RequestContext {
    /// Unique id of the request: a UUID v4 in its usual form.
    pub fn request_id(&self) -> &str {
        ""
    }

    /// W3C trace id, 32 hex digits: the caller's, or a fresh one.
    pub fn trace_id(&self) -> &str {
        ""
    }

    /// A child span that ends when the guard is dropped; nothing where no span is made.
    pub fn child(&self, name: &'static str) -> ChildSpan {
        let _ = name;
        ChildSpan {}
    }

    /// Sets an attribute of the request's span; nothing where no span is made.
    pub fn set(&self, key: &'static str, value: impl Into<opentelemetry::Value>) {
        let _ = (key, value.into());
    }
}

/// Ends its span when dropped.
#[must_use]
pub struct ChildSpan {}
