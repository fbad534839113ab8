//! The trend against the running binary: each leak under a steady load is seen to grow, by what it keeps per request; what
//! keeps nothing is flat; and the time to the limit is what then happens.

use std::{
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{Service, agent, lab::Lab, metric, ok};

const KIB: u64 = 1024;

/// A leak under load must be called `growing` within this time.
const DECIDED_WITHIN: Duration = Duration::from_secs(90);
/// As the labs' load: requests a second.
const RATE: &str = "50";
/// Few, so that all are there from the start: each new one takes some kilobytes, and a pool that fills does grow.
const CONNECTIONS: &str = "4";

struct Patient {
    leak: &'static str,
    /// What a request leaves: the payload, and what finds it again.
    kept_bytes: u64,
}

/// Bookkeeping in jemalloc's size classes, on average over the growth of tables, which double and are at most 7/8 full
/// (a list: full).
const PATIENTS: [Patient; 3] = [
    // A key of 64 bytes; a row of 49 in the table.
    Patient { leak: "cache", kept_bytes: 24 * KIB + 64 + 49 * 8 / 7 },
    // A closure of 32 bytes; a place of 16 in the list.
    Patient { leak: "listeners", kept_bytes: 16 * KIB + 32 + 16 },
    // A key of 36 bytes in a class of 48; a row of 33 in the table.
    Patient { leak: "history", kept_bytes: 8 * KIB + 48 + 33 * 8 / 7 },
];

#[test]
#[ignore = "a minute and a half of load: run by the gate"]
fn each_leak_grows_by_what_it_keeps() {
    thread::scope(|scope| {
        for patient in &PATIENTS {
            scope.spawn(|| grows(patient));
        }
    });
}

fn grows(patient: &Patient) {
    let Patient { leak, kept_bytes } = patient;
    let service = Service::start(&[]);
    let (status, _) = service.post(&format!("/admin/leaks/{leak}"), r#"{"enabled":true}"#);
    assert_eq!(status, 200);
    let mut load = Load::start(&service.url, DECIDED_WITHIN);
    let mut decided = None;
    while load.goes_on() {
        if decided.is_none() && service.ok("/admin/memory/trend")["verdict"] == "growing" {
            decided = Some(load.started.elapsed());
        }
        thread::sleep(Duration::from_secs(1));
    }
    let trend = service.ok("/admin/memory/trend");
    let decided = decided.unwrap_or_else(|| panic!("{leak} does not grow: {trend:#}"));
    let per_request = trend["bytes_per_request"]["value"].as_f64().expect("there were requests");
    let of_truth = per_request / *kept_bytes as f64;
    println!(
        "{leak}: growing after {decided:.0?}, {per_request:.0} bytes per request, {of_truth:.3} of the truth"
    );
    assert!((0.9..=1.1).contains(&of_truth), "{leak}: {trend:#}");
    assert_eq!(trend["verdict"], "growing", "{leak}: {trend:#}");
    let log = service.log();
    let said = log.iter().filter(|line| line.contains(r#""verdict":"growing""#)).count();
    assert_eq!(said, 1, "{leak}: {log:#?}");
}

#[test]
#[ignore = "a minute and a half of load: run by the gate"]
fn what_keeps_nothing_is_flat() {
    thread::scope(|scope| {
        for body in [r#"{"enabled":true,"variant":"fixed"}"#, r#"{"enabled":false}"#] {
            scope.spawn(move || {
                let service = Service::start(&[]);
                let (status, _) = service.post("/admin/leaks/all", body);
                assert_eq!(status, 200);
                let mut load = Load::start(&service.url, DECIDED_WITHIN);
                while load.goes_on() {
                    thread::sleep(Duration::from_secs(1));
                }
                let trend = service.ok("/admin/memory/trend");
                assert_eq!(trend["verdict"], "flat", "{body}: {trend:#}");
            });
        }
    });
}

#[test]
#[ignore = "a minute of load: run by the gate"]
fn the_time_to_the_limit_is_what_then_happens() {
    let lab = Lab::start(&["--limit", "64MiB"]);
    let url = lab.url().expect("it starts");
    agent().post(format!("{url}/admin/leaks/cache")).send(r#"{"enabled":true}"#).expect("an answer");
    let mut load = Load::start(&url, Duration::from_secs(300));
    let forecast = loop {
        if metric(&url, "memory_usage_bytes") >= metric(&url, "memory_limit_bytes") / 2.0 {
            let trend = ok(&url, "/admin/memory/trend");
            break trend["time_to_limit_seconds"].as_f64().unwrap_or_else(|| panic!("{trend:#}"));
        }
        assert!(load.goes_on(), "the load ends before half of the limit is used");
        thread::sleep(Duration::from_millis(200));
    };
    let asked = Instant::now();
    lab.words_until("killed by the memory limit");
    let of_truth = forecast / asked.elapsed().as_secs_f64();
    println!("{forecast:.1} s to the limit: {of_truth:.2} of what happened");
    assert!((0.8..=1.2).contains(&of_truth), "{forecast} s, {of_truth} of what happened");
}

/// `leaklab load`. Killed when dropped.
struct Load {
    child: Child,
    started: Instant,
}

impl Load {
    fn start(url: &str, duration: Duration) -> Self {
        let child = crate::support::serve::leaklab()
            .args(["load", "--url", &format!("{url}/api/data"), "--rate", RATE, "--concurrency", CONNECTIONS])
            .args(["--duration", &format!("{}s", duration.as_secs())])
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        Self { child, started: Instant::now() }
    }

    fn goes_on(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_trend_has_a_series_for_each_quantity_of_the_running_service() {
    let service = Service::start(&[]);
    let series = service.ok("/admin/memory/trend")["series"].clone();
    let names: Vec<_> = series.as_object().expect("a map by name").keys().cloned().collect();
    assert_eq!(names, ["live_heap", "open_descriptors", "rss", "unaccounted"]);
    assert_eq!(series["open_descriptors"]["unit"], "count");
}
