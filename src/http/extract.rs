//! Paths, queries and bodies, with this service's errors where they don't fit.
//!
//! A body is JSON whatever its content type says: plain `curl -d` sends none that fits.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequestParts, Path, path::ErrorKind, rejection::PathRejection},
    http::request::Parts,
};
pub use leakscope::http::{Fields, Parameters};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{self, Error};

/// Longest body read.
pub const BODY_LIMIT_BYTES: usize = 16 * 1024;

/// Time for a body to arrive.
pub const BODY_PATIENCE: Duration = Duration::from_secs(5);

/// Reads a body of JSON as a `T`; `None` where it is empty. `example` is shown where it does not fit.
///
/// # Errors
/// Too long, too slow, broken off, not a JSON object, or not with `T`'s fields.
pub async fn json<T: DeserializeOwned>(body: Body, example: &'static str) -> Result<Option<T>, Error> {
    let read = tokio::time::timeout(BODY_PATIENCE, to_bytes(body, BODY_LIMIT_BYTES));
    let bytes = match read.await {
        Err(_) => return Err(error::body_too_slow(BODY_PATIENCE.as_secs())),
        Ok(Err(error)) => return Err(unreadable(&error)),
        Ok(Ok(bytes)) => bytes,
    };
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|problem| error::bad_json(&problem.to_string(), example))?;
    // A struct can be read from an array too; clients should not come to rely on that.
    if !value.is_object() {
        return Err(error::bad_json(&format!("it is {}", kind(&value)), example));
    }
    T::deserialize(value).map(Some).map_err(|problem| error::bad_field(&problem.to_string(), example))
}

fn unreadable(problem: &axum::Error) -> Error {
    let mut cause: Option<&dyn std::error::Error> = Some(problem);
    while let Some(problem) = cause {
        if problem.is::<http_body_util::LengthLimitError>() {
            return error::body_too_large(BODY_LIMIT_BYTES);
        }
        cause = problem.source();
    }
    error::body_incomplete(&problem.to_string())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The one parameter in a route's path.
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(rejection) => Err(error::bad_path(unreadable_path(rejection))),
        }
    }
}

fn unreadable_path(rejection: PathRejection) -> String {
    match rejection {
        PathRejection::FailedToDeserializePathParams(failed) => match failed.into_kind() {
            ErrorKind::InvalidUtf8InPathParam { key } => format!("{key} in the path is not UTF-8"),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}
