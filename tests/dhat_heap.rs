//! The feature `dhat-heap`: another allocator, whose profile is written at a clean exit; the reports say what they lose by it.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::Service;

#[test]
fn a_profile_is_written_and_the_reports_say_that_jemalloc_is_not_there() {
    let service = Service::start(&[]);
    service.post("/admin/leaks/cache", r#"{"enabled":true}"#);
    // More than describing the routes takes for a moment at the start: dhat tells what was held when most was.
    service.drive("/api/data", 300, 1);

    let memory = service.ok("/admin/memory");
    assert!(memory["jemalloc"].is_null(), "{memory:#}");
    let missing = memory["missing"].as_array().expect("a list");
    let jemalloc = missing.iter().find(|missing| missing["source"] == "jemalloc").expect("it is missing");
    assert!(jemalloc["reason"].as_str().is_some_and(|reason| reason.contains("not jemalloc")), "{jemalloc}");
    assert_eq!(memory["heap_profile"]["status"], "off");
    let (status, answer) = service.get("/admin/memory/snapshot");
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("profiling_off")));
    assert!(
        answer["error"]["message"]
            .as_str()
            .is_some_and(|says| says.contains("does not allocate with jemalloc")),
        "{answer}"
    );
    let log = service.log().join("\n");
    assert!(log.contains("what each request keeps is not measured"), "{log}");

    let folder = service.end_by(libc::SIGTERM);
    let profile = fs::read(folder.path().join("dhat-heap.json")).expect("written when main returns");
    let profile: Value = serde_json::from_slice(&profile).expect("JSON");
    assert_eq!(profile["dhatFileVersion"], 2);
    // Each request's response is kept in two buffers of 12 KiB: `gb` are a place's bytes when most was held.
    let places = profile["pps"].as_array().expect("a list of places");
    let kept = places.iter().map(|place| place["gb"].as_u64().expect("a number")).max();
    assert!(kept >= Some(300 * 12 * 1024), "{kept:?}");
}
