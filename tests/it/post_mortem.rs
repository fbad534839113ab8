//! What the next start says of a service that was killed, crashed, stopped, or ran out of memory.

use std::{path::Path, process::Output, thread};

use crate::support::{Service, get, lab::Lab, metric, send_signal};
use serde_json::{Value, json};

fn command(data_dir: &Path, arguments: &[&str]) -> Output {
    let mut command = crate::support::serve::leaklab();
    command
        .arg("post-mortem")
        .arg("--data-dir")
        .arg(data_dir)
        .args(arguments)
        .output()
        .expect("the binary starts")
}

/// The metric's value for that cause.
#[track_caller]
fn ends(url: &str, cause: &str) -> f64 {
    metric(url, &format!("previous_run_ends_total{{cause=\"{cause}\"}}"))
}

/// Starts a service, leaks a little, ends it by that signal, and starts it again.
#[track_caller]
fn ended_by(signal: libc::c_int) -> (Service, Value) {
    let service = Service::start(&[]);
    let (status, answer) = service.get("/admin/post-mortem");
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("no_previous_run")));
    assert_eq!(command(service.data_dir.path(), &[]).status.code(), Some(1), "its own run has not ended");
    service.post("/admin/leaks/cache", r#"{"enabled":true}"#);
    service.post("/admin/leaks/history", r#"{"enabled":true,"variant":"fixed"}"#);
    service.drive("/api/data", 20, 1);
    let pid = service.pid();
    let data_dir = service.end_by(signal);

    let unread = command(data_dir.path(), &["--json"]);
    let unread: Value = serde_json::from_slice(&unread.stdout).expect("JSON");
    let next = Service::start_in(data_dir, &[], &[]);
    let post_mortem = next.ok("/admin/post-mortem");
    assert_eq!(post_mortem["cause"], unread["cause"], "the terminal need not wait for the next start");
    assert_eq!(post_mortem["pid"], pid);
    assert_eq!(post_mortem["leaks_on"], json!(["cache", "history:fixed"]));
    assert_eq!(post_mortem["settings"]["work_ms"], 0);
    let status = next.ok("/admin/leaks/status");
    assert_eq!(status["previous_run"]["leaks_on"], post_mortem["leaks_on"]);
    assert_eq!(status["leaks"]["cache"]["enabled"], false);
    assert_eq!(ends(&next.url, post_mortem["cause"].as_str().expect("a name")), 1.0);
    (next, post_mortem)
}

#[test]
fn a_kill_is_told_by_the_next_start() {
    let (next, post_mortem) = ended_by(libc::SIGKILL);
    assert_eq!((&post_mortem["cause"], &post_mortem["certainty"]), (&json!("killed"), &json!("likely")));
    assert!(post_mortem["at"]["rss_bytes"].as_u64() > Some(1 << 20), "{post_mortem}");
    assert!(post_mortem["at"]["sample_age_seconds"].is_f64(), "{post_mortem}");
    let told: Vec<_> = next.log().into_iter().filter(|line| line.contains("previous run: ")).collect();
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told[0].contains("leaks on: cache, history:fixed") && told[1].contains("likely"), "{told:#?}");

    let data_dir = next.end_by(libc::SIGTERM);
    let third = Service::start_in(data_dir, &[], &[]);
    assert_eq!(third.ok("/admin/post-mortem")["cause"], "stopped");
    assert_eq!(third.ok("/admin/post-mortem?n=2"), post_mortem, "it is kept");
    assert_eq!(third.get("/admin/post-mortem?n=3").0, 404);
    assert_eq!(third.get("/admin/post-mortem?n=0").0, 400);
    assert_eq!((ends(&third.url, "stopped"), ends(&third.url, "killed")), (1.0, 1.0));
}

#[test]
fn a_stop_in_good_order_is_certain() {
    let (_, post_mortem) = ended_by(libc::SIGTERM);
    assert_eq!((&post_mortem["cause"], &post_mortem["certainty"]), (&json!("stopped"), &json!("certain")));
    assert_eq!(post_mortem["at"]["requests"], 20);
}

#[test]
fn an_abort_is_written_down_by_its_handler() {
    let (_, post_mortem) = ended_by(libc::SIGABRT);
    assert_eq!((&post_mortem["cause"], &post_mortem["certainty"]), (&json!("crashed"), &json!("certain")));
    assert_eq!(post_mortem["signal"], "SIGABRT");
}

