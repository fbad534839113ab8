//! Who allocated what is in use, what grew, and the same for other tools.

use std::sync::Arc;

use axum::{Json, extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    super::{
        Error, Fields, Parameters, off_runtime,
        parts::{Parts, WAITING},
        pprof::{self, Base, NoProfile, Seconds},
    },
    Answer, Scope,
};
use crate::heap::{self, By, Growth, Site};
#[cfg(feature = "utoipa")]
use crate::http::ErrorBody;

/// Places shown unless told otherwise.
const PLACES: usize = 20;

/// Which places to show.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "utoipa", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub(super) struct Places {
    /// What to group by: `line` (the default), `function`, `file` or `stack`.
    #[serde(default)]
    #[cfg_attr(feature = "utoipa", param(value_type = Option<String>, example = "line"))]
    by: By,
    /// Places shown at most (20 unless told otherwise).
    #[cfg_attr(feature = "utoipa", param(example = 20))]
    limit: Option<usize>,
}

impl Fields for Places {
    const EXAMPLE: &'static str = "by=line, by=function, by=file or by=stack, and limit=20";
}

/// Live memory by place, the largest first.
#[derive(Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Snapshot))]
pub(super) struct Snapshot {
    /// Live memory of all places together.
    total_bytes: u64,
    /// Live allocations of all places together.
    total_count: u64,
    by: By,
    sites: Vec<Site>,
}

/// Takes a heap profile: who allocated what is in use.
#[cfg_attr(
    feature = "utoipa",
    utoipa::path(
        get,
        path = "/debug/memory/snapshot",
        tag = "memory",
        params(Places),
        responses(
            (status = 200, body = Snapshot),
            (status = 400, body = ErrorBody, description = "A parameter that is not understood"),
            (status = 403, body = ErrorBody, description = "The guard refuses the request"),
            (status = 409, body = ErrorBody, description = "Profiling is off; says how to switch it on"),
            (status = 503, body = ErrorBody, description = "The profile failed"),
        )
    )
)]
pub(super) async fn snapshot(
    State(parts): Scope,
    Parameters(Places { by, limit }): Parameters<Places>,
) -> Answer<Snapshot> {
    let taken = move |parts: &Parts| {
        let snapshot = parts.instrument.profiles().take()?;
        parts.record("snapshot", json!({ "total_bytes": snapshot.total_bytes }));
        let mut sites = snapshot.sites(by);
        sites.truncate(limit.unwrap_or(PLACES));
        let (total_bytes, total_count) = (snapshot.total_bytes, snapshot.total_count);
        Ok(Json(Snapshot { total_bytes, total_count, by, sites }))
    };
    off_runtime(&parts, taken).await.map_err(no_profile)
}

fn no_profile(error: heap::Error) -> Error {
    NoProfile::from(error).into()
}

/// The baseline, or what grew since.
#[derive(Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Diff))]
pub(super) enum Diff {
    /// There is something to compare with from now on.
    BaselineSet {
        /// Live memory in the baseline.
        total_bytes: u64,
    },
    /// A profile was compared with the baseline, which stays.
    Compared {
        /// What the places are grouped by.
        by: By,
        /// Age of the baseline, in seconds.
        baseline_age_seconds: f64,
        /// Growth of live memory.
        total_bytes_diff: i64,
        /// Places that grew by more than chance explains, the largest growth first.
        growing: Vec<Growth>,
    },
}

/// Sets what diffs compare with.
#[cfg_attr(
    feature = "utoipa",
    utoipa::path(
        post,
        path = "/debug/memory/baseline",
        tag = "memory",
        responses(
            (status = 200, body = Diff, description = "`status` is `baseline_set`"),
            (status = 403, body = ErrorBody, description = "The guard refuses the request"),
            (status = 409, body = ErrorBody, description = "Profiling is off; says how to switch it on"),
            (status = 503, body = ErrorBody, description = "The profile failed"),
        )
    )
)]
pub(super) async fn baseline(State(parts): Scope) -> Answer<Diff> {
    let set = |parts: &Parts| {
        let now = parts.instrument.profiles().take()?;
        parts.instrument.profiles().set_baseline(Arc::clone(&now));
        parts.record("baseline", json!({ "total_bytes": now.total_bytes }));
        Ok(Json(Diff::BaselineSet { total_bytes: now.total_bytes }))
    };
    off_runtime(&parts, set).await.map_err(no_profile)
}

