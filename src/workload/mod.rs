//! The routes that a client of the service calls: the work that it is there for, with whatever bugs are switched on.
//!
//! It knows the leaks as features that serve a request, and nothing of how they keep memory.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderValue, StatusCode, Uri, header, uri::PathAndQuery},
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        error::{Error, ErrorBody},
        extract::Segment,
    },
    leaks::{Leak, NAMES, Registry, RequestInfo, Variant},
    telemetry::{ServiceName, traces::RequestContext},
};

/// What requests are served with.
pub struct Workload {
    /// Name of the service.
    pub service: ServiceName,
    /// How long the simulated work of a request takes.
    pub work: Duration,
    /// The features with the bugs.
    pub leaks: Arc<Registry>,
}

/// Routes under `/api`.
pub fn routes() -> OpenApiRouter<Arc<Workload>> {
    OpenApiRouter::new().routes(routes!(data)).routes(routes!(echo)).routes(routes!(history))
}

/// Room for an answer, which has about 250 bytes; a longer one grows it.
const ANSWER_BYTES: usize = 512;

/// What the service answers to its clients.
#[derive(Serialize, ToSchema)]
struct Answer<'a> {
    /// Name of the service.
    #[schema(example = "leaky-service")]
    service: &'a str,
    /// Unique id of this request; also in the header `x-request-id`.
    request_id: &'a str,
    /// W3C trace id; also in the header `x-trace-id`.
    trace_id: &'a str,
    /// Time the answer took, in milliseconds.
    duration_ms: f64,
    /// Leaks whose leaky variant served this request; never a twin, nor what a learner made of it.
    leaks_triggered: Vec<&'static str>,
    /// The answer itself.
    data: Data,
}

#[derive(Serialize, ToSchema)]
struct Data {
    message: String,
    /// RFC 3339, UTC.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, example = "2026-01-01T00:00:00Z")]
    timestamp: SystemTime,
}

fn as_text<S: Serializer>(timestamp: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339(*timestamp))
}

/// Does the service's work, and feeds every leak that is on.
#[utoipa::path(
    get,
    path = "/api/data",
    tag = "workload",
    params(("item" = Option<String>, Query, description = "Which item to answer with")),
    responses((status = 200, body = Answer))
)]
async fn data(State(workload): State<Arc<Workload>>, context: RequestContext, uri: Uri) -> Response {
    let started = Instant::now();
    workload.work(&context).await;
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let leaks_triggered = workload.feed_leaks(&context, path);
    let message = match uri.query().and_then(item) {
        Some(item) => format!("Here is item {item}"),
        None => "Here is your data".to_owned(),
    };
    workload.answer(&context, started, leaks_triggered, message)
}

/// Does the same work as /api/data and never leaks: the innocent route.
#[utoipa::path(get, path = "/api/echo", tag = "workload", responses((status = 200, body = Answer)))]
async fn echo(State(workload): State<Arc<Workload>>, context: RequestContext, uri: Uri) -> Response {
    let started = Instant::now();
    workload.work(&context).await;
    let message = uri.query().unwrap_or("echo").to_owned();
    workload.answer(&context, started, Vec::new(), message)
}

/// A past request.
#[derive(Serialize, ToSchema)]
struct PastRequest<'a> {
    service: &'a str,
    /// Id of the request that was recorded.
    request_id: String,
    /// Length of the record.
    size_bytes: usize,
    /// The record.
    record: String,
}

/// Reads back what was recorded of a request.
#[utoipa::path(
    get,
    path = "/api/history/{request_id}",
    tag = "workload",
    params(("request_id" = String, Path, description = "The request_id of an answer from /api/data")),
    responses(
        (status = 200, body = PastRequest),
        (status = 400, body = ErrorBody, description = "The path can't be read"),
        (status = 404, body = ErrorBody, description = "Not recorded, or no longer kept"),
    )
)]
async fn history(
    State(workload): State<Arc<Workload>>,
    Segment(request_id): Segment,
) -> Result<Response, Error> {
    let record = workload.leaks.iter().find_map(|leak| leak.record(&request_id));
    let record = record.ok_or_else(|| workload.unknown_record(&request_id))?;
    Ok(Json(PastRequest {
        service: workload.service.as_str(),
        request_id: record.request_id,
        size_bytes: record.text.len(),
        record: record.text,
    })
    .into_response())
}

/// Names of each leak's span and attribute, in the registry's order; made once, since spans want names that live for ever.
static SPANS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    NAMES.iter().map(|name| (format!("leak.{name}"), format!("leak.triggered.{name}"))).collect()
});

impl Workload {
    /// The simulated work of one request; without any, the timer is not even asked.
    async fn work(&self, context: &RequestContext) {
        let _span = context.child("work");
        if !self.work.is_zero() {
            tokio::time::sleep(self.work).await;
        }
    }

    /// Lets each leak that is on serve the request; returns those whose leaky variant did.
    ///
    /// Of the learner's code nobody knows whether it leaks, so it is not listed.
    fn feed_leaks(&self, context: &RequestContext, path: &str) -> Vec<&'static str> {
        let mut triggered = Vec::new();
        for (leak, (span, attribute)) in self.leaks.iter().zip(SPANS.iter()) {
            if leak.variant().is_none() {
                continue;
            }
            let _span = context.child(span);
            let request = RequestInfo { request_id: context.request_id(), path };
            if leak.serve(&request) == Some(Variant::Leaky) {
                context.set(attribute, true);
                triggered.push(leak.name());
            }
        }
        triggered
    }

    fn answer(
        &self,
        context: &RequestContext,
        started: Instant,
        leaks_triggered: Vec<&'static str>,
        message: String,
    ) -> Response {
        let answer = Answer {
            service: self.service.as_str(),
            request_id: context.request_id(),
            trace_id: context.trace_id(),
            duration_ms: (started.elapsed().as_secs_f64() * 1e6).round() / 1e3,
            leaks_triggered,
            data: Data { message, timestamp: SystemTime::now() },
        };
        // Into a `Vec` that need not grow: `Json` writes to a small `BytesMut`, growing it twice.
        let mut body = Vec::with_capacity(ANSWER_BYTES);
        serde_json::to_writer(&mut body, &answer)
            .expect("its keys are text, and memory takes what is written");
        ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], Body::from(body))
            .into_response()
    }

    fn unknown_record(&self, request_id: &str) -> Error {
        let recording = self.leaks.iter().filter(|leak| leak.facts().records_requests);
        let names: Vec<_> = recording.map(Leak::name).collect();
        let message = format!("there is no record of request {request_id:?}");
        let expected = format!(
            "the request_id of a request to /api/data, made while the leak {} was on and not cleared since",
            names.join(" or ")
        );
        Error::new(StatusCode::NOT_FOUND, "unknown_record", message, expected)
    }
}

fn item(query: &str) -> Option<&str> {
    query.split('&').find_map(|parameter| parameter.strip_prefix("item="))
}
