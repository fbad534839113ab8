//! The labs' checks against the running binary: before the effect they fail, after it they pass, whoever died in between.

use std::{process::Output, thread, time::Duration};

use crate::support::{Service, agent, eventually, lab::Lab, ok, post};
use leaklab::vitals::Vitals;
use serde_json::{Value, json};

/// Asks a lab's check, with an answer where that is not null.
#[track_caller]
fn check(url: &str, id: &str, answer: Value) -> Value {
    let body = if answer.is_null() { String::new() } else { json!({ "answer": answer }).to_string() };
    let (status, verdict) = post(&format!("{url}/admin/labs/{id}/check"), &body);
    assert_eq!((status, &verdict["id"]), (200, &json!(id)), "{verdict}");
    verdict
}

#[track_caller]
fn assert_passes(url: &str, id: &str, answer: Value) {
    let verdict = check(url, id, answer);
    assert_eq!(verdict["passed"], true, "{verdict:#}");
}

/// Not passed, and said why.
#[track_caller]
fn assert_wants(url: &str, id: &str, answer: Value, observed: &str) {
    let verdict = check(url, id, answer);
    assert_eq!(verdict["passed"], false, "{verdict:#}");
    let said = verdict["observed"].as_str().expect("text");
    assert!(said.contains(observed), "{said:?} has no {observed:?}");
    assert!(verdict["wanted"].is_string() && verdict["hint"].is_string(), "{verdict:#}");
}

#[track_caller]
fn switch(url: &str, leak: &str, body: &str) {
    assert_eq!(post(&format!("{url}/admin/leaks/{leak}"), body).0, 200);
}

