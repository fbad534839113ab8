//! Whether a leak may be switched on: something else than the host's memory must end what may grow.

use axum::http::StatusCode;
use leakscope::memory::{Limit, LimitSource};

use crate::{http::error::Error, leaks::Variant};

/// What decides whether a variant may be switched on in this process.
#[derive(Debug, Clone, Copy)]
pub struct Permission {
    limit: Limit,
    no_limit: bool,
}

impl Permission {
    /// Under that limit. `no_limit`: the user allows it without one, too (`serve --no-limit`).
    pub fn new(limit: Limit, no_limit: bool) -> Self {
        Self { limit, no_limit }
    }

    /// Whether that variant of a leak may be switched on.
    ///
    /// # Errors
    /// The variant may grow, and nothing limits the process.
    pub fn check(self, variant: Variant) -> Result<(), Error> {
        match !variant.may_grow() || self.limit.source != LimitSource::None || self.no_limit {
            true => Ok(()),
            false => Err(no_limit()),
        }
    }
}

fn no_limit() -> Error {
    Error::new(
        StatusCode::CONFLICT,
        "no_limit",
        "this process has no memory limit: a leak would eat the host's memory, so it is not switched on",
        "a container with a memory limit, `leaklab lab`, which sets one, or `leaklab serve --no-limit`",
    )
}
