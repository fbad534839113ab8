//! Exact heap figures of each leak and of each twin, counted by dhat instead of the allocator.
//!
//! dhat counts the whole process: this binary holds one test, and it goes through its scenarios one at a time.

use dhat::HeapStats;
use leaklab::leaks::{Leak, NAMES, Registry, RequestInfo, Variant};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// As the service calls it: ids of 36 characters, one path for all or one of `items`.
fn drive(leak: &Leak, requests: std::ops::Range<u64>, items: Option<u64>) {
    for n in requests {
        let request_id = format!("00000000-0000-4000-8000-{n:012}");
        let path = items.map_or(PATH.to_owned(), |items| format!("{PATH}?item={}", n % items));
        leak.serve(&RequestInfo { request_id: &request_id, path: &path });
    }
}

const PATH: &str = "/api/data";
const ID_BYTES: u64 = 36;

/// Per request: blocks, payload bytes, and bytes that find the payload again (the container's own table comes on top).
struct Documented {
    blocks: u64,
    payload: u64,
    bookkeeping: u64,
}

fn documented(name: &str) -> Documented {
    match name {
        // Two buffers and the key that they are kept under.
        "cache" => Documented {
            blocks: 3,
            payload: 2 * (12 << 10),
            bookkeeping: ("GET ".len() + PATH.len() + " x-request-id=".len()) as u64 + ID_BYTES,
        },
        // Two buffers and the closure: a pointer and a length for each.
        "listeners" => Documented { blocks: 3, payload: 2 * (8 << 10), bookkeeping: 2 * 16 },
        // One buffer and the id.
        "history" => Documented { blocks: 2, payload: 8 << 10, bookkeeping: ID_BYTES },
        other => panic!("what {other} keeps per request is documented here, and in its module"),
    }
}

/// Between these two counts of entries no container grows its table: a Vec has room for 2,048, a HashMap for 1,792.
const TABLES_REST: std::ops::Range<u64> = 1_100..1_700;

fn the_leak_keeps_exactly_what_is_documented(leak: &Leak) {
    leak.set_variant(Some(Variant::Leaky));
    let empty = HeapStats::get();
    drive(leak, 0..TABLES_REST.start, None);
    let before = HeapStats::get();
    drive(leak, TABLES_REST, None);
    let after = HeapStats::get();

    let requests = TABLES_REST.end - TABLES_REST.start;
    let Documented { blocks, payload, bookkeeping } = documented(leak.name());
    assert_eq!(grown(before.curr_blocks, after.curr_blocks), requests * blocks, "{}: blocks", leak.name());
    assert_eq!(
        grown(before.curr_bytes, after.curr_bytes),
        requests * (payload + bookkeeping),
        "{}: bytes",
        leak.name()
    );
    assert_eq!(leak.held().payload_bytes, TABLES_REST.end * payload, "{}: what it says itself", leak.name());
    let all = grown(empty.curr_bytes, after.curr_bytes);
    assert!(
        all < TABLES_REST.end * payload * 103 / 100,
        "{}: tables included {all} bytes, less than 3 % over the payload",
        leak.name()
    );

    assert_eq!(leak.clear(), TABLES_REST.end);
    let left = grown(empty.curr_bytes, HeapStats::get().curr_bytes);
    assert!(left <= SET_UP_ONCE_BYTES, "{}: clear gives all but {left} bytes back", leak.name());
}

/// What libraries set up for a thread at its first use, and keep.
const SET_UP_ONCE_BYTES: u64 = 16 << 10;

/// What a twin may hold, and how far that may move once it is full.
struct Bound {
    held: u64,
    drift: u64,
}

fn bound(name: &str) -> Bound {
    match name {
        // 64 responses; moka's tables, queues and sketch, whose parts it frees in batches a little later.
        "cache" => Bound { held: 64 * (24 << 10) + (256 << 10), drift: 24 << 10 },
        // Nobody listens between requests; the map keeps its empty root.
        "listeners" => Bound { held: 1 << 10, drift: 0 },
        // 128 records, each with its id and its place in the ring.
        "history" => Bound { held: 128 * ((8 << 10) + ID_BYTES + 32), drift: 0 },
        other => panic!("the bound of {other}'s twin is documented here, and in its module"),
    }
}

fn the_twin_stays_within_its_bound(leak: &Leak) {
    let empty = HeapStats::get();
    leak.set_variant(Some(Variant::Fixed));
    drive(leak, 0..10_000, Some(ITEMS));
    let half = HeapStats::get();
    drive(leak, 10_000..20_000, Some(ITEMS));
    let full = HeapStats::get();

    let bound = bound(leak.name());
    let drift = full.curr_bytes.saturating_sub(half.curr_bytes) as u64;
    assert!(drift <= bound.drift, "{}: {drift} bytes more after twice the requests", leak.name());
    let held = grown(empty.curr_bytes, full.curr_bytes);
    assert!(held <= bound.held, "{}: {held} bytes held, {} allowed", leak.name(), bound.held);

    leak.clear();
    let left = grown(empty.curr_bytes, HeapStats::get().curr_bytes);
    assert!(left <= SET_UP_ONCE_BYTES, "{}: clear gives all but {left} bytes back", leak.name());
}

/// More different requests than any twin has room for.
const ITEMS: u64 = 1_000;

#[track_caller]
fn grown(before: usize, after: usize) -> u64 {
    u64::try_from(after.checked_sub(before).expect("grew")).expect("fits")
}

#[test]
fn leaks_and_twins_hold_what_is_documented() {
    for name in NAMES {
        let _profiler = dhat::Profiler::builder().testing().build();
        let registry = Registry::new();
        the_leak_keeps_exactly_what_is_documented(registry.get(name).expect("in the registry"));
    }
    for name in NAMES {
        let _profiler = dhat::Profiler::builder().testing().build();
        let registry = Registry::new();
        the_twin_stays_within_its_bound(registry.get(name).expect("in the registry"));
    }
}
