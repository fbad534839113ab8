//! A program built without the feature `jemalloc`: no C is compiled, and what needs no allocator works. It also holds the
//! types that other tools make by struct literal.
//!
//! With the feature on it is an ordinary program whose allocator is not jemalloc, of which the same is true.

use std::{fs, hint::black_box, sync::atomic::Ordering::Relaxed, time::Duration};

use leakscope::{
    Instrument,
    heap::Error,
    jemalloc::Profiler,
    memory::{self, Limit, LimitSource},
    recorder::{Cause, History, runs},
    trend::{self, Basis, Config, Verdict},
};

const NO_LIMIT: Limit = Limit { bytes: None, source: LimitSource::None };

#[test]
fn samples_and_settings_are_made_by_struct_literal_and_judged() {
    let samples: Vec<_> = (0..60_u64)
        .map(|second| memory::Sample {
            seconds: second as f64,
            rss_bytes: (20 << 20) + (second << 20),
            live_heap_bytes: (10 << 20) + (second << 20),
            usage_bytes: (20 << 20) + (second << 20),
            unaccounted_bytes: 0,
            requests: 50 * second,
        })
        .collect();
    let config = Config { window_seconds: 60.0, negligible_bytes: 65_536.0, flat_noise_ratio: 5.0 };
    let report = trend::report(&samples, Some(256 << 20), &config);
    assert_eq!((report.trend.verdict, report.basis), (Verdict::Growing, Basis::LiveHeap));
    // 256 MiB less 20 and 59, at 1 MiB a second.
    assert_eq!(report.trend.time_to_limit_seconds.map(f64::round), Some(177.0));
    let flat = (0..60).map(|second| trend::Sample { seconds: f64::from(second), bytes: 1e7, requests: 0 });
    assert_eq!(trend::analyze(&flat.collect::<Vec<_>>(), None, &config).verdict, Verdict::Flat);
}

#[test]
#[cfg(target_os = "linux")]
fn the_instrument_samples_judges_and_records() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let builder = Instrument::builder().record_in(folder.path()).limit(NO_LIMIT);
        builder.sample_every(Duration::from_millis(1)).on_problem(|_| ()).start()
    };
    let instrument = start();
    let before = instrument.latest().rss_bytes;
    let held = black_box(vec![1_u8; 32 << 20]);
    instrument.requests().store(7, Relaxed);
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while instrument.latest().rss_bytes < before + (31 << 20) {
        assert!(std::time::Instant::now() < deadline, "{:?}", instrument.latest());
        std::thread::yield_now();
    }
    assert_eq!(instrument.latest_trend().basis, Basis::Rss);
    assert!(instrument.problems().iter().any(|problem| problem.contains("jemalloc")));
    instrument.recorder().expect("it was asked for").event("held", serde_json::Map::new());
    instrument.stop();
    drop((instrument, held));

    let last = History::settle(folder.path()).post_mortems.remove(0);
    assert_eq!((last.cause, last.at.requests), (Cause::Stopped, Some(7)));
    assert!(last.at.rss_bytes > Some(31 << 20));
    let (runs, _) = runs(folder.path());
    assert_eq!(runs[0].events[0].kind, "held");
}

#[test]
fn there_is_no_profile_and_it_is_said_why() {
    let profiler = Profiler::start();
    let problem = profiler.status().problem.clone().expect("it is off");
    let reason = match cfg!(feature = "jemalloc") {
        true => "does not allocate with jemalloc",
        false => "built without its feature `jemalloc`",
    };
    assert!(!profiler.status().enabled && problem.contains(reason), "{problem}");
    assert!(matches!(profiler.snapshot(), Err(Error::Off(why)) if why == problem));
    let file = tempfile::tempdir().unwrap();
    assert!(profiler.save(&file.path().join("profile")).is_err());
    assert_eq!(fs::read_dir(file.path()).unwrap().count(), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn the_parts_sum_to_rss_and_the_heap_is_unaccounted() {
    let report = memory::report();
    assert_eq!(report.parts.iter().map(|part| part.bytes).sum::<i64>(), report.process.rss_bytes as i64);
    assert!(report.jemalloc.is_none() && report.parts.iter().all(|part| part.part != "live_heap"));
    assert!(report.missing.iter().any(|missing| missing.source == "jemalloc"));
}
