//! The cache as it was shipped: "the key is the full request signature" sounded safe.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    super::{Feature, Held, Lookups, RequestInfo, locked, payload},
    BUFFER_BYTES, CachedResponse, PAYLOAD_BYTES,
};

#[derive(Default)]
pub(super) struct ResponseCache {
    responses: Mutex<HashMap<Box<str>, CachedResponse>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Feature for ResponseCache {
    fn serve(&self, request: &RequestInfo<'_>) {
        // The bug: no two requests have the same id, so no two have the same key.
        let key = format!("GET {} x-request-id={}", request.path, request.request_id).into_boxed_str();
        if locked(&self.responses).get(&key).is_some_and(CachedResponse::is_intact) {
            self.hits.fetch_add(1, Relaxed);
            return;
        }
        self.misses.fetch_add(1, Relaxed);
        let origin = keep_response_buffer(&format!("item of {} from the origin\n", request.path));
        let body = keep_response_buffer(&format!("<p>{} for {}</p>\n", request.path, request.request_id));
        store_response_for_ever(&self.responses, key, CachedResponse::new(body, origin));
    }

    fn held(&self) -> Held {
        Held::of(locked(&self.responses).len(), PAYLOAD_BYTES)
    }

    fn clear(&self) -> u64 {
        // Taking the map gives back its table too. The entries are freed outside the lock: requests go on meanwhile.
        let removed = std::mem::take(&mut *locked(&self.responses));
        removed.len() as u64
    }

    fn lookups(&self) -> Option<Lookups> {
        Some(Lookups { hits: self.hits.load(Relaxed), misses: self.misses.load(Relaxed) })
    }
}

/// Growth site: every byte of the cached responses is allocated here.
#[inline(never)]
fn keep_response_buffer(text: &str) -> Box<[u8]> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    payload::fill(&mut buffer, text);
    buffer.into_boxed_slice()
}

/// Growth site: the map's own table grows here, and never shrinks.
#[inline(never)]
fn store_response_for_ever(
    responses: &Mutex<HashMap<Box<str>, CachedResponse>>,
    key: Box<str>,
    response: CachedResponse,
) {
    locked(responses).insert(key, response);
}
