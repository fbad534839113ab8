//! The families: each draws one series, and knows the truth about it.

use fastrand::Rng;
use leakscope::trend::Sample;

use super::{generator::*, recorded};

/// One series with its truth.
pub struct Case {
    pub samples: Vec<Sample>,
    pub truth: Truth,
}

/// What a perfect judge would say.
pub enum Truth {
    /// Had kept so many bytes at each second, more and more from second `from` on, amid noise of this standard deviation.
    Leak { from: usize, kept: Vec<f64>, by_request: bool, deviation: f64 },
    /// So many bytes at each second, amid noise of this standard deviation: cleared to nothing several times, then left to grow from second `from` on.
    Resumed { from: usize, kept: Vec<f64>, deviation: f64 },
    /// Does not grow any more from second `settled` on.
    Still { settled: usize },
}

/// A name and a way to draw.
pub struct Family {
    pub name: &'static str,
    pub draw: fn(&mut Rng) -> Case,
}

/// All of them.
pub const FAMILIES: &[Family] = &[
    Family { name: "leak, usual noise", draw: leak },
    Family { name: "leak, heavy tails", draw: leak_heavy_tailed },
    Family { name: "leak, whole pages", draw: leak_in_pages },
    Family { name: "leak, idle spells", draw: leak_idle_spells },
    Family { name: "leak, restart", draw: leak_restart },
    Family { name: "leak, one shift", draw: leak_one_shift },
    Family { name: "leak, sawtooth", draw: leak_sawtooth },
    Family { name: "leak, after warm-up", draw: leak_after_warm_up },
    Family { name: "leak, switched on", draw: leak_switched_on },
    Family { name: "leak, random sizes", draw: leak_random_sizes },
    Family { name: "leak, by time", draw: leak_by_time },
    Family { name: "leak, in batches", draw: leak_in_batches },
    Family { name: "leak, recorded noise", draw: leak_recorded },
    Family { name: "leak, cleared by hand", draw: leak_cleared_by_hand },
    Family { name: "flat, usual noise", draw: flat },
    Family { name: "flat, heavy tails", draw: flat_heavy_tailed },
    Family { name: "flat, whole pages", draw: flat_in_pages },
    Family { name: "flat, by load", draw: flat_by_load },
    Family { name: "flat, recorded noise", draw: flat_recorded },
    Family { name: "one step", draw: one_step },
    Family { name: "sawtooth", draw: sawtooth },
    Family { name: "burst", draw: burst },
    Family { name: "pages not yet returned", draw: pages_not_yet_returned },
    Family { name: "cache fills, straight", draw: cache_straight },
    Family { name: "cache fills, curved", draw: cache_curved },
];

fn leak_size(rng: &mut Rng) -> f64 {
    magnitude(rng, 50.0, 1e6)
}

fn steady(rng: &mut Rng) -> Vec<u64> {
    let rate = uniform(rng, 20.0, 100.0);
    traffic(rng, |_| rate)
}

/// A leak of `size` per request in `requests`, from second `from` on.
fn leaking(requests: Vec<u64>, size: f64, from: usize, other: impl Fn(usize) -> f64, noise: Noise) -> Case {
    let kept: Vec<f64> =
        requests.iter().map(|served| size * served.saturating_sub(requests[from]) as f64).collect();
    let samples = samples(&requests, |i| kept[i] + other(i), &noise);
    Case { samples, truth: Truth::Leak { from, kept, by_request: true, deviation: noise.deviation } }
}

fn leak(rng: &mut Rng) -> Case {
    leaking(steady(rng), leak_size(rng), 0, |_| 0.0, usual(rng))
}

fn leak_heavy_tailed(rng: &mut Rng) -> Case {
    let deviation = magnitude(rng, 1024.0, 1e6);
    leaking(steady(rng), leak_size(rng), 0, |_| 0.0, heavy_tailed(rng, deviation))
}

/// As RSS shows: whole pages, of the sizes that Linux has.
fn in_pages(rng: &mut Rng, mut case: Case) -> Case {
    let page = [4096.0, 16_384.0, 65_536.0][rng.usize(..3)];
    for sample in &mut case.samples {
        sample.bytes = (sample.bytes / page).ceil() * page;
    }
    if let Truth::Leak { deviation, .. } = &mut case.truth {
        *deviation = deviation.hypot(page / 12f64.sqrt());
    }
    case
}

fn leak_in_pages(rng: &mut Rng) -> Case {
    let case = leak(rng);
    in_pages(rng, case)
}

fn leak_idle_spells(rng: &mut Rng) -> Case {
    let rate = uniform(rng, 20.0, 100.0);
    let mut busy = [true; SECONDS];
    let mut at = second(rng, 10.0, 60.0);
    while at < SECONDS {
        let end = (at + second(rng, 10.0, 60.0)).min(SECONDS);
        busy[at..end].fill(false);
        at = end + second(rng, 20.0, 90.0);
    }
    let requests = traffic(rng, |i| if busy[i] { rate } else { 0.0 });
    leaking(requests, leak_size(rng), 0, |_| 0.0, usual(rng))
}

