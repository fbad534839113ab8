//! The newest observations in memory. The ring has its full size from the start, so that nothing it takes stays allocated.

use std::{collections::VecDeque, time::Duration};

use crate::quantity::Observation;

/// Span of observations that [`Ring::growth_bytes_per_second`] looks at.
const GROWTH_WINDOW: Duration = Duration::from_secs(30);

/// Time between samples that suits a service: the trend wants about one a second.
pub const USUAL_INTERVAL: Duration = Duration::from_secs(1);
/// Samples that suit a service: half an hour of them, the longest window that a trend is asked for, in 113 KiB.
pub const USUAL_CAPACITY: usize = 1_800;

/// Never empty.
pub(super) struct Ring {
    observations: VecDeque<Observation>,
    capacity: usize,
    latest: Observation,
    peak_live_heap_bytes: u64,
}

impl Ring {
    pub fn new(capacity: usize, first: Observation) -> Self {
        let capacity = capacity.max(1);
        let mut ring = Self {
            observations: VecDeque::with_capacity(capacity),
            capacity,
            latest: first,
            peak_live_heap_bytes: 0,
        };
        ring.push(first);
        ring
    }

    pub fn push(&mut self, observation: Observation) {
        if self.observations.len() == self.capacity {
            self.observations.pop_front();
        }
        self.observations.push_back(observation);
        self.latest = observation;
        self.peak_live_heap_bytes = self.peak_live_heap_bytes.max(observation.live_heap_bytes());
    }

    pub fn latest(&self) -> Observation {
        self.latest
    }

    /// The largest live heap since the start.
    pub fn peak_live_heap_bytes(&self) -> u64 {
        self.peak_live_heap_bytes
    }

    /// The observations of the last `window`, oldest first; the newest one is always among them.
    pub fn window(&self, window: Duration) -> impl Iterator<Item = &Observation> {
        let since = self.latest.seconds - window.as_secs_f64();
        self.observations.range(self.observations.partition_point(|of| of.seconds < since)..)
    }

    /// Change of RSS per second over the last 30 seconds (fewer right after the start).
    pub fn growth_bytes_per_second(&self) -> f64 {
        let first = self.window(GROWTH_WINDOW).next().copied().unwrap_or(self.latest);
        let seconds = self.latest.seconds - first.seconds;
        let grown = self.latest.rss_bytes() as f64 - first.rss_bytes() as f64;
        if seconds > 0.0 { grown / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::RSS;

    fn observation(seconds: f64, rss_bytes: u64) -> Observation {
        Observation::new(seconds, 0, 0, |quantity| match quantity.name == RSS {
            true => Some(rss_bytes as i64),
            false => Some(rss_bytes as i64 / 2),
        })
    }

    fn ring(capacity: usize, all: impl IntoIterator<Item = (f64, u64)>) -> Ring {
        let mut all = all.into_iter().map(|(seconds, rss_bytes)| observation(seconds, rss_bytes));
        let mut ring = Ring::new(capacity, all.next().expect("at least one observation"));
        all.for_each(|observation| ring.push(observation));
        ring
    }

    fn seconds(ring: &Ring, window: u64) -> Vec<f64> {
        ring.window(Duration::from_secs(window)).map(|of| of.seconds).collect()
    }

    #[test]
    fn one_observation_has_no_growth_and_is_its_own_window() {
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
    fn a_window_reaches_back_from_the_newest() {
        let ring = ring(8, (0..6).map(|second| (f64::from(second), 0)));
        assert_eq!(seconds(&ring, 2), [3.0, 4.0, 5.0]);
        assert_eq!(seconds(&ring, 0), [5.0]);
        assert_eq!(seconds(&ring, 1000).len(), 6);
    }

    #[test]
    fn a_full_ring_drops_the_oldest_and_does_not_grow() {
        let ring = ring(3, (0..1000).map(|second| (f64::from(second), 1000 - second as u64)));
        assert_eq!(seconds(&ring, 1000), [997.0, 998.0, 999.0]);
        assert_eq!(ring.observations.capacity(), 3);
        assert_eq!(ring.peak_live_heap_bytes(), 500, "the peak outlives its observation");
    }

    #[test]
    fn a_ring_without_capacity_keeps_the_newest() {
        assert_eq!(seconds(&ring(0, [(0.0, 0), (1.0, 0)]), 10), [1.0]);
    }
}
