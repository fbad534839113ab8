//! Why a request was not answered as asked: a status, a stable code, what was wrong, and what would be right.
//!
//! It knows no route. Whoever refuses a request makes an [`Error`], and a service that mounts the instrument can answer with the
//! same type on routes of its own.

use std::fmt;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde::Serialize;

/// Why a request was not answered as asked. As text it is its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    status: StatusCode,
    detail: ErrorDetail,
    retry_after_seconds: Option<u64>,
}

/// An error as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::ErrorBody))]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What was wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::ErrorDetail))]
pub struct ErrorDetail {
    /// A stable name, for programs.
    pub code: &'static str,
    /// What was wrong.
    pub message: String,
    /// What would be right.
    pub expected: String,
}

impl Error {
    /// `code` is a name for programs that never changes, `message` says what was wrong, `expected` what would be right.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        let detail = ErrorDetail { code, message: message.into(), expected: expected.into() };
        Self { status, detail, retry_after_seconds: None }
    }

    /// The end of no such run is known, but those of `kept` others.
    pub fn no_previous_run(kept: usize) -> Self {
        let expected = match kept {
            0 => "a program that was started before with the same folder".to_owned(),
            kept => format!("n from 1, the last run, to {kept}"),
        };
        let message = format!("there was no such run before this one: the ends of {kept} are known");
        Self::new(StatusCode::NOT_FOUND, "no_previous_run", message, expected)
    }

    /// The same error with another advice, for a service that knows better what would be right there.
    pub fn expecting(mut self, expected: impl Into<String>) -> Self {
        self.detail.expected = expected.into();
        self
    }

    /// The same error with a header that says when to ask again.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What was wrong, and what would be right.
    pub fn detail(&self) -> &ErrorDetail {
        &self.detail
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail.message)
    }
}

impl std::error::Error for Error {}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let retry_after =
            self.retry_after_seconds.map(|seconds| [(header::RETRY_AFTER, seconds.to_string())]);
        (self.status, retry_after, Json(ErrorBody { error: self.detail })).into_response()
    }
}
