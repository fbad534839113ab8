//! Logs, traces, metrics and the HTTP middleware: how the service is watched from outside.
//!
//! The leaks know nothing of this room. Whoever handles a request may take its [`traces::RequestContext`] as an argument;
//! everything else is read from the application's state when somebody asks for it.

pub mod http;
pub mod logs;
pub mod metrics;
pub mod traces;
pub mod trend;

/// The service's name in metrics, traces and answers: `OTEL_SERVICE_NAME`, or `leaky-service`.
pub fn service_name() -> String {
    variable("OTEL_SERVICE_NAME").unwrap_or_else(|| "leaky-service".to_owned())
}

/// An environment variable; set but empty counts as not set, as OpenTelemetry wants it.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}
