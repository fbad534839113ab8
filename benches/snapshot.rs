//! What a heap snapshot costs a service that holds 200 MB: time of the first and of later ones and of a diff, the memory taken
//! while it works and what is kept of it. Each round starts the service anew, since the first snapshot is the dear one.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use support::Service;

const ROUNDS: usize = 7;
const LATER: usize = 10;
const LIVE_BYTES: usize = 200_000_000;
const CACHE_BYTES_PER_REQUEST: usize = 24 * 1024;

/// One round's figures: milliseconds and bytes.
#[derive(Default)]
struct Figures {
    first_ms: Vec<f64>,
    later_ms: Vec<f64>,
    diff_ms: Vec<f64>,
    taken_mib: Vec<f64>,
    kept_mib: Vec<f64>,
}

fn main() {
    let mut figures = Figures::default();
    for _ in 0..ROUNDS {
        round(&mut figures);
    }
    println!("heap snapshot of a service with 200 MB live, {ROUNDS} fresh processes");
    println!("{:<34}{:>10}{:>22}{:>12}", "figure", "median", "95 % interval", "goal");
    line("first snapshot, ms", figures.first_ms, 100.0);
    line("later snapshots, ms", figures.later_ms, 10.0);
    line("diff, ms", figures.diff_ms, 10.0);
    line("memory taken while it works, MiB", figures.taken_mib, 15.0);
    line("memory kept afterwards, MiB", figures.kept_mib, 1.0);
}

fn round(figures: &mut Figures) {
    let service = Service::start(&[]);
    let (status, _) = service.post("/admin/leaks/cache", r#"{"enabled":true}"#);
    assert_eq!(status, 200);
    service.drive("/api/data", LIVE_BYTES / CACHE_BYTES_PER_REQUEST, 4);

    let (pid, before) = (service.pid(), service.rss_bytes());
    let peak = AtomicU64::new(before);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| watch(pid, &peak, &done));
        figures.first_ms.push(time(&service, "/admin/memory/snapshot"));
        done.store(true, Ordering::Relaxed);
    });
    for _ in 0..LATER {
        figures.later_ms.push(time(&service, "/admin/memory/snapshot"));
    }
    let (status, _) = service.post("/admin/memory/baseline", "");
    assert_eq!(status, 200);
    for _ in 0..LATER {
        figures.diff_ms.push(time(&service, "/admin/memory/diff?keep=true"));
    }
    figures.taken_mib.push(mib(peak.load(Ordering::Relaxed) as f64 - before as f64));
    figures.kept_mib.push(mib(service.rss_bytes() as f64 - before as f64));
}

fn time(service: &Service, path: &str) -> f64 {
    let start = Instant::now();
    service.ok(path);
    start.elapsed().as_secs_f64() * 1e3
}

/// Follows the process's RSS more finely than a snapshot lasts.
fn watch(pid: u32, peak: &AtomicU64, done: &AtomicBool) {
    let statm = File::open(format!("/proc/{pid}/statm")).expect("it runs");
    let mut text = [0; 128];
    while !done.load(Ordering::Relaxed) {
        let length = statm.read_at(&mut text, 0).expect("it runs");
        let pages =
            std::str::from_utf8(&text[..length]).expect("text").split(' ').nth(1).expect("resident pages");
        peak.fetch_max(pages.parse::<u64>().expect("a number") * 4096, Ordering::Relaxed);
        thread::sleep(Duration::from_micros(200));
    }
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// The median with the interval that order statistics give: ranks n/2 -+ 0.98 sqrt(n) (binomial, David & Nagaraja, Order
/// Statistics, 7.1).
fn line(name: &str, mut figures: Vec<f64>, goal: f64) {
    figures.sort_by(f64::total_cmp);
    let n = figures.len() as f64;
    let rank = |r: f64| figures[(r.max(0.0) as usize).min(figures.len() - 1)];
    let half = 0.98 * n.sqrt();
    let (low, high) = (rank(n / 2.0 - half), rank(n / 2.0 + half));
    println!(
        "{name:<34}{:>10.2}{:>22}{:>12}",
        rank(n / 2.0),
        format!("{low:.2} .. {high:.2}"),
        format!("<= {goal}")
    );
}