fn leak_restart(rng: &mut Rng) -> Case {
    let mut case = leak(rng);
    let at = second(rng, 20.0, 200.0);
    let served = case.samples[at].requests;
    let Truth::Leak { from, kept, .. } = &mut case.truth else { unreachable!("leak draws leaks") };
    *from = at;
    for sample in &mut case.samples[at..] {
        sample.requests -= served;
        sample.bytes -= kept[at];
    }
    case
}

fn leak_one_shift(rng: &mut Rng) -> Case {
    let (requests, size, noise) = (steady(rng), leak_size(rng), usual(rng));
    let at = second(rng, 60.0, 240.0);
    // A drop as in the seed: not to below where the window began, or it may as well be the sawtooth of a process that has run for long.
    let kept = size * requests[at] as f64;
    let height = if rng.bool() { -uniform(rng, 0.2, 0.6) * kept } else { uniform(rng, 0.2, 3.0) * kept };
    leaking(requests, size, 0, |i| if i >= at { height } else { 0.0 }, noise)
}

/// A tooth of random length and nearly equal height after the other.
fn teeth(rng: &mut Rng, height: f64) -> Vec<f64> {
    let period = uniform(rng, 8.0, 70.0);
    let mut column = Vec::new();
    while column.len() < SECONDS {
        let length = (period * uniform(rng, 0.8, 1.2)).max(4.0) as usize;
        let (top, foot) = (height * uniform(rng, 0.9, 1.1), height * 0.03 * normal(rng));
        column.extend((0..length).map(|i| foot + (top - foot) * i as f64 / length as f64));
    }
    let phase = second(rng, 0.0, period);
    column.rotate_left(phase);
    column
}

fn leak_sawtooth(rng: &mut Rng) -> Case {
    let (requests, size, mut noise) = (steady(rng), leak_size(rng), usual(rng));
    let height = magnitude(rng, 1e5, 3e7);
    let teeth = teeth(rng, height);
    noise.deviation = noise.deviation.hypot(height / 12f64.sqrt());
    leaking(requests, size, 0, |i| teeth[i], noise)
}

fn leak_after_warm_up(rng: &mut Rng) -> Case {
    let (requests, size, noise) = (steady(rng), leak_size(rng), usual(rng));
    let (height, pace) = (magnitude(rng, 1e6, 5e7), uniform(rng, 2.0, 8.0));
    leaking(requests, size, 0, |i| -height * (-(i as f64) / pace).exp(), noise)
}

fn leak_switched_on(rng: &mut Rng) -> Case {
    let from = second(rng, 60.0, 180.0);
    leaking(steady(rng), leak_size(rng), from, |_| 0.0, usual(rng))
}

/// Each request keeps a size of its own, or nothing.
fn leak_random_sizes(rng: &mut Rng) -> Case {
    let (requests, mean, noise) = (steady(rng), leak_size(rng), usual(rng));
    let share = uniform(rng, 0.1, 1.0);
    let mut kept = vec![0.0];
    for pair in requests.windows(2) {
        let sizes = (pair[0]..pair[1])
            .map(|_| if rng.f64() < share { mean / share * -(1.0 - rng.f64()).ln() } else { 0.0 });
        kept.push(sizes.sum::<f64>() + kept[kept.len() - 1]);
    }
    let samples = samples(&requests, |i| kept[i], &noise);
    Case { samples, truth: Truth::Leak { from: 0, kept, by_request: true, deviation: noise.deviation } }
}

fn leak_by_time(rng: &mut Rng) -> Case {
    let (rate, per_second, noise) = (uniform(rng, 0.0, 5.0), magnitude(rng, 2_500.0, 1e7), usual(rng));
    let requests = traffic(rng, |i| if i % 120 < 60 { rate } else { 0.0 });
    let kept: Vec<f64> = (0..SECONDS).map(|i| per_second * i as f64).collect();
    let samples = samples(&requests, |i| kept[i], &noise);
    Case { samples, truth: Truth::Leak { from: 0, kept, by_request: false, deviation: noise.deviation } }
}

/// A job that runs every few seconds leaks a lump each time.
fn leak_in_batches(rng: &mut Rng) -> Case {
    let (requests, mut noise, lump) = (steady(rng), usual(rng), magnitude(rng, 1e5, 1e7));
    let period = second(rng, 5.0, 40.0);
    let phase = rng.usize(..period);
    noise.deviation = noise.deviation.hypot(lump);
    let samples = samples(&requests, |i| lump * ((i + phase) / period) as f64, &noise);
    let kept = (0..SECONDS).map(|i| lump / period as f64 * i as f64).collect();
    Case { samples, truth: Truth::Leak { from: 0, kept, by_request: false, deviation: noise.deviation } }
}

fn leak_recorded(rng: &mut Rng) -> Case {
    let (requests, size, noise) = (steady(rng), leak_size(rng), recorded::noise(rng));
    leaking(requests, size, 0, |_| 0.0, noise)
}

