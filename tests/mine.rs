//! Fix it yourself: what a repair in `exercises/` must achieve. Run one by its name: `cargo test --test mine cache`.
//!
//! As shipped, all of them fail, so a plain `cargo test` leaves them out. They judge by effect: what the heap holds, counted by
//! dhat, and what the feature answers. Any repair passes, and taking the feature out does not.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use dhat::HeapStats;
use leaklab::leaks::{Event, Leak, Lookups, Registry, RequestInfo, Variant, cache, history, listeners};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

#[test]
fn cache() {
    /// More than have room within the bound.
    const ITEMS: u64 = 4_000;
    /// Requests for the same item, and how many of them may miss.
    const REPEATS: u64 = 100;
    const MISSES: u64 = 10;
    let item = |item: u64| format!("/api/data?item={item}");

    exercise("cache", |leak| {
        stays_flat(leak, 32 * MIB, |n| item(n % ITEMS));

        let lookups = || leak.current_lookups().unwrap_or_default();
        let (Lookups { hits, .. }, allocated) = (lookups(), HeapStats::get().total_bytes);
        (0..REPEATS).for_each(|n| serve(leak, n, &item(1)));
        let hits = lookups().hits - hits;
        assert!(
            hits >= REPEATS - MISSES,
            "exercises/cache.rs: {hits} of {REPEATS} requests for the same item were answered from the cache; \
             at least {} must be",
            REPEATS - MISSES
        );
        let made = (HeapStats::get().total_bytes - allocated) / cache::PAYLOAD_BYTES as u64;
        assert!(
            made <= MISSES,
            "exercises/cache.rs: {hits} of {REPEATS} requests for the same item are counted as hits, but {made} \
             responses were made for them"
        );

        let Lookups { misses, .. } = lookups();
        serve(leak, REPEATS, &item(2));
        assert!(
            lookups().misses == misses + 1,
            "exercises/cache.rs: item 2 was never asked for before, and yet it was found: another item's response is no \
             answer"
        );
    });
}

#[test]
fn listeners() {
    const EVENTS: u64 = 100;

    exercise("listeners", |leak| {
        stays_flat(leak, 4 * MIB, |_| "/api/data".into());

        let heard = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&heard);
        let subscriber = Box::new(move |_: &Event<'_>| {
            counted.fetch_add(1, Relaxed);
        });
        let allocated = HeapStats::get().total_bytes;
        leak.listen(subscriber, || (0..EVENTS).for_each(|n| serve(leak, n, "/api/data")));
        let allocated = HeapStats::get().total_bytes - allocated;
        let live = heard.load(Relaxed);
        assert!(
            live == EVENTS,
            "exercises/listeners.rs: a subscriber listened during {EVENTS} requests and heard of {live} of them"
        );
        assert!(
            allocated >= EVENTS * listeners::PAYLOAD_BYTES as u64,
            "exercises/listeners.rs: {EVENTS} requests made {allocated} bytes of listeners; each must still listen for its \
             own completion, with a copy of its request and a journal"
        );

        (EVENTS..2 * EVENTS).for_each(|n| serve(leak, n, "/api/data"));
        let gone = heard.load(Relaxed) - live;
        assert!(
            gone == 0,
            "exercises/listeners.rs: a subscriber left and still heard of {gone} more requests"
        );
        assert!(
            Arc::strong_count(&heard) == 1,
            "exercises/listeners.rs: a subscriber left, but its closure is still kept"
        );
    });
}

#[test]
fn history() {
    /// Records that must be readable: those of the last requests.
    const LAST: u64 = 100;
    const REQUESTS: u64 = 2_000;

    exercise("history", |leak| {
        stays_flat(leak, 8 * MIB, |_| "/api/data".into());

        (0..REQUESTS).for_each(|n| serve(leak, n, &format!("/api/data?item={n}")));
        for n in REQUESTS - LAST..REQUESTS {
            let (id, later) = (request_id(n), REQUESTS - 1 - n);
            let Some(record) = leak.record(&id) else {
                panic!(
                    "exercises/history.rs: after {later} more requests a record can't be read back; the last {LAST} must be"
                );
            };
            let start = format!("GET /api/data?item={n} request_id={id}\n");
            assert!(
                record.text.starts_with(&start) && record.text.len() == history::PAYLOAD_BYTES,
                "exercises/history.rs: the record of request {id} must have {} bytes that start with {start:?}; it has {}: \
                 {:.100}",
                history::PAYLOAD_BYTES,
                record.text.len(),
                record.text
            );
        }
    });
}

/// Runs one exercise with the learner's variant on, and no other beside it: dhat counts the whole process.
fn exercise(name: &str, judge: impl FnOnce(&Leak)) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _profiler = dhat::Profiler::builder().testing().build();
    let registry = Registry::new();
    let leak = registry.get(name).expect("in the registry");
    leak.set_variant(Some(Variant::Mine));
    judge(leak);
}

fn request_id(n: u64) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

fn serve(leak: &Leak, n: u64, path: &str) {
    leak.serve(&RequestInfo { request_id: &request_id(n), path });
}

/// Requests after which it must have settled; then as many again.
const SETTLED: u64 = 10_000;
/// How much higher the second half may peak than the first: less than 7 bytes a request.
const DRIFT: usize = 64 * KIB;
/// What libraries set up for a thread at its first use, and keep.
const SET_UP_ONCE: usize = 64 * KIB;

/// The heap holds at most `bound` bytes, whatever the number of requests, and clearing gives them back.
///
/// Peaks are compared, not ends: a repair may let go in batches.
fn stays_flat(leak: &Leak, bound: usize, path: impl Fn(u64) -> String) {
    let file = format!("exercises/{}.rs", leak.name());
    let empty = HeapStats::get().curr_bytes;
    let held = || HeapStats::get().curr_bytes.saturating_sub(empty);
    let peak = |requests: std::ops::Range<u64>| {
        requests.fold(0, |peak, n| {
            serve(leak, n, &path(n));
            let (held, requests) = (held(), n + 1);
            assert!(
                held <= bound,
                "{file}: after {requests} requests the heap holds more than {}, {} for each request; it may not, however \
                 many requests come",
                size(bound),
                size(held / requests as usize)
            );
            held.max(peak)
        })
    };
    let (first, second) = (peak(0..SETTLED), peak(SETTLED..2 * SETTLED));
    assert!(
        second <= first + DRIFT,
        "{file}: the heap held {} at most during the first {SETTLED} requests and {} during as many again; something small \
         is still kept for each request",
        size(first),
        size(second)
    );

    leak.clear();
    let left = held();
    assert!(left <= SET_UP_ONCE, "{file}: clear() must give everything back; {} stayed", size(left));
}

fn size(bytes: usize) -> String {
    if bytes < MIB {
        format!("{:.1} KiB", bytes as f64 / KIB as f64)
    } else {
        format!("{:.1} MiB", bytes as f64 / MIB as f64)
    }
}
