//! The few figures that are cheap enough to read many times a second.

use std::path::Path;

use super::{Limit, LimitSource, cgroup, jemalloc, process::Statm};

/// Where to read, found once.
pub(super) struct Source {
    /// The cgroup whose limit is in force.
    cgroup: Option<cgroup::Place>,
    /// Whether its usage is this process's alone.
    is_ours: bool,
}

/// One cheap reading.
pub(super) struct Reading {
    pub rss_bytes: u64,
    pub live_heap_bytes: u64,
    pub usage_bytes: u64,
}

impl Source {
    pub fn new(limit: Limit) -> Self {
        let cgroup = match limit.source {
            LimitSource::CgroupV1 | LimitSource::CgroupV2 => {
                cgroup::locate(Path::new("/"), std::process::id()).ok()
            }
            LimitSource::Watcher | LimitSource::None => None,
        };
        let mut source = Self { cgroup, is_ours: false };
        source.refresh();
        source
    }

    /// Looks again who else is in the cgroup.
    pub fn refresh(&mut self) {
        self.is_ours = self.cgroup.as_ref().is_some_and(|place| place.is_of_only(std::process::id()));
    }

    pub fn read(&self) -> Reading {
        let rss_bytes = Statm::read().map_or(0, |statm| statm.rss_bytes);
        let usage_bytes = self
            .cgroup
            .as_ref()
            .filter(|_| self.is_ours)
            .and_then(|place| place.working_set_bytes())
            .unwrap_or(rss_bytes);
        let live_heap_bytes = jemalloc::read().map_or(rss_bytes, |stats| stats.public.live_bytes);
        Reading { rss_bytes, live_heap_bytes, usage_bytes }
    }
}
