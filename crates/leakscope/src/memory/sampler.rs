//! A thread that samples memory at a steady pace into a bounded ring. It allocates nothing that stays: the ring has its
//! full size from the start.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{Limit, report, source::Source};

/// Time between two readings of what only a full report tells, the unaccounted memory.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Span of samples that [`Sampler::growth_bytes_per_second`] looks at.
const GROWTH_WINDOW: Duration = Duration::from_secs(30);

/// Time between samples that suits a service: the trend wants about one a second.
pub const USUAL_INTERVAL: Duration = Duration::from_secs(1);
/// Samples that suit a service: half an hour of them, the longest window that a trend is asked for, in 96 KiB.
pub const USUAL_CAPACITY: usize = 1_800;

/// One observation of the process's memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Monotonic seconds; a [`Sampler`]'s are those since its start.
    pub seconds: f64,
    /// Resident set size.
    pub rss_bytes: u64,
    /// Live heap ([`super::Jemalloc::live_bytes`]); RSS where jemalloc is not there.
    pub live_heap_bytes: u64,
    /// What counts against the limit: the cgroup's working set where it has a limit and only this process in it, else RSS.
    pub usage_bytes: u64,
    /// Memory that no Rust allocator made, from a report at most 5 seconds older.
    pub unaccounted_bytes: i64,
    /// Requests served so far.
    pub requests: u64,
}

/// How to sample.
pub struct SamplerConfig {
    /// Time between samples; at least a millisecond is taken.
    pub interval: Duration,
    /// Samples kept, at least one; each costs 48 bytes.
    pub capacity: usize,
    /// The limit in force. Usage is RSS unless it is a cgroup's.
    pub limit: Limit,
    /// Number of requests served so far.
    pub requests: Box<dyn Fn() -> u64 + Send>,
}

/// Samples until dropped.
pub struct Sampler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    ring: Mutex<Ring>,
    stop: Condvar,
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sampler {
    /// Takes the first sample, then starts the sampling thread.
    ///
    /// # Panics
    /// If the operating system can't start a thread.
    pub fn start(config: SamplerConfig) -> Arc<Self> {
        let interval = config.interval.max(Duration::from_millis(1));
        let mut probe = Probe::new(config.limit, config.requests);
        let shared = Arc::new(Shared {
            ring: Mutex::new(Ring::new(config.capacity, probe.sample())),
            stop: Condvar::new(),
        });
        let thread = thread::Builder::new()
            .name("leakscope-sampler".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || sample_until_stopped(&shared, &mut probe, interval)
            })
            .expect("the operating system starts a thread for the sampler");
        Arc::new(Self { shared, thread: Some(thread) })
    }

    /// The newest sample.
    pub fn latest(&self) -> Sample {
        self.shared.ring().latest()
    }

    /// The samples of the last `window`, oldest first; the newest one is always among them.
    pub fn window(&self, window: Duration) -> Vec<Sample> {
        self.shared.ring().window(window).copied().collect()
    }

    /// The largest live heap of all samples since the start.
    pub fn peak_live_heap_bytes(&self) -> u64 {
        self.shared.ring().peak_live_heap_bytes
    }

    /// Change of RSS per second over the last 30 seconds (fewer right after the start).
    pub fn growth_bytes_per_second(&self) -> f64 {
        self.shared.ring().growth_bytes_per_second()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.shared.ring().stopped = true;
        self.shared.stop.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there was in the closure that counts requests, and has been printed.
            let _ = thread.join();
        }
    }
}