/// Somebody clears it at odd times, to the same base each time, and then no longer.
fn leak_cleared_by_hand(rng: &mut Rng) -> Case {
    let (requests, per_second, noise) = (steady(rng), magnitude(rng, 1e5, 5e6), usual(rng));
    let mut kept = Vec::new();
    for _ in 0..rng.usize(2..=5) {
        let (length, pause) = (second(rng, 10.0, 70.0), second(rng, 0.0, 10.0));
        let slope = per_second * uniform(rng, 0.5, 1.5);
        kept.extend((0..length).map(|i| slope * i as f64));
        kept.extend(std::iter::repeat_n(0.0, pause));
    }
    let from = kept.len();
    kept.extend((0..SECONDS - from).map(|i| per_second * i as f64));
    let samples = samples(&requests, |i| kept[i], &noise);
    Case { samples, truth: Truth::Resumed { from, kept, deviation: noise.deviation } }
}

fn still(rng: &mut Rng, settled: usize, signal: impl Fn(usize) -> f64, noise: Noise) -> Case {
    Case { samples: samples(&steady(rng), signal, &noise), truth: Truth::Still { settled } }
}

fn flat(rng: &mut Rng) -> Case {
    let noise = usual(rng);
    still(rng, 0, |_| 0.0, noise)
}

fn flat_recorded(rng: &mut Rng) -> Case {
    let noise = recorded::noise(rng);
    still(rng, 0, |_| 0.0, noise)
}

fn flat_heavy_tailed(rng: &mut Rng) -> Case {
    let deviation = magnitude(rng, 1024.0, 1e6);
    let noise = heavy_tailed(rng, deviation);
    still(rng, 0, |_| 0.0, noise)
}

fn flat_in_pages(rng: &mut Rng) -> Case {
    let case = flat(rng);
    in_pages(rng, case)
}

/// Memory follows the number of requests in flight, which comes and goes.
fn flat_by_load(rng: &mut Rng) -> Case {
    let noise = usual(rng);
    let period = uniform(rng, 20.0, 80.0);
    let (height, rate) = (magnitude(rng, 1e5, 2e7), uniform(rng, 20.0, 100.0));
    let busy = |i: usize| (i as f64 / period).fract() < 0.5;
    let requests = traffic(rng, |i| if busy(i) { rate } else { 0.0 });
    let samples = samples(&requests, |i| if busy(i) { height } else { 0.0 }, &noise);
    Case { samples, truth: Truth::Still { settled: 0 } }
}

fn one_step(rng: &mut Rng) -> Case {
    let (at, height, noise) = (second(rng, 20.0, 280.0), magnitude(rng, 1e5, 1e8), usual(rng));
    let length = uniform(rng, 1.0, 5.0);
    still(rng, at, |i| height * ((i as f64 - at as f64) / length).clamp(0.0, 1.0), noise)
}

fn sawtooth(rng: &mut Rng) -> Case {
    let noise = usual(rng);
    let height = magnitude(rng, 1e5, 5e7);
    let teeth = teeth(rng, height);
    still(rng, 0, |i| teeth[i], noise)
}

fn burst(rng: &mut Rng) -> Case {
    let (from, noise) = (second(rng, 20.0, 150.0), usual(rng));
    let (height, length) = (magnitude(rng, 1e5, 1e8), second(rng, 5.0, 100.0));
    let edge = uniform(rng, 1.0, 10.0);
    let end = from + length;
    let rising = move |i: usize| ((i as f64 - from as f64) / edge).clamp(0.0, 1.0);
    let falling = move |i: usize| ((i as f64 - end as f64) / edge).clamp(0.0, 1.0);
    still(rng, end + edge as usize, |i| height * (rising(i) - falling(i)), noise)
}

/// A burst is freed at once, but its pages go back as jemalloc's decay would have it: slowly, along a smooth curve, or much later.
fn pages_not_yet_returned(rng: &mut Rng) -> Case {
    let (from, noise) = (second(rng, 20.0, 100.0), usual(rng));
    let (height, length) = (magnitude(rng, 1e5, 1e8), uniform(rng, 5.0, 60.0));
    let (kept, decay) = (uniform(rng, 0.0, 120.0), uniform(rng, 5.0, 30.0));
    let freed = from as f64 + length + kept;
    let curve = |i: usize| {
        let rise = ((i as f64 - from as f64) / length).clamp(0.0, 1.0);
        let gone = ((i as f64 - freed) / decay).clamp(0.0, 1.0);
        height * (rise - gone * gone * (3.0 - 2.0 * gone))
    };
    still(rng, (freed + decay) as usize, curve, noise)
}

fn cache_straight(rng: &mut Rng) -> Case {
    let (end, height, noise) = (second(rng, 20.0, 280.0), magnitude(rng, 1e5, 1e8), usual(rng));
    still(rng, end, |i| height * (i as f64 / end as f64).min(1.0), noise)
}

/// The fuller the cache, the seldomer a request misses. It has settled when less than a 500th is missing.
fn cache_curved(rng: &mut Rng) -> Case {
    let (pace, height, noise) = (uniform(rng, 5.0, 45.0), magnitude(rng, 1e5, 1e8), usual(rng));
    let settled = (pace * 500f64.ln()) as usize;
    still(rng, settled, |i| height * (1.0 - (-(i as f64) / pace).exp()), noise)
}
