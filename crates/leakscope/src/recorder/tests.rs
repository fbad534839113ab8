//! The formats torn at every byte, and the judgement of runs as a table.

use std::{fs, path::Path};

use serde_json::{Map, Value, json};

use super::{
    cause::{Cause, Certainty},
    end::End,
    entry::{self, Entry, RunEntries, Start, What},
    journal::{Contents, HEADER_BYTES, Journal, LONGEST_PAYLOAD_BYTES, framed},
    post_mortem::{self, LastProfile, PostMortem},
    readings::{PACE, Reading},
    recording::SEGMENT_BYTES,
    ring::Recorded,
    witness::{Dated, Witness},
};
use crate::{
    memory::{RSS, USAGE},
    quantity::Observation,
    trend::Verdict,
};

pub(super) const NO_MOVE: fn(String) = |message| panic!("{message}");

fn journal(folder: &Path) -> Journal {
    Journal::open(folder, 1 << 16, &mut { NO_MOVE }).expect("a folder that can be written")
}

fn payloads(folder: &Path) -> Vec<Vec<u8>> {
    let contents = Contents::read(folder);
    assert!(contents.problems.is_empty(), "{:?}", contents.problems);
    contents.payloads
}

#[test]
fn a_journal_torn_at_any_byte_keeps_what_was_whole_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let records: [&[u8]; 4] = [b"first", b"", b"third record", b"{}"];
    let mut whole = journal(folder.path());
    let mut ends = vec![HEADER_BYTES];
    for record in records {
        whole.append(record).unwrap();
        ends.push(fs::metadata(folder.path().join("journal")).unwrap().len() as usize);
    }
    let bytes = fs::read(folder.path().join("journal")).unwrap();
    assert_eq!(bytes.len(), *ends.last().unwrap());
    for cut in 0..=bytes.len() {
        fs::write(folder.path().join("journal"), &bytes[..cut]).unwrap();
        let kept = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
        assert_eq!(payloads(folder.path()), records[..kept], "cut at {cut}");
        journal(folder.path()).append(b"next").unwrap();
        let expected = [&records[..kept], &[b"next"]].concat();
        assert_eq!(payloads(folder.path()), expected, "cut at {cut}");
    }
}

#[test]
fn a_flipped_byte_costs_its_record_and_those_after_it_but_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut whole = journal(folder.path());
    whole.append(b"first").unwrap();
    whole.append(b"second").unwrap();
    let bytes = fs::read(folder.path().join("journal")).unwrap();
    for at in HEADER_BYTES..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 0x10;
        fs::write(folder.path().join("journal"), &broken).unwrap();
        let kept = usize::from(at >= HEADER_BYTES + 8 + b"first".len());
        assert_eq!(payloads(folder.path()), [&b"first"[..]][..kept], "flipped at {at}");
        journal(folder.path());
    }
}

#[test]
fn a_journal_of_another_format_is_moved_aside_and_named() {
    let folder = tempfile::tempdir().unwrap();
    drop(journal(folder.path()));
    let path = folder.path().join("journal");
    let mut newer = fs::read(&path).unwrap();
    newer[12] = 7;
    for (content, says, aside) in [
        (newer, "of a newer format", "journal.format-7"),
        (b"something else entirely".to_vec(), "no journal", "journal.foreign"),
    ] {
        fs::write(&path, &content).unwrap();
        assert_eq!(Contents::read(folder.path()).problems.len(), 1);
        let mut said = Vec::new();
        Journal::open(folder.path(), 1 << 16, &mut |message| said.push(message))
            .unwrap()
            .append(b"x")
            .unwrap();
        assert_eq!(said.len(), 1);
        assert!(said[0].contains(says) && said[0].contains(aside), "{said:?}");
        assert_eq!(fs::read(folder.path().join(aside)).unwrap(), content, "nothing is lost");
        assert_eq!(payloads(folder.path()), [b"x"]);
    }
}