fn sample_until_stopped(shared: &Shared, probe: &mut Probe, interval: Duration) {
    let mut due = Instant::now() + interval;
    loop {
        let wait = due.saturating_duration_since(Instant::now());
        let (ring, _) = shared
            .stop
            .wait_timeout_while(shared.ring(), wait, |ring| !ring.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        if ring.stopped {
            return;
        }
        // Reading takes a while: nobody waits for the ring meanwhile.
        drop(ring);
        let sample = probe.sample();
        shared.ring().push(sample);
        // After a pause of the whole machine, go on from now instead of catching up.
        due = (due + interval).max(Instant::now());
    }
}

/// Takes samples.
struct Probe {
    start: Instant,
    source: Source,
    requests: Box<dyn Fn() -> u64 + Send>,
    unaccounted_bytes: i64,
    report_due: Instant,
}

impl Probe {
    fn new(limit: Limit, requests: Box<dyn Fn() -> u64 + Send>) -> Self {
        let start = Instant::now();
        Self { start, source: Source::new(limit), requests, unaccounted_bytes: 0, report_due: start }
    }

    fn sample(&mut self) -> Sample {
        let now = Instant::now();
        if now >= self.report_due {
            self.unaccounted_bytes = report().unaccounted_bytes();
            self.source.refresh();
            self.report_due = now + REPORT_INTERVAL;
        }
        let reading = self.source.read();
        Sample {
            seconds: self.start.elapsed().as_secs_f64(),
            rss_bytes: reading.rss_bytes,
            live_heap_bytes: reading.live_heap_bytes,
            usage_bytes: reading.usage_bytes,
            unaccounted_bytes: self.unaccounted_bytes,
            requests: (self.requests)(),
        }
    }
}

/// The newest samples, never empty.
struct Ring {
    samples: VecDeque<Sample>,
    capacity: usize,
    latest: Sample,
    peak_live_heap_bytes: u64,
    stopped: bool,
}

impl Ring {
    fn new(capacity: usize, first: Sample) -> Self {
        let capacity = capacity.max(1);
        let mut ring = Self {
            samples: VecDeque::with_capacity(capacity),
            capacity,
            latest: first,
            peak_live_heap_bytes: 0,
            stopped: false,
        };
        ring.push(first);
        ring
    }

    fn push(&mut self, sample: Sample) {
        if self.samples.len() == self.capacity {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        self.latest = sample;
        self.peak_live_heap_bytes = self.peak_live_heap_bytes.max(sample.live_heap_bytes);
    }

    fn latest(&self) -> Sample {
        self.latest
    }

    fn window(&self, window: Duration) -> impl Iterator<Item = &Sample> {
        let since = self.latest.seconds - window.as_secs_f64();
        self.samples.range(self.samples.partition_point(|sample| sample.seconds < since)..)
    }

    fn growth_bytes_per_second(&self) -> f64 {
        let first = self.window(GROWTH_WINDOW).next().copied().unwrap_or(self.latest);
        let seconds = self.latest.seconds - first.seconds;
        if seconds > 0.0 { (self.latest.rss_bytes as f64 - first.rss_bytes as f64) / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: f64, rss_bytes: u64) -> Sample {
        Sample {
            seconds,
            rss_bytes,
            live_heap_bytes: rss_bytes / 2,
            usage_bytes: rss_bytes,
            unaccounted_bytes: 0,
            requests: 0,
        }
    }

    fn ring(capacity: usize, samples: impl IntoIterator<Item = (f64, u64)>) -> Ring {
        let mut samples = samples.into_iter().map(|(seconds, rss_bytes)| sample(seconds, rss_bytes));
        let mut ring = Ring::new(capacity, samples.next().expect("at least one sample"));
        samples.for_each(|sample| ring.push(sample));
        ring
    }

    fn seconds(ring: &Ring, window: u64) -> Vec<f64> {
        ring.window(Duration::from_secs(window)).map(|sample| sample.seconds).collect()
    }

    #[test]
    fn one_sample_has_no_growth_and_is_its_own_window() {
        let ring = ring(8, [(0.0, 1000)]);
        assert_eq!(ring.growth_bytes_per_second(), 0.0);
        assert_eq!(seconds(&ring, 0), [0.0]);
    }

    #[test]
    fn growth_is_per_second_and_signed() {
        assert_eq!(ring(8, [(0.0, 1000), (2.0, 5000)]).growth_bytes_per_second(), 2000.0);
        assert_eq!(ring(8, [(0.0, 5000), (2.0, 1000)]).growth_bytes_per_second(), -2000.0);
    }

    #[test]
    fn growth_forgets_what_is_older_than_its_window() {
        // A step of 1 MB at the start, then 10 bytes a second.
        let steady = (1..=100).map(|second| (f64::from(second), 1_000_000 + 10 * second as u64));
        let ring = ring(200, std::iter::once((0.0, 0)).chain(steady));
        assert_eq!(ring.growth_bytes_per_second(), 10.0);
    }

    #[test]
    fn a_window_reaches_back_from_the_newest_sample() {
        let ring = ring(8, (0..6).map(|second| (f64::from(second), 0)));
        assert_eq!(seconds(&ring, 2), [3.0, 4.0, 5.0]);
        assert_eq!(seconds(&ring, 0), [5.0]);
        assert_eq!(seconds(&ring, 1000).len(), 6);
    }

    #[test]
    fn a_full_ring_drops_the_oldest_and_does_not_grow() {
        let ring = ring(3, (0..1000).map(|second| (f64::from(second), 1000 - second as u64)));
        assert_eq!(seconds(&ring, 1000), [997.0, 998.0, 999.0]);
        assert_eq!(ring.samples.capacity(), 3);
        assert_eq!(ring.peak_live_heap_bytes, 500, "the peak outlives its sample");
    }

    #[test]
    fn a_ring_without_capacity_keeps_the_newest_sample() {
        assert_eq!(seconds(&ring(0, [(0.0, 0), (1.0, 0)]), 10), [1.0]);
    }
}
