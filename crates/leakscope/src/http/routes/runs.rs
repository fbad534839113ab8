//! How earlier runs ended, and what the requests of this one keep.

use std::{num::NonZeroUsize, sync::atomic::Ordering::Relaxed};

use axum::{Json, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{
    super::{Error, Fields, Parameters, requests::Route},
    Answer, Scope,
};
#[cfg(feature = "utoipa")]
use crate::http::ErrorBody;
use crate::{recorder::PostMortem, request};

/// Which run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "utoipa", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub(super) struct Nth {
    /// 1 (the default) is the last run, 2 the one before it.
    #[cfg_attr(feature = "utoipa", param(value_type = Option<usize>, minimum = 1, example = 1))]
    n: Option<NonZeroUsize>,
}

impl Fields for Nth {
    const EXAMPLE: &'static str = "n=1 for the last run, n=2 for the one before it, and so on";
}

/// How an earlier run ended: the cause with its evidence, and which lines had grown.
#[cfg_attr(
    feature = "utoipa",
    utoipa::path(
        get,
        path = "/debug/post-mortem",
        tag = "memory",
        params(Nth),
        responses(
            (status = 200, body = PostMortem),
            (status = 400, body = ErrorBody, description = "A parameter that is not understood"),
            (status = 403, body = ErrorBody, description = "The guard refuses the request"),
            (status = 404, body = ErrorBody, description = "There is no such run, or none is recorded"),
        )
    )
)]
pub(super) async fn post_mortem(
    State(parts): Scope,
    Parameters(Nth { n }): Parameters<Nth>,
) -> Answer<PostMortem> {
    let nth = n.map_or(1, NonZeroUsize::get);
    let recorder = parts.instrument.recorder().ok_or_else(not_recorded)?;
    let kept = &recorder.history().post_mortems;
    kept.get(nth - 1).cloned().map(Json).ok_or_else(|| Error::no_previous_run(kept.len()))
}

fn not_recorded() -> Error {
    Error::new(
        StatusCode::NOT_FOUND,
        "not_recorded",
        "no flight recorder is on, so nothing is known of earlier runs",
        "a program that calls `Builder::record_in`",
    )
}

/// What requests keep.
#[derive(Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Requests))]
pub(super) struct Requests {
    /// Requests since the start, as the layer counts them, or as the program itself does.
    requests: u64,
    /// Why they are not measured, where they are not.
    problem: Option<String>,
    /// The route that keeps most comes first.
    routes: Vec<Route>,
}

/// What requests keep, by route.
#[cfg_attr(
    feature = "utoipa",
    utoipa::path(
        get,
        path = "/debug/requests",
        tag = "memory",
        responses(
            (status = 200, body = Requests),
            (status = 403, body = ErrorBody, description = "The guard refuses the request"),
        )
    )
)]
pub(super) async fn requests(State(parts): Scope) -> Json<Requests> {
    Json(Requests {
        requests: parts.instrument.requests().load(Relaxed),
        problem: request::available().err().map(|reason| reason.to_string()),
        routes: parts.requests.routes(),
    })
}
