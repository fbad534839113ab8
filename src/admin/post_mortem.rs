//! How the runs before this one ended.

use std::{num::NonZeroUsize, sync::Arc};

use axum::{Json, extract::State};
use leakscope::http::off_runtime;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Parts;
use crate::{
    http::{
        error::{self, Error, ErrorBody},
        extract::{Fields, Parameters},
    },
    post_mortem::EndOfRun,
    recording::{Done, Recording},
};

pub(super) fn routes() -> OpenApiRouter<Parts> {
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
    const CODE: &'static str = error::BAD_URL;
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
    State(recording): State<Arc<Recording>>,
    Parameters(query): Parameters<Query>,
) -> Result<Json<EndOfRun>, Error> {
    let n = query.n.map_or(1, NonZeroUsize::get);
    let kept = &recording.history().post_mortems;
    let Some(asked) = kept.get(n - 1) else { return Err(no_previous_run(kept.len())) };
    let answer = Json(EndOfRun::of(asked));
    off_runtime(&recording, |recording| recording.event(Done::PostMortem {})).await;
    Ok(answer)
}

fn no_previous_run(kept: usize) -> Error {
    let error = Error::no_previous_run(kept);
    match kept {
        0 => error.expecting("a service that was started before with the same LEAKLAB_DATA_DIR"),
        _ => error,
    }
}
