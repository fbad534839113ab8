//! The labs: how far the learner is, and their checks.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State};
use leakscope::http::off_runtime;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    http::{
        error::{Error, ErrorBody},
        extract::{self, Segment},
    },
    labs::{Answer, LABS, Lab, Overview, Verdict, find},
};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(labs))
        .routes(routes!(check))
        .routes(routes!(reset))
        .routes(routes!(reset_all))
}

/// Every lab, and whether it is passed.
#[utoipa::path(get, path = "/admin/labs", tag = "labs", responses((status = 200, body = Overview)))]
async fn labs(State(app): State<Arc<App>>) -> Json<Overview> {
    Json(Overview { labs: app.labs.standings() })
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
        (status = 200, body = Verdict),
        (status = 404, body = ErrorBody, description = "No lab of that id"),
        (status = 422, body = ErrorBody, description = "The answer is not of the lab's form"),
    )
)]
async fn check(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    body: Body,
) -> Result<Json<Verdict>, Error> {
    let lab = known(&id)?;
    let example = lab.answer.unwrap_or(NO_ANSWER);
    let asked: Asked = extract::json(body, example).await?.unwrap_or_default();
    off_runtime(&app, move |app| {
        app.recording.read_now();
        app.labs.check(lab, asked.answer.as_ref(), |event| app.recording.event(event))
    })
    .await
    .map(Json)
    .map_err(|error| Error::BadField { problem: error.to_string(), example })
}

/// Forgets that a lab was passed; what happened until now does not count for it any more.
#[utoipa::path(
    post,
    path = "/admin/labs/{id}/reset",
    tag = "labs",
    params(("id" = String, Path, description = "Id of the lab", example = "1")),
    responses(
        (status = 200, body = Overview),
        (status = 404, body = ErrorBody, description = "No lab of that id"),
    )
)]
async fn reset(State(app): State<Arc<App>>, Segment(id): Segment) -> Result<Json<Overview>, Error> {
    let lab = known(&id)?;
    Ok(begin_anew(&app, Some(lab)).await)
}

/// Forgets that any lab was passed; what happened until now does not count any more.
#[utoipa::path(post, path = "/admin/labs/reset", tag = "labs", responses((status = 200, body = Overview)))]
async fn reset_all(State(app): State<Arc<App>>) -> Json<Overview> {
    begin_anew(&app, None).await
}

async fn begin_anew(app: &Arc<App>, lab: Option<&'static Lab>) -> Json<Overview> {
    off_runtime(app, move |app| {
        app.recording.read_now();
        Json(Overview { labs: app.labs.reset(lab) })
    })
    .await
}

fn known(id: &str) -> Result<&'static Lab, Error> {
    let unknown = || {
        let ids: Vec<_> = LABS.iter().map(|lab| lab.id).collect();
        Error::UnknownLab { id: id.to_owned(), ids: ids.join(", ") }
    };
    find(id).ok_or_else(unknown)
}
