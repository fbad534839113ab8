//! Logs, traces, metrics and the HTTP middleware: how the service is watched from outside.
//!
//! The leaks know nothing of this room. Whoever handles a request may take its [`traces::RequestContext`] as an argument;
//! everything else is read from the application's state when somebody asks for it.

use std::sync::Arc;

pub mod http;
pub mod logs;
pub mod metrics;
pub mod traces;
pub mod trend;

/// The service's name in metrics, traces and answers. Clones share it.
#[derive(Debug, Clone)]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// `OTEL_SERVICE_NAME`, or `leaky-service`.
    pub fn from_env() -> Self {
        Self(variable("OTEL_SERVICE_NAME").map_or_else(|| "leaky-service".into(), Arc::from))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An environment variable; set but empty counts as not set, as OpenTelemetry wants it.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}
