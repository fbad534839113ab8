//! The memory report: the heap is unaccounted.
#![cfg(target_os = "linux")]

use std::hint::black_box;

use leakscope::{
    Instrument,
    memory::{self, Limit, LimitSource, Report},
    trend::Basis,
};

const MIB: i64 = 1 << 20;

#[track_caller]
fn report() -> Report {
    let report = memory::report();
    assert_eq!(report.parts.iter().map(|part| part.bytes).sum::<i64>(), report.process.rss_bytes as i64);
    report
}

#[test]
fn the_heap_is_unaccounted_and_the_report_says_why() {
    // Another test's memory would count as well.
    crate::support::alone("memory::the_heap_is_unaccounted_and_the_report_says_why", &[], unaccounted);
}

fn unaccounted() {
    let before = report();
    assert!(before.jemalloc.is_none());
    let missing: Vec<_> = before.missing.iter().filter(|missing| missing.source == "jemalloc").collect();
    assert!(missing.len() == 1 && missing[0].reason.contains("not jemalloc"), "{missing:?}");
    assert!(before.parts.iter().all(|part| part.part != "live_heap"));

    let held = black_box(vec![1u8; 64 << 20]);
    let grown = report().unaccounted_bytes() - before.unaccounted_bytes();
    assert!((grown - 64 * MIB).abs() < MIB, "unaccounted memory grew by {grown}");

    let limit = Limit { bytes: None, source: LimitSource::None };
    let instrument = Instrument::builder().limit(limit).on_problem(|_| ()).start();
    let sample = instrument.latest();
    assert_eq!(sample.live_heap_bytes, sample.rss_bytes);
    let trend = instrument.latest_trend();
    assert_eq!(trend.basis, Basis::Rss, "there is no live heap to rest on");
    assert!(!trend.series.contains_key("live_heap"));
    drop(held);
}
