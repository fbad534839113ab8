//! What grew since the baseline, and setting the baseline.

use std::sync::Arc;

use axum::{Json, extract::State};
use leakscope::{
    heap::{self, By, Growth, Position, Snapshot},
    http::off_runtime,
    instrument::{Compared, Profiles},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Parts,
    sizes::{BaselineSize, CurrentSize, SizeDiff, TotalGrowth, two_decimals},
};
use crate::{
    http::{
        error::{self, Error, ErrorBody},
        extract::{Fields, Parameters},
    },
    recording::{Done, Recording},
};

pub(super) fn routes() -> OpenApiRouter<Parts> {
    OpenApiRouter::new().routes(routes!(diff)).routes(routes!(baseline))
}

/// Places shown unless told otherwise.
const TOP_LINES: usize = 20;

/// What a diff shows, and what it does to the baseline.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// `true`: the baseline stays; else this profile becomes the next one.
    #[serde(default)]
    keep: bool,
    /// What to group by: `line` (the default), `function`, `file` or `stack`.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "line")]
    by: By,
    /// Places shown at most (20 unless told).
    limit: Option<usize>,
}

impl Fields for DiffQuery {
    const EXAMPLE: &'static str =
        "a query of keep=true, by=line, by=function, by=file or by=stack, and limit=20";
    const CODE: &'static str = error::BAD_URL;
}

/// What grew since the baseline. Without a baseline this profile becomes one.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
enum HeapDiff {
    /// There is something to compare with from now on.
    BaselineSet(BaselineSet),
    /// The profile was compared with the baseline.
    DiffComputed(DiffComputed),
}

/// The new baseline.
#[derive(Serialize, ToSchema)]
struct BaselineSet {
    message: String,
    #[serde(flatten)]
    baseline_size: BaselineSize,
}

/// What grew since the baseline.
#[derive(Serialize, ToSchema)]
struct DiffComputed {
    by: By,
    /// Age of the baseline, in seconds.
    baseline_age_seconds: f64,
    /// Whether the baseline stays. Otherwise this profile is the next one.
    baseline_kept: bool,
    /// Places that grew by more than chance explains, the largest growth first.
    growing_allocations: Vec<GrowingPlace>,
    #[serde(flatten)]
    total_growth: TotalGrowth,
    tip: &'static str,
}

/// How one place in the code grew.
#[derive(Serialize, ToSchema)]
struct GrowingPlace {
    /// What the places are grouped by: `file:line`, the function or the file.
    location: String,
    function: String,
    file: String,
    /// 0 where it is unknown, or where the place has several lines.
    line: u32,
    #[serde(flatten)]
    size_diff: SizeDiff,
    /// Standard error of the growth.
    size_diff_error_bytes: u64,
    /// Growth in live allocations.
    count_diff: i64,
    #[serde(flatten)]
    current_size: CurrentSize,
    /// The whole stack, the innermost frame first. Only with `by=stack`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    stack: Vec<Position>,
}

/// What grew since the baseline. The first call sets it; each later one compares, and becomes the new one unless `keep=true`.
#[utoipa::path(
    get,
    path = "/admin/memory/diff",
    tag = "memory",
    params(DiffQuery),
    responses(
        (status = 200, body = HeapDiff),
        (status = 400, body = ErrorBody, description = "A parameter that is not understood"),
        (status = 409, body = ErrorBody, description = "Profiling is off; says how to switch it on"),
        (status = 503, body = ErrorBody, description = "The profile failed"),
    )
)]
async fn diff(
    State(profiles): State<Arc<Profiles>>,
    State(recording): State<Arc<Recording>>,
    Parameters(query): Parameters<DiffQuery>,
) -> Result<Json<HeapDiff>, Error> {
    off_runtime(&profiles, move |profiles| {
        let Compared { base, now } = profiles.compare(!query.keep).map_err(error::no_profile)?;
        let Some(base) = base else {
            let why = "there was none yet (a baseline does not survive a restart)";
            return Ok(Json(baseline_set(&recording, &now, why)));
        };
        recording.event(Done::Diff {
            keep: query.keep,
            total_growth_bytes: growth_bytes(&base, &now),
            line: heap::growing(&base, &now, By::Line, 1).pop().map(|growth| growth.site.location),
        });
        Ok(Json(compared(&base, &now, &query)))
    })
    .await
}

/// Sets the baseline of diffs to now.
#[utoipa::path(
    post,
    path = "/admin/memory/baseline",
    tag = "memory",
    responses(
        (status = 200, body = HeapDiff, description = "`status` is `baseline_set`"),
        (status = 409, body = ErrorBody, description = "Profiling is off; says how to switch it on"),
        (status = 503, body = ErrorBody, description = "The profile failed"),
    )
)]
async fn baseline(
    State(profiles): State<Arc<Profiles>>,
    State(recording): State<Arc<Recording>>,
) -> Result<Json<HeapDiff>, Error> {
    off_runtime(&profiles, move |profiles| {
        let now = profiles.take().map_err(error::no_profile)?;
        profiles.set_baseline(Arc::clone(&now));
        Ok(Json(baseline_set(&recording, &now, "as asked")))
    })
    .await
}

fn baseline_set(recording: &Recording, snapshot: &Snapshot, why: &str) -> HeapDiff {
    recording.event(Done::Baseline { total_bytes: snapshot.total_bytes });
    HeapDiff::BaselineSet(BaselineSet {
        message: format!(
            "the baseline is set, {why}; send traffic, then GET /admin/memory/diff says what grew"
        ),
        baseline_size: snapshot.total_bytes.into(),
    })
}

fn compared(base: &Snapshot, now: &Snapshot, query: &DiffQuery) -> HeapDiff {
    let growing = heap::growing(base, now, query.by, query.limit.unwrap_or(TOP_LINES));
    HeapDiff::DiffComputed(DiffComputed {
        by: query.by,
        baseline_age_seconds: two_decimals(base.age().as_secs_f64()),
        baseline_kept: query.keep,
        tip: if growing.is_empty() { NOTHING_GREW_TIP } else { GREW_TIP },
        growing_allocations: growing.into_iter().map(GrowingPlace::from).collect(),
        total_growth: growth_bytes(base, now).into(),
    })
}

fn growth_bytes(base: &Snapshot, now: &Snapshot) -> i64 {
    now.total_bytes as i64 - base.total_bytes as i64
}

const NOTHING_GREW_TIP: &str = "Make sure leaks are enabled and you've generated traffic between snapshots: nothing grew by more than chance explains.";
const GREW_TIP: &str = "the first place allocated most of what is newly held: look there for what keeps it, \
    or for what it is handed to";

impl From<Growth> for GrowingPlace {
    fn from(growth: Growth) -> Self {
        let site = growth.site;
        Self {
            location: site.location,
            function: site.function,
            file: site.file,
            line: site.line,
            size_diff: growth.bytes_diff.into(),
            size_diff_error_bytes: growth.bytes_diff_error,
            count_diff: growth.count_diff,
            current_size: site.bytes.into(),
            stack: site.stack,
        }
    }
}
