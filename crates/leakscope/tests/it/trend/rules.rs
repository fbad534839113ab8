//! What the families don't show: edges, the report, and what it costs.

use std::time::{Duration, Instant};

use leakscope::trend::{Basis, Config, MemorySample, Sample, Verdict, analyze, report};

const MIB: u64 = 1 << 20;

fn line(count: u32, per_second: f64) -> Vec<Sample> {
    (0..count)
        .map(|i| Sample {
            seconds: f64::from(i),
            bytes: 16e6 + per_second * f64::from(i),
            requests: 50 * u64::from(i),
        })
        .collect()
}

#[test]
fn too_little_or_nonsense_is_undecided_and_says_what_is_missing() {
    let nan = Sample { seconds: f64::NAN, bytes: 1.0, requests: 1 };
    let stopped = Sample { seconds: 5.0, bytes: 1e6, requests: 7 };
    for samples in [vec![], line(1, 1e6), line(9, 1e6), vec![nan; 50], vec![stopped; 50]] {
        let trend = analyze(&samples, Some(256 * MIB), &Config::default());
        assert_eq!(trend.verdict, Verdict::Undecided, "{samples:?}");
        let missing = trend.decides_in.expect("undecided says what is missing");
        assert!(missing.seconds >= 1.0 && missing.text.contains("more"), "{missing:?}");
        assert_eq!((trend.time_to_limit_seconds, trend.requests_to_limit), (None, None));
    }
}

#[test]
fn a_series_that_does_not_move_is_flat() {
    let trend = analyze(&line(60, 0.0), Some(256 * MIB), &Config::default());
    assert_eq!(trend.verdict, Verdict::Flat);
    assert_eq!(trend.time_to_limit_seconds, None);
}

#[test]
fn a_series_that_falls_is_flat() {
    assert_eq!(analyze(&line(60, -1e5), None, &Config::default()).verdict, Verdict::Flat);
}

#[test]
fn time_and_requests_to_the_limit_follow_from_the_slope() {
    let samples = line(101, 102_400.0);
    let limit = samples[100].bytes as u64 + 1_024_000;
    let trend = analyze(&samples, Some(limit), &Config::default());
    assert_eq!(trend.verdict, Verdict::Growing);
    assert!((trend.time_to_limit_seconds.unwrap() - 10.0).abs() < 1e-3);
    assert!(trend.requests_to_limit.unwrap().abs_diff(500) <= 1);
    assert_eq!(analyze(&samples, None, &Config::default()).time_to_limit_seconds, None);
    let over = analyze(&samples, Some(1), &Config::default());
    assert_eq!((over.time_to_limit_seconds, over.requests_to_limit), (Some(0.0), Some(0)));
}

#[test]
fn without_requests_there_is_nothing_to_say_of_them() {
    let mut samples = line(100, 1e5);
    samples.iter_mut().for_each(|sample| sample.requests = 3);
    let trend = analyze(&samples, Some(256 * MIB), &Config::default());
    assert_eq!(trend.verdict, Verdict::Growing);
    assert_eq!((trend.bytes_per_request, trend.requests_to_limit), (None, None));
    assert!(trend.time_to_limit_seconds.is_some());
}

