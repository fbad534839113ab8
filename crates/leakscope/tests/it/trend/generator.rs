//! Noise, traffic and the pieces that families of series are made of. All choices come from one seed.

use fastrand::Rng;
use leakscope::trend::Sample;

/// Seconds in each series, at one sample a second: two windows, and what settles last.
pub const SECONDS: usize = 640;

/// A normal deviate (Box and Muller).
pub fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// Uniform between `low` and `high`.
pub fn uniform(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.f64()
}

/// Between `low` and `high`, each order of magnitude equally often.
pub fn magnitude(rng: &mut Rng, low: f64, high: f64) -> f64 {
    uniform(rng, low.ln(), high.ln()).exp()
}

/// A second between `low` and `high`.
pub fn second(rng: &mut Rng, low: f64, high: f64) -> usize {
    uniform(rng, low, high) as usize
}

/// A Poisson count; normal above 30, where the difference no longer shows.
pub fn poisson(rng: &mut Rng, mean: f64) -> u64 {
    if mean > 30.0 {
        return (mean + mean.sqrt() * normal(rng)).round().max(0.0) as u64;
    }
    let (limit, mut product, mut count) = ((-mean).exp(), rng.f64(), 0);
    while product > limit {
        product *= rng.f64();
        count += 1;
    }
    count
}

/// Requests served so far at each second, arriving at random at `rate(second)` per second.
pub fn traffic(rng: &mut Rng, rate: impl Fn(usize) -> f64) -> Vec<u64> {
    let mut total = 0;
    let count = |second| {
        let before = total;
        total += poisson(rng, rate(second));
        before
    };
    (0..SECONDS).map(count).collect()
}

/// What disturbs a series, as a column of bytes and its standard deviation.
pub struct Noise {
    pub bytes: Vec<f64>,
    pub deviation: f64,
}

/// White to strongly autocorrelated: AR(1) with a coefficient from 0 to `most_persistent`.
pub fn autocorrelated(rng: &mut Rng, deviation: f64, most_persistent: f64) -> Noise {
    let persistence = uniform(rng, 0.0, most_persistent);
    let innovation = deviation * (1.0 - persistence * persistence).sqrt();
    let mut value = deviation * normal(rng);
    let mut next = || {
        let now = value;
        value = persistence * value + innovation * normal(rng);
        now
    };
    Noise { bytes: (0..SECONDS).map(|_| next()).collect(), deviation }
}

/// Student's t with 3 degrees of freedom, scaled to `deviation`, and now and then one wild sample.
pub fn heavy_tailed(rng: &mut Rng, deviation: f64) -> Noise {
    let mut next = || {
        let chi: f64 = (0..3).map(|_| normal(rng).powi(2)).sum();
        let wild = if rng.f64() < 0.01 { 30.0 * normal(rng) } else { 0.0 };
        deviation * (normal(rng) / chi.sqrt() + wild)
    };
    Noise { bytes: (0..SECONDS).map(|_| next()).collect(), deviation }
}

/// From 1 KiB to 1 MiB of the usual noise.
pub fn usual(rng: &mut Rng) -> Noise {
    let deviation = magnitude(rng, 1024.0, 1_048_576.0);
    autocorrelated(rng, deviation, 0.9)
}

/// Base, signal and noise together, never negative.
pub fn samples(requests: &[u64], signal: impl Fn(usize) -> f64, noise: &Noise) -> Vec<Sample> {
    let base = 4e7;
    (0..requests.len())
        .map(|i| Sample {
            seconds: i as f64,
            bytes: (base + signal(i) + noise.bytes[i]).max(0.0),
            requests: requests[i],
        })
        .collect()
}
