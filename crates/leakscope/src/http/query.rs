//! What the routes' parameters may be. A value out of range is refused where the query is read.

use std::{ops::RangeInclusive, time::Duration};

use axum::extract::{Query, rejection::QueryRejection};
use serde::Deserialize;

use super::Error;
use crate::{
    memory::{Limit, Sampler, USUAL_CAPACITY},
    trend::{self, Config, TrendReport},
};

/// How far back a trend looks: 10 to 1800 seconds, 300 unless told.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Window(Duration);

/// Enough samples to be judged at all, and no more than are kept at one a second.
const WINDOW_SECONDS: RangeInclusive<u64> = 10..=USUAL_CAPACITY as u64;

impl Window {
    /// What the samples of this window say. A few milliseconds for the longest one: call it off the async runtime.
    pub fn trend(self, sampler: &Sampler, limit: Limit) -> TrendReport {
        let config = Config { window_seconds: self.0.as_secs_f64(), ..Config::default() };
        trend::report(&sampler.window(self.0), limit.bytes, &config)
    }
}

impl Default for Window {
    fn default() -> Self {
        Self(Duration::from_secs_f64(Config::default().window_seconds))
    }
}

impl TryFrom<u64> for Window {
    type Error = String;

    fn try_from(seconds: u64) -> Result<Self, String> {
        match WINDOW_SECONDS.contains(&seconds) {
            true => Ok(Self(Duration::from_secs(seconds))),
            false => Err(format!("the window is {seconds} seconds")),
        }
    }
}

/// What a route's query may hold.
pub(super) trait Parameters {
    /// For those who got it wrong.
    const EXPECTED: &'static str;
}

/// The query, or what would have been right.
pub(super) fn parameters<T: Parameters>(query: Result<Query<T>, QueryRejection>) -> Result<T, Error> {
    match query {
        Ok(Query(parameters)) => Ok(parameters),
        Err(rejection) => Err(Error::BadQuery { problem: rejection.body_text(), expected: T::EXPECTED }),
    }
}