#[test]
fn two_segments_bound_the_journal_and_its_descriptor_stays() {
    const SEGMENT_BYTES: u64 = 1000;
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path(), SEGMENT_BYTES, &mut { NO_MOVE }).unwrap();
    let descriptor = journal.descriptor();
    for number in 0..500_u32 {
        let payload = number.to_string().into_bytes();
        match journal.is_full(payload.len()) {
            true => journal.turn_over(&[b"begun".to_vec(), payload]).unwrap(),
            false => journal.append(&payload).unwrap(),
        }
        for name in ["journal", "journal.old"] {
            let bytes = fs::metadata(folder.path().join(name)).map_or(0, |file| file.len());
            assert!(bytes <= SEGMENT_BYTES, "{bytes} in {name}");
        }
    }
    assert_eq!(journal.descriptor(), descriptor);
    let mut kept = payloads(folder.path());
    assert_eq!(kept.iter().filter(|payload| *payload == b"begun").count(), 2);
    kept.retain(|payload| payload != b"begun");
    let newest: Vec<_> = (500 - kept.len()..500).map(|number| number.to_string().into_bytes()).collect();
    assert_eq!(kept, newest, "the newest, without a gap");
}

pub(super) fn observation(seconds: f64, usage_bytes: u64) -> Observation {
    let unix_ms = 1_000_000 + (seconds * 1e3) as u64;
    Observation::new(seconds, unix_ms, 0, |quantity| {
        [RSS, USAGE].contains(&quantity.name).then_some(usage_bytes as i64)
    })
}

const RUN: u64 = 1_000_000;

fn entry(what: What) -> Entry {
    Entry { run: RUN, unix_ms: Some(RUN), what }
}

fn start() -> Entry {
    let settings = Map::from_iter([("work_ms".to_owned(), json!(10))]);
    let start = Start { pid: 42, limit_bytes: Some(1000), build_id: "b".into(), settings, ticks: None };
    entry(What::Start(start))
}

#[test]
fn entries_make_runs_whatever_segment_they_are_in() {
    let state = |value: u32| What::State { state: Map::from_iter([("on".to_owned(), json!(value))]) };
    let other = Entry { run: RUN + 9, ..start() };
    let entries = [
        Entry { run: 3, ..entry(What::Stop) }, // its start was in a segment that is gone
        start(),
        entry(state(1)),
        start(), // carried into the next segment
        entry(state(2)),
        entry(What::Crash { signal: libc::SIGSEGV }),
        entry(What::Crash { signal: libc::SIGABRT }),
        other,
    ];
    let runs = entry::sort(entries.into_iter());
    assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [RUN, RUN + 9]);
    assert_eq!(runs[0].state, Map::from_iter([("on".to_owned(), json!(2))]));
    assert_eq!(
        runs[0].crash_signal,
        Some(libc::SIGSEGV),
        "the first is the cause, the second what std made of it"
    );
    assert_eq!(runs[0].stopped_unix_ms, None);
    assert_eq!(runs[1].crash_signal, None);
}

#[test]
fn readings_and_ends_are_their_run_s_and_no_events() {
    let reading = |requests| What::Reading(Reading { requests, ..Reading::default() });
    let end = End {
        cause: Cause::LimitKill,
        ended_unix_ms: RUN + 5,
        requests: Some(9),
        limit_share: Some(0.99),
        growing: None,
    };
    let next = Entry { run: RUN + 9, ..start() };
    let program = What::Program { kind: "done".into(), detail: Map::new() };
    // The end is written down by the next run.
    let entries = [start(), entry(reading(3)), entry(program), next, entry(What::Ended(end.clone()))];
    let runs = entry::sort(entries.into_iter());
    assert_eq!((runs[0].events.len(), runs[0].readings.len()), (1, 1));
    assert_eq!((runs[0].end.as_ref(), runs[1].end.as_ref()), (Some(&end), None));
    let told = super::Run::from(runs[0].clone());
    assert_eq!((told.id, told.readings[0].1.requests, told.events[0].kind.as_str()), (RUN, 3, "done"));
    assert_eq!((told.limit_bytes, &told.settings["work_ms"]), (Some(1000), &json!(10)));
}

