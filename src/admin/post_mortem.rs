//! How the runs before this one ended.

use std::{num::NonZeroUsize, sync::Arc};

use axum::{Json, extract::State};
use leakscope::http::off_runtime;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    http::{
        error::{Error, ErrorBody},
        extract::{Fields, Parameters},
    },
    post_mortem::EndOfRun,
    recording::Event,
};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(post_mortem))
}

/// Which run.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Query {
    /// 1 (the default) is the last run, 2 the one before it.
    #[param(value_type = Option<usize>, minimum = 1, example = 1)]
    n: Option<NonZeroUsize>,
}

impl Fields for Query {
    const EXAMPLE: &'static str = "a query of n=1 for the last run, n=2 for the one before it, and so on";
}

/// How a run before this one ended: the cause with its evidence, at how many bytes, and which lines had grown.
#[utoipa::path(
    get,
    path = "/admin/post-mortem",
    tag = "memory",
    params(Query),
    responses(
        (status = 200, body = EndOfRun),
        (status = 400, body = ErrorBody, description = "A parameter that is not understood"),
        (status = 404, body = ErrorBody, description = "There is no such run"),
    )
)]
async fn post_mortem(
    State(app): State<Arc<App>>,
    Parameters(query): Parameters<Query>,
) -> Result<Json<EndOfRun>, Error> {
    let n = query.n.map_or(1, NonZeroUsize::get);
    let kept = &app.recording.history().post_mortems;
    let Some(asked) = kept.get(n - 1) else { return Err(Error::NoPreviousRun { kept: kept.len() }) };
    let answer = Json(EndOfRun::of(asked));
    off_runtime(&app, |app| app.recording.event(Event::PostMortem {})).await;
    Ok(answer)
}
