//! The labs: what each wants, and whether it has happened.
//!
//! A lab is a text in `labs/` and a file in `checks`, named once in [`LABS`]: routes, the command line and
//! progress come from there. A check is a function of the [`Evidence`] and of the learner's answer, and says what it saw;
//! it knows effects, not commands, so that any route to the effect passes. Nothing here knows HTTP.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use leakscope::recorder::unix_ms_now;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::recording::{self, Done};

mod checks;
pub mod evidence;
mod measure;
mod progress;
#[cfg(test)]
mod story;

pub use checks::LABS;
use evidence::Evidence;
use progress::Progress;

/// A lab: its names, and its check.
pub struct Lab {
    /// In paths, as in the name of its text.
    pub id: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// How long a learner takes, about.
    pub minutes: u32,
    /// Whether the labs after it do without it.
    pub optional: bool,
    /// The request body with its answer, of the right form and wrong; `None`: it takes no answer.
    pub answer: Option<&'static str>,
    judge: fn(&Evidence, Option<&Answer>) -> Result<Judged, serde_json::Error>,
    /// What is to be written down of an answer before it is judged.
    note: fn(&Evidence, &Answer) -> Option<Done>,
}

/// The learner's answer, by field.
pub type Answer = Map<String, Value>;

/// What a check makes of the evidence: what it observed, or what is missing.
pub type Judged = Result<String, Unmet>;

/// What is missing.
#[derive(Debug, Clone, PartialEq)]
pub struct Unmet {
    /// What happened, in numbers.
    pub observed: String,
    /// What would pass.
    pub wanted: String,
    /// Where to look.
    pub hints: Hints,
}

/// The signal, the tool, the place: each narrower than the one before; never the command.
pub type Hints = [&'static str; 3];

impl Unmet {
    fn new(observed: impl Into<String>, wanted: impl Into<String>, hints: Hints) -> Self {
        Self { observed: observed.into(), wanted: wanted.into(), hints }
    }
}

/// Nothing is to be written down of an answer.
const NO_NOTE: fn(&Evidence, &Answer) -> Option<Done> = |_, _| None;

/// Reads the answer in the form that a check wants, then asks the check.
fn judge<A: DeserializeOwned>(
    evidence: &Evidence,
    answer: Option<&Answer>,
    check: fn(&Evidence, Option<&A>) -> Judged,
) -> Result<Judged, serde_json::Error> {
    let answer = answer.map(|answer| A::deserialize(Value::Object(answer.clone()))).transpose()?;
    Ok(check(evidence, answer.as_ref()))
}

/// The answer of a lab that takes none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoAnswer {}

/// Where a lab stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    /// In paths.
    #[schema(example = "1")]
    pub id: String,
    /// What it is about.
    #[schema(example = "Baseline")]
    pub title: String,
    /// How long it takes, about.
    #[schema(example = 4)]
    pub minutes: u32,
    /// Whether the labs after it do without it.
    pub optional: bool,
    /// Whether its check has passed since the last reset.
    pub passed: bool,
    /// When, in RFC 3339.
    pub passed_at: Option<String>,
}

/// Every lab, in the order in which a learner takes them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// Where each stands.
    pub labs: Vec<Standing>,
}

/// What a check says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckResult {
    /// Which lab.
    #[schema(example = "1")]
    pub id: String,
    /// Whether it is passed, now or before.
    pub passed: bool,
    /// What happened, in numbers.
    pub observed: String,
    /// What is still wanted; null once it is passed.
    pub wanted: Option<String>,
    /// Where to look; narrower each time that the check is asked in vain. Null once it is passed.
    pub hint: Option<String>,
}

/// The lab of that id.
pub fn find(id: &str) -> Option<&'static Lab> {
    LABS.iter().find(|lab| lab.id == id)
}

/// Said where there is no evidence at all.
const NOTHING_RECORDED: &str =
    "; the flight recorder has written nothing down: can the data folder (LEAKLAB_DATA_DIR) be written?";

