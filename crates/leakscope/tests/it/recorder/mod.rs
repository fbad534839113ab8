//! The recorder against processes that really die: by SIGKILL at random moments, by their own faults, at their limit.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use leakscope::{
    Instrument,
    heap::{build_id, read_profile},
    memory::{Limit, LimitSource},
    recorder::{self, Cause, Certainty, History, Recorder, Witness},
};
use serde_json::{Map, Value};

mod disk;
mod patients;

const FOLDER: &str = "LEAKSCOPE_TEST_FOLDER";
const LIMIT_BYTES: u64 = 160 << 20;

fn map(name: &str, value: impl Into<Value>) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value.into())])
}

/// An instrument that records.
struct Recording(Instrument);

impl Recording {
    fn recorder(&self) -> &Recorder {
        self.0.recorder().expect("it was asked for")
    }

    fn served(&self, requests: u64) {
        self.0.requests().store(requests, Relaxed);
    }
}

/// Records into `folder`; with the problems that are told.
fn record(folder: &Path) -> (Recording, Arc<Mutex<Vec<String>>>) {
    let problems = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&problems);
    let instrument = Instrument::builder()
        .record_in(folder)
        .limit(Limit { bytes: Some(LIMIT_BYTES), source: LimitSource::Watcher })
        .settings(map("answer", 42))
        .on_problem(move |problem| told.lock().unwrap().push(problem.to_owned()))
        .start();
    (Recording(instrument), problems)
}

/// Runs the ignored test `patient` of this room as a process that records into `folder`.
fn start(patient: &str, folder: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("recorder::patients::{patient}"),
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn what_a_program_wrote_down_is_read_back_with_the_end_of_its_run() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = record(folder.path());
    first.served(50);
    first.recorder().event("done", map("what", "this"));
    first.served(60);
    first.recorder().read_now();
    first.0.stop();
    let (_next, ..) = record(folder.path());

    let (runs, problems) = recorder::runs(folder.path());
    assert_eq!((runs.len(), problems), (2, Vec::new()));
    let [run, next] = &runs[..] else { unreachable!() };
    assert_eq!((run.limit_bytes, &run.settings["answer"]), (Some(LIMIT_BYTES), &42.into()));
    let end = run.end.as_ref().expect("the next run wrote it down");
    assert_eq!((end.cause, end.requests), (Cause::Stopped, Some(60)));
    assert_eq!(next.end, None, "it runs");
    assert_eq!((run.events.len(), run.events[0].kind.as_str()), (1, "done"));
    assert_eq!(run.events[0].detail, map("what", "this"));
    let mut requests: Vec<_> = run.readings.iter().map(|(_, reading)| reading.requests).collect();
    requests.dedup();
    assert!(requests.ends_with(&[50, 60]), "an event comes with where it found things: {requests:?}");
    let last = &run.readings.last().expect("at least that").1;
    assert!(last.rss_bytes > 1 << 20 && last.live_heap_bytes > 0 && last.usage_bytes > 0);
}

