//! Where the kernel describes a process.

use std::path::{Path, PathBuf};

/// The folder of a process below `root`. Our own is `self`: that is right even where `/proc` counts pids in another way than
/// we do, as in some containers.
pub(super) fn of(root: &Path, pid: u32) -> PathBuf {
    let name = if pid == std::process::id() { "self".to_owned() } else { pid.to_string() };
    root.join("proc").join(name)
}
