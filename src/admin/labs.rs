//! The labs: how far the learner is, and their checks.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State, http::StatusCode};
use leakscope::http::off_runtime;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Parts;
use crate::{
    http::{
        error::{self, Error, ErrorBody},
        extract::{self, Segment},
    },
    labs::{Answer, CheckResult, LABS, Lab, Labs, Overview, find},
    recording::Recording,
};

pub(super) fn routes() -> OpenApiRouter<Parts> {
    OpenApiRouter::new()
        .routes(routes!(labs))
        .routes(routes!(check))
        .routes(routes!(reset))
        .routes(routes!(reset_all))
}

/// Every lab, and whether it is passed.
#[utoipa::path(get, path = "/admin/labs", tag = "labs", responses((status = 200, body = Overview)))]
async fn labs(State(labs): State<Arc<Labs>>) -> Json<Overview> {
    Json(Overview { labs: labs.standings() })
}

/// What a check is asked with.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The learner's answer, where the lab wants one.
    #[schema(value_type = Option<Object>)]
    answer: Option<Answer>,
}

/// The form of a body for a lab that takes no answer.
const NO_ANSWER: &str = "{}; this lab takes no answer";

/// Whether a lab's effect has happened, judged by what the flight recorder wrote down. A lab once passed stays passed.
#[utoipa::path(
    post,
    path = "/admin/labs/{id}/check",
    tag = "labs",
    params(("id" = String, Path, description = "Id of the lab", example = "1")),
    request_body(content = Asked, description = "May be empty"),
    responses(
        (status = 200, body = CheckResult),
        (status = 400, body = ErrorBody, description = "The path or the body can't be read"),
        (status = 404, body = ErrorBody, description = "No lab of that id"),
        (status = 408, body = ErrorBody, description = "The body did not come in time"),
        (status = 413, body = ErrorBody, description = "The body is too long"),
        (status = 422, body = ErrorBody, description = "The answer is not of the lab's form"),
    )
)]
async fn check(
    State(labs): State<Arc<Labs>>,
    State(recording): State<Arc<Recording>>,
    Segment(id): Segment,
    body: Body,
) -> Result<Json<CheckResult>, Error> {
    let lab = known(&id)?;
    let example = lab.answer.unwrap_or(NO_ANSWER);
    let asked: Asked = extract::json(body, example).await?.unwrap_or_default();
    off_runtime(&labs, move |labs| {
        recording.read_now();
        labs.check(lab, asked.answer.as_ref(), |event| recording.event(event))
    })
    .await
    .map(Json)
    .map_err(|problem| error::bad_field(&problem.to_string(), example))
}

/// Forgets that a lab was passed; what happened until now does not count for it any more.
#[utoipa::path(
    post,
    path = "/admin/labs/{id}/reset",
    tag = "labs",
    params(("id" = String, Path, description = "Id of the lab", example = "1")),
    responses(
        (status = 200, body = Overview),
        (status = 400, body = ErrorBody, description = "The path can't be read"),
        (status = 404, body = ErrorBody, description = "No lab of that id"),
    )
)]
async fn reset(
    State(labs): State<Arc<Labs>>,
    State(recording): State<Arc<Recording>>,
    Segment(id): Segment,
) -> Result<Json<Overview>, Error> {
    let lab = known(&id)?;
    Ok(start_again(&labs, recording, Some(lab)).await)
}

/// Forgets that any lab was passed; what happened until now does not count any more.
#[utoipa::path(post, path = "/admin/labs/reset", tag = "labs", responses((status = 200, body = Overview)))]
async fn reset_all(State(labs): State<Arc<Labs>>, State(recording): State<Arc<Recording>>) -> Json<Overview> {
    start_again(&labs, recording, None).await
}

async fn start_again(
    labs: &Arc<Labs>,
    recording: Arc<Recording>,
    lab: Option<&'static Lab>,
) -> Json<Overview> {
    off_runtime(labs, move |labs| {
        recording.read_now();
        Json(Overview { labs: labs.reset(lab) })
    })
    .await
}

fn known(id: &str) -> Result<&'static Lab, Error> {
    let unknown = || {
        let ids: Vec<_> = LABS.iter().map(|lab| lab.id).collect();
        let expected = format!("one of {}; listed at /admin/labs", ids.join(", "));
        Error::new(StatusCode::NOT_FOUND, "unknown_lab", format!("there is no lab {id:?}"), expected)
    };
    find(id).ok_or_else(unknown)
}
