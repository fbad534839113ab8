//! Series that were not generated.

use fastrand::Rng;
use leakscope::trend::{Config, MemorySample, Sample, Verdict, analyze, report};

use super::generator::{Noise, SECONDS, magnitude};

/// A service that keeps nothing, from its first second on: `seconds,live_heap_bytes,rss_bytes,unaccounted_bytes,requests`, once a
/// second. 50 requests a second; scraped every 5 seconds, and its heap profiled every 10.
const AT_REST: &str = include_str!("service_at_rest.csv");

fn service_at_rest() -> Vec<MemorySample> {
    let sample = |line: &str| {
        let fields: Vec<f64> = line.split(',').map(|field| field.parse().expect("a number")).collect();
        MemorySample {
            seconds: fields[0],
            live_heap_bytes: fields[1] as u64,
            rss_bytes: fields[2] as u64,
            unaccounted_bytes: fields[3] as i64,
            usage_bytes: fields[2] as u64,
            requests: fields[4] as u64,
        }
    };
    AT_REST.lines().skip(1).map(sample).collect()
}

/// The live heap of that service after its warm-up, up to 64 times as loud: from any second on, to and fro.
pub fn noise(rng: &mut Rng) -> Noise {
    const WARM_UP_SECONDS: usize = 60;
    let live: Vec<f64> =
        service_at_rest().iter().skip(WARM_UP_SECONDS).map(|sample| sample.live_heap_bytes as f64).collect();
    let mean = live.iter().sum::<f64>() / live.len() as f64;
    let (loudness, from, turn) = (magnitude(rng, 1.0, 64.0), rng.usize(..live.len()), 2 * live.len() - 2);
    let at = |second: usize| {
        let place = (from + second) % turn;
        live[place.min(turn - place)] - mean
    };
    let bytes: Vec<f64> = (0..SECONDS).map(|second| loudness * at(second)).collect();
    let deviation = (bytes.iter().map(|value| value * value).sum::<f64>() / bytes.len() as f64).sqrt();
    Noise { bytes, deviation }
}

/// Whenever it is asked. A new wiggle of the heap may need a few seconds' patience.
#[test]
fn a_service_at_rest_is_never_growing_and_nearly_always_flat() {
    let samples = service_at_rest();
    let verdicts = (1..=samples.len()).map(|end| {
        let report = report(&samples[..end], Some(256 << 20), &Config::default());
        assert_ne!(report.trend.verdict, Verdict::Growing, "after {end} s: {report:#?}");
        report.trend.verdict
    });
    let flat: Vec<bool> = verdicts.skip(90).map(|verdict| verdict == Verdict::Flat).collect();
    let share = flat.iter().filter(|flat| **flat).count() as f64 / flat.len() as f64;
    assert!(share >= 0.9, "{share}");
}

/// Milliseconds of each batch of 200,000 events, and the process's private memory in MB (10^6 bytes) after it: printed by a real leak's
/// reproduction (a .NET process that runs a JavaScript engine, February 2020).
const BATCHES: [(u32, u32); 15] = [
    (18_506, 286),
    (19_284, 345),
    (19_387, 410),
    (19_310, 463),
    (19_169, 333),
    (20_279, 408),
    (20_669, 468),
    (20_130, 516),
    (19_669, 572),
    (19_646, 621),
    (19_991, 696),
    (19_879, 779),
    (19_924, 834),
    (19_693, 895),
    (19_471, 939),
];

/// Its drop, amid the run, is a shift of level. Within the segments it keeps 303 bytes for each event.
#[test]
fn fifteen_values_of_a_real_leak() {
    let mut milliseconds = 0;
    let mut events = 0;
    let samples = BATCHES.map(|(duration, megabytes)| {
        milliseconds += duration;
        events += 200_000;
        Sample { seconds: f64::from(milliseconds) / 1e3, bytes: f64::from(megabytes) * 1e6, requests: events }
    });
    let trend = analyze(&samples, Some(2_000_000_000), &Config::default());
    assert_eq!(trend.verdict, Verdict::Growing, "{trend:#?}");
    let per_event = trend.bytes_per_request.expect("events were counted");
    assert!((per_event.bytes.value / 303.0 - 1.0).abs() < 0.10, "{per_event:?}");
    assert!(per_event.bytes.low < 303.0 && 303.0 < per_event.bytes.high, "{per_event:?}");
    assert!(per_event.r2 > 0.95, "{per_event:?}");
    // 1,061 MB are left; at 303 bytes an event that is 3.5 million events, 350 seconds at 10,000 a second.
    let (events_left, seconds_left) =
        (trend.requests_to_limit.unwrap(), trend.time_to_limit_seconds.unwrap());
    assert!((3_150_000..3_850_000).contains(&events_left), "{events_left}");
    assert!((315.0..385.0).contains(&seconds_left), "{seconds_left}");
}
