//! A folder or a disk that can't be written.

use std::path::Path;

use leakscope::recorder::History;

use super::{map, record};

/// Everything works but the disk, and it is said once.
#[track_caller]
fn goes_on_without(folder: &Path, says: &str) {
    let (recording, problems) = record(folder);
    for _ in 0..3000 {
        recording.recorder().event("event", map("padding", "x".repeat(300)));
    }
    recording.recorder().set_state(map("on", true));
    recording.0.stop();
    let problems = problems.lock().unwrap();
    let complaints: Vec<_> = problems.iter().filter(|problem| problem.contains("can't write to")).collect();
    assert_eq!(complaints.len(), 1, "{problems:?}");
    assert!(complaints[0].contains(says), "{problems:?}");
}

#[test]
fn a_folder_that_can_t_be_made_costs_the_record_only() {
    let file = tempfile::NamedTempFile::new().unwrap();
    goes_on_without(&file.path().join("below-a-file"), "Not a directory");
}

/// A small file system in memory, gone when dropped.
#[cfg(target_os = "linux")]
struct Disk(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl Disk {
    /// `None`: only root can mount.
    fn mount(flags: libc::c_ulong) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (kind, size) = (c"tmpfs".as_ptr(), c"size=300k".as_ptr());
        // SAFETY: all are C strings that live until the call returns.
        let mounted = unsafe { libc::mount(kind, c_path(folder.path()).as_ptr(), kind, flags, size.cast()) };
        if mounted != 0 {
            println!("SKIPPED: a disk of its own needs a mount, which needs root");
        }
        (mounted == 0).then_some(Self(folder))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Disk {
    fn drop(&mut self) {
        // SAFETY: a C string that lives until the call returns.
        unsafe { libc::umount2(c_path(self.0.path()).as_ptr(), libc::MNT_DETACH) };
    }
}

#[cfg(target_os = "linux")]
fn c_path(path: &Path) -> std::ffi::CString {
    std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_is_full_costs_the_record_only() {
    let Some(disk) = Disk::mount(0) else { return };
    // The samples fit, and so does the start; what is written then does not.
    goes_on_without(disk.0.path(), "No space left");
    let judged = History::settle(disk.0.path());
    assert_eq!(judged.post_mortems.len(), 1, "{judged:?}");
    assert_eq!(judged.post_mortems[0].settings, map("answer", 42));
    assert!(judged.problems[0].contains("No space left"), "{judged:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_is_read_only_costs_the_record_only() {
    let Some(disk) = Disk::mount(libc::MS_RDONLY) else { return };
    goes_on_without(disk.0.path(), "Read-only");
}
