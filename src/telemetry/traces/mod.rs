//! OTLP traces over gRPC where an endpoint is set; otherwise no span is made.
//!
//! The spans are the OpenTelemetry SDK's; the way out is this room's own (`export`), so that a collector that is slow or
//! dead costs requests nothing and every span is either sent or counted as dropped.

use std::sync::Arc;

use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider},
};
use tracing::{error, warn};

use super::variable;

mod context;
mod export;
mod ids;

pub(super) use context::RequestSpan;
pub use context::{ChildSpan, RequestContext};

const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// Where spans go.
pub struct Traces {
    exporting: Option<Exporting>,
}

struct Exporting {
    tracer: SdkTracer,
    queue: Arc<export::Queue>,
}

impl Traces {
    /// Reads OpenTelemetry's standard environment variables: `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER=none`,
    /// `OTEL_EXPORTER_OTLP_(TRACES_)ENDPOINT` with headers and timeout, `OTEL_BSP_*`, `OTEL_TRACES_SAMPLER`,
    /// `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`. What can't be used is logged, and the service runs without.
    pub fn from_env() -> Self {
        Self { exporting: if wanted() { start() } else { None } }
    }

    /// Spans dropped because the queue was full or the collector did not take them.
    pub fn dropped(&self) -> u64 {
        self.exporting.as_ref().map_or(0, |exporting| exporting.queue.dropped())
    }

    /// Sends what is queued, for at most three seconds; spans that end later are dropped, and counted.
    pub async fn shutdown(&self) {
        if let Some(exporting) = &self.exporting {
            exporting.queue.close().await;
        }
    }

    /// Makes spans; `None`: no endpoint.
    pub(super) fn tracer(&self) -> Option<SdkTracer> {
        self.exporting.as_ref().map(|exporting| exporting.tracer.clone())
    }
}

fn wanted() -> bool {
    let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let none = variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    let endpoint = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or(variable("OTEL_EXPORTER_OTLP_ENDPOINT"));
    endpoint.is_some() && !disabled && !none
}

fn start() -> Option<Exporting> {
    if let Some(sampler) = variable("OTEL_TRACES_SAMPLER").filter(|name| !SAMPLERS.contains(&name.as_str())) {
        warn!(sampler, "OTEL_TRACES_SAMPLER is unknown; it wants one of {}", SAMPLERS.join(", "));
    }
    let resource = Resource::builder()
        .with_service_name(super::ServiceName::from_env().as_str().to_owned())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let queue = match export::start(resource.clone()) {
        Ok(queue) => queue,
        Err(error) => {
            error!(%error, "no traces are exported: the OTLP endpoint can't be used; it wants http://HOST:PORT");
            return None;
        }
    };
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(export::Enqueue(Arc::clone(&queue)))
        .build();
    Some(Exporting { tracer: provider.tracer("leaklab"), queue })
}
