//! Live memory by place in the code, from a heap profile that is taken now.

use std::sync::Arc;

use axum::{Json, extract::State};
use leakscope::{
    Instrument,
    heap::{By, Position, Site},
    http::off_runtime,
    instrument::Profiles,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Parts,
    sizes::{PeakTraced, PlaceSize, TotalTraced},
};
use crate::{
    http::{
        error::{self, Error, ErrorBody},
        extract::{Fields, Parameters},
    },
    recording::{Done, Recording},
};

pub(super) fn routes() -> OpenApiRouter<Parts> {
    OpenApiRouter::new().routes(routes!(snapshot))
}

/// Files shown unless told otherwise.
const TOP_FILES: usize = 15;
/// Lines, functions and stacks shown unless told otherwise.
const TOP_LINES: usize = 20;

/// What a snapshot shows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SnapshotQuery {
    /// Only this grouping: `line`, `function`, `file` or `stack` (the last one only when asked for).
    #[param(value_type = Option<String>, example = "line")]
    by: Option<By>,
    /// Places shown at most (15 files and 20 lines unless told).
    limit: Option<usize>,
}

impl Fields for SnapshotQuery {
    const EXAMPLE: &'static str = "a query of by=line, by=function, by=file or by=stack, and limit=20";
    const CODE: &'static str = error::BAD_URL;
}

/// Live memory by place.
#[derive(Serialize, ToSchema)]
struct HeapSnapshot {
    /// When it was taken, in RFC 3339.
    #[schema(example = "2026-01-01T00:00:00Z")]
    timestamp: String,
    #[serde(flatten)]
    total_traced: TotalTraced,
    #[serde(flatten)]
    peak_traced: PeakTraced,
    /// Files, the largest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_file: Option<Vec<FilePlace>>,
    /// Lines, the largest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_line: Option<Vec<LinePlace>>,
    /// Functions, the largest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_function: Option<Vec<FunctionPlace>>,
    /// Lines by the stack that leads to them, the largest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_stack: Option<Vec<LinePlace>>,
    tip: &'static str,
}

/// What one file allocated that is still in use.
#[derive(Serialize, ToSchema)]
struct FilePlace {
    filename: String,
    #[serde(flatten)]
    figures: PlaceFigures,
}

/// What one line allocated that is still in use.
#[derive(Serialize, ToSchema)]
struct LinePlace {
    /// `file:line`.
    location: String,
    function: String,
    #[serde(flatten)]
    figures: PlaceFigures,
    /// The whole stack, the innermost frame first. Only in `by_stack`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    stack: Vec<Position>,
}

/// What one function allocated that is still in use.
#[derive(Serialize, ToSchema)]
struct FunctionPlace {
    function: String,
    file: String,
    #[serde(flatten)]
    figures: PlaceFigures,
}

/// Estimates from sampled allocations, with their standard errors.
#[derive(Serialize, ToSchema)]
struct PlaceFigures {
    #[serde(flatten)]
    size: PlaceSize,
    /// Standard error of the size.
    size_error_bytes: u64,
    /// Live allocations.
    count: u64,
    /// Standard error of the count.
    count_error: u64,
}

/// Takes a heap profile: live memory by file, line and function.
#[utoipa::path(
    get,
    path = "/admin/memory/snapshot",
    tag = "memory",
    params(SnapshotQuery),
    responses(
        (status = 200, body = HeapSnapshot),
        (status = 400, body = ErrorBody, description = "A parameter that is not understood"),
        (status = 409, body = ErrorBody, description = "Profiling is off; says how to switch it on"),
        (status = 503, body = ErrorBody, description = "The profile failed"),
    )
)]
async fn snapshot(
    State(profiles): State<Arc<Profiles>>,
    State(instrument): State<Instrument>,
    State(recording): State<Arc<Recording>>,
    Parameters(query): Parameters<SnapshotQuery>,
) -> Result<Json<HeapSnapshot>, Error> {
    off_runtime(&profiles, move |profiles| {
        let snapshot = profiles.take().map_err(error::no_profile)?;
        recording.event(Done::Snapshot { total_bytes: snapshot.total_bytes });
        let peak_bytes = instrument.peak_live_heap_bytes().max(snapshot.total_bytes);
        let sites = |by, most| {
            let is_shown = query.by.map_or(by != By::Stack, |only| only == by);
            is_shown.then(|| snapshot.sites(by).into_iter().take(query.limit.unwrap_or(most)))
        };
        Ok(Json(HeapSnapshot {
            timestamp: humantime::format_rfc3339(snapshot.taken_at).to_string(),
            total_traced: snapshot.total_bytes.into(),
            peak_traced: peak_bytes.into(),
            by_file: sites(By::File, TOP_FILES).map(|sites| sites.map(FilePlace::from).collect()),
            by_line: sites(By::Line, TOP_LINES).map(|sites| sites.map(LinePlace::from).collect()),
            by_function: sites(By::Function, TOP_LINES).map(|sites| sites.map(FunctionPlace::from).collect()),
            by_stack: sites(By::Stack, TOP_LINES).map(|sites| sites.map(LinePlace::from).collect()),
            tip: TIP,
        }))
    })
    .await
}

const TIP: &str = "a place allocated what it is shown with, and something still refers to it; \
    what grows shows in GET /admin/memory/diff";

impl From<&Site> for PlaceFigures {
    fn from(site: &Site) -> Self {
        Self {
            size: site.bytes.into(),
            size_error_bytes: site.bytes_error,
            count: site.count,
            count_error: site.count_error,
        }
    }
}

impl From<Site> for FilePlace {
    fn from(site: Site) -> Self {
        Self { figures: (&site).into(), filename: site.location }
    }
}

impl From<Site> for LinePlace {
    fn from(site: Site) -> Self {
        Self { figures: (&site).into(), location: site.location, function: site.function, stack: site.stack }
    }
}

impl From<Site> for FunctionPlace {
    fn from(site: Site) -> Self {
        Self { figures: (&site).into(), function: site.location, file: site.file }
    }
}
