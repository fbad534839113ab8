//! Heap profiles as other tools read them: pprof's format for `go tool pprof`, Pyroscope and Parca, and flame graphs for a
//! browser. The profiles are leakscope's; this room only serves them.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin::{off_runtime, profiles},
    app::App,
    http::{
        error::{Error, ErrorBody},
        extract::{Fields, Parameters},
    },
};

/// Routes under `/debug`; mount them behind the guard of the admin routes.
pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(heap)).routes(routes!(flamegraph))
}

/// Longest time over which growth is profiled, in seconds.
const LONGEST_SECONDS: u64 = 300;

/// What a profile shows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HeapQuery {
    /// Waits so long, and shows what grew and shrank meanwhile, as Go does. 1 to 300.
    #[param(minimum = 1, maximum = 300, example = 30)]
    seconds: Option<u64>,
}

impl Fields for HeapQuery {
    const EXAMPLE: &'static str = "no query, or one of seconds=1 to seconds=300";
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
    State(app): State<Arc<App>>,
    Parameters(query): Parameters<HeapQuery>,
) -> Result<Response, Error> {
    let Some(seconds) = query.seconds else {
        let profile = off_runtime(&app, |app| Ok(app.profiles.take()?.to_pprof())).await?;
        return Ok(download("heap.pb.gz", profile));
    };
    if !(1..=LONGEST_SECONDS).contains(&seconds) {
        let problem = format!("seconds is {seconds}");
        return Err(Error::BadUrl { problem, expected: HeapQuery::EXAMPLE });
    }
    let base = off_runtime(&app, |app| app.profiles.take()).await?;
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
        () = app.draining() => return Err(Error::Draining),
    }
    let growth = off_runtime(&app, move |app| Ok(app.profiles.take()?.growth_to_pprof(&base))).await?;
    Ok(download("heap-growth.pb.gz", growth))
}

fn download(name: &str, profile: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    (headers, profile).into_response()
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

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Base {
    Baseline,
}

impl Fields for FlamegraphQuery {
    const EXAMPLE: &'static str = "no query, or base=baseline";
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
    )
)]
async fn flamegraph(
    State(app): State<Arc<App>>,
    Parameters(query): Parameters<FlamegraphQuery>,
) -> Result<Response, Error> {
    let svg = off_runtime(&app, move |app| {
        let base = match query.base {
            Some(Base::Baseline) => Some(app.profiles.baseline().ok_or(Error::NoBaseline)?),
            None => None,
        };
        let now = app.profiles.take()?;
        match base {
            Some(base) => now.growth_to_flamegraph(&base),
            None => now.to_flamegraph(),
        }
        .map_err(profiles::refused)
    })
    .await?;
    let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    Ok((headers, svg).into_response())
}

/// The graph brings its own script and style, and needs nothing from anywhere else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
