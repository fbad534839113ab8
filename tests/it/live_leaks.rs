//! Every leak leaks what is documented, the profile names its line, clearing gives the memory back, and every fix holds:
//! proved against the running binary. The full-size runs (100 MB a leak) are ignored by default and run by the gate.

use std::{fs, path::Path};

use crate::support::Service;
use serde_json::Value;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// What every leak's growth site does on the line that the profile must name.
const GROWTH_LINE: &str = "Vec::with_capacity";

/// What the documentation promises of a leak.
struct Promise {
    leak: &'static str,
    /// Payload kept per request.
    payload_bytes: u64,
}

const CACHE: Promise = Promise { leak: "cache", payload_bytes: 24 * KIB };
const LISTENERS: Promise = Promise { leak: "listeners", payload_bytes: 16 * KIB };
const HISTORY: Promise = Promise { leak: "history", payload_bytes: 8 * KIB };

/// The truth to compare with, and how far the profile may be off.
struct Precision {
    sample_lg: u32,
    growth_bytes: u64,
}

/// 25 MB at one sample per 16 KiB.
const FINE: Precision = Precision { sample_lg: 14, growth_bytes: 25_000_000 };
/// 100 MB at the default, one sample per 64 KiB.
const SHIPPED: Precision = Precision { sample_lg: 16, growth_bytes: 100_000_000 };

fn toggle(service: &Service, leak: &str, body: &str) {
    let (status, answer) = service.post(&format!("/admin/leaks/{leak}"), body);
    assert_eq!(status, 200, "{answer}");
}

fn held(service: &Service, leak: &str) -> (u64, u64) {
    let status = service.ok("/admin/leaks/status");
    let leak = &status["leaks"][leak];
    let entries = leak.get("entries").or_else(|| leak.get("count")).and_then(Value::as_u64);
    (entries.expect("a number of entries"), leak["bytes_held"].as_u64().expect("bytes held"))
}

/// Drives, so that connections, threads and the instrument itself have what they need before anything is measured.
fn warm_up(service: &Service) {
    service.drive("/api/data", 2_000, 4);
    service.ok("/admin/memory/snapshot");
    let (status, _) = service.post("/admin/gc", "");
    assert_eq!(status, 200);
}

