//! From what was sampled to what is there: un-biasing, with a standard error. Pure functions.
//!
//! jemalloc draws the distance to the next sample, in bytes, from a geometric distribution of mean R = 2^lg_prof_sample.
//! An allocation of `s` bytes is therefore sampled with probability p = 1 - e^(-s/R), and stands for 1/p allocations
//! (Horvitz and Thompson 1952; the same formula in jeprof's `AdjustSamples`). The estimate of a total over sampled
//! allocations has the variance sum of (1-p)/p^2 for counts, and s^2 times that for bytes.
//!
//! A dump gives two figures for a stack, not the size of each sample. jemalloc (`opt.prof_unbias`, on by default) un-biases
//! each sample by its own size class and then writes that pair of figures from which the formula with the *mean* size leads
//! back to the un-biased sums (`prof_do_unbias` in prof_data.c): bytes and counts are right for any mix of sizes.
//! Errors are computed with the mean size. They are exact for a stack that allocates one size; where it mixes sizes that
//! differ by orders of magnitude the error in bytes is too large, and the error in counts too small.

/// Un-biased live memory with the variance of the estimate. Adds up over stacks, which are sampled independently.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Estimate {
    pub(super) bytes: f64,
    pub(super) count: f64,
    pub(super) bytes_variance: f64,
    pub(super) count_variance: f64,
    /// Sampled allocations behind it.
    pub(super) samples: u64,
}

impl Estimate {
    /// From the two figures of a dump's stack: sampled allocations and their bytes.
    pub(crate) fn new(samples: u64, sampled_bytes: u64, interval_bytes: u64) -> Self {
        if samples == 0 || sampled_bytes == 0 || interval_bytes == 0 {
            return Self::default();
        }
        let mean_bytes = sampled_bytes as f64 / samples as f64;
        let p = probability(mean_bytes, interval_bytes);
        Self::of(samples as f64 / p, mean_bytes, p)
    }

    /// From un-biased figures, as a saved profile has them.
    pub(super) fn of_unbiased(count: u64, bytes: u64, interval_bytes: u64) -> Self {
        if count == 0 || bytes == 0 || interval_bytes == 0 {
            return Self::default();
        }
        let mean_bytes = bytes as f64 / count as f64;
        Self::of(count as f64, mean_bytes, probability(mean_bytes, interval_bytes))
    }

    /// So many allocations of that mean size, each of which is sampled with probability `p`.
    fn of(count: f64, mean_bytes: f64, p: f64) -> Self {
        let count_variance = count * (1.0 - p) / p;
        Self {
            bytes: count * mean_bytes,
            count,
            bytes_variance: count_variance * mean_bytes * mean_bytes,
            count_variance,
            samples: (count * p).round() as u64,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.count += other.count;
        self.bytes_variance += other.bytes_variance;
        self.count_variance += other.count_variance;
        self.samples += other.samples;
    }
}

/// That an allocation of this size is sampled.
fn probability(bytes: f64, interval_bytes: u64) -> f64 {
    -(-bytes / interval_bytes as f64).exp_m1()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// splitmix64: small, seeded, good enough for this.
    pub(in crate::heap) struct Random(pub(in crate::heap) u64);

    impl Random {
        /// Uniform in (0, 1].
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64 + f64::EPSILON / 2.0
        }

        /// Bytes to the next sample, as `prof_sample_new_event_wait` draws them.
        fn wait(&mut self, interval: f64) -> f64 {
            (self.next().ln() / (1.0 - 1.0 / interval).ln()).floor() + 1.0
        }
    }

    /// What a dump would say of `count` allocations of `bytes` each.
    pub(in crate::heap) fn sampled(random: &mut Random, count: u64, bytes: u64, interval: u64) -> u64 {
        let mut samples = 0;
        let mut wait = random.wait(interval as f64);
        for _ in 0..count {
            wait -= bytes as f64;
            if wait <= 0.0 {
                samples += 1;
                wait = random.wait(interval as f64);
            }
        }
        samples
    }

