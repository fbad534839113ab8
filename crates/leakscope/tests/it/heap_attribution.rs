//! Who allocated it: the right line with the right figures, judged against what the test itself allocated.

use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::support::alone;
use leakscope::{
    heap::{By, Growth, Snapshot, Unwinder, diff},
    jemalloc::Profiler,
};

/// jemalloc's sample interval, by the environment.
const LG_16: &[(&str, &str)] = &[("_RJEM_MALLOC_CONF", "lg_prof_sample:16")];
const LG_14: &[(&str, &str)] = &[("_RJEM_MALLOC_CONF", "lg_prof_sample:14")];

const FILE: &str = "crates/leakscope/tests/it/heap_attribution.rs";

/// What a leak keeps, with the line that allocates it.
struct Leak {
    name: &'static str,
    line: u32,
    bytes: u64,
    count: u64,
    kept: Vec<Vec<u8>>,
}

/// `Vec::with_capacity` fits the size class, so that bytes asked for are bytes held.
fn written(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.resize(buffer.capacity(), 1);
    buffer
}

#[inline(never)]
fn leak_plainly(kept: &mut Vec<Vec<u8>>) -> u32 {
    kept.push(written(Vec::with_capacity(5_120)));
    line!() - 1
}

#[inline(never)]
fn leak_in_a_thread(kept: &mut Vec<Vec<u8>>) -> u32 {
    kept.push(written(Vec::with_capacity(6_144)));
    line!() - 1
}

#[inline(always)]
fn leak_inlined(kept: &mut Vec<Vec<u8>>) -> u32 {
    kept.push(written(Vec::with_capacity(1_536)));
    line!() - 1
}

#[inline(never)]
fn leak_odd_size(kept: &mut Vec<Vec<u8>>) -> u32 {
    kept.push(written(Vec::with_capacity(5_000)));
    line!() - 1
}

/// Runs one leak `count` times on a thread of its own, amid short-lived allocations of many sizes.
fn leak(name: &'static str, bytes: u64, count: u64, once: impl Fn(&mut Vec<Vec<u8>>) -> u32) -> Leak {
    let mut kept = Vec::with_capacity(count as usize); // the list itself is no part of the figures
    let mut line = 0;
    for i in 0..count {
        line = once(&mut kept);
        black_box(vec![0u8; 16 + (i as usize * 37) % 4_000]);
    }
    Leak { name, line, bytes: bytes * count, count, kept }
}

#[track_caller]
fn at(growth: &[Growth], line: u32) -> &Growth {
    let location = format!("{FILE}:{line}");
    growth
        .iter()
        .find(|growth| growth.site.location == location)
        .unwrap_or_else(|| panic!("{location} is not among {:#?}", growth.iter().take(8).collect::<Vec<_>>()))
}

fn four_leaks() {
    let profiler = Profiler::start();
    assert_eq!(profiler.status().unwinder, Unwinder::FramePointer);
    let base = profiler.snapshot().unwrap();
    let leaks: Vec<Leak> = thread::scope(|scope| {
        let threads = [
            scope.spawn(|| leak("plain", 5_120, 10_000, leak_plainly)),
            scope.spawn(|| leak("thread", 6_144, 5_000, leak_in_a_thread)),
            scope.spawn(|| leak("inlined", 1_536, 20_000, leak_inlined)),
            scope.spawn(|| leak("odd", 5_120, 5_000, leak_odd_size)), // 5,000 B lie in the class of 5,120
        ];
        threads.map(|thread| thread.join().unwrap()).into()
    });
    let now = profiler.snapshot().unwrap();
    let growth = diff(&base, &now, By::Line);

    let mut top: Vec<_> = growth.iter().take(leaks.len()).map(|growth| growth.site.line).collect();
    let mut wanted: Vec<_> = leaks.iter().map(|leak| leak.line).collect();
    top.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(top, wanted, "the four leaks on top: {growth:#?}");

    for leak in &leaks {
        let found = at(&growth, leak.line);
        println!("{}: {} +-{} of {}", leak.name, found.bytes_diff, found.bytes_diff_error, leak.bytes);
        assert_eq!(found.site.file, FILE);
        let off = found.bytes_diff.abs_diff(leak.bytes as i64);
        assert!(off <= 4 * found.bytes_diff_error, "{}: {off} off, {found:#?}", leak.name);
        let count_off = found.count_diff.abs_diff(leak.count as i64);
        assert!(count_off <= 4 * found.site.count_error, "{}: {count_off} off, {found:#?}", leak.name);
        // sqrt((1-p) / (p N)) with p = 1 - e^(-size/interval): what the error should be, within its own spread.
        let size = leak.bytes as f64 / leak.count as f64;
        let p = 1.0 - (-size / profiler.status().sample_interval_bytes as f64).exp();
        let error = leak.bytes as f64 * ((1.0 - p) / (p * leak.count as f64)).sqrt();
        assert!(
            (found.bytes_diff_error as f64 / error - 1.0).abs() < 0.3,
            "{}: {error} {found:#?}",
            leak.name
        );
        assert!(found.significant, "{found:#?}");
        if leak.name == "inlined" {
            assert_eq!(found.site.function, "leak_inlined", "its caller would have a path");
        }
        assert_eq!(leak.kept.len() as u64, leak.count);
    }

    drop(leaks);
    let after = profiler.snapshot().unwrap();
    assert!(diff(&base, &after, By::Line).iter().all(|growth| !wanted.contains(&growth.site.line)));
}

