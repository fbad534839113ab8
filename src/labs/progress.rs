//! Which labs are passed, and from when on evidence counts: a small file of its own in the data folder, since the journal
//! forgets.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use leakscope::recorder;
use serde::{Deserialize, Serialize};

use super::find;

const NAME: &str = "labs.json";

/// Which labs are passed.
#[derive(Debug)]
pub(super) struct Progress {
    path: PathBuf,
    labs: BTreeMap<String, Marks>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Marks {
    passed_unix_ms: Option<u64>,
    /// What happened before does not count.
    reset_unix_ms: Option<u64>,
}

impl Progress {
    /// Reads the file; one that can't be read is said in the log and begun anew.
    pub fn open(data_dir: &Path) -> Self {
        let path = data_dir.join(NAME);
        let labs = match read(&path) {
            Ok(labs) => labs,
            Err(error) => {
                let path = path.display();
                tracing::warn!(%error, "{path} can't be read: progress in the labs begins anew");
                BTreeMap::new()
            }
        };
        Self { path, labs }
    }

    /// When the lab was passed.
    pub fn passed_at(&self, id: &str) -> Option<humantime::Rfc3339Timestamp> {
        /// The year 10000, from which on RFC 3339 has no form.
        const END_OF_TIME_UNIX_MS: u64 = 253_402_300_800_000;
        let unix_ms = self.labs.get(id)?.passed_unix_ms.filter(|at| *at < END_OF_TIME_UNIX_MS)?;
        Some(humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms)))
    }

    /// From when on evidence counts.
    pub fn since_unix_ms(&self, id: &str) -> u64 {
        self.labs.get(id).and_then(|marks| marks.reset_unix_ms).unwrap_or(0)
    }

    /// The lab is passed.
    pub fn pass(&mut self, id: &str, now_unix_ms: u64) {
        self.labs.entry(id.to_owned()).or_default().passed_unix_ms = Some(now_unix_ms);
        self.write();
    }

    /// These labs begin anew.
    pub fn reset<'a>(&mut self, ids: impl Iterator<Item = &'a str>, now_unix_ms: u64) {
        let marks = Marks { passed_unix_ms: None, reset_unix_ms: Some(now_unix_ms) };
        self.labs.extend(ids.map(|id| (id.to_owned(), marks.clone())));
        self.write();
    }

    fn write(&self) {
        let written = serde_json::to_vec_pretty(&self.labs)
            .map_err(io::Error::from)
            .and_then(|text| recorder::replace(&self.path, &text));
        if let Err(error) = written {
            let path = self.path.display();
            tracing::warn!(%error, "{path} can't be written: progress in the labs will not outlive the process");
        }
    }
}

/// Labs that this build does not know are dropped, so that the file stays small.
fn read(path: &Path) -> io::Result<BTreeMap<String, Marks>> {
    let Some(text) = recorder::read_if_there(path)? else { return Ok(BTreeMap::new()) };
    let mut labs: BTreeMap<String, Marks> = serde_json::from_slice(&text)?;
    labs.retain(|id, _| find(id).is_some());
    Ok(labs)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_pass_outlives_the_process_until_it_is_reset() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut progress = Progress::open(folder.path());
        assert_eq!((progress.passed_at("1").is_none(), progress.since_unix_ms("1")), (true, 0));
        progress.pass("1", 1_000);
        progress.pass("2", 2_000);
        let mut again = Progress::open(folder.path());
        assert_eq!(again.passed_at("1").map(|at| at.to_string()).as_deref(), Some("1970-01-01T00:00:01Z"));
        again.reset(["1"].into_iter(), 3_000);
        let last = Progress::open(folder.path());
        assert_eq!((last.passed_at("1").is_none(), last.since_unix_ms("1")), (true, 3_000));
        assert!(last.passed_at("2").is_some(), "only one was reset");
    }

    #[test]
    fn a_damaged_file_begins_anew_and_one_that_can_t_be_written_keeps_the_process_s_own() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for damaged in ["", "{", "[]", r#"{"1":{"passed_unix_ms":"yes"}}"#] {
            fs::write(folder.path().join(NAME), damaged).expect("writable");
            let mut progress = Progress::open(folder.path());
            assert!(progress.passed_at("1").is_none(), "{damaged}");
            progress.pass("1", 1);
            assert!(Progress::open(folder.path()).passed_at("1").is_some(), "{damaged}");
        }
        fs::write(folder.path().join(NAME), r#"{"unicorn":{"passed_unix_ms":1}}"#).expect("writable");
        assert_eq!(Progress::open(folder.path()).labs.len(), 0, "what nobody knows is not kept for ever");
        let mut nowhere = Progress::open(&folder.path().join(NAME).join("below-a-file"));
        nowhere.pass("1", 1);
        assert!(nowhere.passed_at("1").is_some());
    }
}
