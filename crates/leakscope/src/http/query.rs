//! What the routes' parameters may be. A value out of range is refused where the query is read.

use axum::extract::{Query, rejection::QueryRejection};

use super::Error;

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
