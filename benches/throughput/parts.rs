//! What the parts that work beside the requests cost by themselves: processor time of this process, in which nothing else
//! runs meanwhile.

use std::{
    thread,
    time::{Duration, Instant},
};

use leakscope::{
    Instrument,
    instrument::InstrumentBuilder,
    memory::Sample,
    trend::{self, Config},
};

/// Time over which the clock is watched.
const WATCHED: Duration = Duration::from_secs(5);

/// Time between two readings of the trend in leaklab.
const TREND_EVERY: Duration = Duration::from_secs(5);

/// Prints a line for each.
pub fn print() {
    let start = |builder: InstrumentBuilder| builder.on_problem(|problem| println!("{problem}")).start();
    let sampling = start(Instrument::builder());
    let sampled = share_of_a_core();
    row("the clock: a sample a second, and a trend every 5", sampled);
    let latest = sampling.latest();
    drop(sampling);

    let folder = tempfile::tempdir().expect("a temporary folder");
    let recording = start(Instrument::builder().record_in(folder.path()));
    row("the flight recorder: four samples a second on disk", share_of_a_core() - sampled);
    let limit = recording.limit();
    drop(recording);

    let config = Config::default();
    let full: Vec<Sample> = (0..config.window_seconds as u64)
        .map(|second| Sample {
            seconds: second as f64,
            requests: 50 * second,
            live_heap_bytes: (16 << 20) + 4_096 * second,
            ..latest
        })
        .collect();
    let started = Instant::now();
    std::hint::black_box(trend::report(&full, limit.bytes, &config));
    row("trend, a reading every 5 s", started.elapsed().as_secs_f64() / TREND_EVERY.as_secs_f64());
}

fn row(part: &str, share: f64) {
    println!("{part:52} {:>6.3} % of a core", 100.0 * share);
}

/// What this process takes of one core while it does nothing itself.
fn share_of_a_core() -> f64 {
    let (cpu, started) = (cpu_time(), Instant::now());
    thread::sleep(WATCHED);
    (cpu_time() - cpu).as_secs_f64() / started.elapsed().as_secs_f64()
}

/// Processor time of all threads of this process so far.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec that the call may write to.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "every Unix has this clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
