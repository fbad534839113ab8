//! A response cache. The bug: its key holds something unique to each request, so nothing is ever found again, and nothing expires.

use super::{Facts, Implementations, payload};

mod fixed;
mod leaky;
#[path = "../../../exercises/cache.rs"]
#[allow(missing_docs, dead_code, clippy::all)] // the learner's, half finished at times
mod mine;

/// Payload kept for one response: the rendered body and the origin's answer it was rendered from.
pub const PAYLOAD_BYTES: usize = 2 * BUFFER_BYTES;

/// Below 16 KiB: jemalloc pads larger ones by a page, and bytes and RSS would drift apart.
const BUFFER_BYTES: usize = 12 * 1024;

pub(super) const FACTS: Facts = Facts {
    description: "Response cache keyed by the whole request, its unique id included: nothing is found again, nothing expires",
    count_field: "entries",
    removed_field: "entries_removed",
    removed_of_all_field: "cache_entries_removed",
    records_requests: false,
};

pub(super) fn implementations() -> Implementations {
    [
        Box::<leaky::ResponseCache>::default(),
        Box::<fixed::ResponseCache>::default(),
        Box::<mine::ResponseCache>::default(),
    ]
}

/// A response as the cache keeps it.
struct CachedResponse {
    body: Box<[u8]>,
    origin: Box<[u8]>,
    checksum: u64,
}

impl CachedResponse {
    fn new(body: Box<[u8]>, origin: Box<[u8]>) -> Self {
        let checksum = payload::checksum(&body) ^ payload::checksum(&origin);
        Self { body, origin, checksum }
    }

    /// Whether it can be served: both buffers are as they were stored.
    fn is_intact(&self) -> bool {
        payload::checksum(&self.body) ^ payload::checksum(&self.origin) == self.checksum
    }
}
