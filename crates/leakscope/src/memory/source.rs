//! The few figures that are cheap enough to read many times a second.

use super::{Limit, LimitSource, jemalloc};
use crate::proc::{Cgroup, Process};

/// Where to read, found once.
pub(crate) struct Source {
    process: Process,
    /// The cgroup whose limit is in force.
    cgroup: Option<Cgroup>,
    /// Whether its usage is this process's alone.
    is_ours: bool,
}

/// One cheap reading.
pub(crate) struct Reading {
    pub rss_bytes: u64,
    pub live_heap_bytes: u64,
    pub usage_bytes: u64,
}

impl Source {
    pub fn new(limit: Limit) -> Self {
        let process = Process::this();
        let cgroup = match limit.source {
            LimitSource::CgroupV1 | LimitSource::CgroupV2 => process.memory_cgroup().ok(),
            LimitSource::Watcher | LimitSource::None => None,
        };
        let mut source = Self { process, cgroup, is_ours: false };
        source.refresh();
        source
    }

    /// Looks again who else is in the cgroup.
    pub fn refresh(&mut self) {
        self.is_ours = self.cgroup.as_ref().is_some_and(|cgroup| cgroup.is_of_only(self.process.pid()));
    }

    pub fn read(&self) -> Reading {
        let rss_bytes = self.rss_bytes();
        let usage_bytes = self.cgroup_usage_bytes().unwrap_or(rss_bytes);
        let live_heap_bytes = jemalloc::read().map_or(rss_bytes, |stats| stats.public.live_bytes);
        Reading { rss_bytes, live_heap_bytes, usage_bytes }
    }

    /// The part of [`Self::read`] that is cheap enough for a hundred times a second.
    pub fn usage_bytes(&self) -> u64 {
        self.cgroup_usage_bytes().unwrap_or_else(|| self.rss_bytes())
    }

    fn cgroup_usage_bytes(&self) -> Option<u64> {
        self.cgroup.as_ref().filter(|_| self.is_ours)?.working_set_bytes()
    }

    fn rss_bytes(&self) -> u64 {
        self.process.statm().map_or(0, |statm| statm.rss_bytes)
    }
}
