//! The post-mortems in a folder: those that are kept, and those of runs that nobody has judged yet.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    cause::Cause,
    entry::{self, RunEntries},
    files::{read_if_there, replace, unix_ms_now},
    post_mortem::{self, Growing, LastProfile, PostMortem},
    ring, thresholds, witness,
};
use crate::{
    heap::{self, By},
    proc::Process,
};

const NAME: &str = "post-mortems.json";
/// Post-mortems kept.
const KEPT: usize = 10;
/// Lines named of a heap profile.
const LINES: usize = 10;

/// How the runs before ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct History {
    /// The last ends of runs, newest first; a number of them is kept.
    pub post_mortems: Vec<PostMortem>,
    /// How many runs have ended by each cause, since the folder was made.
    pub ends: BTreeMap<Cause, u64>,
    /// How many of `post_mortems`, the newest ones, were judged just now; the others had been before.
    #[serde(skip)]
    pub judged_now: usize,
    /// What could not be read or written, for the user.
    #[serde(skip)]
    pub problems: Vec<String>,
}

impl History {
    /// Reads the post-mortems in a recorder's folder and changes nothing there. The end of a run that was not judged yet is
    /// judged, unless its process still lives. Blocks: a heap profile is symbolized for that.
    pub fn read(folder: &Path) -> Self {
        Self::judged(folder, is_alive)
    }

    /// The same where the caller knows that no process records into the folder, such as a supervisor whose child has ended:
    /// what is judged is written down too, for good.
    pub fn settle(folder: &Path) -> Self {
        let (mut history, written) = Self::judge_and_write(folder, |_| false);
        if let Err(error) = written {
            history.problems.push(format!("{} can't be written: {error}", folder.join(NAME).display()));
        }
        history
    }

    pub(super) fn judge_and_write(
        folder: &Path,
        is_alive: impl Fn(&RunEntries) -> bool,
    ) -> (Self, io::Result<()>) {
        let history = Self::judged(folder, is_alive);
        let written = history.write(folder);
        (history, written)
    }

    /// How many runs ended by that cause.
    pub fn ends(&self, cause: Cause) -> u64 {
        self.ends.get(&cause).copied().unwrap_or(0)
    }

    fn judged(folder: &Path, is_alive: impl Fn(&RunEntries) -> bool) -> Self {
        let mut history = match read(folder) {
            Ok(history) => history,
            Err(error) => {
                let problem = format!("{} can't be read: {error}", folder.join(NAME).display());
                Self { problems: vec![problem], ..Self::default() }
            }
        };
        let (runs, problems) = entry::runs(folder);
        history.problems.extend(problems);
        let judged_until = history.post_mortems.first().map_or(0, |last| last.run);
        let has_ended = |run: &RunEntries| run.stopped_unix_ms.is_some() || !is_alive(run);
        let new: Vec<_> = runs.iter().filter(|run| run.id > judged_until && has_ended(run)).collect();
        if new.is_empty() {
            return history;
        }
        let count = new.len();
        let samples = ring::read(folder).unwrap_or_else(|problem| {
            history.problems.push(problem);
            Vec::new()
        });
        let witness = witness::read(folder);
        for run in new {
            let profile = last_profile(folder, run);
            let post_mortem = post_mortem::judge(run, &samples, witness.as_ref(), profile, unix_ms_now());
            *history.ends.entry(post_mortem.cause).or_default() += 1;
            history.post_mortems.insert(0, post_mortem);
        }
        history.post_mortems.truncate(KEPT);
        history.judged_now = count.min(KEPT);
        history
    }

    fn write(&self, folder: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        let path = folder.join(NAME);
        if fs::read(&path).is_ok_and(|before| before == text) || self.post_mortems.is_empty() {
            return Ok(());
        }
        replace(&path, &text)
    }
}

fn read(folder: &Path) -> io::Result<History> {
    match read_if_there(&folder.join(NAME))? {
        Some(text) => serde_json::from_slice(&text).map_err(io::Error::from),
        None => Ok(History::default()),
    }
}

fn last_profile(folder: &Path, run: &RunEntries) -> LastProfile {
    let Some((name, when)) = run.profiles.last() else {
        let least = thresholds::PERCENT[0];
        let says = format!(
            "there is none: usage was not seen to pass {least} % of the limit, nor the live heap to double, nor memory to grow"
        );
        return LastProfile { says, ..LastProfile::default() };
    };
    match heap::read_profile(&folder.join(name)) {
        Ok(snapshot) => {
            let share = |bytes: u64| bytes as f64 / snapshot.total_bytes.max(1) as f64;
            let growing = snapshot.sites(By::Line).into_iter().take(LINES).map(|site| Growing {
                share: share(site.bytes),
                location: site.location,
                function: site.function,
                bytes: site.bytes,
            });
            LastProfile { growing: growing.collect(), says: format!("{name}, written when {when}") }
        }
        Err(error) => LastProfile { says: error.to_string(), ..LastProfile::default() },
    }
}

/// Whether the process of a run is still there: its number, and its start, since numbers come again.
pub(super) fn is_alive(run: &RunEntries) -> bool {
    Process::recorded(run.start.pid, run.start.ticks).is_alive()
}