fn bytes_in(folder: &Path) -> u64 {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// Two segments, the ring, ten post-mortems (some KB each), an unfinished one of each.
const BOUND_BYTES: u64 = 2 * (512 << 10) + 200_000 + 200_000 + (512 << 10);

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_said() {
    let kills = env::var("RECORDER_KILLS").map_or(12, |kills| kills.parse().unwrap());
    let seed = env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut judged = 0;
    for kill in 0..kills {
        let mut child = start("patient_busy", folder.path());
        let pid = child.id();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Some die while they start, most at work, some after the journal has turned over.
        let until = random.choice([0, 1, 50, 700, 2000]).unwrap() + random.u64(0..50);
        let patience = Duration::from_micros(random.u64(0..3000));
        let mut said = None;
        let mut child = Some(child);
        for line in lines {
            if let Some(number) = line.unwrap().split_once("number ").map(|(_, number)| number.parse::<u64>())
            {
                said = Some(number.unwrap());
            }
            if (said >= Some(until) || until < 5)
                && let Some(mut child) = child.take()
            {
                let spin = Instant::now();
                while spin.elapsed() < patience {}
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
        let history = History::settle(folder.path());
        assert_eq!(history.problems, [""; 0], "kill {kill}");
        let newest = history.post_mortems.first().filter(|newest| newest.pid == pid);
        judged += u64::from(newest.is_some());
        assert_eq!(history.ends(Cause::Killed), judged, "kill {kill}");
        let Some(said) = said else { continue };
        let newest = newest.expect("it had written down its start before it said anything");
        let state = newest.state["number"].as_u64().unwrap();
        assert!((said..=said + 1).contains(&state), "kill {kill}: said {said}, wrote {state}");
        assert_eq!((newest.cause, newest.certainty), (Cause::Killed, Certainty::Likely));
        assert_eq!(newest.settings["answer"], 42);
        assert_eq!(newest.build_id, build_id());
        assert!(newest.at.requests.is_none_or(|requests| requests <= said + 1));
        assert!(bytes_in(folder.path()) <= BOUND_BYTES, "{}", bytes_in(folder.path()));
        assert_eq!(History::read(folder.path()).ends(Cause::Killed), judged, "it is counted once");
    }
    assert!(judged > 0);
}

#[track_caller]
fn crashes(patient: &str, written: &str, ends_by: i32) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = start(patient, folder.path()).wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), Some(ends_by), "{stderr}");
    let history = History::settle(folder.path());
    let newest = &history.post_mortems[0];
    assert_eq!(
        (newest.cause, newest.certainty),
        (Cause::Crashed, Certainty::Certain),
        "{:?}",
        newest.evidence
    );
    assert_eq!(newest.signal.as_deref(), Some(written));
    assert_eq!(history.ends(Cause::Crashed), 1);
    stderr
}

#[test]
fn a_crash_is_written_down_and_ends_as_it_would_have() {
    crashes("patient_abort", "SIGABRT", libc::SIGABRT);
    crashes("patient_segv", "SIGSEGV", libc::SIGSEGV);
    crashes("patient_bus", "SIGBUS", libc::SIGBUS);
    crashes("patient_trap", "SIGTRAP", libc::SIGTRAP);
    crashes("patient_divides", "SIGFPE", libc::SIGFPE);
    crashes("patient_illegal", "SIGILL", libc::SIGILL);
    // std tells the overflow by its handler, which ours goes on to, and aborts.
    let stderr = crashes("patient_overflow", "SIGSEGV", libc::SIGABRT);
    assert!(stderr.contains("has overflowed its stack"), "{stderr}");
}

#[test]
fn an_exit_that_was_not_announced_is_no_kill() {
    for (patient, code) in [("patient_exits", 3), ("patient_returns", 0)] {
        ends_by_itself(patient, code);
    }
}

#[track_caller]
fn ends_by_itself(patient: &str, code: i32) {
    let folder = tempfile::tempdir().unwrap();
    let output = start(patient, folder.path()).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(code));
    let newest = History::settle(folder.path()).post_mortems.remove(0);
    assert_eq!((newest.cause, newest.certainty), (Cause::Stopped, Certainty::Likely), "{newest:?}");
    assert!(newest.evidence[0].contains("exited by itself"), "{newest:?}");
}

#[track_caller]
fn assert_is_growth_site(location: &str) {
    let line = location.strip_prefix("crates/leakscope/tests/it/recorder/patients.rs:").expect(location);
    let source = include_str!("patients.rs").lines().nth(line.parse::<usize>().unwrap() - 1).unwrap();
    assert!(source.contains("vec![1; 8 << 10]"), "{source}");
}

