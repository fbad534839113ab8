//! What the routes' parameters may be. A value out of range is refused where the query is read.

use std::{ops::RangeInclusive, time::Duration};

use axum::extract::{FromRequestParts, Query};
use http::{StatusCode, request::Parts};
use serde::{Deserialize, de::DeserializeOwned};

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
pub trait Fields {
    /// For those who got it wrong: a query that fits, with its alternatives.
    const EXAMPLE: &'static str;

    /// The code of the error that they get.
    const CODE: &'static str = "bad_query";
}

/// A query with the fields of `T` and no others.
#[derive(Debug)]
pub struct Parameters<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Fields> FromRequestParts<S> for Parameters<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(rejection) => {
                Err(Error::new(StatusCode::BAD_REQUEST, T::CODE, rejection.body_text(), T::EXAMPLE))
            }
        }
    }
}
