//! Finds the folder of a process's memory cgroup. `/proc/PID/cgroup` gives a path in the hierarchy,
//! `/proc/self/mountinfo` says which part of the hierarchy is mounted where; in a container the two need not meet.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use super::{handle::Cgroup, version::CgroupVersion};
use crate::proc::folder;

/// Why the memory cgroup of a process can't be seen.
#[derive(Debug, thiserror::Error)]
pub enum NoCgroup {
    /// The kernel's files can't be read: most likely this is not Linux, or the process has ended.
    #[error("{}: {error}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No hierarchy with the memory controller lists the process.
    #[error("the process is in no memory cgroup")]
    NoMember,
    /// The process's cgroup, at this path in the hierarchy, has no folder that is mounted and accounts memory.
    #[error("the cgroup {} has no memory controller, or is not mounted here", .0.display())]
    NotSeen(PathBuf),
}

/// The cgroup that a process is in, whether it accounts memory itself or not, on the system below `root`.
pub(in crate::proc) fn own(root: &Path, pid: u32) -> Result<Cgroup, NoCgroup> {
    let membership = Membership::of(root, pid)?;
    membership.candidates().find(|cgroup| cgroup.folder().is_dir()).ok_or_else(|| membership.not_seen())
}

/// The cgroup that accounts a process's memory, on the system below `root`.
pub(in crate::proc) fn accounting(root: &Path, pid: u32) -> Result<Cgroup, NoCgroup> {
    let membership = Membership::of(root, pid)?;
    membership.candidates().find_map(|cgroup| cgroup.accounting()).ok_or_else(|| membership.not_seen())
}

/// Where a process stands in the hierarchy that accounts its memory.
struct Membership {
    pid: u32,
    path: PathBuf,
    /// The mounts of that hierarchy.
    mounts: Vec<Mount>,
}

impl Membership {
    fn of(root: &Path, pid: u32) -> Result<Self, NoCgroup> {
        let (version, path) =
            membership(&read(&folder::of(root, pid).join("cgroup"))?).ok_or(NoCgroup::NoMember)?;
        // Of all processes, since these are the mounts through which we look.
        let mut mounts: Vec<Mount> = read(&root.join("proc/self/mountinfo"))?
            .lines()
            .filter_map(Mount::parse)
            .filter(|mount| mount.version == version)
            .map(|mount| mount.below(root))
            .collect();
        // The mount that shows most of the hierarchy shows most ancestors.
        mounts.sort_by_key(|mount| mount.root.components().count());
        Ok(Self { pid, path, mounts })
    }

    /// Where its cgroup may be seen, the best first.
    fn candidates(&self) -> impl Iterator<Item = Cgroup> {
        let named = self
            .mounts
            .iter()
            .filter_map(|mount| Some(mount.cgroup(&mount.folder.join(relative(&self.path, &mount.root)?))));
        // The path may lead out of what is mounted; the mounted folder may still be the process's own.
        let mounted = self
            .mounts
            .iter()
            .map(|mount| mount.cgroup(&mount.folder))
            .filter(|cgroup| cgroup.processes().is_ok_and(|processes| processes.contains(&self.pid)));
        named.chain(mounted)
    }

    fn not_seen(&self) -> NoCgroup {
        NoCgroup::NotSeen(self.path.clone())
    }
}

fn read(file: &Path) -> Result<String, NoCgroup> {
    fs::read_to_string(file).map_err(|error| NoCgroup::Unreadable { file: file.to_owned(), error })
}

/// The hierarchy that accounts a process's memory, and its path there. Where version 1 has the memory controller,
/// version 2 can't.
fn membership(cgroup: &str) -> Option<(CgroupVersion, PathBuf)> {
    let mut unified = None;
    for line in cgroup.lines() {
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if controllers.split(',').any(|controller| controller == "memory") {
            return Some((CgroupVersion::V1, path.into()));
        }
        if id == "0" && controllers.is_empty() {
            unified = Some((CgroupVersion::V2, path.into()));
        }
    }
    unified
}

/// A mounted cgroup hierarchy with the memory controller (version 2: that may have it).
struct Mount {
    version: CgroupVersion,
    /// The cgroup that is mounted.
    root: PathBuf,
    /// Where.
    folder: PathBuf,
}

impl Mount {
    /// Parses a line of `mountinfo` (proc(5)): `36 35 98:0 /root /folder options optional... - type source super`.
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let mut right = right.split(' ');
        let version = match right.next()? {
            "cgroup2" => CgroupVersion::V2,
            "cgroup" if right.nth(1)?.split(',').any(|option| option == "memory") => CgroupVersion::V1,
            _ => return None,
        };
        Some(Self { version, root: unescape(left.next()?).into(), folder: unescape(left.next()?).into() })
    }

    fn below(mut self, root: &Path) -> Self {
        self.folder = root.join(self.folder.strip_prefix("/").unwrap_or(&self.folder));
        self
    }

    fn cgroup(&self, folder: &Path) -> Cgroup {
        // Without the separator that joining an empty path leaves at the end.
        let folder = folder.components().collect();
        Cgroup::new(self.version, folder, self.folder.clone())
    }
}

/// `path` as seen from `root`; `None` if it is not below it.
fn relative<'a>(path: &'a Path, root: &Path) -> Option<&'a Path> {
    let leads_out = |path: &Path| path.components().any(|component| component == Component::ParentDir);
    path.strip_prefix(root).ok().filter(|path| !leads_out(path) && !leads_out(root))
}

/// Undoes the octal escapes of `mountinfo` (space, tab, newline, backslash).
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(field.to_owned(), |field, (escape, character)| field.replace(escape, character))
}
