//! Why a request to the instrument was not answered as asked: a status, a stable code, what was wrong, and what would be right.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::json;

use super::{Refused, pprof::NoProfile, routes};

/// Why a request was not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the messages say")]
pub enum Error {
    /// No such path.
    #[error("there is no {path}")]
    UnknownRoute { path: String },
    /// The path has another method.
    #[error("{path} does not take {method}")]
    MethodNotAllowed { path: String, method: String },
    /// The query can't be read.
    #[error("{problem}")]
    BadQuery { problem: String, expected: &'static str },
    /// There is no heap profile.
    #[error(transparent)]
    NoProfile(#[from] NoProfile),
    /// Nothing is recorded.
    #[error("no flight recorder is on, so nothing is known of earlier runs")]
    NotRecorded,
    /// The end of no such run is known.
    #[error("there was no such run before this one: the ends of {kept} are known")]
    NoPreviousRun { kept: usize },
    /// A browser came from elsewhere, or by a foreign name.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Error {
    /// HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownRoute { .. } | Self::NotRecorded | Self::NoPreviousRun { .. } => {
                StatusCode::NOT_FOUND
            }
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadQuery { .. } => StatusCode::BAD_REQUEST,
            Self::NoProfile(why) => why.status(),
            Self::Refused(_) => StatusCode::FORBIDDEN,
        }
    }

    /// A name for programs; it never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownRoute { .. } => "unknown_route",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::BadQuery { .. } => "bad_query",
            Self::NoProfile(why) => why.code(),
            Self::NotRecorded => "not_recorded",
            Self::NoPreviousRun { .. } => "no_previous_run",
            Self::Refused(why) => why.code(),
        }
    }

    /// What would be right.
    pub fn expected(&self) -> String {
        match self {
            Self::UnknownRoute { .. } => format!("one of {}", routes::list()),
            Self::MethodNotAllowed { path, .. } => routes::method_of(path).to_owned(),
            Self::BadQuery { expected, .. } => (*expected).to_owned(),
            Self::NoProfile(NoProfile::Off(_)) => {
                "`leakscope::jemalloc!();` at the root of the program, on Linux".to_owned()
            }
            Self::NoProfile(NoProfile::Failed(_)) => "the same request again".to_owned(),
            Self::NoProfile(NoProfile::NoBaseline) => {
                "the same request after POST /debug/memory/baseline".to_owned()
            }
            Self::NoProfile(NoProfile::Stopping) => "the same request after the next start".to_owned(),
            Self::NotRecorded => "a program that calls `Builder::record_in`".to_owned(),
            Self::NoPreviousRun { kept: 0 } => {
                "a program that was started before with the same folder".to_owned()
            }
            Self::NoPreviousRun { kept } => format!("n from 1, the last run, to {kept}"),
            Self::Refused(Refused::Host(_)) => {
                "localhost, a loopback address, or a name given to `Builder::allow_host`".to_owned()
            }
            Self::Refused(Refused::CrossSite(_)) => {
                "curl, or a page of a host given to `Builder::allow_host`".to_owned()
            }
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let error = json!({ "code": self.code(), "message": self.to_string(), "expected": self.expected() });
        (self.status(), Json(json!({ "error": error }))).into_response()
    }
}
