//! Where a cgroup of our own can be made, and what has to be done there first.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use leakscope::proc::{Cgroup, CgroupVersion, NoCgroup, Process};

use super::sweep;

/// The cgroup below which we make the service's cgroup. Dropping it undoes what [`CgroupParent::find`] did.
#[derive(Debug)]
pub struct CgroupParent {
    cgroup: Cgroup,
    /// Moves us back when dropped.
    _leaf: Option<Leaf>,
    swept: usize,
}

impl CgroupParent {
    /// The best one for this process: its own cgroup where that is possible, else (v2) the one above it.
    ///
    /// # Errors
    /// Why there is none, in words for the user.
    pub fn find() -> Result<Self, String> {
        let own = Process::this().cgroup().map_err(|reason| match reason {
            NoCgroup::Unreadable { .. } => format!("this system has no cgroups ({reason})"),
            reason => reason.to_string(),
        })?;
        let mut parent = match own.version() {
            CgroupVersion::V1 => Self::at(own, None),
            CgroupVersion::V2 => Self::find_v2(&own)?,
        };
        parent.swept = sweep::sweep(parent.cgroup.folder());
        parent.probe()?;
        Ok(parent)
    }

    /// v2 gives a controller only to the children of a cgroup without processes of its own (the root is exempt).
    fn find_v2(own: &Cgroup) -> Result<Self, String> {
        let folder = own.folder();
        if !lists_memory(&folder.join("cgroup.controllers")) {
            return Err(format!("cgroup v2 has no memory controller at {}", folder.display()));
        }
        // Only the real root has no cgroup.type.
        if !folder.join("cgroup.type").exists() {
            return enable_memory(folder).map(|()| Self::at(own.clone(), None));
        }
        let inside = Leaf::enter(own).and_then(|leaf| {
            enable_memory(folder)?;
            Ok(Self::at(own.clone(), Some(leaf)))
        });
        let inside_error = match inside {
            Ok(parent) => return Ok(parent),
            Err(error) => error,
        };
        match own.parent() {
            Some(above) => enable_memory(above.folder())
                .map(|()| Self::at(above, None))
                .map_err(|beside_error| format!("{inside_error}, and {beside_error}")),
            None => Err(inside_error),
        }
    }

    fn at(cgroup: Cgroup, leaf: Option<Leaf>) -> Self {
        Self { cgroup, _leaf: leaf, swept: 0 }
    }

    /// Makes a cgroup and removes it again: permission shows here, before anything is promised.
    fn probe(&self) -> Result<(), String> {
        let child = self.cgroup.child(&sweep::name(process::id()));
        let refused =
            |error| format!("no cgroup can be made under {}: {error}", self.cgroup.folder().display());
        fs::create_dir(child.folder()).map_err(refused)?;
        let limited = fs::metadata(child.folder().join(child.version().limit_file()));
        sweep::remove(child.folder());
        limited.map(|_| ()).map_err(refused)
    }

    /// The cgroup itself.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// How many cgroups of dead labs were removed from it.
    pub fn swept(&self) -> usize {
        self.swept
    }
}

/// A leaf of our own cgroup that we moved into; dropping it moves us back.
#[derive(Debug)]
struct Leaf {
    home: PathBuf,
    dir: PathBuf,
}

impl Leaf {
    /// Only where we are alone: other processes are not ours to move.
    fn enter(own: &Cgroup) -> Result<Self, String> {
        let home = own.folder();
        if !own.processes().is_ok_and(|processes| processes == [process::id()]) {
            return Err(format!("other processes share our cgroup {}", home.display()));
        }
        let leaf = Self { home: home.to_owned(), dir: home.join(sweep::leaf_name(process::id())) };
        let refused = |error| format!("no cgroup can be made under {}: {error}", home.display());
        fs::create_dir(&leaf.dir).map_err(refused)?;
        fs::write(leaf.dir.join("cgroup.procs"), process::id().to_string()).map_err(refused)?;
        Ok(leaf)
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        // Best effort: the parent takes us back only once it hands out no controller any more.
        let _ = fs::write(self.home.join("cgroup.subtree_control"), "-memory");
        let _ = fs::write(self.home.join("cgroup.procs"), process::id().to_string());
        let _ = fs::remove_dir(&self.dir);
    }
}

fn lists_memory(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|list| list.split_whitespace().any(|name| name == "memory"))
}

fn enable_memory(dir: &Path) -> Result<(), String> {
    let file = dir.join("cgroup.subtree_control");
    if lists_memory(&file) {
        return Ok(());
    }
    fs::write(&file, "+memory")
        .map_err(|error| format!("the memory controller can't be enabled in {}: {error}", dir.display()))
}
