//! The cgroup of one life of the service: made, limited, read after a kill, removed.

use std::{
    fs::{self, File},
    io, process,
};

use leakscope::proc::{Cgroup, CgroupVersion};

use super::{parent::CgroupParent, sweep};

/// A cgroup of our own with a limit. Removed when dropped, with every process that is still in it.
///
/// It is made anew for each life of the service, so that its peak and its kill counter are that life's own.
#[derive(Debug)]
pub struct LimitedCgroup {
    cgroup: Cgroup,
    /// Held for as long as we live: the sign for others that this cgroup is no leftover.
    _claim: File,
}

impl LimitedCgroup {
    /// Makes `leaklab-<our pid>` in `parent`, limited to `limit_bytes`, without swap.
    ///
    /// # Errors
    /// The folder can't be made or the limit can't be set; nothing is left behind then.
    pub fn create(parent: &CgroupParent, limit_bytes: u64) -> io::Result<Self> {
        let cgroup = parent.cgroup().child(&sweep::name(process::id()));
        let folder = cgroup.folder().to_owned();
        fs::create_dir(&folder)?;
        let claim = sweep::claim(&folder).inspect_err(|_| drop(fs::remove_dir(&folder)))?;
        let limited = Self { cgroup, _claim: claim };
        let set = |file: &str, value: u64| fs::write(folder.join(file), value.to_string());
        let version = limited.cgroup.version();
        set(version.limit_file(), limit_bytes)?;
        let (file, value) = no_swap(version, limit_bytes);
        // A kernel without swap accounting has no such file.
        if folder.join(file).exists() {
            set(file, value)?;
        }
        Ok(limited)
    }

    /// The file into which a process writes `0` to enter.
    ///
    /// # Errors
    /// It can't be opened for writing.
    pub fn entrance(&self) -> io::Result<File> {
        File::options().write(true).open(self.cgroup.folder().join("cgroup.procs"))
    }

    /// Largest usage so far, page cache included; `None`: this kernel does not say.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.cgroup.peak_bytes()
    }

    /// Processes that the kernel killed for the limit; `None`: this kernel does not say.
    pub fn kills(&self) -> Option<u64> {
        self.cgroup.oom_kills()
    }
}

impl Drop for LimitedCgroup {
    fn drop(&mut self) {
        sweep::remove(self.cgroup.folder());
    }
}

/// Where swap is switched off, and with which value: v1 limits memory and swap together, v2 swap alone.
fn no_swap(version: CgroupVersion, limit_bytes: u64) -> (&'static str, u64) {
    match version {
        CgroupVersion::V1 => ("memory.memsw.limit_in_bytes", limit_bytes),
        CgroupVersion::V2 => ("memory.swap.max", 0),
    }
}
