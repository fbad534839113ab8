//! Takes observations of this process.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::{Observation, Pace, moment::Moment};
use crate::{
    lock::lock,
    memory::{Limit, LimitSource},
    proc::{Cgroup, Process},
};

/// Where to read, found once, and the last values of what is read seldom.
pub(crate) struct Observer {
    started: Instant,
    requests: Arc<AtomicU64>,
    process: Process,
    /// The cgroup whose limit is in force.
    cgroup: Option<Cgroup>,
    /// Whether its usage is this process's alone.
    is_ours: AtomicBool,
    /// The observation with the newest slow quantities.
    slow: Mutex<Observation>,
}

impl Observer {
    /// Reads everything once. `requests` counts those served so far.
    pub fn new(limit: Limit, requests: Arc<AtomicU64>) -> Self {
        let process = Process::this();
        let cgroup = match limit.source {
            LimitSource::CgroupV1 | LimitSource::CgroupV2 => process.memory_cgroup().ok(),
            LimitSource::Watcher | LimitSource::None => None,
        };
        let observer = Self {
            started: Instant::now(),
            requests,
            process,
            cgroup,
            is_ours: AtomicBool::new(false),
            slow: Mutex::new(Observation::new(0.0, 0, 0, |_| None)),
        };
        observer.read_slow();
        observer
    }

    /// The values now; of the slow quantities the last ones. Some tens of microseconds.
    pub fn now(&self) -> Observation {
        let moment = self.moment();
        let slow = *self.slow();
        self.observe(|quantity| match quantity.pace {
            Pace::Each => (quantity.read)(&moment),
            Pace::Slow => slow.value(quantity.name),
        })
    }

    /// Reads the slow quantities, and looks again who else is in the cgroup. Milliseconds.
    pub fn read_slow(&self) {
        let is_ours = self.cgroup.as_ref().is_some_and(|cgroup| cgroup.is_of_only(self.process.pid()));
        self.is_ours.store(is_ours, Relaxed);
        let moment = self.moment();
        let read = self.observe(|quantity| match quantity.pace {
            Pace::Each => None,
            Pace::Slow => (quantity.read)(&moment),
        });
        *self.slow() = read;
    }

    /// What counts against the limit now: cheap enough for a hundred times a second.
    pub fn usage_bytes(&self) -> u64 {
        self.moment().usage_bytes().map_or(0, |bytes| bytes as u64)
    }

    fn observe(&self, value_of: impl FnMut(&super::Quantity) -> Option<i64>) -> Observation {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Observation::new(
            self.started.elapsed().as_secs_f64(),
            since.as_millis() as u64,
            self.requests.load(Relaxed),
            value_of,
        )
    }

    fn moment(&self) -> Moment<'_> {
        Moment::new(&self.process, self.own_cgroup())
    }

    fn own_cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref().filter(|_| self.is_ours.load(Relaxed))
    }

    fn slow(&self) -> MutexGuard<'_, Observation> {
        lock(&self.slow)
    }
}
