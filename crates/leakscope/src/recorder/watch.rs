//! The recorder's thread: looks at usage often, samples at a steady pace, and writes the heap profile when usage passes a
//! threshold.

use std::{
    fs,
    path::Path,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Shared,
    entry::What,
    lock,
    readings::PACE,
    ring::{Ring, Sample},
    thresholds::{PERCENT, Thresholds},
    unix_ms_now,
};
use crate::{
    heap::Profiler,
    memory::{Limit, Sampler, Source},
};

/// Time between two samples.
const SAMPLE: Duration = Duration::from_millis(250);
/// Time between two looks at usage while it is far from the first threshold.
const LOOK_FAR: Duration = Duration::from_millis(100);
/// The same near it: at 100 MB/s usage grows by 1 MB meanwhile.
const LOOK_NEAR: Duration = Duration::from_millis(10);
/// From this share of the limit on it is near: 20 points below the first threshold.
const NEAR: f64 = (PERCENT[0] - 20) as f64 / 100.0;
/// Time between two looks at who else is in the cgroup.
const REFRESH: Duration = Duration::from_secs(5);

/// Heap profiles kept, the newest ones.
const PROFILES: usize = 6;
const PROFILE_SUFFIX: &str = ".heap";

pub(super) struct Watch {
    shared: Arc<Shared>,
    ring: Option<Ring>,
    limit_bytes: Option<u64>,
    source: Source,
    thresholds: Thresholds,
    profiler: Arc<Profiler>,
    sampler: Arc<Sampler>,
    started: Instant,
}

impl Watch {
    pub fn new(
        shared: Arc<Shared>,
        ring: Option<Ring>,
        limit: Limit,
        profiler: Arc<Profiler>,
        sampler: Arc<Sampler>,
    ) -> Self {
        let (source, started) = (Source::new(limit), Instant::now());
        let thresholds = Thresholds::default();
        let limit_bytes = limit.bytes;
        Self { shared, ring, limit_bytes, source, thresholds, profiler, sampler, started }
    }

    /// Until the recorder stops; the last sample is taken then. Without a ring there is nothing to do.
    pub fn run(mut self) {
        let Some(mut ring) = self.ring.take() else { return };
        forget_old_profiles(&self.shared.folder);
        let (mut sample_due, mut refresh_due) = (self.started, self.started + REFRESH);
        let mut reading_due = self.started;
        loop {
            let now = Instant::now();
            if now >= refresh_due {
                self.source.refresh();
                refresh_due = now + REFRESH;
            }
            if now >= sample_due {
                self.sample(&mut ring);
                sample_due = (sample_due + SAMPLE).max(now);
            }
            if now >= reading_due {
                self.shared.read();
                reading_due = (reading_due + PACE).max(now);
            }
            let pause = self.look().min(sample_due.saturating_duration_since(Instant::now()));
            if self.wait(pause) {
                return self.sample(&mut ring);
            }
        }
    }

    /// Whether it has stopped.
    fn wait(&self, pause: Duration) -> bool {
        let stopped = lock(&self.shared.stopped);
        let waited = self.shared.stop.wait_timeout_while(stopped, pause, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn sample(&self, ring: &mut Ring) {
        let reading = self.source.read();
        let sample = Sample {
            sequence: 0,
            run: self.shared.run,
            unix_ms: unix_ms_now(),
            seconds: self.started.elapsed().as_secs_f64(),
            rss_bytes: reading.rss_bytes,
            live_heap_bytes: reading.live_heap_bytes,
            usage_bytes: reading.usage_bytes,
            unaccounted_bytes: self.sampler.latest().unaccounted_bytes,
            requests: lock(&self.shared.readings).requests(),
        };
        if let Err(error) = ring.push(sample) {
            self.shared.warn(error);
        }
    }

    /// Looks at usage and does what follows; returns when to look again.
    fn look(&mut self) -> Duration {
        let Some(limit_bytes) = self.limit_bytes.filter(|bytes| *bytes > 0) else { return SAMPLE };
        let usage_bytes = self.source.usage_bytes();
        let share = usage_bytes as f64 / limit_bytes as f64;
        let passed = self.thresholds.pass(share);
        // The profile first: there may be little time.
        if let Some(percent) = passed.last() {
            self.save_profile(*percent);
        }
        for percent in passed {
            self.shared.append(What::Threshold { percent, usage_bytes });
        }
        if share < NEAR { LOOK_FAR } else { LOOK_NEAR }
    }

    fn save_profile(&self, percent: u8) {
        if !self.profiler.status().enabled {
            return;
        }
        let started = Instant::now();
        let file = format!("heap-{:013}-{percent}{PROFILE_SUFFIX}", unix_ms_now());
        match self.profiler.save(&self.shared.folder.join(&file)) {
            Ok(()) => {
                let took_ms = started.elapsed().as_secs_f64() * 1e3;
                self.shared.append(What::Profile { file, percent, took_ms });
            }
            Err(error) => self.shared.warn(error),
        }
        forget_old_profiles(&self.shared.folder);
    }
}

/// Removes all but the newest profiles, and those that death left half written.
fn forget_old_profiles(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let (mut whole, drafts): (Vec<_>, Vec<_>) =
        names.filter(|name| name.starts_with("heap-")).partition(|name| name.ends_with(PROFILE_SUFFIX));
    whole.sort_unstable(); // the names begin with the time
    for name in whole.iter().rev().skip(PROFILES).chain(&drafts) {
        let _ = fs::remove_file(folder.join(name));
    }
}
