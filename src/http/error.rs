//! The errors that any route can answer with. Each has a status, a stable code, what was wrong, and what would be right.
//!
//! The type is leakscope's. Errors of one subject (no such leak, no such lab) are made where that subject is.

use axum::http::StatusCode;
pub use leakscope::http::{Error, ErrorBody};
use leakscope::http::{Refused, pprof::NoProfile};

/// Code of a path or query that can't be read.
pub const BAD_URL: &str = "bad_url";

/// The path can't be read.
pub fn bad_path(problem: String) -> Error {
    Error::new(StatusCode::BAD_REQUEST, BAD_URL, problem, "a path in UTF-8, percent-encoded")
}

/// The body is not JSON, or not a JSON object. `example` is one that fits.
pub fn bad_json(problem: &str, example: &str) -> Error {
    let message = format!("the body is not a JSON object: {problem}");
    Error::new(StatusCode::BAD_REQUEST, "bad_json", message, such_as(example))
}

/// The body is JSON, but not with these fields. `example` is one that fits.
pub fn bad_field(problem: &str, example: &str) -> Error {
    let message = format!("the body does not fit: {problem}");
    Error::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_field", message, such_as(example))
}

fn such_as(example: &str) -> String {
    format!("a JSON object such as {example}")
}

/// The body is longer than any that this service reads.
pub fn body_too_large(limit_bytes: usize) -> Error {
    let message = format!("the body is longer than {limit_bytes} bytes");
    let expected = format!("at most {limit_bytes} bytes");
    Error::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message, expected)
}

/// The body did not come in time.
pub fn body_too_slow(patience_seconds: u64) -> Error {
    let message = format!("the body did not arrive within {patience_seconds} seconds");
    Error::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", message, WHOLE_BODY)
}

/// The client went away in the middle of the body.
pub fn body_incomplete(problem: &str) -> Error {
    let message = format!("the body broke off: {problem}");
    Error::new(StatusCode::BAD_REQUEST, "body_incomplete", message, WHOLE_BODY)
}

const WHOLE_BODY: &str = "the whole body at once";

/// The service is about to stop.
pub fn draining() -> Error {
    let message = "the service is draining: it is about to stop";
    let expected = "the same request to the service after its restart";
    Error::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message, expected)
}

/// There is no heap profile.
pub fn no_profile(why: impl Into<NoProfile>) -> Error {
    let why = why.into();
    match why {
        NoProfile::Off(_) => {
            Error::from(why).expecting("the default allocator on Linux, with prof:true in _RJEM_MALLOC_CONF")
        }
        NoProfile::NoBaseline => {
            Error::from(why).expecting("the same request after POST /admin/memory/baseline")
        }
        NoProfile::Failed(_) => why.into(),
        NoProfile::Stopping => draining(),
    }
}

/// A browser came from another site or by a foreign name, or a proxy passed the request on.
pub fn refused(why: Refused) -> Error {
    let expected = match why {
        Refused::Forwarded(_) => {
            "a request without a proxy, or a service whose LEAKLAB_ALLOWED_HOSTS lists the host that it is reached by"
        }
        Refused::Host(_) => {
            "localhost, a loopback address, leaky-service, or a name listed in LEAKLAB_ALLOWED_HOSTS"
        }
        Refused::CrossSite(_) => {
            "curl, this service's own pages, or a page of a host listed in LEAKLAB_ALLOWED_HOSTS"
        }
    };
    Error::from(why).expecting(expected)
}