fn leaks_as_documented(promise: &Promise, precision: &Precision) {
    let Promise { leak, payload_bytes } = promise;
    let sampling = format!("lg_prof_sample:{}", precision.sample_lg);
    let service = Service::start_with(&[], &[("_RJEM_MALLOC_CONF", &sampling)]);
    warm_up(&service);
    let (status, baseline) = service.post("/admin/memory/baseline", "");
    assert_eq!(status, 200, "{baseline}");
    let rss_before = service.rss_bytes();

    toggle(&service, leak, r#"{"enabled":true}"#);
    let requests = precision.growth_bytes / payload_bytes;
    service.drive("/api/data", requests as usize, 4);

    let truth_bytes = requests * payload_bytes;
    assert_eq!(held(&service, leak), (requests, truth_bytes), "{leak}: entries and payload are exact");

    let grown = service.rss_bytes() as f64 - rss_before as f64;
    let of_documented = grown / truth_bytes as f64;
    assert!(
        (0.9..=1.1).contains(&of_documented),
        "{leak}: RSS grew {of_documented:.3} of what is documented"
    );

    let by_line = service.ok("/admin/memory/diff?keep=true&by=line");
    let top = &by_line["growing_allocations"][0];
    let file = format!("src/leaks/{leak}/leaky.rs");
    assert_eq!(top["file"], file.as_str(), "{leak}: {by_line:#}");
    assert!(source_line(top).contains(GROWTH_LINE), "{leak}: {} at {top:#}", source_line(top));

    let by_file = service.ok("/admin/memory/diff?keep=true&by=file");
    let top = &by_file["growing_allocations"][0];
    assert_eq!(top["location"], file.as_str(), "{by_file:#}");
    let measured = top["size_diff_bytes"].as_f64().expect("bytes");
    let error = top["size_diff_error_bytes"].as_f64().expect("a standard error");
    let off = measured - truth_bytes as f64;
    assert!(off.abs() <= 4.0 * error, "{leak}: off by {off} bytes, standard error {error}");
    assert!(off.abs() <= 0.08 * truth_bytes as f64, "{leak}: {measured} bytes measured, {truth_bytes} true");

    let (_, cleared) = service.post("/admin/leaks/clear", &format!(r#"{{"leak_type":"{leak}"}}"#));
    assert_eq!(cleared["cleared"], *leak);
    let (status, _) = service.post("/admin/gc", "");
    assert_eq!(status, 200);
    let kept = service.rss_bytes() as f64 - rss_before as f64;
    if truth_bytes >= 60 * MIB {
        assert!(kept <= 0.1 * grown, "{leak}: {kept} of {grown} bytes stayed after clear and gc");
    }
    assert_eq!(held(&service, leak), (0, 0));
}

#[test]
#[ignore = "of exercises that nobody has repaired yet: run by the gate"]
fn the_profile_names_the_learners_own_file_while_it_leaks() {
    let service = Service::start_with(&[], &[("_RJEM_MALLOC_CONF", "lg_prof_sample:14")]);
    warm_up(&service);
    for Promise { leak, payload_bytes } in [CACHE, LISTENERS, HISTORY] {
        let (status, baseline) = service.post("/admin/memory/baseline", "");
        assert_eq!(status, 200, "{baseline}");
        toggle(&service, leak, r#"{"enabled":true,"variant":"mine"}"#);
        service.drive("/api/data", 1_000, 4);
        toggle(&service, leak, r#"{"enabled":false}"#);
        assert_eq!(held(&service, leak), (1_000, 1_000 * payload_bytes), "{leak}");

        let diff = service.ok("/admin/memory/diff?keep=true&by=line");
        let top = &diff["growing_allocations"][0];
        assert_eq!(top["file"], format!("exercises/{leak}.rs"), "{diff:#}");
        assert!(source_line(top).contains(GROWTH_LINE), "{leak}: {} at {top:#}", source_line(top));
    }
}

/// The line of source that a place of the diff names.
fn source_line(place: &Value) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(place["file"].as_str().expect("a file"));
    let line = place["line"].as_u64().expect("a line") as usize;
    let text = fs::read_to_string(&file).expect("the file is in the project");
    text.lines().nth(line - 1).unwrap_or_default().trim().to_owned()
}

fn fix_holds(promise: &Promise, requests: usize) -> Service {
    let Promise { leak, .. } = promise;
    let service = Service::start(&[]);
    toggle(&service, leak, r#"{"enabled":true,"variant":"fixed"}"#);
    service.drive("/api/data", 5_000, 4);
    service.ok("/admin/memory/snapshot");
    let (rss_before, (entries_before, _)) = (service.rss_bytes(), held(&service, leak));

    service.drive("/api/data", requests, 4);

    let growth = service.rss_bytes() as i64 - rss_before as i64;
    assert!(
        growth < 2 * MIB as i64,
        "{leak}: the fixed variant grew by {growth} bytes in {requests} requests"
    );
    assert_eq!(held(&service, leak).0, entries_before, "{leak}: it was full, and stays so");
    service
}

#[test]
fn cache_leaks_as_documented() {
    leaks_as_documented(&CACHE, &FINE);
}

#[test]
fn listeners_leak_as_documented() {
    leaks_as_documented(&LISTENERS, &FINE);
}

#[test]
fn history_leaks_as_documented() {
    leaks_as_documented(&HISTORY, &FINE);
}

#[test]
#[ignore = "100 MB: run by the gate"]
fn cache_leaks_as_documented_at_full_size() {
    leaks_as_documented(&CACHE, &SHIPPED);
}

#[test]
#[ignore = "100 MB: run by the gate"]
fn listeners_leak_as_documented_at_full_size() {
    leaks_as_documented(&LISTENERS, &SHIPPED);
}

#[test]
#[ignore = "100 MB: run by the gate"]
fn history_leaks_as_documented_at_full_size() {
    leaks_as_documented(&HISTORY, &SHIPPED);
}

#[test]
fn the_fixed_cache_holds_and_hits() {
    let service = fix_holds(&CACHE, 10_000);
    let hit_rate = &service.ok("/admin/leaks/status")["leaks"]["cache"]["hit_rate"];
    assert!(hit_rate.as_f64().expect("a rate") >= 0.9, "{hit_rate}");
}

#[test]
fn the_fixed_listeners_hold() {
    fix_holds(&LISTENERS, 10_000);
}

#[test]
fn the_fixed_history_holds() {
    fix_holds(&HISTORY, 10_000);
}
