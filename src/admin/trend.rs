//! Whether memory grows, how much each request leaves, and when it runs out.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use leakscope::trend::TrendReport;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::off_runtime;
use crate::{
    app::{App, SAMPLE_CAPACITY},
    http::{
        error::{Error, ErrorBody},
        extract::{Fields, Parameters},
    },
    telemetry::trend::{read, usual_window},
};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(trend))
}

/// Windows in seconds: enough samples to be judged at all, and no more than are kept at one a second.
const WINDOWS: std::ops::RangeInclusive<u64> = 10..=SAMPLE_CAPACITY as u64;

/// Which samples to look at.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TrendQuery {
    /// Seconds back from now, 10 to 1800 (300 unless told).
    #[param(minimum = 10, maximum = 1800, example = 300)]
    window: Option<u64>,
}

impl Fields for TrendQuery {
    const EXAMPLE: &'static str = "a query of window=300: seconds, a whole number from 10 to 1800";
}

impl TrendQuery {
    fn window(&self) -> Result<Duration, Error> {
        match self.window {
            None => Ok(usual_window()),
            Some(seconds) if WINDOWS.contains(&seconds) => Ok(Duration::from_secs(seconds)),
            Some(seconds) => {
                let problem = format!("the window is {seconds} seconds");
                Err(Error::BadUrl { problem, expected: Self::EXAMPLE })
            }
        }
    }
}

/// Whether memory grows, by how much a second and a request, and, if it goes on so, when it reaches the limit.
#[utoipa::path(
    get,
    path = "/admin/memory/trend",
    tag = "memory",
    params(TrendQuery),
    responses(
        (status = 200, body = Object, description = "`verdict` is `growing`, `flat` or `undecided`; null where there is nothing to say"),
        (status = 400, body = ErrorBody, description = "A parameter that is not understood"),
    )
)]
async fn trend(
    State(app): State<Arc<App>>,
    Parameters(query): Parameters<TrendQuery>,
) -> Result<Json<TrendReport>, Error> {
    let window = query.window()?;
    Ok(Json(off_runtime(&app, move |app| read(&app.sampler, app.limit, window)).await))
}