/// Cleared after each of three minutes of a leak, then no longer. Until it is longer or higher than a tooth was, it may be one more.
#[test]
fn a_leak_that_was_cleared_three_times_gets_no_all_clear_the_fourth_time() {
    const PER_SECOND: f64 = 2.4e6;
    const LIMIT: u64 = 512 * MIB;
    let mut rng = fastrand::Rng::with_seed(7);
    let samples: Vec<Sample> = (0..300)
        .map(|i| Sample {
            seconds: f64::from(i),
            bytes: 16e6 + PER_SECOND * f64::from(if i < 180 { i % 60 } else { i - 180 }) + 4096.0 * rng.f64(),
            requests: 50 * i as u64,
        })
        .collect();
    let after = |seconds: usize| analyze(&samples[..180 + seconds], Some(LIMIT), &Config::default());
    assert!((62..=120).all(|seconds| after(seconds).verdict != Verdict::Flat));
    let doubtful = after(65);
    assert_eq!(doubtful.verdict, Verdict::Undecided);
    assert!(doubtful.decides_in.is_some_and(|missing| missing.text.contains("since the last drop")));
    // A quarter above the teeth of 60 seconds.
    for seconds in 78..=120 {
        let trend = after(seconds);
        assert_eq!(trend.verdict, Verdict::Growing, "after {seconds} s");
        let left = (LIMIT as f64 - samples[179 + seconds].bytes) / PER_SECOND;
        assert!((trend.time_to_limit_seconds.unwrap() / left - 1.0).abs() < 0.01, "{trend:?}, not {left} s");
    }
}

/// Live heap, unaccounted and RSS that grow by so many bytes a second.
fn process(live_heap: u64, unaccounted: u64) -> Vec<MemorySample> {
    (0..100)
        .map(|i| MemorySample {
            seconds: i as f64,
            live_heap_bytes: 8 * MIB + live_heap * i,
            unaccounted_bytes: (unaccounted * i) as i64 - MIB as i64,
            rss_bytes: 16 * MIB + (live_heap + unaccounted) * i,
            usage_bytes: 20 * MIB + (live_heap + unaccounted) * i,
            requests: 50 * i,
        })
        .collect()
}

#[test]
fn the_report_rests_on_what_grows_and_counts_down_from_usage() {
    let limit = Some(256 * MIB);
    let heap = report(&process(MIB, 0), limit, &Config::default());
    assert_eq!((heap.basis, heap.trend.verdict), (Basis::LiveHeap, Verdict::Growing));
    // Of 256 MiB, 20 and 99 are used; at 1 MiB a second 137 seconds are left.
    assert!((heap.trend.time_to_limit_seconds.unwrap() - 137.0).abs() < 0.1);
    assert_eq!(heap.series["unaccounted"].verdict(), Verdict::Flat);
    let foreign = report(&process(0, MIB), limit, &Config::default());
    assert_eq!((foreign.basis, foreign.trend.verdict), (Basis::Unaccounted, Verdict::Growing));
    let still = report(&process(0, 0), limit, &Config::default());
    assert_eq!((still.basis, still.trend.verdict), (Basis::LiveHeap, Verdict::Flat));
}

#[test]
fn the_report_has_the_documented_fields() {
    let json = serde_json::to_value(report(&process(MIB, 0), Some(256 * MIB), &Config::default())).unwrap();
    for of in [&json, &json["series"]["live_heap"], &json["series"]["rss"], &json["series"]["unaccounted"]] {
        assert!(["growing", "flat", "undecided"].contains(&of["verdict"].as_str().unwrap()));
        for field in ["decides_in", "window_seconds", "samples", "time_to_limit_seconds", "requests_to_limit"]
        {
            assert!(of.get(field).is_some(), "{field} is missing in {of}");
        }
        for field in ["value", "low", "high"] {
            assert!(of["bytes_per_second"][field].is_number(), "bytes_per_second.{field} in {of}");
            assert!(of["bytes_per_request"][field].is_number(), "bytes_per_request.{field} in {of}");
        }
        assert!(of["bytes_per_request"]["r2"].is_number());
    }
}

/// Ten minutes of samples cost about a millisecond; even without optimization and on a busy machine far less than a second.
#[test]
fn six_hundred_samples_are_cheap() {
    let mut rng = fastrand::Rng::with_seed(4);
    let case = (super::FAMILIES[0].draw)(&mut rng);
    let config = Config { window_seconds: 600.0, ..Config::default() };
    let best = (0..10)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(analyze(&case.samples, None, &config));
            start.elapsed()
        })
        .min()
        .unwrap();
    println!("600 samples: {best:?}");
    assert!(best < Duration::from_millis(if cfg!(debug_assertions) { 100 } else { 5 }), "{best:?}");
}
