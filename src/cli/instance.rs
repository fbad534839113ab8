//! One service at a time for each data folder: two would write into each other's files.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::Path,
};

use super::{Failure, TEMPORARY};

/// A data folder that is ours as long as this lives.
#[derive(Debug)]
pub enum Instance {
    /// The kernel gives the lock back however we end.
    Locked {
        /// Holds the lock.
        _file: File,
    },
    /// Nothing can be written there; the service can do without. Why.
    Unwritable(String),
}

impl Instance {
    /// Takes the data folder, and makes it if it is not there.
    ///
    /// # Errors
    /// Another one has it: who.
    pub fn claim(data_dir: &Path) -> Result<Self, Failure> {
        let path = data_dir.join("lock");
        let opened = fs::create_dir_all(data_dir)
            .and_then(|()| File::options().read(true).write(true).create(true).truncate(false).open(&path));
        let mut file = match opened {
            Ok(file) => file,
            Err(error) => return Ok(Self::Unwritable(unwritable(data_dir, &error))),
        };
        match file.try_lock() {
            Ok(()) => {
                // Only for the message below: the lock itself is the truth.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Self::Locked { _file: file })
            }
            Err(TryLockError::WouldBlock) => Err(in_use(data_dir, file)),
            Err(TryLockError::Error(error)) => Ok(Self::Unwritable(unwritable(data_dir, &error))),
        }
    }

    /// What the user should know once, if anything.
    pub fn warning(&self) -> Option<&str> {
        match self {
            Self::Locked { .. } => None,
            Self::Unwritable(warning) => Some(warning),
        }
    }
}

fn unwritable(data_dir: &Path, error: &io::Error) -> String {
    format!(
        "the data folder {} can't be written ({error}); the service runs without it: nothing will outlive the process; \
         --data-dir (LEAKLAB_DATA_DIR) names another",
        data_dir.display()
    )
}

fn in_use(data_dir: &Path, mut file: File) -> Failure {
    let mut pid = String::new();
    let _ = file.rewind().and_then(|()| file.take(20).read_to_string(&mut pid));
    let owner = if pid.is_empty() { String::new() } else { format!(" (pid {pid})") };
    Failure {
        message: format!(
            "another leaklab{owner} uses the data folder {}; stop it, or choose another folder with --data-dir \
             (LEAKLAB_DATA_DIR)",
            data_dir.display()
        ),
        code: TEMPORARY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data_dir = folder.path().join("new");
        let first = Instance::claim(&data_dir).expect("nobody has it");
        assert_eq!(first.warning(), None);
        let refused = Instance::claim(&data_dir).expect_err("it is taken");
        assert_eq!(refused.code, TEMPORARY);
        assert!(refused.message.contains(&format!("(pid {})", std::process::id())), "{}", refused.message);
        assert!(refused.message.contains("--data-dir"));
        drop(first);
        Instance::claim(&data_dir).expect("it was given back");
    }

    #[test]
    fn a_folder_that_can_t_be_written_is_a_warning() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let instance = Instance::claim(&file.path().join("below-a-file")).expect("no refusal");
        assert!(instance.warning().expect("a warning").contains("LEAKLAB_DATA_DIR"));
    }
}
