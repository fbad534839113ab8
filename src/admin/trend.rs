//! Whether memory grows, how much each request leaves, and when it runs out.

use std::sync::Arc;

use axum::{Json, extract::State};
use leakscope::{
    Instrument,
    http::off_runtime,
    instrument::{Profiles, Window},
    trend::TrendReport,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Parts;
use crate::http::{
    error::{self, Error, ErrorBody},
    extract::{Fields, Parameters},
};

pub(super) fn routes() -> OpenApiRouter<Parts> {
    OpenApiRouter::new().routes(routes!(trend))
}

/// Which samples to look at.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TrendQuery {
    /// Seconds back from now, 10 to 1800 (300 unless told).
    #[serde(default)]
    #[param(value_type = Option<u64>, minimum = 10, maximum = 1800, example = 300)]
    window: Window,
}

impl Fields for TrendQuery {
    const EXAMPLE: &'static str = "a query of window=300: seconds, a whole number from 10 to 1800";
    const CODE: &'static str = error::BAD_URL;
}

/// Whether memory grows, by how much a second and a request, and, if it goes on so, when it reaches the limit.
#[utoipa::path(
    get,
    path = "/admin/memory/trend",
    tag = "memory",
    params(TrendQuery),
    responses(
        (status = 200, body = TrendReport, description = "Null where there is nothing to say"),
        (status = 400, body = ErrorBody, description = "A parameter that is not understood"),
    )
)]
async fn trend(
    State(instrument): State<Instrument>,
    State(profiles): State<Arc<Profiles>>,
    Parameters(query): Parameters<TrendQuery>,
) -> Result<Json<TrendReport>, Error> {
    Ok(Json(off_runtime(&profiles, move |_| instrument.trend(query.window)).await))
}
