//! The memory cgroup that this process is in: usage, limit, kills; version 1 and 2. Everything is read below a root
//! folder, so that a test can lay out any system as files.

use std::{fs, path::PathBuf};

use super::{Cgroup, Missing};

mod locate;
#[cfg(test)]
mod tests;

pub(crate) use locate::locate;

/// Version 1 writes "no limit" as the largest page count in bytes, a little below 2^63.
const V1_NO_LIMIT: u64 = 1 << 62;

/// The two hierarchies, which name the same things differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

impl Version {
    fn usage_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.usage_in_bytes",
            Self::V2 => "memory.current",
        }
    }

    fn limit_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.limit_in_bytes",
            Self::V2 => "memory.max",
        }
    }

    fn peak_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.max_usage_in_bytes",
            Self::V2 => "memory.peak",
        }
    }

    fn events_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.oom_control",
            Self::V2 => "memory.events",
        }
    }

    /// The row of `memory.stat` with the file pages that the kernel drops first, descendants included.
    fn inactive_file_key(self) -> &'static str {
        match self {
            Self::V1 => "total_inactive_file",
            Self::V2 => "inactive_file",
        }
    }
}

/// A memory cgroup's folder, found once; its files are read as often as one likes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    version: Version,
    folder: PathBuf,
    /// Where the hierarchy is mounted: the topmost ancestor that can be seen.
    mount: PathBuf,
}

impl Place {
    /// Everything about the cgroup; an error if its usage can't be read.
    pub fn read(&self) -> Result<Cgroup, Missing> {
        let usage_bytes = self.number(self.version.usage_file()).ok_or_else(|| Missing {
            source: "cgroup",
            reason: format!("can't read {} in {}", self.version.usage_file(), self.folder.display()),
        })?;
        let stat = self.text("memory.stat").unwrap_or_default();
        let inactive = row(&stat, self.version.inactive_file_key()).unwrap_or(0);
        Ok(Cgroup {
            version: match self.version {
                Version::V1 => 1,
                Version::V2 => 2,
            },
            usage_bytes,
            working_set_bytes: usage_bytes.saturating_sub(inactive),
            peak_bytes: self.number(self.version.peak_file()),
            limit_bytes: self.effective_limit(&stat),
            oom_kills: self.text(self.version.events_file()).and_then(|text| row(&text, "oom_kill")),
        })
    }

    /// Usage less what the kernel can simply drop; the part of [`Self::read`] that is read often.
    pub fn working_set_bytes(&self) -> Option<u64> {
        let usage = self.number(self.version.usage_file())?;
        let inactive = row(&self.text("memory.stat")?, self.version.inactive_file_key())?;
        Some(usage.saturating_sub(inactive))
    }

    /// Whether what counts against this cgroup's limit is this process: the limit in force is the cgroup's own, and
    /// nobody else is in it.
    pub fn is_of_only(&self, process: u32) -> bool {
        let own = self.limit_of(&self.folder);
        let stat = self.text("memory.stat").unwrap_or_default();
        own.is_some()
            && own == self.effective_limit(&stat)
            && self.text("cgroup.procs").is_some_and(|processes| {
                let mut processes = processes.lines();
                processes.next().and_then(|id| id.parse().ok()) == Some(process) && processes.next().is_none()
            })
    }

    /// The smallest limit of the cgroup and its ancestors. Version 1 knows it, whatever of the ancestors can be seen,
    /// and whether they count at all (`memory.use_hierarchy`).
    fn effective_limit(&self, stat: &str) -> Option<u64> {
        match self.version {
            Version::V1 => {
                let inherited = row(stat, "hierarchical_memory_limit").filter(|bytes| *bytes < V1_NO_LIMIT);
                self.limit_of(&self.folder).into_iter().chain(inherited).min()
            }
            Version::V2 => self
                .folder
                .ancestors()
                .take_while(|folder| folder.starts_with(&self.mount))
                .filter_map(|folder| self.limit_of(folder))
                .min(),
        }
    }

    fn limit_of(&self, folder: &std::path::Path) -> Option<u64> {
        let text = fs::read_to_string(folder.join(self.version.limit_file())).ok()?;
        text.trim().parse().ok().filter(|bytes| *bytes < V1_NO_LIMIT)
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.text(file)?.trim().parse().ok()
    }

    fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(file)).ok()
    }
}

/// The value of `key` in a file of `key value` lines.
fn row(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
