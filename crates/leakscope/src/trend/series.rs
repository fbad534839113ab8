//! What of the samples is looked at: the newest life of the process, within the window, without lone spikes.

use super::{Sample, robust};

/// Samples on each side that a spike is compared with.
const NEIGHBOURS: usize = 3;
/// Spreads from the local median beyond which a sample is a spike. Normal noise is hardly ever touched.
const SPIKE_SPREADS: f64 = 5.0;
/// Usual steps from the local median, too: beside a jump the median of seven is three steps off.
const SPIKE_STEPS: f64 = 4.0;
/// Nothing smaller than a page is a spike.
const PAGE_BYTES: f64 = 4096.0;

/// Columns of equal length, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Series {
    pub(super) seconds: Vec<f64>,
    pub(super) requests: Vec<f64>,
    pub(super) bytes: Vec<f64>,
}

impl Series {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The samples from `from` on.
    pub(super) fn since(&self, from: usize) -> Self {
        Self {
            seconds: self.seconds[from..].to_vec(),
            requests: self.requests[from..].to_vec(),
            bytes: self.bytes[from..].to_vec(),
        }
    }

    /// Seconds from the sample at `from` to the last one.
    pub(super) fn seconds_since(&self, from: usize) -> f64 {
        span(self.seconds.get(from..).unwrap_or_default())
    }

    /// Requests from the sample at `from` to the last one.
    pub(super) fn requests_since(&self, from: usize) -> f64 {
        span(self.requests.get(from..).unwrap_or_default())
    }
}

fn span(values: &[f64]) -> f64 {
    values.last().zip(values.first()).map_or(0.0, |(last, first)| last - first)
}

/// The samples since the last restart (where a clock or a counter goes back) that are at most `window_seconds` older than the newest.
pub(super) fn newest_life(samples: &[Sample], window_seconds: f64) -> Series {
    let mut newest_first: Vec<Sample> = Vec::with_capacity(samples.len());
    for &sample in
        samples.iter().rev().filter(|sample| sample.seconds.is_finite() && sample.bytes.is_finite())
    {
        if let (Some(later), Some(last)) = (newest_first.last(), newest_first.first()) {
            let restarted = sample.seconds >= later.seconds || sample.requests > later.requests;
            if restarted || last.seconds - sample.seconds > window_seconds {
                break;
            }
        }
        newest_first.push(sample);
    }
    let mut series = Series::default();
    for sample in newest_first.iter().rev() {
        series.seconds.push(sample.seconds);
        series.requests.push(sample.requests as f64);
        series.bytes.push(sample.bytes);
    }
    clip_spikes(&mut series.bytes);
    series
}

/// Pulls samples that stand alone far from their neighbours' median back to the edge of what is usual (Hampel 1974). Steps and slopes stay.
fn clip_spikes(bytes: &mut [f64]) {
    if bytes.len() <= 2 * NEIGHBOURS {
        return;
    }
    let local: Vec<f64> =
        bytes.windows(2 * NEIGHBOURS + 1).map(|near| robust::median(near.iter().copied())).collect();
    let inner = NEIGHBOURS..bytes.len() - NEIGHBOURS;
    let off: Vec<f64> =
        bytes[inner.clone()].iter().zip(&local).map(|(value, middle)| value - middle).collect();
    let usual_step = robust::median(bytes.windows(2).map(|pair| (pair[1] - pair[0]).abs()));
    let reach =
        (SPIKE_SPREADS * robust::center_and_spread(&off).1).max(SPIKE_STEPS * usual_step).max(PAGE_BYTES);
    for (value, middle) in bytes[inner].iter_mut().zip(local) {
        *value = value.clamp(middle - reach, middle + reach);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u32, bytes: f64, requests: u64) -> Sample {
        Sample { seconds: f64::from(seconds), bytes, requests }
    }

    #[test]
    fn a_counter_that_goes_back_starts_a_new_life() {
        let mut samples: Vec<Sample> = (0..50).map(|i| sample(i, 1e8, 1_000 + u64::from(i))).collect();
        samples.extend((50..80).map(|i| sample(i, 1e7, u64::from(i) - 50)));
        let series = newest_life(&samples, 300.0);
        assert_eq!((series.len(), series.requests[0], series.bytes[0]), (30, 0.0, 1e7));
    }

    #[test]
    fn only_the_window_counts_and_nothing_that_is_not_finite() {
        let mut samples: Vec<Sample> = (0..100).map(|i| sample(i, 1e6, 0)).collect();
        samples[95].bytes = f64::NAN;
        samples[97].seconds = f64::INFINITY;
        let series = newest_life(&samples, 10.0);
        assert_eq!(series.seconds, [89.0, 90.0, 91.0, 92.0, 93.0, 94.0, 96.0, 98.0, 99.0]);
    }

    #[test]
    fn a_spike_goes_and_a_step_stays() {
        let mut bytes: Vec<f64> = (0..40).map(|i| if i < 20 { 1e6 } else { 9e6 }).collect();
        bytes[10] = 5e7;
        clip_spikes(&mut bytes);
        assert_eq!((bytes[10], bytes[19], bytes[20]), (1e6 + PAGE_BYTES, 1e6, 9e6));
    }
}
