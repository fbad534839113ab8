//! Where a cgroup of our own can be made, and what has to be done there first.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use super::{Version, sweep};

/// A folder of the memory hierarchy in which we make the service's cgroup. Dropping it undoes what [`Place::find`] did.
#[derive(Debug)]
pub struct Place {
    version: Version,
    dir: PathBuf,
    /// Moves us back when dropped.
    _leaf: Option<Leaf>,
    swept: usize,
}

impl Place {
    /// The best place for this process: inside its own cgroup where that is possible, else (v2) beside it.
    ///
    /// # Errors
    /// Why there is none, in words for the user.
    pub fn find() -> Result<Self, String> {
        let own = Own::of(
            &fs::read_to_string("/proc/self/cgroup").map_err(|_| "this system has no cgroups".to_owned())?,
            &fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
        )
        .ok_or("no memory cgroup hierarchy is mounted")?;
        let mut place = match own.version {
            Version::V1 => Self { version: Version::V1, dir: own.dir, _leaf: None, swept: 0 },
            Version::V2 => Self::find_v2(&own)?,
        };
        place.swept = sweep::sweep(&place.dir);
        place.probe()?;
        Ok(place)
    }

    /// v2 gives a controller only to the children of a cgroup without processes of its own (the root is exempt).
    fn find_v2(own: &Own) -> Result<Self, String> {
        if !lists_memory(&own.dir.join("cgroup.controllers")) {
            return Err(format!("cgroup v2 has no memory controller at {}", own.dir.display()));
        }
        let at = |dir: &Path, leaf: Option<Leaf>| Self {
            version: Version::V2,
            dir: dir.to_owned(),
            _leaf: leaf,
            swept: 0,
        };
        // Only the real root has no cgroup.type.
        if !own.dir.join("cgroup.type").exists() {
            return enable_memory(&own.dir).map(|()| at(&own.dir, None));
        }
        let inside = Leaf::enter(&own.dir).and_then(|leaf| {
            enable_memory(&own.dir)?;
            Ok(at(&own.dir, Some(leaf)))
        });
        let inside_error = match inside {
            Ok(place) => return Ok(place),
            Err(error) => error,
        };
        match own.dir.parent().filter(|_| own.dir != own.mount) {
            Some(parent) => enable_memory(parent)
                .map(|()| at(parent, None))
                .map_err(|beside_error| format!("{inside_error}, and {beside_error}")),
            None => Err(inside_error),
        }
    }

    /// Makes a cgroup and removes it again: permission shows here, before anything is promised.
    fn probe(&self) -> Result<(), String> {
        let dir = self.dir.join(sweep::name(process::id()));
        let refused = |error| format!("no cgroup can be made under {}: {error}", self.dir.display());
        fs::create_dir(&dir).map_err(refused)?;
        let limited = fs::metadata(dir.join(self.version.limit_file()));
        sweep::remove(&dir);
        limited.map(|_| ()).map_err(refused)
    }

    /// Which interface it has.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
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
    fn enter(home: &Path) -> Result<Self, String> {
        let me = process::id().to_string();
        let members = fs::read_to_string(home.join("cgroup.procs")).unwrap_or_default();
        if members.lines().ne([me.as_str()]) {
            return Err(format!("other processes share our cgroup {}", home.display()));
        }
        let leaf = Self { home: home.to_owned(), dir: home.join(sweep::leaf_name(process::id())) };
        let refused = |error| format!("no cgroup can be made under {}: {error}", home.display());
        fs::create_dir(&leaf.dir).map_err(refused)?;
        fs::write(leaf.dir.join("cgroup.procs"), &me).map_err(refused)?;
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

/// The memory cgroup that this process is in, as a folder.
#[derive(Debug, PartialEq, Eq)]
struct Own {
    version: Version,
    mount: PathBuf,
    dir: PathBuf,
}

impl Own {
    /// From the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`. v1 wins where both are mounted: then the memory
    /// controller is v1's.
    fn of(cgroups: &str, mounts: &str) -> Option<Self> {
        let line = |wanted: fn(&str) -> bool| {
            cgroups.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let controllers = fields.next()?;
                wanted(controllers).then_some(fields.next())?
            })
        };
        let v1 = line(|controllers| controllers.split(',').any(|name| name == "memory"));
        let v2 = line(str::is_empty);
        v1.and_then(|path| Self::at(Version::V1, path, mounts))
            .or_else(|| v2.and_then(|path| Self::at(Version::V2, path, mounts)))
    }

    fn at(version: Version, path: &str, mounts: &str) -> Option<Self> {
        mounts.lines().find_map(|line| {
            // ID PARENT MAJOR:MINOR ROOT MOUNT-POINT OPTIONS [TAGS...] - TYPE SOURCE SUPER-OPTIONS
            let (mount, kind) = line.split_once(" - ")?;
            let mut mount = mount.split(' ').skip(3);
            let (root, point) = (mount.next()?, PathBuf::from(mount.next()?));
            let mut kind = kind.split(' ');
            let fits = match (version, kind.next()?) {
                (Version::V1, "cgroup") => kind.nth(1)?.split(',').any(|option| option == "memory"),
                (Version::V2, "cgroup2") => true,
                _ => false,
            };
            fits.then(|| {
                // In a container the mount's root is the container's cgroup, and the path names it from the host's.
                let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
                let dir = if below.as_os_str().is_empty() { point.clone() } else { point.join(below) };
                Self { version, mount: point, dir }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2_MOUNT: &str = "34 24 0:29 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
    const V1_MOUNT: &str = "40 32 0:35 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                            44 32 0:39 / /sys/fs/cgroup/memory rw,relatime shared:12 - cgroup cgroup rw,memory\n";

    fn dir(cgroups: &str, mounts: &str) -> Option<(Version, PathBuf)> {
        Own::of(cgroups, mounts).map(|own| (own.version, own.dir))
    }

    #[test]
    fn our_cgroup_is_found_in_each_kind_of_system() {
        let session = "/user.slice/user-1000.slice/session-3.scope";
        assert_eq!(
            dir(&format!("0::{session}\n"), V2_MOUNT),
            Some((Version::V2, format!("/sys/fs/cgroup{session}").into()))
        );
        assert_eq!(dir("0::/\n", V2_MOUNT), Some((Version::V2, "/sys/fs/cgroup".into())));
        assert_eq!(
            dir("4:memory:/user.slice\n3:cpu,cpuacct:/\n0::/\n", V1_MOUNT),
            Some((Version::V1, "/sys/fs/cgroup/memory/user.slice".into()))
        );
        assert_eq!(dir("3:cpu,cpuacct:/\n", V1_MOUNT), None);
        assert_eq!(dir("", ""), None);
    }

    #[test]
    fn the_memory_controller_of_v1_wins_where_both_are_mounted() {
        let hybrid = format!("{V1_MOUNT}50 32 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
        assert_eq!(
            dir("4:memory:/a\n0::/b\n", &hybrid),
            Some((Version::V1, "/sys/fs/cgroup/memory/a".into()))
        );
    }

    #[test]
    fn in_a_container_the_path_starts_at_the_mount_s_root() {
        let mounts = "44 32 0:39 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let at = |path: &str| dir(&format!("4:memory:{path}\n"), mounts).map(|(_, dir)| dir);
        assert_eq!(at("/docker/abc"), Some("/sys/fs/cgroup/memory".into()));
        assert_eq!(at("/docker/abc/inner"), Some("/sys/fs/cgroup/memory/inner".into()));
    }
}
