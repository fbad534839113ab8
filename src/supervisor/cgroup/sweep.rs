//! What a lab that was killed left behind: found by name, proved ownerless, removed.

use std::{
    fs::{self, File},
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use leakscope::proc::Process;

use crate::supervisor::signals;

/// The kernel may call a cgroup busy for a moment after its last process has ended.
const PATIENCE: Duration = Duration::from_secs(1);

/// The name of the service's cgroup.
pub(super) fn name(lab_pid: u32) -> String {
    format!("leaklab-{lab_pid}")
}

/// The name of the leaf into which the lab moves itself where v2 wants the parent empty.
pub(super) fn leaf_name(lab_pid: u32) -> String {
    format!("leaklab-lab-{lab_pid}")
}

/// The pid of the lab that made a cgroup of that name; `None`: it is none of ours.
fn owner(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("leaklab-")?;
    rest.strip_prefix("lab-").unwrap_or(rest).parse().ok()
}

/// Locks a cgroup's folder: as long as the file is open its owner lives. A pid alone proves little, since it may have
/// been reused, or belong to another pid namespace.
///
/// # Errors
/// Somebody else holds it, or it is gone.
pub(super) fn claim(dir: &Path) -> io::Result<File> {
    let folder = File::open(dir)?;
    folder.try_lock()?;
    Ok(folder)
}

/// Removes the leftovers of dead labs in `dir`; returns how many.
pub(super) fn sweep(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().and_then(owner).is_some_and(has_ended))
        .filter(|entry| claim(&entry.path()).is_ok() && remove(&entry.path()))
        .count()
}

fn has_ended(pid: u32) -> bool {
    !Process::of(pid).is_ok_and(|lab| lab.is_alive())
}

/// Kills what is still in a cgroup and removes it; `false`: it is still there.
pub(super) fn remove(dir: &Path) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let members = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter_map(|pid| pid.parse().ok()) {
            signals::send(pid, libc::SIGKILL);
        }
        match fs::remove_dir(dir) {
            Ok(()) => return true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
            Err(_) if Instant::now() >= deadline => return false,
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_taken_for_ours() {
        assert_eq!(owner(&name(4711)), Some(4711));
        assert_eq!(owner(&leaf_name(4711)), Some(4711));
        for foreign in ["leaklab", "leaklab-", "leaklab-x", "leaklab-1-2", "leaklab-lab-", "docker-12", "12"]
        {
            assert_eq!(owner(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_folder_whose_owner_lives_is_not_swept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Larger than any pid, so surely dead; ordinary folders stand in for cgroups.
        let (claimed, left) =
            (folder.path().join(name(u32::MAX)), folder.path().join(leaf_name(u32::MAX - 1)));
        let living = folder.path().join(name(std::process::id()));
        for dir in [&claimed, &left, &living] {
            fs::create_dir(dir).expect("a folder");
        }
        let _claim = claim(&claimed).expect("nobody else holds it");
        assert_eq!(sweep(folder.path()), 1);
        assert!(claimed.exists() && living.exists() && !left.exists());
    }
}
