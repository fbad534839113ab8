//! One request's account: its tally, what came in with it, and who is told when it is over.

use http::request::Parts;

use super::thread::Tally;
use super::{Measured, Sink};

/// Shared by everything of a request that is still there: its future, its response body, and the frames of that body
/// that the server has not yet sent. The last one to go closes it.
pub(super) struct Account<S: Sink> {
    pub(super) tally: Tally,
    sink: Option<S>,
    // The service works on a copy, made at its own expense. The original was allocated by the server, and its header
    // values are slices of the server's read buffer: held until the account is closed, none of it is freed inside.
    pub(super) came_in: Parts,
}

impl<S: Sink> Account<S> {
    pub(super) fn new(sink: S, came_in: Parts) -> Self {
        Self { tally: Tally::default(), sink: Some(sink), came_in }
    }
}

impl<S: Sink> Drop for Account<S> {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            sink.finish(Measured {
                allocated_bytes: self.tally.allocated_bytes(),
                freed_bytes: self.tally.freed_bytes(),
            });
        }
    }
}
