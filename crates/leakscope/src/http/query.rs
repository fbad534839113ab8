//! What the routes' parameters may be. A value out of range is refused where the query is read.

use axum::extract::{FromRequestParts, Query};
use http::{StatusCode, request::Parts};
use serde::de::DeserializeOwned;

use super::Error;

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