/// What grew since the baseline, which `POST /debug/memory/baseline` sets.
#[cfg_attr(
    feature = "utoipa",
    utoipa::path(
        get,
        path = "/debug/memory/diff",
        tag = "memory",
        params(Places),
        responses(
            (status = 200, body = Diff),
            (status = 400, body = ErrorBody, description = "A parameter that is not understood"),
            (status = 403, body = ErrorBody, description = "The guard refuses the request"),
            (status = 409, body = ErrorBody, description = "There is no baseline, or profiling is off; says what to do"),
            (status = 503, body = ErrorBody, description = "The profile failed"),
        )
    )
)]
pub(super) async fn diff(
    State(parts): Scope,
    Parameters(Places { by, limit }): Parameters<Places>,
) -> Answer<Diff> {
    let compared = move |parts: &Parts| {
        let base = pprof::baseline(parts.instrument.profiles())?;
        let now = parts.instrument.profiles().take()?;
        let total_bytes_diff = now.total_bytes as i64 - base.total_bytes as i64;
        parts.record("diff", json!({ "total_bytes_diff": total_bytes_diff }));
        Ok(Json(Diff::Compared {
            by,
            baseline_age_seconds: base.age().as_secs_f64(),
            total_bytes_diff,
            growing: heap::growing(&base, &now, by, limit.unwrap_or(PLACES)),
        }))
    };
    off_runtime(&parts, compared).await.map_err(|why: NoProfile| why.into())
}

/// What a profile shows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "utoipa", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub(super) struct Growing {
    /// Waits for so many seconds, 1 to 300, and shows what grew and shrank in that time, as Go does.
    #[cfg_attr(feature = "utoipa", param(value_type = Option<u64>, minimum = 1, maximum = 300, example = 30))]
    seconds: Option<Seconds>,
}

impl Fields for Growing {
    const EXAMPLE: &'static str = "no query, or one of seconds=1 to seconds=300";
}

/// A heap profile in pprof's format (gzipped protobuf), for `go tool pprof`.
#[cfg_attr(
    feature = "utoipa",
    utoipa::path(
        get,
        path = "/debug/pprof/heap",
        tag = "memory",
        params(Growing),
        responses(
            (status = 200, body = [u8], content_type = "application/octet-stream", description = "`inuse_space` and `inuse_objects`"),
            (status = 400, body = ErrorBody, description = "A parameter that is not understood"),
            (status = 403, body = ErrorBody, description = "The guard refuses the request"),
            (status = 409, body = ErrorBody, description = "Profiling is off; says how to switch it on"),
            (status = 429, body = ErrorBody, description = "Too many requests wait already; says when to ask again"),
            (status = 503, body = ErrorBody, description = "The program stops before the time is over"),
        )
    )
)]
pub(super) async fn profile(
    State(parts): Scope,
    Parameters(Growing { seconds }): Parameters<Growing>,
) -> Result<Response, Error> {
    let _place = match seconds {
        Some(seconds) => Some(parts.waiting.try_acquire().map_err(|_| busy(seconds))?),
        None => None,
    };
    Ok(pprof::heap(parts.instrument.profiles(), seconds, parts.stopping()).await?)
}

/// All places for requests that wait are taken. The client may ask again after the time that it wanted to wait.
fn busy(seconds: Seconds) -> Error {
    let message =
        format!("{WAITING} requests are profiling growth already, and each of them holds a profile");
    let expected = "the same request later";
    Error::new(StatusCode::TOO_MANY_REQUESTS, "busy", message, expected).retry_after(seconds.count())
}

/// What a flame graph shows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "utoipa", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub(super) struct Against {
    /// `baseline` colours what grew (red) and what shrank (blue) since the baseline.
    #[cfg_attr(feature = "utoipa", param(value_type = Option<String>, example = "baseline"))]
    base: Option<Base>,
}

impl Fields for Against {
    const EXAMPLE: &'static str = "no query, or base=baseline";
}

/// The live heap as a flame graph: an SVG for a browser.
#[cfg_attr(
    feature = "utoipa",
    utoipa::path(
        get,
        path = "/debug/pprof/flamegraph",
        tag = "memory",
        params(Against),
        responses(
            (status = 200, body = String, content_type = "image/svg+xml"),
            (status = 400, body = ErrorBody, description = "A parameter that is not understood"),
            (status = 403, body = ErrorBody, description = "The guard refuses the request"),
            (status = 409, body = ErrorBody, description = "Profiling is off, or there is no baseline"),
            (status = 503, body = ErrorBody, description = "The profile failed"),
        )
    )
)]
pub(super) async fn flamegraph(
    State(parts): Scope,
    Parameters(Against { base }): Parameters<Against>,
) -> Result<Response, Error> {
    Ok(pprof::flamegraph(parts.instrument.profiles(), base).await?)
}
