//! One request's account: its tally, what came in with it, and who is told when it is over.

use http::request::Parts;

use super::thread::{self, Tally};
use super::{Measured, Sink};

/// Shared by everything of a request that is still there: its future, its response body, and the frames of that body
/// that the server has not yet sent. The last one to go closes it.
pub(super) struct Account<S: Sink> {
    pub(super) tally: Tally,
    sink: Option<S>,
    // Held until the account is closed, so that none of it is freed inside.
    came_in: Parts,
}

impl<S: Sink> Account<S> {
    /// Opens an account for the request whose head `came_in`.
    pub(super) fn new(sink: S, came_in: Parts) -> Self {
        // A buffer is allocated a reference count when it is first cloned: that is no expense of the service either.
        for (name, value) in &came_in.headers {
            drop((name.clone(), value.clone()));
        }
        drop(came_in.uri.clone());
        Self { tally: Tally::default(), sink: Some(sink), came_in }
    }

    /// The head for the service to work on, made at its expense. The server allocated the original, whose values are
    /// slices of its read buffer.
    pub(super) fn copy_of_head(&self) -> Parts {
        self.came_in.clone()
    }
}

impl<S: Sink> Drop for Account<S> {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            let measured = Measured {
                allocated_bytes: self.tally.allocated_bytes(),
                freed_bytes: self.tally.freed_bytes(),
            };
            thread::unmeasured(|| sink.finish(measured));
        }
    }
}
