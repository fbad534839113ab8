//! Remembers which leaks are on in a small file, so that the run after a kill can say which were.
//!
//! Rewritten at each toggle, as a whole or not at all. A disk that can't be written costs the memory of it, and one warning.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::leaks::{Registry, Variant};

/// The file and what the previous run had left in it.
pub struct LeaksOn {
    file: PathBuf,
    previous: Option<Vec<String>>,
    /// Held while writing, so that the last toggle is the last one written.
    has_warned: Mutex<bool>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    leaks_on: Vec<String>,
}

impl LeaksOn {
    /// Reads what the previous run left in `data_dir`.
    pub fn open(data_dir: &Path) -> Self {
        let file = data_dir.join("leaks-on.json");
        let previous = match read(&file) {
            Ok(content) => Some(content.leaks_on),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "can't tell which leaks were on in the previous run");
                None
            }
        };
        Self { file, previous, has_warned: Mutex::new(false) }
    }

    /// The leaks that were on when the previous run ended, in the form that LEAKLAB_LEAKS takes; `None`: there was none.
    pub fn previous(&self) -> Option<&[String]> {
        self.previous.as_deref()
    }

    /// Writes down which leaks are on. Blocks for the disk.
    pub fn save(&self, leaks: &Registry) {
        let mut has_warned = self.has_warned.lock().unwrap_or_else(PoisonError::into_inner);
        let leaks_on =
            leaks.iter().filter_map(|leak| Some(as_setting(leak.name(), leak.variant()?))).collect();
        if let Err(error) = write(&self.file, &Content { leaks_on })
            && !std::mem::replace(&mut has_warned, true)
        {
            tracing::warn!(file = %self.file.display(), %error, "the next run will not know which leaks were on; serving on");
        }
    }
}

fn as_setting(name: &str, variant: Variant) -> String {
    match variant {
        Variant::Leaky => name.to_owned(),
        other => format!("{name}:{}", other.name()),
    }
}

fn read(file: &Path) -> io::Result<Content> {
    serde_json::from_slice(&fs::read(file)?).map_err(io::Error::from)
}

fn write(file: &Path, content: &Content) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = file.with_extension("json.new");
    fs::write(&draft, serde_json::to_vec(content)?)?;
    fs::rename(draft, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_knows_what_was_on() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data_dir = folder.path().join("made/when/needed");
        let first = LeaksOn::open(&data_dir);
        assert_eq!(first.previous(), None);

        let leaks = Registry::new();
        leaks.get("cache").expect("in the registry").set_variant(Some(Variant::Fixed));
        leaks.get("history").expect("in the registry").set_variant(Some(Variant::Leaky));
        first.save(&leaks);
        assert_eq!(LeaksOn::open(&data_dir).previous().expect("saved"), ["cache:fixed", "history"]);
    }

    #[test]
    fn a_file_that_is_torn_or_a_folder_that_is_none_costs_nothing_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("leaks-on.json"), r#"{"leaks_on":["ca"#).expect("writable");
        assert_eq!(LeaksOn::open(folder.path()).previous(), None);

        let not_a_folder = folder.path().join("leaks-on.json");
        LeaksOn::open(&not_a_folder).save(&Registry::new());
    }
}
