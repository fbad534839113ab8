//! Finds the folder of this process's memory cgroup. `/proc/self/cgroup` gives a path in the hierarchy,
//! `/proc/self/mountinfo` says which part of the hierarchy is mounted where; in a container the two need not meet.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use super::{Place, Version};
use crate::memory::Missing;

/// Finds the memory cgroup of `process`, this process, on the system below `root`.
pub(crate) fn locate(root: &Path, process: u32) -> Result<Place, Missing> {
    let missing = |reason: String| Missing { source: "cgroup", reason };
    let read = |file: &str| {
        fs::read_to_string(root.join("proc/self").join(file))
            .map_err(|error| missing(format!("/proc/self/{file}: {error}; limits of cgroups are not seen")))
    };
    let (version, path) = membership(&read("cgroup")?)
        .ok_or_else(|| missing("the process is in no memory cgroup; no limit is seen".into()))?;
    let mut mounts: Vec<Mount> = read("mountinfo")?
        .lines()
        .filter_map(Mount::parse)
        .filter(|mount| mount.version == version)
        .map(|mount| mount.below(root))
        .collect();
    // The mount that shows most of the hierarchy shows most ancestors.
    mounts.sort_by_key(|mount| mount.root.components().count());
    let named = mounts.iter().filter_map(|mount| {
        let folder = mount.folder.join(relative(&path, &mount.root)?);
        // The controller may be on for an ancestor only.
        let folder = folder
            .ancestors()
            .take_while(|folder| folder.starts_with(&mount.folder))
            .find(|folder| folder.join(version.usage_file()).exists())?;
        Some((folder.to_owned(), mount))
    });
    // The path leads out of what is mounted; the mounted folder may still be the process's own.
    let own = mounts.iter().filter(|mount| {
        let processes = fs::read_to_string(mount.folder.join("cgroup.procs")).unwrap_or_default();
        mount.folder.join(version.usage_file()).exists()
            && processes.lines().any(|id| id.parse() == Ok(process))
    });
    let (folder, mount) =
        named.chain(own.map(|mount| (mount.folder.clone(), mount))).next().ok_or_else(|| {
            missing(format!(
                "the cgroup {} has no memory controller, or is not mounted here; no limit is seen",
                path.display()
            ))
        })?;
    Ok(Place { version, folder, mount: mount.folder.clone() })
}

/// The hierarchy that accounts this process's memory, and its path there. Where version 1 has the memory controller,
/// version 2 can't.
fn membership(cgroup: &str) -> Option<(Version, PathBuf)> {
    let mut unified = None;
    for line in cgroup.lines() {
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if controllers.split(',').any(|controller| controller == "memory") {
            return Some((Version::V1, path.into()));
        }
        if id == "0" && controllers.is_empty() {
            unified = Some((Version::V2, path.into()));
        }
    }
    unified
}

/// A mounted cgroup hierarchy with the memory controller (version 2: that may have it).
struct Mount {
    version: Version,
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
            "cgroup2" => Version::V2,
            "cgroup" if right.nth(1)?.split(',').any(|option| option == "memory") => Version::V1,
            _ => return None,
        };
        Some(Self { version, root: unescape(left.next()?).into(), folder: unescape(left.next()?).into() })
    }

    fn below(mut self, root: &Path) -> Self {
        self.folder = root.join(self.folder.strip_prefix("/").unwrap_or(&self.folder));
        self
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
