//! Series that were not generated.

use leakscope::trend::{Config, Sample, Verdict, analyze};

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