fn command(service: &Service, arguments: &[&str]) -> Output {
    crate::support::serve::leaklab()
        .args(arguments)
        .args(["--url", &service.url])
        .env("LEAKLAB_DATA_DIR", service.data_dir.path())
        .output()
        .expect("the binary starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn lab_1_wants_two_looks_and_stays_passed_until_it_is_reset() {
    let service = Service::start(&[]);
    service.drive("/api/data", 200, 2); // what the first requests cost is not the lesson
    assert_wants(&service.url, "1", Value::Null, "looked at 0 times");
    service.ok("/admin/memory");
    service.drive("/api/data", 100, 1);
    assert_wants(&service.url, "1", Value::Null, "looked at 1 times");
    service.ok("/admin/memory");

    let next = command(&service, &["check"]);
    assert_eq!(next.status.code(), Some(0), "{}", text(&next));
    assert!(text(&next).contains("lab 1, Baseline: passed"), "{}", text(&next));
    let passed_at = service.ok("/admin/labs")["labs"][0]["passed_at"].clone();
    assert!(passed_at.is_string());
    let told = command(&service, &["labs"]);
    assert!(text(&told).contains(&passed_at.as_str().expect("text")[..10]), "{}", text(&told));
    let next = command(&service, &["check"]);
    assert_eq!(next.status.code(), Some(1), "lab 2 is next: {}", text(&next));
    assert!(text(&next).contains("lab 2") && text(&next).contains("hint:"), "{}", text(&next));

    let service = Service::start_in(service.end_by(libc::SIGKILL), &[], &[]);
    assert_eq!(service.ok("/admin/labs")["labs"][0]["passed_at"], passed_at, "a kill costs no progress");
    assert_passes(&service.url, "1", Value::Null);
    assert_eq!(command(&service, &["labs", "--reset", "1"]).status.code(), Some(0));
    assert_wants(&service.url, "1", Value::Null, "looked at 0 times");
    assert_eq!(command(&service, &["labs", "--reset", "unicorn"]).status.code(), Some(64));
    assert_eq!(command(&service, &["check", "1", "--answer", "{"]).status.code(), Some(64));

    let data_dir = service.end_by(libc::SIGTERM);
    let alone = crate::support::serve::leaklab()
        .args(["labs", "--url", "http://127.0.0.1:1"])
        .env("LEAKLAB_DATA_DIR", data_dir.path())
        .output()
        .expect("the binary starts");
    assert!(
        text(&alone).contains("no service answers") && text(&alone).contains("Baseline"),
        "{}",
        text(&alone)
    );
}

/// The line that grew most since the baseline.
#[track_caller]
fn grown_line(service: &Service) -> String {
    let diff = service.ok("/admin/memory/diff");
    diff["growing_allocations"][0]["location"].as_str().unwrap_or_else(|| panic!("{diff:#}")).to_owned()
}

#[test]
fn labs_4_and_5_pass_by_what_was_done_before_a_kill() {
    let service = Service::start(&[]);
    assert_wants(&service.url, "4", json!({ "line": "src/leaks/history/leaky.rs:1" }), "no diff");
    switch(&service.url, "history", r#"{"enabled": true}"#);
    service.post("/admin/memory/baseline", "");
    service.drive("/api/data", 1_000, 2);
    let line = grown_line(&service);
    assert!(line.starts_with("src/leaks/history/leaky.rs:"), "{line}");
    assert_wants(&service.url, "5", Value::Null, "not given back");

    let service = Service::start_in(service.end_by(libc::SIGKILL), &[], &[]);
    assert_wants(&service.url, "4", json!({ "line": "src/leaks/history/leaky.rs:1" }), "not the line");
    assert_passes(&service.url, "4", json!({ "line": line }));

    // The same leak again, repaired while it runs.
    switch(&service.url, "history", r#"{"enabled": true}"#);
    service.drive("/api/data", 1_000, 2);
    switch(&service.url, "history", r#"{"enabled": true, "variant": "fixed"}"#);
    service.drive("/api/data", 600, 2);
    assert_wants(&service.url, "5", Value::Null, "not given back");
    service.post("/admin/leaks/clear", "");
    assert_wants(&service.url, "5", Value::Null, "then 0 requests");
    service.drive("/api/data", 600, 2);
    // Readings come every two seconds; an event brings one at once.
    service.post("/admin/gc", "");

    let service = Service::start_in(service.end_by(libc::SIGKILL), &[], &[]);
    assert_passes(&service.url, "5", Value::Null);
    assert_wants(&service.url, "5-fix", Value::Null, "the variant `mine`");
    assert_eq!(service.post("/admin/labs/reset", "").0, 200);
    assert_wants(&service.url, "4", json!({ "line": line }), "no diff");
    assert_wants(&service.url, "5", Value::Null, "no leak was seen");
}

#[test]
fn a_damaged_progress_is_said_once_and_begun_anew() {
    let data_dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(data_dir.path().join("labs.json"), "{ torn").expect("writable");
    let service = Service::start_in(data_dir, &[], &[]);
    assert_eq!(service.ok("/admin/labs")["labs"][0]["passed"], false);
    let warnings: Vec<_> = service.log().into_iter().filter(|line| line.contains("labs.json")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
}

/// Requests at a constant rate, as the text has them.
fn load(url: &str, rate: u32, seconds: u32) {
    let arguments =
        [format!("--url={url}/api/data"), format!("--rate={rate}"), format!("--duration={seconds}s")];
    let report =
        crate::support::serve::leaklab().arg("load").args(arguments).output().expect("the binary starts");
    assert!(report.status.success(), "{}", text(&report));
}

#[test]
#[ignore = "two minutes of steady load: run by the gate"]
fn labs_2_and_3_want_figures_that_can_be_measured() {
    let lab = Lab::start(&[]);
    let url = &lab.url().expect("it starts");
    let memory = || ok(url, "/admin/memory");
    let live = |memory: &Value| {
        let parts = memory["parts"].as_array().expect("parts");
        let part = parts.iter().find(|part| part["part"] == "live_heap").expect("that part");
        part["size_bytes"].as_f64().expect("bytes")
    };
    switch(url, "cache", r#"{"enabled": true}"#);
    let before = memory();
    load(url, 50, 62);
    let after = memory();
    let bytes_per_request = (live(&after) - live(&before)) / (50.0 * 62.0);
    let left = after["limit"]["bytes"].as_f64().expect("a limit")
        - after["process"]["rss_bytes"].as_f64().expect("bytes");
    let answer = |factor: f64| {
        let seconds = left / (bytes_per_request * 50.0);
        json!({ "bytes_per_request": factor * bytes_per_request, "seconds_to_limit": seconds })
    };
    assert_wants(url, "2", Value::Null, "live heap");
    assert_wants(url, "2", answer(0.5), "too low");
    assert_passes(url, "2", answer(1.0));

    assert_wants(url, "3", Value::Null, "the longest pause");
    thread::sleep(Duration::from_secs(13)); // the pause is the effect
    load(url, 20, 18);
    load(url, 100, 6);
    let answer = |fast: f64| {
        json!({
            "idle_bytes_per_second": 0, "slow_bytes_per_request": bytes_per_request,
            "fast_bytes_per_request": fast * bytes_per_request
        })
    };
    assert_wants(url, "3", answer(3.0), "too high");
    assert_passes(url, "3", answer(1.0));
}

#[test]
#[ignore = "three kills by the limit under steady load: run by the gate"]
fn labs_6_and_8_want_the_kill() {
    let lab = Lab::start(&["--limit", "64MiB"]);
    let url = lab.url().expect("it starts");
    for leak in ["cache", "listeners", "history"] {
        assert_wants(&url, "6", Value::Null, &format!("{leak} 0"));
        switch(&url, leak, r#"{"enabled": true}"#);
        load(&url, 100, 4);
        switch(&url, leak, r#"{"enabled": false}"#);
        post(&format!("{url}/admin/leaks/clear"), "");
    }
    assert_wants(&url, "6", Value::Null, "never with all leaks on");
    assert_wants(&url, "8", json!({ "seconds_to_limit": 30 }), "nothing grows now");
    switch(&url, "all", r#"{"enabled": true}"#);
    // 48 KiB a request: 32 a second leave 1.5 MiB.
    let dying = thread::spawn({
        let url = url.clone();
        move || load(&url, 32, 60)
    });
    // The limit less what is in use, by what is kept a second, while the end is far enough away.
    let (seconds_to_limit, said) = eventually("it grows", || {
        let vitals = Vitals::parse(ok(&url, "/metrics").as_str()?);
        let left = 64.0 * f64::from(1 << 20) - vitals.usage_bytes? as f64;
        let seconds = left / (32.0 * 48.0 * 1024.0);
        (vitals.held_bytes.values().sum::<u64>() > 4 << 20)
            .then(|| (seconds, check(&url, "8", json!({ "seconds_to_limit": seconds }))))
    });
    assert!(said["observed"].as_str().expect("text").contains("now let it die"), "{said:#}");
    let url = lab.url().expect("it is started again");
    let words = lab.words_until("ready again");
    assert_wants(&url, "6", Value::Null, "never all on");
    assert_passes(&url, "8", Value::Null);
    dying.join().expect("no panic");
    switch(&url, "all", r#"{"enabled": true, "variant": "fixed"}"#);
    load(&url, 60, 30);
    let answer = |seconds: f64| json!({ "latency": "listeners", "hit_rate": "cache", "bytes_only": "history", "seconds_to_kill": seconds });
    // 4 MiB had been kept when the forecast was made.
    let seconds_to_kill = seconds_to_limit + f64::from(4 << 20) / (32.0 * 48.0 * 1024.0);
    assert_wants(&url, "6", answer(3.0 * seconds_to_kill), "too high");
    let verdict = check(&url, "6", answer(seconds_to_kill));
    assert_eq!(verdict["passed"], true, "{verdict:#}\n{words}");
}

#[test]
#[ignore = "a crash loop: run by the gate"]
fn lab_7_wants_a_crash_loop_and_what_it_left() {
    let lab = Lab::start(&["--limit", "64MiB", "--leaks", "cache,listeners,history"]);
    let url = &lab.url().expect("it starts");
    thread::scope(|scope| {
        for _ in 0..2 {
            assert_wants(url, "7", Value::Null, "leaks on from the start");
            scope.spawn(|| load(url, 300, 6));
            lab.words_until("ready again");
        }
    });
    // Its port stays the same.
    eventually("it answers", || agent().get(format!("{url}/readyz")).call().ok());
    assert_wants(url, "7", Value::Null, "nobody has read a post-mortem");
    let post_mortem = ok(url, "/admin/post-mortem");
    let answer = |exit_status: i64| {
        json!({
            "exit_status": exit_status, "share_of_limit": post_mortem["at"]["limit_share"],
            "line": post_mortem["growing"][0]["location"]
        })
    };
    assert_wants(url, "7", answer(9), "not its exit status");
    assert_passes(url, "7", answer(137));
}
