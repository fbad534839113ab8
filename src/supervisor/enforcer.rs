//! Who holds the service to its limit: the kernel where we may make a cgroup, else a thread of ours.

use std::{fs::File, io};

use indicatif::BinaryBytes;

use super::{
    cgroup::{CgroupParent, LimitedCgroup},
    lifeline::Supervised,
    watcher::Watcher,
};

/// What the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Enforce {
    /// A cgroup where possible, else the watcher.
    #[default]
    Auto,
    /// A cgroup or nothing.
    Cgroup,
    /// The watcher, even where a cgroup is possible.
    Watcher,
}

impl Enforce {
    /// Names as typed by users.
    pub const NAMES: [&str; 3] = ["auto", "cgroup", "watcher"];

    /// The choice of that name.
    pub fn parse(name: &str) -> Option<Self> {
        match name.trim() {
            "auto" => Some(Self::Auto),
            "cgroup" => Some(Self::Cgroup),
            "watcher" => Some(Self::Watcher),
            _ => None,
        }
    }
}

/// What was chosen for this run of the lab.
#[derive(Debug)]
pub enum Enforcer {
    /// The kernel.
    Cgroup(CgroupParent),
    /// A thread of ours, and why it is not the kernel.
    Watcher {
        /// For the user.
        instead_of_cgroup: String,
    },
}

impl Enforcer {
    /// Finds out what is possible here.
    ///
    /// # Errors
    /// A cgroup was wanted and there can be none: why.
    pub fn choose(wanted: Enforce) -> Result<Self, String> {
        if wanted == Enforce::Watcher {
            return Ok(Self::Watcher {
                instead_of_cgroup: "it was asked for (--enforce watcher)".to_owned(),
            });
        }
        match CgroupParent::find() {
            Ok(parent) => Ok(Self::Cgroup(parent)),
            Err(reason) if wanted == Enforce::Auto => Ok(Self::Watcher { instead_of_cgroup: reason }),
            Err(reason) => Err(reason),
        }
    }

    /// Prepares the limit for one life of the service.
    ///
    /// # Errors
    /// The cgroup can't be made.
    pub fn guard(&self, limit_bytes: u64) -> io::Result<LimitGuard> {
        match self {
            Self::Cgroup(parent) => LimitedCgroup::create(parent, limit_bytes).map(LimitGuard::Cgroup),
            Self::Watcher { .. } => Ok(LimitGuard::Watcher { limit_bytes, watcher: None }),
        }
    }

    /// One or two sentences for the start.
    pub fn describe(&self, limit_bytes: u64) -> String {
        let limit = BinaryBytes(limit_bytes);
        match self {
            Self::Cgroup(parent) => {
                let (version, folder) =
                    (parent.cgroup().version().number(), parent.cgroup().folder().display());
                format!("limit {limit}, held by the kernel: cgroup v{version} under {folder}")
            }
            Self::Watcher { instead_of_cgroup } => format!(
                "limit {limit}, held by a watcher that reads the service's RSS at least every 10 ms and sends SIGKILL; \
                 what the service touches between two readings comes on top\n\
                 not by the kernel: {instead_of_cgroup}"
            ),
        }
    }
}

/// The limit of one life.
#[derive(Debug)]
pub enum LimitGuard {
    /// Removed with the guard.
    Cgroup(LimitedCgroup),
    /// Started once there is a process.
    Watcher {
        /// Where it kills.
        limit_bytes: u64,
        /// The thread.
        watcher: Option<Watcher>,
    },
}

/// What the enforcer knows of a life that has ended: whether it killed the service for the limit.
#[derive(Debug, Clone, PartialEq)]
pub enum KillReport {
    /// It killed the service at so many bytes (`None`: the kernel did not keep the peak); how it is known.
    Killed {
        /// Cgroup's peak or watcher's last reading.
        bytes: Option<u64>,
        /// For the user.
        evidence: String,
    },
    /// It did not; how it is known.
    NotKilled {
        /// For the user.
        evidence: String,
    },
    /// This kernel does not count its kills.
    Unknown {
        /// The cgroup's peak.
        bytes: Option<u64>,
    },
}

impl LimitGuard {
    /// The file by which the child enters its cgroup, before it becomes the service.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn entrance(&self) -> io::Result<Option<File>> {
        match self {
            Self::Cgroup(cgroup) => cgroup.entrance().map(Some),
            Self::Watcher { .. } => Ok(None),
        }
    }

    /// What the child is told of its limit.
    pub fn told_to_child(&self) -> Supervised {
        match self {
            Self::Cgroup(_) => Supervised::ByCgroup,
            Self::Watcher { limit_bytes, .. } => Supervised::ByWatcher(*limit_bytes),
        }
    }

    /// The child runs.
    ///
    /// # Errors
    /// It can't be watched.
    pub fn watch(&mut self, pid: u32) -> io::Result<()> {
        if let Self::Watcher { limit_bytes, watcher } = self {
            *watcher = Some(Watcher::start(pid, *limit_bytes)?);
        }
        Ok(())
    }

    /// The child has ended: was it for the limit?
    pub fn report(self) -> KillReport {
        match self {
            Self::Cgroup(cgroup) => {
                let bytes = cgroup.peak_bytes();
                match cgroup.kills() {
                    Some(0) => KillReport::NotKilled {
                        evidence: "the cgroup's kill counter did not move".to_owned(),
                    },
                    Some(kills) => KillReport::Killed {
                        bytes,
                        evidence: format!("the cgroup's kill counter moved from 0 to {kills}"),
                    },
                    None => KillReport::Unknown { bytes },
                }
            }
            Self::Watcher { limit_bytes, watcher } => {
                let Some(watched) = watcher.map(Watcher::stop) else {
                    return KillReport::Unknown { bytes: None };
                };
                match watched.killed_at_bytes {
                    Some(bytes) => KillReport::Killed {
                        bytes: Some(bytes),
                        evidence: format!(
                            "the watcher sent SIGKILL, {} past the limit; it had looked {} times, every {:.1?} on average, \
                             {:.1?} at the longest",
                            BinaryBytes(bytes - limit_bytes),
                            watched.looks,
                            watched.mean_gap,
                            watched.longest_gap
                        ),
                    },
                    None => KillReport::NotKilled { evidence: "the watcher sent no signal".to_owned() },
                }
            }
        }
    }
}