/// The learner's way through the labs.
pub struct Labs {
    recorder: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    progress: Progress,
    /// The hints of each lab's last verdict, and how often in a row the check was asked in vain with these.
    in_vain: BTreeMap<&'static str, (Hints, usize)>,
}

impl Labs {
    /// Reads how far the learner is. Never fails: what can't be read or written is said in the log, and costs no more than
    /// the memory of it.
    pub fn open(data_dir: &Path) -> Self {
        let inner = Inner { progress: Progress::open(data_dir), in_vain: BTreeMap::new() };
        Self { recorder: recording::folder(data_dir), inner: Mutex::new(inner) }
    }

    /// Where each lab stands.
    pub fn standings(&self) -> Vec<Standing> {
        standings(&self.inner().progress)
    }

    /// Asks a lab's check. `record` writes an event down. Blocks for the disk; some ten milliseconds.
    ///
    /// # Errors
    /// The answer is not of the lab's form.
    pub fn check(
        &self,
        lab: &'static Lab,
        answer: Option<&Answer>,
        record: impl Fn(Done),
    ) -> Result<CheckResult, serde_json::Error> {
        let mut inner = self.inner();
        if let Some(passed_at) = inner.progress.passed_at(lab.id) {
            return Ok(passed(lab, format!("passed at {passed_at}")));
        }
        let read = || Evidence::read(&self.recorder, inner.progress.since_unix_ms(lab.id), unix_ms_now());
        let evidence = read();
        let mut judged = (lab.judge)(&evidence, answer)?;
        if judged.is_err()
            && let Some(event) = answer.and_then(|answer| (lab.note)(&evidence, answer))
        {
            record(event);
            judged = (lab.judge)(&read(), answer)?;
        }
        Ok(match judged {
            Ok(observed) => {
                inner.progress.pass(lab.id, unix_ms_now());
                passed(lab, observed)
            }
            Err(mut unmet) => {
                if evidence.runs.is_empty() {
                    unmet.observed += NOTHING_RECORDED;
                }
                inner.not_yet(lab, unmet)
            }
        })
    }

    /// Forgets that a lab was passed (`None`: all of them), and what happened until now.
    pub fn reset(&self, lab: Option<&'static Lab>) -> Vec<Standing> {
        let mut inner = self.inner();
        let chosen: Vec<_> = LABS.iter().filter(|it| lab.is_none_or(|lab| lab.id == it.id)).collect();
        inner.progress.reset(chosen.iter().map(|lab| lab.id), unix_ms_now());
        inner.in_vain.retain(|id, _| chosen.iter().all(|lab| lab.id != *id));
        standings(&inner.progress)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where each lab stands by what lies in a data folder. Changes nothing there.
pub fn read_standings(data_dir: &Path) -> Vec<Standing> {
    standings(&Progress::open(data_dir))
}

fn standings(progress: &Progress) -> Vec<Standing> {
    let standing = |lab: &Lab| {
        let passed_at = progress.passed_at(lab.id);
        Standing {
            id: lab.id.to_owned(),
            title: lab.title.to_owned(),
            minutes: lab.minutes,
            optional: lab.optional,
            passed: passed_at.is_some(),
            passed_at: passed_at.map(|at| at.to_string()),
        }
    };
    LABS.iter().map(standing).collect()
}

fn passed(lab: &Lab, observed: String) -> CheckResult {
    CheckResult { id: lab.id.to_owned(), passed: true, observed, wanted: None, hint: None }
}

impl Inner {
    /// With the first hint where something else is missing than before, else with the next one.
    fn not_yet(&mut self, lab: &Lab, unmet: Unmet) -> CheckResult {
        let Unmet { observed, wanted, hints } = unmet;
        let (last, times) = self.in_vain.entry(lab.id).or_insert((hints, 0));
        if *last == hints {
            *times += 1;
        } else {
            (*last, *times) = (hints, 1);
        }
        let hint = hints[(*times - 1).min(hints.len() - 1)].to_owned();
        CheckResult { id: lab.id.to_owned(), passed: false, observed, wanted: Some(wanted), hint: Some(hint) }
    }
}