#[test]
fn at_100_mb_per_second_there_is_a_profile_and_it_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let child = start("patient_grows", folder.path());
    let pid = child.id();
    assert_eq!(child.wait_with_output().unwrap().status.signal(), Some(libc::SIGKILL));
    let unseen = History::read(folder.path());
    assert_eq!(unseen.post_mortems[0].certainty, Certainty::Likely);
    Witness {
        pid,
        signal: Some(libc::SIGKILL),
        exit_code: None,
        limit_kill: Some(true),
        usage_bytes: Some(LIMIT_BYTES),
        evidence: "counted".to_owned(),
    }
    .write(folder.path())
    .unwrap();
    let newest = History::settle(folder.path()).post_mortems.remove(0);
    println!("{}", serde_json::to_string_pretty(&newest).unwrap());
    assert_eq!((newest.cause, newest.certainty), (Cause::LimitKill, Certainty::Certain));
    assert_eq!(newest.at.limit_share, Some(1.0));
    assert_eq!(newest.state["on"], "growth");
    let first = newest.growing.first().expect(&newest.profile);
    assert_is_growth_site(&first.location);
    assert!(first.share > 0.9, "{first:?}");
    // The first threshold is the sure one; how far behind the later ones are depends on who else has the processors.
    let thresholds: Vec<_> =
        newest.events.iter().filter(|event| event.what == "profile" && event.percent.is_some()).collect();
    assert_eq!(thresholds[0].percent, Some(70));
    assert!(first.bytes as f64 > 0.6 * LIMIT_BYTES as f64, "{first:?}");

    // The same profile, as another build would have written it.
    let file = folder.path().join(thresholds[0].file.as_ref().unwrap());
    assert!(read_profile(&file).is_ok());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "for its owner only");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(build_id(), "0123abcd")).unwrap();
    let refused = read_profile(&file).unwrap_err().to_string();
    assert!(refused.contains("0123abcd") && refused.contains(build_id()), "{refused}");
    fs::write(&file, &text[..text.len() / 2]).unwrap();
    assert!(read_profile(&file).unwrap_err().to_string().contains("cut short"));
}

#[test]
fn a_stop_in_good_order_is_certain_and_nothing_comes_after_it() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(History::read(folder.path()).post_mortems.len(), 0);
    let (recording, problems) = record(folder.path());
    assert!(History::read(folder.path()).post_mortems.is_empty(), "it still runs");
    recording.served(7);
    recording.recorder().event("snapshot", map("by", "line"));
    recording.0.stop();
    recording.recorder().event("too_late", Map::new());
    drop(recording);

    let (recording, _) = record(folder.path());
    let history = recording.recorder().history();
    let last = &history.post_mortems[0];
    assert_eq!((last.cause, last.certainty), (Cause::Stopped, Certainty::Certain));
    assert_eq!(last.at.requests, Some(7), "the last sample is taken at the stop");
    let kinds: Vec<_> = last.events.iter().map(|event| event.kind.as_deref().unwrap_or_default()).collect();
    assert_eq!(kinds, ["snapshot", ""]);
    assert_eq!(*problems.lock().unwrap(), [""; 0]);
}

#[test]
fn the_last_ten_are_kept_and_all_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..13 {
        record(folder.path()).0.0.stop();
    }
    let history = History::settle(folder.path());
    assert_eq!(history.post_mortems.len(), 10);
    assert_eq!(history.ends(Cause::Stopped), 13);
    assert!(history.post_mortems.is_sorted_by(|newer, older| newer.run > older.run));
}

#[test]
fn a_process_that_is_killed_without_a_limit_leaves_a_profile_that_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start("patient_without_a_limit", folder.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Far beyond the first doubling that counts, and looked at four times a second.
    lines.find(|line| line.as_ref().unwrap() == "98304 KiB").expect("it grows").unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let newest = History::settle(folder.path()).post_mortems.remove(0);
    assert_eq!((newest.cause, newest.certainty), (Cause::Killed, Certainty::Likely));
    assert!(newest.evidence.iter().any(|says| says.contains("no memory limit was known")), "{newest:?}");
    assert!(newest.profile.contains("the live heap had doubled"), "{}", newest.profile);
    let first = newest.growing.first().expect(&newest.profile);
    assert_is_growth_site(&first.location);
}

#[test]
fn a_second_process_in_a_folder_records_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start("patient_busy", folder.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().contains("number 5")).expect("it records").unwrap();
    let (second, problems) = record(folder.path());
    assert_eq!(second.recorder().history().post_mortems.len(), 0, "the first one lives");
    let problems = problems.lock().unwrap().join("\n");
    assert!(problems.contains("another process records into"), "{problems}");
    second.recorder().event("unheard", Map::new());
    second.0.stop();
    child.kill().unwrap();
    child.wait().unwrap();
    let history = History::settle(folder.path());
    assert_eq!((history.post_mortems.len(), history.post_mortems[0].pid), (1, child.id()));
    let (runs, _) = recorder::runs(folder.path());
    assert!(runs.iter().flat_map(|run| &run.events).all(|event| event.kind != "unheard"));
}