#[test]
fn a_folder_that_can_t_be_written_is_said_once_and_costs_the_record_only() {
    let data_dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(data_dir.path().join("recorder"), "not a folder").expect("writable");
    let service = Service::start_in(data_dir, &[], &[]);
    service.post("/admin/leaks/cache", r#"{"enabled":true}"#);
    service.drive("/api/data", 20, 1);
    assert_eq!(service.get("/admin/post-mortem").0, 404);
    let warnings: Vec<_> = service.log().into_iter().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
}

/// What grew from the first threshold to the last one.
#[track_caller]
fn the_recorders_profiles_can_be_compared(folder: &Path) {
    let files =
        std::fs::read_dir(folder).expect("the recorder's folder").map(|file| file.expect("a file").path());
    let mut profiles: Vec<_> = files.filter(|file| file.extension().is_some_and(|it| it == "heap")).collect();
    profiles.sort(); // the names begin with the time
    let (Some(first), Some(last)) = (profiles.first(), profiles.last()) else { panic!("none in {folder:?}") };
    let diff =
        crate::support::serve::leaklab().arg("diff").args([first, last]).output().expect("the binary starts");
    let text = String::from_utf8_lossy(&diff.stdout);
    assert!(diff.status.success(), "{diff:?}");
    assert!(text.lines().nth(2).is_some_and(|top| top.contains("  src/leaks/")), "{profiles:?}: {text}");
}

/// Leaks until the limit, and reads what is told then.
fn limit_kill(enforce: &str) {
    let lab = Lab::start(&["--limit", "64MiB", "--enforce", enforce]);
    let Some(url) = lab.url() else {
        println!("SKIPPED: {}", lab.words_until("error"));
        return;
    };
    let agent = ureq::Agent::new_with_defaults();
    agent.post(format!("{url}/admin/leaks/all")).send(r#"{"enabled":true}"#).expect("an answer");
    let load = thread::spawn({
        let arguments =
            [&*format!("--url={url}/api/data"), "--rate=400", "--requests=3000"].map(str::to_owned);
        move || {
            crate::support::serve::leaklab().arg("load").args(arguments).output().expect("the binary starts")
        }
    });
    let url = lab.url().expect("it is started again");
    let words = lab.words_until("ready again");
    load.join().expect("no panic");
    let (status, post_mortem) = get(&format!("{url}/admin/post-mortem"));
    assert_eq!(status, 200, "{words}");
    assert_eq!(
        (&post_mortem["cause"], &post_mortem["certainty"]),
        (&json!("limit_kill"), &json!("certain")),
        "{post_mortem:#}"
    );
    assert!(post_mortem["at"]["limit_share"].as_f64() >= Some(0.95), "{post_mortem:#}");
    assert!(post_mortem["at"]["requests"].as_u64() > Some(500), "{post_mortem:#}");
    assert_eq!(post_mortem["leaks_on"], json!(["cache", "listeners", "history"]));
    let growing = &post_mortem["growing"];
    assert!(
        growing[0]["location"].as_str().is_some_and(|line| line.starts_with("src/leaks/")),
        "{post_mortem:#}"
    );
    assert_eq!(ends(&url, "limit_kill"), 1.0);
    assert_eq!(words.matches("killed by the memory limit").count(), 1, "{words}");
    assert!(words.contains(growing[0]["location"].as_str().expect("a line")), "{words}");
    the_recorders_profiles_can_be_compared(&lab.data_dir.path().join("recorder"));
    let log: Vec<_> = lab.log().into_iter().filter(|line| line.contains("previous run")).collect();
    assert_eq!(log, [""; 0], "the lab has said it already");

    // The same service killed by somebody else: the lab knows that it was not for the limit.
    let (_, memory) = get(&format!("{url}/admin/memory"));
    send_signal(memory["process"]["pid"].as_u64().expect("a pid").try_into().expect("a pid"), libc::SIGKILL);
    let url = lab.url().expect("it is started again");
    let (_, post_mortem) = get(&format!("{url}/admin/post-mortem"));
    assert_eq!(
        (&post_mortem["cause"], &post_mortem["certainty"]),
        (&json!("killed"), &json!("certain")),
        "{post_mortem:#}"
    );
}

#[test]
fn a_limit_kill_by_the_watcher_is_certain_and_its_lines_are_named() {
    limit_kill("watcher");
}

#[test]
fn a_limit_kill_by_the_kernel_is_certain_and_its_lines_are_named() {
    limit_kill("cgroup");
}
