//! What the journal's records mean, and the runs of the program that they make.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    end::End,
    journal::{Contents, LONGEST_PAYLOAD_BYTES},
    readings::Reading,
};

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Which run of the program.
    pub run: u64,
    /// Milliseconds since the Unix epoch; `None`: written by a signal handler, which can't format one.
    pub unix_ms: Option<u64>,
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum What {
    /// The program started.
    Start(Start),
    /// It stopped in good order.
    Stop,
    /// It exited by itself, without having said that it stops.
    Exit,
    /// It got a signal that ends it.
    Crash { signal: i32 },
    /// The program's state, which replaces the one before.
    State { state: Map<String, Value> },
    /// Usage passed so many percent of the limit.
    Threshold { percent: u8, usage_bytes: u64 },
    /// A heap profile was written.
    Profile {
        file: String,
        /// The threshold that was passed, if one was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        percent: Option<u8>,
        /// What had happened, as the end of a sentence.
        #[serde(default)]
        when: String,
        took_ms: f64,
    },
    /// Something that the program wanted to be known.
    Program { kind: String, detail: Map<String, Value> },
    /// Where the program stood; they come often, and no post-mortem tells them.
    Reading(Reading),
    /// How the run ended, written down by the next one.
    Ended(End),
}

/// The program at its start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Start {
    pub pid: u32,
    /// When the kernel started that process, in its own ticks: tells it from a later one of the same number.
    pub ticks: Option<u64>,
    pub build_id: String,
    pub limit_bytes: Option<u64>,
    pub settings: Map<String, Value>,
}

impl Entry {
    /// As it is written. What is too long for a record loses its details.
    pub fn payload(&self) -> Vec<u8> {
        let payload = serde_json::to_vec(self).unwrap_or_default();
        if payload.len() <= LONGEST_PAYLOAD_BYTES {
            return payload;
        }
        let mut short = self.clone();
        match &mut short.what {
            What::Start(Start { settings: map, .. })
            | What::State { state: map }
            | What::Program { detail: map, .. }
            | What::Reading(Reading { program: map, .. }) => {
                map.clear();
                map.insert("left_out".to_owned(), Value::from(format!("{} bytes", payload.len())));
            }
            _ => {}
        }
        serde_json::to_vec(&short).unwrap_or_default()
    }
}

/// One run of the program, as the journal tells it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RunEntries {
    pub id: u64,
    pub started_unix_ms: u64,
    pub start: Start,
    pub state: Map<String, Value>,
    /// When it stopped in good order.
    pub stopped_unix_ms: Option<u64>,
    /// Whether it exited by itself, without having said that it stops.
    pub exited: bool,
    /// The first signal that was to end it.
    pub crash_signal: Option<i32>,
    /// Names of its heap profiles, oldest first, with what had happened when each was written.
    pub profiles: Vec<(String, String)>,
    /// With the time in milliseconds since the Unix epoch, oldest first.
    pub readings: Vec<(u64, Reading)>,
    /// How it ended, if a later run has written that down.
    pub end: Option<End>,
    /// What else was written down, oldest first.
    pub events: Vec<Entry>,
}

/// The runs that the journal in `folder` knows, oldest first. Records that are of no known kind are passed over.
pub(super) fn runs(folder: &Path) -> (Vec<RunEntries>, Vec<String>) {
    let contents = Contents::read(folder);
    let entries = contents.payloads.iter().filter_map(|payload| serde_json::from_slice(payload).ok());
    (sort(entries), contents.problems)
}

/// Puts each record to its run. A run whose start is gone, since the journal is bounded, is left out.
pub(super) fn sort(entries: impl Iterator<Item = Entry>) -> Vec<RunEntries> {
    let mut runs: Vec<RunEntries> = Vec::new();
    for entry in entries {
        if let What::Start(start) = entry.what {
            // A new segment begins with a copy of the start.
            if runs.iter().all(|run| run.id != entry.run) {
                let started_unix_ms = entry.unix_ms.unwrap_or_default();
                runs.push(RunEntries { id: entry.run, started_unix_ms, start, ..RunEntries::default() });
            }
            continue;
        }
        let Some(run) = runs.iter_mut().rfind(|run| run.id == entry.run) else { continue };
        match entry.what {
            What::Reading(reading) => {
                run.readings.push((entry.unix_ms.unwrap_or_default(), reading));
                continue;
            }
            What::Ended(end) => {
                run.end = Some(end);
                continue;
            }
            _ => {}
        }
        match &entry.what {
            What::Stop => run.stopped_unix_ms = entry.unix_ms,
            What::Exit => run.exited = true,
            What::Crash { signal } => run.crash_signal = run.crash_signal.or(Some(*signal)),
            What::State { state } => run.state.clone_from(state),
            What::Profile { file, percent, when, .. } => {
                // Builds before this one wrote the threshold alone.
                let passed = percent.map(|percent| format!("usage passed {percent} % of the limit"));
                let when = Some(when.clone()).filter(|when| !when.is_empty()).or(passed);
                run.profiles.push((file.clone(), when.unwrap_or_default()));
            }
            _ => {}
        }
        run.events.push(entry);
    }
    runs
}