#[test]
fn four_leaks_at_lg_16() {
    alone("heap_attribution::four_leaks_at_lg_16", LG_16, four_leaks);
}

#[test]
fn four_leaks_at_lg_14() {
    alone("heap_attribution::four_leaks_at_lg_14", LG_14, four_leaks);
}

#[derive(serde::Serialize)]
struct Order {
    lines: Vec<String>,
}

/// Each of these has somebody else allocate on its behalf. Kept are 8 MiB of each, at lg 14 some 500 samples.
const KEPT_BYTES: usize = 8 << 20;

#[inline(never)]
fn by_serde_json(kept: &mut Vec<Vec<u8>>) -> u32 {
    let order = Order { lines: vec!["a line".to_owned(); 400] };
    kept.push(serde_json::to_vec(&order).unwrap());
    line!() - 1
}

#[inline(never)]
fn by_string(kept: &mut Vec<Vec<u8>>) -> u32 {
    kept.push(String::from(black_box(TEXT)).into_bytes());
    line!() - 1
}

#[inline(never)]
fn by_growth(kept: &mut Vec<Vec<u8>>) -> u32 {
    let mut buffer = Vec::new();
    for i in 0..4_096u32 {
        buffer.push(i as u8); // reallocates
    }
    kept.push(buffer);
    line!() - 3
}

#[inline(never)]
fn by_clone(kept: &mut Vec<Vec<u8>>) -> u32 {
    let text: Box<[u8]> = black_box(TEXT).as_bytes().into();
    kept.push(text.to_vec());
    line!() - 1
}

static TEXT: &str = const {
    const BYTES: [u8; 4_096] = [b'x'; 4_096];
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => panic!(),
    }
};

#[test]
fn what_others_allocate_on_behalf_of_a_function_is_its_own() {
    alone("heap_attribution::what_others_allocate_on_behalf_of_a_function_is_its_own", LG_14, || {
        let profiler = Profiler::start();
        for (name, once) in [
            ("serde_json", by_serde_json as fn(&mut Vec<Vec<u8>>) -> u32),
            ("String::from", by_string),
            ("Vec::push", by_growth),
            ("to_vec", by_clone),
        ] {
            let base = profiler.snapshot().unwrap();
            let (mut kept, mut line, mut bytes) = (Vec::with_capacity(4_096), 0, 0);
            while bytes < KEPT_BYTES {
                line = once(&mut kept);
                bytes += kept.last().map_or(0, Vec::capacity);
            }
            let now = profiler.snapshot().unwrap();
            let growth = diff(&base, &now, By::Line);
            let found = at(&growth, line);
            assert_eq!(growth[0].site.location, found.site.location, "{name} on top: {growth:#?}");
            let off = found.bytes_diff.abs_diff(bytes as i64);
            assert!(off <= 4 * found.bytes_diff_error, "{name}: {off} off {bytes}, {found:#?}");
        }
    });
}

