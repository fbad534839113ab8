//! The one error that clients see: a status, a stable code, what was wrong, and what would be right.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use leakscope::{
    heap,
    http::{Refused, pprof::NoProfile},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request was not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the messages say")]
pub enum Error {
    /// No such path.
    #[error("there is no {path}")]
    UnknownRoute { path: String, routes: String },
    /// The path has other methods.
    #[error("{path} does not take {method}")]
    MethodNotAllowed { path: String, method: String, allowed: String },
    /// The path or its query can't be read.
    #[error("{problem}")]
    BadUrl { problem: String, expected: &'static str },
    /// Not JSON, or not a JSON object.
    #[error("the body is not a JSON object: {problem}")]
    BadJson { problem: String, example: &'static str },
    /// JSON, but not with these fields.
    #[error("the body does not fit: {problem}")]
    BadField { problem: String, example: &'static str },
    /// Longer than any body this service wants.
    #[error("the body is longer than {0} bytes")]
    BodyTooLarge(usize),
    /// It did not come in time.
    #[error("the body did not arrive within {0} seconds")]
    BodyTooSlow(u64),
    /// The client went away in the middle of it.
    #[error("the body broke off: {0}")]
    BodyIncomplete(String),
    /// No leak of that name.
    #[error("there is no leak {name:?}")]
    UnknownLeak { name: String, names: String },
    /// No lab of that id.
    #[error("there is no lab {id:?}")]
    UnknownLab { id: String, ids: String },
    /// No variant of that name.
    #[error("there is no variant {name:?}")]
    UnknownVariant { name: String, names: String },
    /// Nothing was recorded under that id, or it is no longer kept.
    #[error("there is no record of request {0:?}")]
    UnknownRecord(String),
    /// The end of no such run is known.
    #[error("there was no such run before this one: the ends of {kept} are known")]
    NoPreviousRun { kept: usize },
    /// A leak without a memory limit could hurt the host.
    #[error("this process has no memory limit: a leak would eat the host's memory, so it is not switched on")]
    NoLimit,
    /// There is no heap profile.
    #[error(transparent)]
    NoProfile(NoProfile),
    /// A browser came from elsewhere, or by a foreign name.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The service is about to stop.
    #[error("the service is draining: it is about to stop")]
    Draining,
}

impl Error {
    /// HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownRoute { .. }
            | Self::UnknownLeak { .. }
            | Self::UnknownLab { .. }
            | Self::UnknownRecord(_)
            | Self::NoPreviousRun { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadUrl { .. } | Self::BadJson { .. } | Self::BodyIncomplete(_) => StatusCode::BAD_REQUEST,
            Self::BadField { .. } | Self::UnknownVariant { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::NoLimit => StatusCode::CONFLICT,
            Self::NoProfile(why) => why.status(),
            Self::Refused(_) => StatusCode::FORBIDDEN,
            Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A name for programs; it never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownRoute { .. } => "unknown_route",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::BadUrl { .. } => "bad_url",
            Self::BadJson { .. } => "bad_json",
            Self::BadField { .. } => "bad_field",
            Self::BodyTooLarge(_) => "body_too_large",
            Self::BodyTooSlow(_) => "body_too_slow",
            Self::BodyIncomplete(_) => "body_incomplete",
            Self::UnknownLeak { .. } => "unknown_leak",
            Self::UnknownLab { .. } => "unknown_lab",
            Self::UnknownVariant { .. } => "unknown_variant",
            Self::UnknownRecord(_) => "unknown_record",
            Self::NoPreviousRun { .. } => "no_previous_run",
            Self::NoLimit => "no_limit",
            Self::NoProfile(why) => why.code(),
            Self::Refused(why) => why.code(),
            Self::Draining => "draining",
        }
    }

    /// What would be right.
    pub fn expected(&self) -> String {
        match self {
            Self::UnknownRoute { routes, .. } => format!("one of {routes}; described at /docs"),
            Self::MethodNotAllowed { allowed, .. } => allowed.clone(),
            Self::BadUrl { expected, .. } => (*expected).to_owned(),
            Self::BadJson { example, .. } | Self::BadField { example, .. } => format!("a JSON object such as {example}"),
            Self::BodyTooLarge(limit) => format!("at most {limit} bytes"),
            Self::BodyTooSlow(_) | Self::BodyIncomplete(_) => "the whole body at once".into(),
            Self::UnknownLeak { names, .. } | Self::UnknownVariant { names, .. } => format!("one of {names}"),
            Self::UnknownLab { ids, .. } => format!("one of {ids}; listed at /admin/labs"),
            Self::UnknownRecord(_) => {
                "the request_id of a request to /api/data, made while the leak history was on and not cleared since"
                    .into()
            }
            Self::NoPreviousRun { kept: 0 } => "a service that was started before with the same LEAKLAB_DATA_DIR".into(),
            Self::NoPreviousRun { kept } => format!("n from 1, the last run, to {kept}"),
            Self::NoLimit => {
                "a container with a memory limit, `leaklab lab`, which sets one, or `leaklab serve --no-limit`".into()
            }
            Self::NoProfile(NoProfile::Off(_)) => {
                "the default allocator on Linux, with prof:true in _RJEM_MALLOC_CONF".into()
            }
            Self::NoProfile(NoProfile::Failed(_)) => "the same request again".into(),
            Self::NoProfile(NoProfile::NoBaseline) => "the same request after POST /admin/memory/baseline".into(),
            Self::Refused(Refused::Host(_)) => {
                "localhost, a loopback address, leaky-service, or a name listed in LEAKLAB_ALLOWED_HOSTS".into()
            }
            Self::Refused(Refused::CrossSite(_)) => {
                "curl, this service's own pages, or a page of a host listed in LEAKLAB_ALLOWED_HOSTS".into()
            }
            Self::NoProfile(NoProfile::Stopping) | Self::Draining => {
                "the same request to the service after its restart".into()
            }
        }
    }
}

impl From<NoProfile> for Error {
    fn from(why: NoProfile) -> Self {
        if why == NoProfile::Stopping { Self::Draining } else { Self::NoProfile(why) }
    }
}

impl From<heap::Error> for Error {
    fn from(error: heap::Error) -> Self {
        NoProfile::from(error).into()
    }
}

/// An error as JSON.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What was wrong, and what would be right.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// Stable name, for programs.
    pub code: &'static str,
    /// What was wrong.
    pub message: String,
    /// What would be right.
    pub expected: String,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let error = ErrorDetail { code: self.code(), message: self.to_string(), expected: self.expected() };
        (self.status(), Json(ErrorBody { error })).into_response()
    }
}
