//! The instrument's clock: it starts with a sample, samples on, stops at once, and takes no memory over time.
#![cfg(target_os = "linux")]

use std::{
    fs,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use leakscope::{
    Instrument,
    memory::{self, Limit, LimitSource},
};

/// As a program without a heap profile.
const UNPROFILED: &[(&str, &str)] = &[("_RJEM_MALLOC_CONF", "prof:false")];

const PATIENCE: Duration = Duration::from_secs(60);

fn start(interval: Duration, capacity: usize, requests: u64) -> Instrument {
    Instrument::builder()
        .sample_every(interval)
        .keep_samples(capacity)
        .limit(Limit { bytes: None, source: LimitSource::None })
        .requests(Arc::new(AtomicU64::new(requests)))
        .on_problem(|_| ())
        .start()
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::yield_now();
    }
}

/// Whether this process has a thread of the clock's name.
fn has_thread() -> bool {
    fs::read_dir("/proc/self/task").expect("a task list").flatten().any(|task| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "leakscope-clock")
    })
}

#[test]
fn the_first_sample_is_there_at_once_and_the_thread_ends_with_the_instrument() {
    crate::support::alone(
        "clock::the_first_sample_is_there_at_once_and_the_thread_ends_with_the_instrument",
        UNPROFILED,
        || {
            let instrument = start(Duration::from_secs(3600), 8, 7);
            let sample = instrument.latest();
            assert!(sample.rss_bytes > 0 && sample.live_heap_bytes > 0, "{sample:?}");
            assert_eq!((sample.usage_bytes, sample.requests), (sample.rss_bytes, 7));
            assert!(!instrument.samples(PATIENCE).is_empty());
            eventually("the thread has its name", has_thread);
            let dropped = Instant::now();
            drop(instrument);
            assert!(!has_thread(), "the thread is joined");
            assert!(dropped.elapsed() < PATIENCE, "it does not wait for the interval");
        },
    );
}

#[test]
fn it_samples_on_and_remembers_the_peak() {
    crate::support::alone("clock::it_samples_on_and_remembers_the_peak", UNPROFILED, || {
        let instrument = start(Duration::from_millis(1), 8, 0);
        let idle = instrument.latest().live_heap_bytes;
        instrument.requests().store(5, Ordering::Relaxed);
        let held: Vec<u8> = black_box(Vec::with_capacity(64 << 20));
        eventually("a sample with the block", || instrument.latest().live_heap_bytes >= idle + (64 << 20));
        drop(held);
        eventually("a sample without it", || instrument.latest().live_heap_bytes < idle + (32 << 20));
        assert!(instrument.peak_live_heap_bytes() >= idle + (64 << 20));
        assert_eq!(instrument.latest().requests, 5);
        eventually("a full ring", || instrument.samples(PATIENCE).len() == 8);
        assert!(instrument.samples(PATIENCE).is_sorted_by(|a, b| a.seconds < b.seconds));
    });
}

#[test]
fn sampling_takes_no_memory_over_time() {
    crate::support::alone("clock::sampling_takes_no_memory_over_time", UNPROFILED, || {
        let instrument = start(Duration::ZERO, 100, 0);
        let after = |number: u64| {
            let seen = AtomicU64::new(0);
            let mut last = f64::NEG_INFINITY;
            eventually("so many samples", || {
                let seconds = instrument.latest().seconds;
                if seconds > last {
                    last = seconds;
                    seen.fetch_add(1, Ordering::Relaxed);
                }
                seen.load(Ordering::Relaxed) >= number
            });
            memory::report().jemalloc.expect("jemalloc is the allocator").live_bytes
        };
        let before = after(200);
        let grown = after(2000).saturating_sub(before);
        assert!(grown < 4096, "2000 samples took {grown} bytes");
    });
}

#[test]
fn a_panic_in_a_closure_of_the_program_stops_nothing_else() {
    crate::support::alone(
        "clock::a_panic_in_a_closure_of_the_program_stops_nothing_else",
        UNPROFILED,
        || {
            let folder = tempfile::tempdir().unwrap();
            let asked = Arc::new(AtomicU64::new(0));
            let instrument = Instrument::builder()
                .record_in(folder.path())
                .figures({
                    let asked = Arc::clone(&asked);
                    move || {
                        asked.fetch_add(1, Ordering::Relaxed);
                        panic!("the program's own")
                    }
                })
                .sample_every(Duration::from_millis(1))
                .on_problem(|_| ())
                .start();
            eventually("two readings", || asked.load(Ordering::Relaxed) >= 2);
            let last = instrument.latest().seconds;
            eventually("another sample", || instrument.latest().seconds > last);
        },
    );
}

#[test]
fn a_closure_of_the_program_may_stop_the_instrument() {
    crate::support::alone("clock::a_closure_of_the_program_may_stop_the_instrument", UNPROFILED, || {
        let folder = tempfile::tempdir().unwrap();
        let running = Arc::new(std::sync::OnceLock::<Instrument>::new());
        let stopped = Arc::new(AtomicU64::new(0));
        let figures = {
            let (running, stopped) = (Arc::clone(&running), Arc::clone(&stopped));
            move || {
                // Once: to stop takes a last reading, which asks for the figures.
                if let Some(instrument) = running.get()
                    && stopped.fetch_add(1, Ordering::Relaxed) == 0
                {
                    instrument.stop();
                    stopped.fetch_add(1, Ordering::Relaxed);
                }
                serde_json::Map::new()
            }
        };
        let builder = Instrument::builder().record_in(folder.path()).figures(figures);
        assert!(running.set(builder.on_problem(|_| ()).start()).is_ok());
        eventually("it came back from stopping", || stopped.load(Ordering::Relaxed) >= 3);
        eventually("the thread has ended", || !has_thread());
    });
}