    #[test]
    fn the_error_holds_what_it_promises() {
        const RUNS: u32 = 2_000;
        // Size, allocations, lg of the interval; sizes on both sides of the interval.
        let lines = [
            (5_120, 10_000, 16),
            (1_536, 20_000, 16),
            (1_536, 20_000, 14),
            (12_288, 2_000, 16),
            (98_304, 400, 16),
        ];
        for (bytes, count, lg) in lines {
            let mut random = Random(lg << 32 | bytes);
            let (mut inside, mut worst, mut sum) = (0, 0.0f64, 0.0);
            for _ in 0..RUNS {
                let samples = sampled(&mut random, count, bytes, 1 << lg);
                let estimate = Estimate::new(samples, samples * bytes, 1 << lg);
                let off = (estimate.bytes - (count * bytes) as f64) / estimate.bytes_variance.sqrt();
                inside += u32::from(off.abs() <= 1.96);
                worst = worst.max(off.abs());
                sum += estimate.bytes / (count * bytes) as f64;
            }
            let share = f64::from(inside) / f64::from(RUNS);
            assert!(
                (0.93..=0.97).contains(&share),
                "{bytes} B at lg {lg}: {share} within 1.96 standard errors"
            );
            assert!(worst < 5.0, "{bytes} B at lg {lg}: {worst} standard errors off");
            let mean = sum / f64::from(RUNS);
            assert!(
                (mean - 1.0).abs() < 0.005,
                "{bytes} B at lg {lg}: biased, {mean} of the truth on average"
            );
        }
    }

    #[test]
    fn the_error_is_that_of_the_binomial() {
        // sigma / total = sqrt((1-p) / (p N)), with p = 1 - e^(-size / R)
        let (size, n, r) = (5_120.0f64, 10_000.0f64, 65_536.0f64);
        let p = 1.0 - (-size / r).exp();
        let samples = (p * n).round();
        let estimate = Estimate::new(samples as u64, (samples * size) as u64, r as u64);
        let relative = estimate.bytes_variance.sqrt() / estimate.bytes;
        assert!((relative - ((1.0 - p) / (p * n)).sqrt()).abs() < 1e-4, "{relative}");
        let relative_count = estimate.count_variance.sqrt() / estimate.count;
        assert!((relative - relative_count).abs() < 1e-9, "one size: both err alike");
    }

    #[test]
    fn large_allocations_are_all_seen() {
        let estimate = Estimate::new(3, 3 << 30, 1 << 16);
        assert_eq!(estimate.count, 3.0);
        assert_eq!(estimate.bytes, (3u64 << 30) as f64);
        assert!(estimate.bytes_variance < 1.0);
    }

    #[test]
    fn nothing_sampled_is_nothing() {
        for (samples, bytes, interval) in [(0, 0, 1 << 16), (0, 5, 1 << 16), (5, 0, 1 << 16), (5, 5, 0)] {
            assert_eq!(Estimate::new(samples, bytes, interval), Estimate::default());
        }
    }

    /// What `prof_do_unbias` writes for samples of several sizes, undone by the mean.
    #[test]
    fn a_mix_of_sizes_is_undone() {
        let (r, sizes) = (65_536.0f64, [(64.0f64, 300.0f64), (4_096.0, 500.0), (65_536.0, 200.0)]);
        let p = |size: f64| 1.0 - (-size / r).exp();
        let count: f64 = sizes.iter().map(|(size, samples)| samples / p(*size)).sum();
        let bytes: f64 = sizes.iter().map(|(size, samples)| size * samples / p(*size)).sum();
        let mean = bytes / count;
        let written_bytes = bytes * p(mean);
        let written_count = written_bytes / mean;
        let estimate = Estimate::new(written_count.round() as u64, written_bytes.round() as u64, r as u64);
        assert!((estimate.bytes / bytes - 1.0).abs() < 1e-3, "{} of {bytes}", estimate.bytes);
        assert!((estimate.count / count - 1.0).abs() < 1e-3, "{} of {count}", estimate.count);
    }
}
