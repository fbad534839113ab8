//! Each leak and each twin in the running binary: what a request keeps, what the profile says of it, what comes back.

use serde_json::Value;

mod support;
use support::{Service, eventually};

/// Growth at which the default sampling is within 8 % nearly always.
const GROWTH_BYTES: u64 = 104 << 20;

const MIB: i64 = 1 << 20;

#[test]
fn cache_keeps_what_is_documented_and_is_found_by_its_line() {
    the_leak("cache", "entries", 24 << 10);
}

#[test]
fn listeners_keep_what_is_documented_and_are_found_by_their_line() {
    the_leak("listeners", "count", 16 << 10);
}

#[test]
fn history_keeps_what_is_documented_and_is_found_by_its_line() {
    the_leak("history", "entries", 8 << 10);
}

fn the_leak(name: &str, count_field: &str, payload_bytes: u64) {
    let service = Service::start(&[]);
    let requests = GROWTH_BYTES / payload_bytes;
    service.drive("/api/data", 500, 4);
    let before = settled_rss(&service);
    assert_eq!(service.ok("/admin/memory/diff")["status"], "baseline_set");
    switch(&service, name, r#"{"enabled": true}"#);
    service.drive("/api/data", requests as usize, 4);

    let leak = &service.ok("/admin/leaks/status")["leaks"][name];
    assert_eq!(leak[count_field], requests);
    assert_eq!(leak["bytes_held"], requests * payload_bytes, "exactly");
    let grown = settled_rss(&service) - before;
    let expected = (requests * payload_bytes) as i64;
    assert!((grown - expected).abs() * 10 <= expected, "RSS grew by {grown}, the payload is {expected}");

    let diff = service.ok("/admin/memory/diff");
    let first = &diff["growing_allocations"][0];
    assert_eq!(first["file"], format!("src/leaks/{name}/leaky.rs"), "{diff}");
    assert_eq!(line_of(first), GROWTH_LINE, "{first}");
    let off = (number(first, "size_diff_bytes") - expected).abs();
    assert!(off * 100 <= expected * 8, "{off} bytes off: {first}");
    assert!(off <= 4 * number(first, "size_diff_error_bytes"), "{off} bytes off: {first}");

    service.post("/admin/leaks/clear", "");
    let back = before + grown - settled_rss(&service);
    assert!(back * 10 >= grown * 9, "{back} of {grown} bytes came back");
}

/// What each leak's growth site does on the line that the profile must name.
const GROWTH_LINE: &str = "Vec::with_capacity";

/// The source line that a growing allocation names, as far as it matters.
fn line_of(growth: &Value) -> &'static str {
    let file = growth["file"].as_str().expect("a file");
    let source = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
    let source = source.expect("a file of this package");
    let line = source.lines().nth(number(growth, "line") as usize - 1).expect("a line of that file");
    if line.contains(GROWTH_LINE) { GROWTH_LINE } else { "another line" }
}

#[test]
fn twins_stay_flat_under_the_same_load() {
    let service = Service::start(&[]);
    switch(&service, "all", r#"{"enabled": true, "variant": "fixed"}"#);
    service.drive("/api/data", 5_000, 4);
    let warm = settled_rss(&service);
    service.drive("/api/data", 10_000, 4);
    let moved = settled_rss(&service) - warm;
    assert!(moved.abs() < 2 * MIB, "RSS moved by {moved}");
    let hit_rate = &service.ok("/admin/leaks/status")["leaks"]["cache"]["hit_rate"];
    assert!(hit_rate.as_f64().expect("a rate") >= 0.9, "{hit_rate}");
}

#[test]
fn readings_of_memory_do_not_show_the_reading() {
    let service = Service::start(&[]);
    let rss = || number(&service.ok("/admin/memory")["process"], "rss_bytes");
    let cold = rss();
    // The first reading has started a profile behind its back: the next ones fall into it.
    let ready = eventually("a profile", || {
        let memory = service.ok("/admin/memory");
        let moved = number(&memory["process"], "rss_bytes") - cold;
        assert!(
            moved < 2 * MIB,
            "RSS moved by {moved} while the profile is {}",
            memory["heap_profile"]["status"]
        );
        (memory["heap_profile"]["status"] == "ready").then_some(memory)
    });
    assert!(ready["heap_profile"]["age_seconds"].as_f64().expect("an age") <= 10.0, "{ready}");
    service.drive("/api/data", 100, 1);
    let moved = rss() - cold;
    assert!(moved < 2 * MIB, "RSS moved by {moved}");
}

fn switch(service: &Service, name: &str, body: &str) {
    let (status, answer) = service.post(&format!("/admin/leaks/{name}"), body);
    assert_eq!(status, 200, "{answer}");
}

/// RSS after the allocator gave back what nothing refers to.
fn settled_rss(service: &Service) -> i64 {
    let (status, gc) = service.post("/admin/gc", "");
    assert_eq!(status, 200, "{gc}");
    number(&gc, "memory_after_bytes")
}

#[track_caller]
fn number(object: &Value, field: &str) -> i64 {
    object[field].as_i64().unwrap_or_else(|| panic!("{field} is no number in {object}"))
}
