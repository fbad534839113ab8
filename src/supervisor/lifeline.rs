//! The child's side of supervision: who holds it to a limit, and that it must not outlive its parent.
//!
//! The parent says in an environment variable how the limit is enforced, and holds the other end of the child's
//! standard input, on which nothing is ever written. When the parent is gone, however it went, that pipe closes.

use std::{io::Read, process, thread};

/// Who holds this process to a memory limit, as its parent said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervised {
    /// The kernel: the limit can be read from the cgroup.
    ByCgroup,
    /// The parent samples RSS and kills at this many bytes.
    ByWatcher(u64),
}

impl Supervised {
    /// The variable between parent and child; not for users.
    pub const VARIABLE: &str = "LEAKLAB_SUPERVISED";

    /// What the parent said; `None`: no supervisor started this process.
    pub fn from_env() -> Option<Self> {
        Self::parse(&std::env::var(Self::VARIABLE).ok()?)
    }

    /// The bytes at which a watcher kills; `None` where the kernel does.
    pub fn watcher_bytes(self) -> Option<u64> {
        match self {
            Self::ByCgroup => None,
            Self::ByWatcher(bytes) => Some(bytes),
        }
    }

    /// The variable's value.
    pub(super) fn value(self) -> String {
        match self {
            Self::ByCgroup => "cgroup".to_owned(),
            Self::ByWatcher(bytes) => format!("watcher:{bytes}"),
        }
    }

    fn parse(value: &str) -> Option<Self> {
        match value.split_once(':') {
            None if value == "cgroup" => Some(Self::ByCgroup),
            Some(("watcher", bytes)) => bytes.parse().ok().map(Self::ByWatcher),
            _ => None,
        }
    }
}

/// Ends this process when its parent is gone. Call it in a supervised child only: it reads standard input.
pub fn die_with_parent() {
    thread::spawn(|| {
        let mut stdin = std::io::stdin().lock();
        let mut ignored = [0; 64];
        while !matches!(stdin.read(&mut ignored), Ok(0) | Err(_)) {}
        process::exit(1);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_parent_writes_the_child_reads() {
        for supervised in [Supervised::ByCgroup, Supervised::ByWatcher(268_435_456)] {
            assert_eq!(Supervised::parse(&supervised.value()), Some(supervised));
        }
        for wrong in ["", "yes", "watcher", "watcher:", "watcher:much", "cgroup:1"] {
            assert_eq!(Supervised::parse(wrong), None, "{wrong:?}");
        }
    }
}