#[test]
fn an_hour_of_readings_fits_in_one_segment() {
    // Large figures, and as many bytes of the program's own as the documentation allows.
    let reading = Reading {
        requests: 999_999,
        rss_bytes: 999_999_999,
        live_heap_bytes: 999_999_999,
        usage_bytes: 999_999_999,
        program: Map::from_iter([("p".to_owned(), Value::from("x".repeat(130 - r#"{"p":""}"#.len())))]),
    };
    let now_in_ms = 1_800_000_000_000;
    let entry = Entry { run: now_in_ms, unix_ms: Some(now_in_ms), what: What::Reading(reading) };
    let readings = SEGMENT_BYTES / framed(&entry.payload()).len() as u64;
    let seconds = readings as f64 * PACE.as_secs_f64();
    assert!(seconds >= 3600.0, "{seconds} s");
}

#[test]
fn what_is_too_long_loses_its_details_only() {
    let detail = Map::from_iter([("text".to_owned(), json!("x".repeat(LONGEST_PAYLOAD_BYTES)))]);
    let payload = entry(What::Program { kind: "long".into(), detail }).payload();
    assert!(payload.len() < 200);
    let read: Entry = serde_json::from_slice(&payload).unwrap();
    assert!(
        matches!(read.what, What::Program { kind, detail } if kind == "long" && detail.contains_key("left_out"))
    );
}

fn witness(signal: Option<i32>, exit_code: Option<i32>, limit_kill: Option<bool>) -> Dated {
    let witness = Witness {
        pid: 42,
        signal,
        exit_code,
        limit_kill,
        usage_bytes: limit_kill.filter(|kill| *kill).map(|_| 1000),
        evidence: "as seen".into(),
    };
    Dated { unix_ms: RUN + 12_500, witness }
}

#[track_caller]
fn judged(
    entries: &[Entry],
    usage: &[u64],
    witness: Option<Dated>,
    expected: (Cause, Certainty),
) -> post_mortem::PostMortem {
    let entries = [&[start()], entries].concat();
    let run: RunEntries = entry::sort(entries.into_iter()).remove(0);
    let last = usage.len().saturating_sub(1);
    let usage = usage.iter().enumerate();
    // Four a second, the last one 12 s after the start; and one of another run.
    let sample = |run, observation| Recorded { sequence: 0, run, observation };
    let mut samples: Vec<_> =
        usage.map(|(at, bytes)| sample(RUN, observation(12.0 - (last - at) as f64 / 4.0, *bytes))).collect();
    samples.push(sample(7, observation(99.0, 999)));
    let post_mortem =
        post_mortem::judge(&run, &samples, witness.as_ref(), LastProfile::default(), RUN + 60_000);
    assert_eq!((post_mortem.cause, post_mortem.certainty), expected, "{:?}", post_mortem.evidence);
    assert!(!post_mortem.evidence.is_empty());
    post_mortem
}

#[test]
fn who_wrote_it_down_is_certain() {
    use Cause::*;
    use Certainty::Certain;
    let killed = libc::SIGKILL;
    judged(&[entry(What::Stop)], &[100], None, (Stopped, Certain));
    judged(&[entry(What::Exit)], &[990], None, (Stopped, Certainty::Likely));
    // Who saw the exit code knows more.
    judged(&[entry(What::Exit)], &[100], Some(witness(None, Some(101), Some(false))), (Crashed, Certain));
    let crash = judged(&[entry(What::Crash { signal: libc::SIGBUS })], &[999], None, (Crashed, Certain));
    assert_eq!(crash.signal.as_deref(), Some("SIGBUS"));
    judged(&[], &[100], Some(witness(Some(killed), None, Some(true))), (LimitKill, Certain));
    judged(&[], &[990], Some(witness(Some(killed), None, Some(false))), (Killed, Certain));
    judged(&[], &[990], Some(witness(Some(libc::SIGTERM), None, Some(false))), (Killed, Certain));
    judged(&[], &[990], Some(witness(Some(libc::SIGILL), None, Some(false))), (Crashed, Certain));
    judged(&[], &[100], Some(witness(None, Some(101), Some(false))), (Crashed, Certain));
    judged(&[], &[100], Some(witness(None, Some(0), Some(false))), (Stopped, Certain));
}

#[test]
fn what_nobody_saw_is_likely_at_best() {
    use Cause::*;
    use Certainty::Likely;
    let kill_not_counted = || Some(witness(Some(libc::SIGKILL), None, None));
    judged(&[], &[300], None, (Killed, Likely));
    judged(&[], &[300], kill_not_counted(), (Killed, Likely));
    judged(&[], &[970], None, (LimitKill, Likely));
    judged(&[], &[970], kill_not_counted(), (LimitKill, Likely));
    judged(&[], &[], None, (Killed, Likely));
    // 100 bytes in a quarter of a second: in the next half second it passes 1000.
    judged(&[], &[600, 700, 800], None, (LimitKill, Likely));
    judged(&[], &[790, 795, 800], None, (Killed, Likely));
    // Another process of the same number, before this run: as pid 1 of a container is.
    let before = Dated { unix_ms: RUN - 1, ..witness(Some(libc::SIGKILL), None, Some(true)) };
    judged(&[], &[300], Some(before), (Killed, Likely));
}

#[test]
fn the_figures_are_the_last_ones_and_their_age_is_told() {
    let entries = [entry(What::State { state: Map::from_iter([("on".to_owned(), json!(["cache"]))]) })];
    let seen = witness(Some(libc::SIGKILL), None, Some(true));
    let post_mortem = judged(&entries, &[400, 500], Some(seen), (Cause::LimitKill, Certainty::Certain));
    let at = &post_mortem.at;
    assert_eq!((at.rss_bytes, at.usage_bytes), (Some(500), Some(1000)), "the supervisor looked later");
    assert_eq!((at.limit_bytes, at.limit_share), (Some(1000), Some(1.0)));
    assert_eq!((at.uptime_seconds, at.sample_age_seconds), (Some(12.5), Some(0.5)));
    assert_eq!(post_mortem.state["on"], json!(["cache"]));
    assert_eq!(post_mortem.settings["work_ms"], json!(10));
    assert_eq!(post_mortem.trend.as_ref().map(|trend| trend.trend.verdict), Some(Verdict::Undecided));

    let post_mortem = judged(&[], &[400, 500], None, (Cause::Killed, Certainty::Likely));
    assert_eq!(post_mortem.at.limit_share, Some(0.5));
    assert_eq!(post_mortem.at.uptime_seconds, Some(12.0), "until the last sample");
    assert_eq!(post_mortem.at.sample_age_seconds, Some(48.0), "until the next start");
    assert_eq!(post_mortem.ended_unix_ms, None);
}

#[test]
fn a_trend_in_another_versions_form_costs_only_the_trend() {
    let post_mortem = judged(&[], &[400, 500], None, (Cause::Killed, Certainty::Likely));
    let mut written = serde_json::to_value(&post_mortem).expect("JSON");
    let read: PostMortem = serde_json::from_value(written.clone()).expect("its own form");
    assert_eq!(read, post_mortem);
    written["trend"] = json!({ "verdict": "sinking" });
    let read: PostMortem = serde_json::from_value(written).expect("the rest fits");
    assert_eq!(read, PostMortem { trend: None, ..post_mortem });
}