#[test]
fn groups_by_line_function_and_file() {
    alone("heap_attribution::groups_by_line_function_and_file", LG_14, || {
        let profiler = Profiler::start();
        let (mut a, mut b) = (Vec::with_capacity(4_000), Vec::with_capacity(4_000));
        let (mut line_a, mut line_b) = (0, 0);
        for _ in 0..2_000 {
            line_a = leak_plainly(&mut a);
            line_b = leak_odd_size(&mut b);
        }
        let snapshot: &Snapshot = &profiler.snapshot().unwrap();

        let lines = snapshot.sites(By::Line);
        assert!(lines.is_sorted_by(|a, b| a.bytes >= b.bytes));
        let sum = lines.iter().map(|site| site.bytes).sum::<u64>();
        assert!(
            sum.abs_diff(snapshot.total_bytes) <= lines.len() as u64,
            "the places are the whole, but for rounding"
        );
        for line in [line_a, line_b] {
            assert_eq!(lines.iter().filter(|site| site.line == line && site.file == FILE).count(), 1);
        }

        let functions = snapshot.sites(By::Function);
        let function =
            functions.iter().find(|site| site.location == "it::heap_attribution::leak_plainly").unwrap();
        assert_eq!((function.line, function.file.as_str()), (line_a, FILE));

        let files = snapshot.sites(By::File);
        let file = files.iter().find(|site| site.location == FILE).unwrap();
        assert_eq!(file.line, 0, "several lines");
        let in_file = lines.iter().filter(|site| site.file == FILE).map(|site| site.samples).sum::<u64>();
        assert_eq!(file.samples, in_file);
        assert!(diff(snapshot, snapshot, By::Line).is_empty(), "nothing changed");
        black_box((a, b));
    });
}

/// A leak that already holds much: what it held before must not blur what it grew by.
#[test]
fn a_large_leak_is_told_from_a_cache_that_replaces() {
    alone("heap_attribution::a_large_leak_is_told_from_a_cache_that_replaces", LG_14, || {
        const HELD: u64 = 8_000;
        const GROWN: u64 = 800;
        let profiler = Profiler::start();
        let mut kept = Vec::with_capacity((HELD + GROWN) as usize);
        let mut line = 0;
        (0..HELD).for_each(|_| line = leak_plainly(&mut kept));
        let base = profiler.snapshot().unwrap();
        (0..GROWN).for_each(|_| line = leak_plainly(&mut kept));
        let grown = at(&diff(&base, &profiler.snapshot().unwrap(), By::Line), line).clone();
        assert!(grown.significant, "{grown:#?}");
        assert!(
            grown.bytes_diff.abs_diff((GROWN * 5_120) as i64) <= 4 * grown.bytes_diff_error,
            "{grown:#?}"
        );

        // All that is held is replaced by as much: no growth, and an error that knows it.
        let base = profiler.snapshot().unwrap();
        kept.clear();
        (0..HELD + GROWN).for_each(|_| line = leak_plainly(&mut kept));
        let growth = diff(&base, &profiler.snapshot().unwrap(), By::Line);
        if let Some(replaced) = growth.iter().find(|growth| growth.site.line == line) {
            assert!(replaced.bytes_diff.unsigned_abs() <= 4 * replaced.bytes_diff_error, "{replaced:#?}");
            assert!(replaced.bytes_diff_error > 4 * grown.bytes_diff_error, "{replaced:#?} {grown:#?}");
        }
    });
}

#[test]
fn short_lived_memory_is_no_growth() {
    alone("heap_attribution::short_lived_memory_is_no_growth", LG_16, || {
        let profiler = Profiler::start();
        static STOP: AtomicBool = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !STOP.load(Ordering::Relaxed) {
                        black_box(vec![1u8; 3_000]);
                    }
                });
            }
            let base = profiler.snapshot().unwrap();
            for _ in 0..20 {
                let now = profiler.snapshot().unwrap();
                for growth in diff(&base, &now, By::Line) {
                    let live = 3 * 3_072;
                    let off = growth.bytes_diff.unsigned_abs().saturating_sub(live);
                    assert!(off <= 4 * growth.bytes_diff_error.max(65_536), "{growth:#?}");
                }
            }
            STOP.store(true, Ordering::Relaxed);
        });
    });
}
