//! The cache repaired: the key holds what decides the answer and nothing else, and the cache is bounded and expires.

use std::{
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use moka::sync::Cache;

use super::{
    super::{Feature, Held, Lookups, RequestInfo, payload},
    BUFFER_BYTES, CachedResponse, PAYLOAD_BYTES,
};

/// Responses kept at most: 1.5 MiB.
const CAPACITY: u64 = 64;
/// How long a response is good for.
const TIME_TO_LIVE: Duration = Duration::from_secs(60);

type Responses = Cache<String, Arc<CachedResponse>>;

pub(super) struct ResponseCache {
    /// Replaced as a whole by `clear`: moka keeps its table when it is emptied.
    responses: RwLock<Responses>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Default for ResponseCache {
    fn default() -> Self {
        Self { responses: RwLock::new(empty()), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }
}

fn empty() -> Responses {
    Cache::builder().max_capacity(CAPACITY).time_to_live(TIME_TO_LIVE).build()
}

impl ResponseCache {
    fn responses(&self) -> Responses {
        self.responses.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl Feature for ResponseCache {
    fn serve(&self, request: &RequestInfo<'_>) {
        let key = what_decides_the_answer(request.path);
        let responses = self.responses();
        if responses.get(key.as_str()).is_some_and(|response| response.is_intact()) {
            self.hits.fetch_add(1, Relaxed);
            return;
        }
        self.misses.fetch_add(1, Relaxed);
        let origin = response_buffer(&format!("item of {key} from the origin\n"));
        let body = response_buffer(&format!("<p>{key}</p>\n"));
        responses.insert(key, Arc::new(CachedResponse::new(body, origin)));
        // moka evicts in batches, later: at 24 KiB a response, later is too late.
        responses.run_pending_tasks();
    }

    fn held(&self) -> Held {
        let responses = self.responses();
        responses.run_pending_tasks();
        Held::of(responses.entry_count() as usize, PAYLOAD_BYTES)
    }

    fn clear(&self) -> u64 {
        let mut responses = self.responses.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let removed = std::mem::replace(&mut *responses, empty());
        drop(responses);
        removed.run_pending_tasks();
        removed.entry_count()
    }

    fn lookups(&self) -> Option<Lookups> {
        Some(Lookups { hits: self.hits.load(Relaxed), misses: self.misses.load(Relaxed) })
    }
}

/// The route and the parameter `item`: the same for every request that gets the same answer.
fn what_decides_the_answer(path: &str) -> String {
    let (route, query) = path.split_once('?').unwrap_or((path, ""));
    let item = query.split('&').find(|parameter| parameter.starts_with("item=")).unwrap_or_default();
    format!("{route}?{item}")
}

fn response_buffer(text: &str) -> Box<[u8]> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    payload::fill(&mut buffer, text);
    buffer.into_boxed_slice()
}
