//! Health and metrics: what machines ask all the time.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use leakscope::http::off_runtime;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Parts;
use crate::{
    http::{
        error,
        lifecycle::{Lifecycle, Phase},
    },
    telemetry::{
        ServiceName,
        metrics::{Metrics, Sources},
    },
};

/// Health and metrics.
pub(super) fn routes() -> OpenApiRouter<Parts> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
}

/// What clients find that come while the service drains.
pub fn draining_routes(lifecycle: Lifecycle) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .fallback(async || error::draining())
        .with_state(lifecycle)
}

#[derive(Serialize, ToSchema)]
struct Health<'a> {
    #[schema(example = "ok")]
    status: &'a str,
    #[schema(example = "leaky-service")]
    service: &'a str,
}

/// Whether the service answers at all, and its name.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Health)))]
async fn health(State(service): State<ServiceName>) -> Response {
    Json(Health { status: "ok", service: service.as_str() }).into_response()
}

#[derive(Serialize, ToSchema)]
struct Status {
    /// `ok`; `starting`, `ready` or `draining` for /readyz.
    status: &'static str,
}

/// Whether the process is alive: if not, restart it.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, body = Status)))]
async fn livez() -> Json<Status> {
    Json(Status { status: "ok" })
}

/// Whether to send it requests.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    responses((status = 200, body = Status), (status = 503, body = Status, description = "Starting or draining"))
)]
async fn readyz(State(lifecycle): State<Lifecycle>) -> (StatusCode, Json<Status>) {
    let (code, status) = match lifecycle.phase() {
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        Phase::Ready => (StatusCode::OK, "ready"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    };
    (code, Json(Status { status }))
}

/// Metrics as Prometheus text.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses((status = 200, body = String, content_type = "text/plain; version=0.0.4"))
)]
async fn metrics(State(metrics): State<Arc<Metrics>>, State(sources): State<Sources>) -> Response {
    let text = off_runtime(&metrics, move |metrics| metrics.render(&sources)).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
