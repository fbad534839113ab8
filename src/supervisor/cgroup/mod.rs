//! A memory cgroup for one life of the service, v1 or v2: made, limited, read after a kill, removed.
//!
//! Where it can be made is found in [`place`]; what a killed lab left behind is removed in [`sweep`].

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process,
};

mod place;
mod sweep;

pub use place::Place;

/// The two interfaces of the kernel, told apart by the names of their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each controller.
    V1,
    /// One hierarchy for all.
    V2,
}

impl Version {
    fn limit_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.limit_in_bytes",
            Self::V2 => "memory.max",
        }
    }

    /// Where swap is switched off, and with which value: v1 limits memory and swap together, v2 swap alone.
    fn no_swap(self, limit_bytes: u64) -> (&'static str, u64) {
        match self {
            Self::V1 => ("memory.memsw.limit_in_bytes", limit_bytes),
            Self::V2 => ("memory.swap.max", 0),
        }
    }

    /// v2 has it since Linux 5.19.
    fn peak_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.max_usage_in_bytes",
            Self::V2 => "memory.peak",
        }
    }

    /// Both have a line `oom_kill N`; v1 since Linux 4.13.
    fn kills_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.oom_control",
            Self::V2 => "memory.events",
        }
    }
}

/// A cgroup of our own with a limit. Removed when dropped, with every process that is still in it.
///
/// It is made anew for each life of the service, so that its peak and its kill counter are that life's own.
#[derive(Debug)]
pub struct Cgroup {
    dir: PathBuf,
    version: Version,
    /// Held for as long as we live: the sign for others that this cgroup is no leftover.
    _claim: File,
}

impl Cgroup {
    /// Makes `leaklab-<our pid>` in `place`, limited to `limit_bytes`, without swap.
    ///
    /// # Errors
    /// The folder can't be made or the limit can't be set; nothing is left behind then.
    pub fn create(place: &Place, limit_bytes: u64) -> io::Result<Self> {
        let dir = place.dir().join(sweep::name(process::id()));
        fs::create_dir(&dir)?;
        let made = sweep::claim(&dir).map(|claim| Self {
            dir: dir.clone(),
            version: place.version(),
            _claim: claim,
        });
        let cgroup = made.inspect_err(|_| drop(fs::remove_dir(&dir)))?;
        let set = |file: &str, value: u64| fs::write(dir.join(file), value.to_string());
        set(cgroup.version.limit_file(), limit_bytes)?;
        let (file, value) = cgroup.version.no_swap(limit_bytes);
        // A kernel without swap accounting has no such file.
        if dir.join(file).exists() {
            set(file, value)?;
        }
        Ok(cgroup)
    }

    /// The file into which a process writes `0` to enter.
    ///
    /// # Errors
    /// It can't be opened for writing.
    pub fn entrance(&self) -> io::Result<File> {
        File::options().write(true).open(self.dir.join("cgroup.procs"))
    }

    /// Largest usage so far, page cache included; `None`: this kernel does not say.
    pub fn peak_bytes(&self) -> Option<u64> {
        read(&self.dir.join(self.version.peak_file()))?.trim().parse().ok()
    }

    /// Processes that the kernel killed for the limit; `None`: this kernel does not say.
    pub fn kills(&self) -> Option<u64> {
        keyed(&read(&self.dir.join(self.version.kills_file()))?, "oom_kill")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        sweep::remove(&self.dir);
    }
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The number after `key` in lines of `key number`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == key)?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kill_counter_is_found_in_both_formats() {
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        let v2 = "low 0\nhigh 0\nmax 812\noom 2\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(keyed(v1, "oom_kill"), Some(3));
        assert_eq!(keyed(v2, "oom_kill"), Some(1));
        assert_eq!(keyed("oom_kill_disable 0\nunder_oom 0\n", "oom_kill"), None);
    }
}
