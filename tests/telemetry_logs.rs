//! The service's own log.

mod support;

use serde_json::Value;
use support::{Service, eventually};

#[test]
fn requests_leave_no_lines_at_the_default_level() {
    let service = Service::start(&[]);
    service.ok("/api/data");
    service.log();
    service.drive("/api/data", 100, 4);
    // The switch logs; so everything before it has been written.
    service.post("/admin/leaks/cache", r#"{"enabled":true}"#);
    let mut lines = Vec::new();
    eventually("a line about the switch", || {
        lines.extend(service.log());
        lines.iter().any(|line| line.contains("cache")).then_some(())
    });
    assert!(!lines.iter().any(|line| line.contains("/api/data")), "{lines:#?}");
    assert!(lines.len() < 10, "{lines:#?}");
}

#[test]
fn a_line_written_for_a_request_carries_its_trace() {
    let service = Service::start(&[]);
    service.log();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let answer = ureq::post(format!("{}/admin/leaks/cache", service.url))
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .send(r#"{"enabled":true}"#)
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    let line = eventually("a line about the switch", || {
        service.log().into_iter().find(|line| line.contains("cache"))
    });
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["trace_id"], trace, "{line}");
    let request_id = answer.headers().get("x-request-id").expect("an id").to_str().expect("text");
    assert_eq!(line["request_id"], request_id, "{line}");
}

#[test]
fn a_bad_filter_is_a_warning_that_says_what_would_be_right() {
    let service = Service::start_with(&[], &[("RUST_LOG", "leaklab=loud")]);
    service.ok("/api/data");
    let log = service.log();
    let warning = log.iter().find(|line| line.contains("RUST_LOG")).unwrap_or_else(|| panic!("{log:#?}"));
    let warning: Value = serde_json::from_str(warning).expect("JSON");
    assert_eq!(warning["level"], "WARN");
    assert!(warning["error"].as_str().expect("text").contains("leaklab=loud"), "{warning}");
}

#[test]
fn the_filter_is_honoured() {
    let service = Service::start_with(&[], &[("RUST_LOG", "info,leaklab=info")]);
    assert!(!service.log().iter().any(|line| line.contains("RUST_LOG")));
}
