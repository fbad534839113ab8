//! What the profiler can do and what it says where it can't; that it shares snapshots and keeps no memory.

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use crate::support::alone;
use leakscope::{
    heap::{Error, Unwinder},
    jemalloc::Profiler,
    memory::purge,
};
use tikv_jemalloc_ctl::{epoch, raw, stats};

#[test]
fn says_how_to_switch_it_on() {
    alone("heap_profiler::says_how_to_switch_it_on", &[("_RJEM_MALLOC_CONF", "prof:false")], || {
        let profiler = Profiler::start();
        let problem = profiler.status().problem.clone().expect("profiling is off");
        assert!(!profiler.status().enabled);
        for says in [
            "prof:false",
            "leakscope::jemalloc!()",
            "_RJEM_MALLOC_CONF=prof:true,prof_active:true,lg_prof_sample:16",
        ] {
            assert!(problem.contains(says), "{problem}");
        }
        assert!(matches!(profiler.snapshot(), Err(Error::Off(text)) if text == problem));
    });
}

#[test]
fn says_that_sampling_is_paused() {
    alone(
        "heap_profiler::says_that_sampling_is_paused",
        &[("_RJEM_MALLOC_CONF", "prof_active:false")],
        || {
            let problem = Profiler::start().status().problem.clone().expect("nothing is sampled");
            assert!(problem.contains("prof_active:false"), "{problem}");
        },
    );
}

#[test]
fn is_on_by_the_macro() {
    alone("heap_profiler::is_on_by_the_macro", &[], || {
        let status = Profiler::start().status().clone();
        assert!(status.enabled && status.problem.is_none(), "{status:?}");
        assert_eq!(status.sample_interval_bytes, 1 << 16, "as the macro has it");
        assert_eq!(status.unwinder, Unwinder::FramePointer, "built with the flags of .cargo/config.toml");
    });
}

#[test]
fn callers_at_once_share_one_snapshot() {
    alone("heap_profiler::callers_at_once_share_one_snapshot", &[], || {
        const CALLERS: usize = 8;
        let profiler = Profiler::start();
        // Callers that come at once get the same snapshot; a thread that is scheduled late may miss it, so try again.
        let shared = (0..100).any(|_| {
            let together = Barrier::new(CALLERS);
            let snapshots: Vec<_> = thread::scope(|scope| {
                let call = || {
                    together.wait();
                    profiler.snapshot().unwrap()
                };
                let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
                callers.into_iter().map(|caller| caller.join().unwrap()).collect()
            });
            snapshots.iter().all(|snapshot| Arc::ptr_eq(snapshot, &snapshots[0]))
        });
        assert!(shared, "eight callers at once never shared one snapshot");
        let (one, next) = (profiler.snapshot().unwrap(), profiler.snapshot().unwrap());
        assert!(!Arc::ptr_eq(&one, &next), "a later caller gets a fresh one");
        // SAFETY: jemalloc's manual: thread.prof.active is bool.
        let sampled = || unsafe { raw::read::<bool>(b"thread.prof.active\0") }.unwrap();
        assert!(sampled(), "the reading thread is sampled again");
    });
}

/// Bytes that jemalloc holds resident.
fn resident_bytes() -> usize {
    epoch::advance().unwrap();
    stats::resident::read().unwrap()
}

#[inline(never)]
fn allocate_below(depth: usize, bytes: usize) -> Vec<u8> {
    let mut buffer = if depth == 0 { Vec::with_capacity(bytes) } else { allocate_below(depth - 1, bytes) };
    buffer.push(depth as u8);
    buffer
}

#[test]
fn keeps_none_of_the_symbolizers_memory() {
    alone("heap_profiler::keeps_none_of_the_symbolizers_memory", &[], || {
        const MIB: usize = 1 << 20;
        let profiler = Profiler::start();
        // 60 MB of live heap on some dozens of stacks.
        let kept: Vec<_> = (0..60).map(|i| allocate_below(i % 20, MIB)).collect();
        purge();
        let before = resident_bytes();
        let started = Instant::now();
        let first = profiler.snapshot().unwrap();
        let first_took = started.elapsed();
        let after_first = resident_bytes();
        let mut later_took = Duration::MAX;
        for _ in 0..20 {
            let started = Instant::now();
            black_box(profiler.snapshot().unwrap());
            later_took = later_took.min(started.elapsed());
        }
        let after_all = resident_bytes();
        println!(
            "first {first_took:?}, later {later_took:?}; resident {before} B, +{} B, +{} B",
            after_first.saturating_sub(before),
            after_all.saturating_sub(before)
        );
        assert!(after_first < before + MIB, "the symbolizer's memory is kept: {before} -> {after_first}");
        assert!(after_all < before + MIB, "snapshots pile up: {before} -> {after_all}");
        assert!(later_took * 3 < first_took, "nothing is remembered: {first_took:?}, then {later_took:?}");
        drop((first, kept));
    });
}

fn rss_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    // SAFETY: sysconf has no preconditions.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64
}

/// The most that the process was resident since the kernel last began to count.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn takes_little_memory_while_it_works() {
    alone("heap_profiler::takes_little_memory_while_it_works", &[], || {
        const MOST: u64 = 15 << 20;
        let profiler = Profiler::start();
        let kept: Vec<_> = (0..20).map(|i| allocate_below(i, 1 << 20)).collect();
        std::fs::write("/proc/self/clear_refs", "5").unwrap(); // proc(5): resets the peak
        let before = rss_bytes();
        let snapshot = profiler.snapshot().unwrap();
        let taken = peak_rss_bytes().saturating_sub(before);
        println!("{taken} B more for a moment");
        assert!(taken < MOST, "{taken} B more while it works");
        drop((snapshot, kept));
    });
}

#[test]
fn memory_costs_what_it_holds_and_comes_back() {
    alone("heap_profiler::memory_costs_what_it_holds_and_comes_back", &[], || {
        const PAYLOAD: u64 = 60 << 20;
        const BUFFER: u64 = 12 << 10;
        let _profiler = Profiler::start();
        let allocate =
            || -> Vec<_> { (0..PAYLOAD / 4 / BUFFER).map(|_| vec![1u8; BUFFER as usize]).collect() };
        purge();
        let before = rss_bytes();
        let threads: Vec<_> = (0..4).map(|_| thread::spawn(allocate)).collect();
        let kept: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let held = rss_bytes() - before;
        drop(kept);
        purge();
        let left = rss_bytes().saturating_sub(before);
        println!("{PAYLOAD} B held take {held} B; freed and purged, {left} B are left");
        assert!(held.abs_diff(PAYLOAD) * 10 <= PAYLOAD, "{held} B for {PAYLOAD} B");
        assert!(left * 10 <= PAYLOAD, "{left} B of {PAYLOAD} B did not come back");
    });
}
