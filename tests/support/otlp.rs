//! A minimal OTLP collector: takes spans over gRPC and remembers them.
#![allow(dead_code)] // each test binary uses its own part

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use tokio::{net::TcpListener, runtime::Runtime};
use tonic::{
    Request, Response, Status,
    transport::server::{Server, TcpIncoming},
};

/// How a collector treats what comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Takes spans and keeps them.
    Keeps,
    /// Takes spans and only counts them.
    Counts,
    /// Reads the request and never answers.
    Hangs,
}

/// A running collector; dropped, it closes its connections and its port.
pub struct Collector {
    /// Where it listens.
    pub address: SocketAddr,
    received: Arc<Received>,
    _runtime: Runtime,
}

#[derive(Default)]
struct Received {
    count: AtomicU64,
    requests: AtomicU64,
    spans: Mutex<Vec<Span>>,
    service_names: Mutex<Vec<String>>,
}

impl Collector {
    /// On a free port.
    pub fn start(manner: Manner) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), manner)
    }

    /// On that port: where one listened before that has gone.
    pub fn start_at(address: SocketAddr, manner: Manner) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind(address)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let received = Arc::new(Received::default());
        let service = TraceServiceServer::new(Service { manner, received: Arc::clone(&received) });
        runtime
            .spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
        Self { address, received, _runtime: runtime }
    }

    /// As in `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Spans received so far.
    pub fn count(&self) -> u64 {
        self.received.count.load(Relaxed)
    }

    /// Export requests received so far.
    pub fn requests(&self) -> u64 {
        self.received.requests.load(Relaxed)
    }

    /// The spans received so far.
    pub fn spans(&self) -> Vec<Span> {
        self.received.spans.lock().expect("no panic").clone()
    }

    /// `service.name` of each batch so far.
    pub fn service_names(&self) -> Vec<String> {
        self.received.service_names.lock().expect("no panic").clone()
    }
}

struct Service {
    manner: Manner,
    received: Arc<Received>,
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.received.requests.fetch_add(1, Relaxed);
        if self.manner == Manner::Hangs {
            std::future::pending::<()>().await;
        }
        for resource_spans in request.into_inner().resource_spans {
            let service_name = resource_spans
                .resource
                .iter()
                .flat_map(|resource| &resource.attributes)
                .find(|attribute| attribute.key == "service.name");
            if self.manner == Manner::Keeps
                && let Some(name) = service_name.and_then(|name| text(name.value.as_ref()?))
            {
                self.received.service_names.lock().expect("no panic").push(name);
            }
            for scope_spans in resource_spans.scope_spans {
                self.received.count.fetch_add(scope_spans.spans.len() as u64, Relaxed);
                if self.manner == Manner::Keeps {
                    self.received.spans.lock().expect("no panic").extend(scope_spans.spans);
                }
            }
        }
        Ok(Response::new(ExportTraceServiceResponse { partial_success: None }))
    }
}

/// An attribute's value as text.
pub fn text(value: &opentelemetry_proto::tonic::common::v1::AnyValue) -> Option<String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    match value.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// The value of a span's attribute as text.
pub fn attribute(span: &Span, key: &str) -> Option<String> {
    text(span.attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?)
}

/// An id as hex digits.
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
