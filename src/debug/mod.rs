//! Heap profiles as other tools read them: pprof's format for `go tool pprof`, Pyroscope and Parca, and flame graphs for a
//! browser. Profiles and answers are leakscope's; this room only describes the routes.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use leakscope::http::pprof::{self, Base, Seconds};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin::{Parts, profiles::Profiles},
    http::{
        error::{self, Error, ErrorBody},
        extract::{Fields, Parameters},
        lifecycle::Lifecycle,
    },
};

/// Routes under `/debug`; mount them behind the guard of the admin routes.
pub fn routes() -> OpenApiRouter<Parts> {
    OpenApiRouter::new().routes(routes!(heap)).routes(routes!(flamegraph))
}

/// What a profile shows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HeapQuery {
    /// Waits so long, and shows what grew and shrank meanwhile, as Go does. 1 to 300.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 300, example = 30)]
    seconds: Option<Seconds>,
}

impl Fields for HeapQuery {
    const EXAMPLE: &'static str = "no query, or one of seconds=1 to seconds=300";
    const CODE: &'static str = error::BAD_URL;
}

/// A heap profile in pprof's format (gzipped protobuf): `go tool pprof -top http://127.0.0.1:8080/debug/pprof/heap`.
#[utoipa::path(
    get,
    path = "/debug/pprof/heap",
    tag = "memory",
    params(HeapQuery),
    responses(
        (status = 200, body = [u8], content_type = "application/octet-stream", description = "`inuse_space` and `inuse_objects`"),
        (status = 400, body = ErrorBody, description = "A parameter that is not understood"),
        (status = 409, body = ErrorBody, description = "Profiling is off; says how to switch it on"),
        (status = 503, body = ErrorBody, description = "The service stops before the time is over"),
    )
)]
async fn heap(
    State(profiles): State<Arc<Profiles>>,
    State(lifecycle): State<Lifecycle>,
    Parameters(query): Parameters<HeapQuery>,
) -> Result<Response, Error> {
    pprof::heap(&profiles, query.seconds, lifecycle.draining()).await.map_err(error::no_profile)
}

/// What a flame graph shows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FlamegraphQuery {
    /// `baseline`: colours what grew (red) and shrank (blue) since the baseline.
    #[param(value_type = Option<String>, example = "baseline")]
    base: Option<Base>,
}

impl Fields for FlamegraphQuery {
    const EXAMPLE: &'static str = "no query, or base=baseline";
    const CODE: &'static str = error::BAD_URL;
}

/// The live heap as a flame graph: an SVG for a browser, in which one can zoom and search.
#[utoipa::path(
    get,
    path = "/debug/pprof/flamegraph",
    tag = "memory",
    params(FlamegraphQuery),
    responses(
        (status = 200, body = String, content_type = "image/svg+xml"),
        (status = 400, body = ErrorBody, description = "A parameter that is not understood"),
        (status = 409, body = ErrorBody, description = "Profiling is off, or there is no baseline"),
        (status = 503, body = ErrorBody, description = "The profile failed"),
    )
)]
async fn flamegraph(
    State(profiles): State<Arc<Profiles>>,
    Parameters(query): Parameters<FlamegraphQuery>,
) -> Result<Response, Error> {
    pprof::flamegraph(&profiles, query.base).await.map_err(error::no_profile)
}
