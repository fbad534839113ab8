//! What memory consists of, and how it changes over time.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use super::{
    super::{Fields, Parameters, off_runtime, parts::Parts},
    Answer, Scope,
};
#[cfg(feature = "utoipa")]
use crate::http::ErrorBody;
use crate::{
    heap::Status,
    instrument::Window,
    memory::{Limit, Report},
    trend::TrendReport,
};

/// What memory consists of, under which limit, and whether the heap can be profiled.
#[derive(Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Memory))]
pub(super) struct Memory {
    #[serde(flatten)]
    report: Report,
    limit: Limit,
    profiler: Status,
}

/// The process, its cgroup, its allocator, and the parts that sum to RSS.
#[cfg_attr(
    feature = "utoipa",
    utoipa::path(
        get,
        path = "/debug/memory",
        tag = "memory",
        responses(
            (status = 200, body = Memory),
            (status = 403, body = ErrorBody, description = "The guard refuses the request"),
        )
    )
)]
pub(super) async fn memory(State(parts): Scope) -> Json<Memory> {
    let read = |parts: &Parts| Memory {
        report: Arc::unwrap_or_clone(parts.instrument.memory()),
        limit: parts.instrument.limit(),
        profiler: parts.instrument.profiles().profiler().status().clone(),
    };
    Json(off_runtime(&parts, read).await)
}

/// Which samples to look at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "utoipa", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub(super) struct Back {
    /// Seconds back from now, 10 to 1800 (300 unless told otherwise).
    #[serde(default)]
    #[cfg_attr(feature = "utoipa", param(value_type = Option<u64>, minimum = 10, maximum = 1800, example = 300))]
    window: Window,
}

impl Fields for Back {
    const EXAMPLE: &'static str = "window=300: seconds, a whole number from 10 to 1800";
}

/// Whether memory grows, and when it reaches the limit if it goes on so.
#[cfg_attr(
    feature = "utoipa",
    utoipa::path(
        get,
        path = "/debug/memory/trend",
        tag = "memory",
        params(Back),
        responses(
            (status = 200, body = TrendReport),
            (status = 400, body = ErrorBody, description = "A parameter that is not understood"),
            (status = 403, body = ErrorBody, description = "The guard refuses the request"),
        )
    )
)]
pub(super) async fn trend(
    State(parts): Scope,
    Parameters(Back { window }): Parameters<Back>,
) -> Answer<TrendReport> {
    Ok(Json(off_runtime(&parts, move |parts| parts.instrument.trend(window)).await))
}
