//! One memory cgroup: a folder that was found once, whose files are read as often as you like.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::version::CgroupVersion;

/// Version 1 writes "no limit" as the largest page count in bytes, a little below 2^63.
const V1_NO_LIMIT: u64 = 1 << 62;

/// A cgroup in the hierarchy that accounts memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    version: CgroupVersion,
    folder: PathBuf,
    mount: PathBuf,
}

/// What a memory cgroup says of itself, in bytes or plain counts.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::CgroupMemory))]
pub struct CgroupMemory {
    /// `1` or `2`.
    pub version: u8,
    /// Usage of the cgroup, page cache included.
    pub usage_bytes: u64,
    /// Usage less inactive file pages: what the kernel can't simply drop.
    pub working_set_bytes: u64,
    /// The largest usage so far, where the kernel keeps it (version 2: since Linux 5.19).
    pub peak_bytes: Option<u64>,
    /// Smallest limit among the cgroup and its ancestors; `None`: no limit.
    pub limit_bytes: Option<u64>,
    /// Processes killed for this cgroup's limit since it was made.
    pub oom_kills: Option<u64>,
}

impl Cgroup {
    /// The cgroup at `folder`, in a hierarchy that is mounted at `mount`.
    pub(super) fn new(version: CgroupVersion, folder: PathBuf, mount: PathBuf) -> Self {
        Self { version, folder, mount }
    }

    /// Which interface it has.
    pub fn version(&self) -> CgroupVersion {
        self.version
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where its hierarchy is mounted: the topmost ancestor that can be seen.
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// The cgroup of that name below this one, whether it is there or not.
    pub fn child(&self, name: &str) -> Self {
        Self { folder: self.folder.join(name), ..self.clone() }
    }

    /// The cgroup above this one; `None`: this is the topmost that can be seen.
    pub fn parent(&self) -> Option<Self> {
        let folder = self.folder.parent().filter(|folder| folder.starts_with(&self.mount))?;
        Some(Self { folder: folder.to_owned(), ..self.clone() })
    }

    /// Itself, or its nearest ancestor that accounts memory: the controller may be on for an ancestor only.
    pub fn accounting(&self) -> Option<Self> {
        let accounts = |cgroup: &Self| cgroup.folder.join(self.version.usage_file()).exists();
        self.with_ancestors().find(accounts)
    }

    /// Its processes, without those of its descendants.
    ///
    /// # Errors
    /// It is gone, or it can't be read.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        let processes = fs::read_to_string(self.folder.join("cgroup.procs"))?;
        Ok(processes.lines().filter_map(|pid| pid.parse().ok()).collect())
    }

    /// Everything that it says of memory.
    ///
    /// # Errors
    /// Its usage can't be read.
    pub fn memory(&self) -> io::Result<CgroupMemory> {
        let usage_bytes = self.number(self.version.usage_file()).ok_or_else(|| {
            let (file, folder) = (self.version.usage_file(), self.folder.display());
            io::Error::other(format!("can't read {file} in {folder}"))
        })?;
        let stat = self.text("memory.stat").unwrap_or_default();
        let inactive = row(&stat, self.version.inactive_file_key()).unwrap_or(0);
        Ok(CgroupMemory {
            version: self.version.number(),
            usage_bytes,
            working_set_bytes: usage_bytes.saturating_sub(inactive),
            peak_bytes: self.peak_bytes(),
            limit_bytes: self.effective_limit_bytes(&stat),
            oom_kills: self.oom_kills(),
        })
    }

    /// Usage less what the kernel can simply drop; the part of [`Self::memory`] that is read often.
    pub fn working_set_bytes(&self) -> Option<u64> {
        let usage = self.number(self.version.usage_file())?;
        let inactive = row(&self.text("memory.stat")?, self.version.inactive_file_key())?;
        Some(usage.saturating_sub(inactive))
    }

    /// The largest usage so far, page cache included; `None`: this kernel does not say.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.number(self.version.peak_file())
    }

    /// Processes that the kernel killed for its limit; `None`: this kernel does not say.
    pub fn oom_kills(&self) -> Option<u64> {
        row(&self.text(self.version.events_file())?, "oom_kill")
    }

    /// Whether what counts against the limit in force is this process alone: the limit is the cgroup's own, and no other
    /// process is in it.
    pub fn is_of_only(&self, pid: u32) -> bool {
        let own = self.limit_bytes();
        let stat = self.text("memory.stat").unwrap_or_default();
        own.is_some()
            && own == self.effective_limit_bytes(&stat)
            && self.processes().is_ok_and(|processes| processes == [pid])
    }

    /// The smallest limit of the cgroup and its ancestors. Version 1 knows it, whatever of the ancestors can be seen,
    /// and whether they count at all (`memory.use_hierarchy`).
    fn effective_limit_bytes(&self, stat: &str) -> Option<u64> {
        match self.version {
            CgroupVersion::V1 => {
                let inherited = row(stat, "hierarchical_memory_limit").filter(|bytes| *bytes < V1_NO_LIMIT);
                self.limit_bytes().into_iter().chain(inherited).min()
            }
            CgroupVersion::V2 => self.with_ancestors().filter_map(|cgroup| cgroup.limit_bytes()).min(),
        }
    }

    fn limit_bytes(&self) -> Option<u64> {
        self.number(self.version.limit_file()).filter(|bytes| *bytes < V1_NO_LIMIT)
    }

    fn with_ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self.clone()), Self::parent)
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
