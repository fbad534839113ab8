//! The service's own log.

use std::process::Command;

use crate::support::{Service, eventually};
use serde_json::Value;

#[test]
fn requests_leave_no_lines_at_the_default_level() {
    let service = Service::start(&[]);
    service.drive("/api/data", 100, 4);
    assert_eq!(service.get("/no/such/route").0, 404);
    let killed = Command::new("kill").arg(service.pid().to_string()).status().expect("kill runs");
    assert!(killed.success());
    let mut messages = Vec::new();
    eventually("the last line", || {
        let lines = service.log().into_iter();
        let lines = lines.map(|line| serde_json::from_str::<Value>(&line).expect("every line is JSON"));
        messages.extend(lines.map(|line| line["message"].as_str().expect("a message").to_owned()));
        messages.iter().any(|message| message == "stopped").then_some(())
    });
    let from = messages.iter().position(|message| message == "listening").expect("it listened");
    assert_eq!(messages[from..], ["listening", "draining", "stopped"]);
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
