//! What the journal knows of the runs of a program, for the program itself: its events and readings, and how each run ended.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    end::End,
    entry::{self, RunEntries, What},
    readings::Reading,
};

/// One run of the program, as far back as the journal reaches.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Which run: a number that grows.
    pub id: u64,
    /// When it started, in milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// Its limit.
    pub limit_bytes: Option<u64>,
    /// The settings that it started with.
    pub settings: Map<String, Value>,
    /// How it ended; `None`: it runs still, or no later run has begun.
    pub end: Option<End>,
    /// With the time in milliseconds since the Unix epoch, oldest first. Where one is missing, nothing had moved.
    pub readings: Vec<(u64, Reading)>,
    /// The program's own events, oldest first.
    pub events: Vec<ProgramEvent>,
}

/// Something that the program wrote down.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgramEvent {
    /// When, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// What the program called it.
    pub kind: String,
    /// What it said of it.
    pub detail: Map<String, Value>,
}

/// The runs that the journal in a recorder's folder knows, oldest first, and what could not be read, for the user. Changes
/// nothing there; a recorder may be at work meanwhile.
pub fn runs(folder: &Path) -> (Vec<Run>, Vec<String>) {
    let (runs, problems) = entry::runs(folder);
    (runs.into_iter().map(Run::from).collect(), problems)
}

impl From<RunEntries> for Run {
    fn from(run: RunEntries) -> Self {
        let events = run.events.into_iter().filter_map(|entry| match entry.what {
            What::Program { kind, detail } => {
                Some(ProgramEvent { unix_ms: entry.unix_ms.unwrap_or_default(), kind, detail })
            }
            _ => None,
        });
        Self {
            id: run.id,
            started_unix_ms: run.started_unix_ms,
            limit_bytes: run.start.limit_bytes,
            settings: run.start.settings,
            end: run.end,
            readings: run.readings,
            events: events.collect(),
        }
    }
}
