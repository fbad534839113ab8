//! Each kind of memory lands in its own part, and the parts sum to RSS. The heap is the process's, so each test runs in
//! a process of its own: the test starts this binary again for itself alone.
#![cfg(target_os = "linux")]

use std::{
    alloc::Layout,
    fs::File,
    hint::black_box,
    io::Write,
    os::fd::{AsRawFd, FromRawFd},
    ptr,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use leakscope::memory::{self, Quality, Report};

const MIB: i64 = 1 << 20;
/// What the test itself and its harness may move meanwhile.
const SLACK: i64 = MIB;

/// Runs `body` in a process of its own.
#[track_caller]
fn alone(name: &str, body: impl FnOnce()) {
    alone_with(name, "prof:false", body);
}

/// The same with these options of jemalloc.
#[track_caller]
fn alone_with(name: &str, malloc_conf: &str, body: impl FnOnce()) {
    crate::support::alone(&format!("memory::{name}"), &[("_RJEM_MALLOC_CONF", malloc_conf)], || {
        crate::support::no_huge_pages();
        body();
    });
}

/// A report whose parts sum to RSS.
#[track_caller]
fn report() -> Report {
    let report = memory::report();
    let sum: i64 = report.parts.iter().map(|part| part.bytes).sum();
    assert_eq!(sum, report.process.rss_bytes as i64, "{:#?}", report.parts);
    report
}

#[track_caller]
fn part(report: &Report, name: &str) -> i64 {
    report.parts.iter().find(|part| part.part == name).unwrap_or_else(|| panic!("no part {name}")).bytes
}

/// Asserts that the parts in `grown` have changed by these bytes, and no other by more than the slack.
#[track_caller]
fn assert_growth(before: &Report, after: &Report, grown: &[(&str, i64)]) {
    const PARTS: [&str; 8] = [
        "live_heap",
        "allocator_overhead",
        "profiler",
        "reserved_untouched",
        "file",
        "shared",
        "stacks",
        "unaccounted",
    ];
    for name in PARTS {
        let wanted = grown.iter().find(|(part, _)| *part == name).map_or(0, |(_, bytes)| *bytes);
        // jemalloc takes a table of 2 MiB for each GiB of addresses, and touches little of it.
        let slack = if name == "reserved_untouched" { 2 * 2 * MIB + SLACK } else { SLACK };
        let change = part(after, name) - part(before, name);
        assert!(
            (change - wanted).abs() <= slack,
            "{name} changed by {change}, wanted {wanted}\nbefore {:#?}\nafter {:#?}",
            before.parts,
            after.parts
        );
    }
}

/// Writes to every page of a block that is the caller's own.
fn touch(start: *mut u8, bytes: usize) {
    for offset in (0..bytes).step_by(4096) {
        // SAFETY: within the block.
        unsafe { start.add(offset).write_volatile(1) };
    }
}

/// A block of C's `malloc`, touched and never freed: the process ends with the test.
fn c_block(bytes: usize) {
    // SAFETY: malloc(3) has no precondition.
    let block = unsafe { libc::malloc(bytes) };
    assert!(!block.is_null());
    touch(block.cast(), bytes);
}

/// Small blocks that take so many bytes together: glibc keeps 8 bytes beside a block and rounds to 16.
fn c_blocks(bytes: usize) {
    (0..bytes / 1008).for_each(|_| c_block(1000));
}

/// A mapping of so many bytes.
fn mapping(bytes: usize, flags: i32, file: Option<&File>) -> *mut u8 {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping where the kernel likes it; nothing else is replaced.
    let start =
        unsafe { libc::mmap(ptr::null_mut(), bytes, access, flags, file.map_or(-1, AsRawFd::as_raw_fd), 0) };
    assert_ne!(start, libc::MAP_FAILED);
    start.cast()
}

/// Objects of 5 KiB, a size class of their own, and what they and the list of them take.
fn objects(number: usize) -> (Vec<Vec<u8>>, i64) {
    let objects = (0..number).map(|_| black_box(vec![1u8; 5 << 10])).collect();
    (objects, (number * ((5 << 10) + size_of::<Vec<u8>>())) as i64)
}

#[test]
fn an_untouched_vec_is_live_and_reserved_untouched() {
    alone("an_untouched_vec_is_live_and_reserved_untouched", || {
        let before = report();
        let held: Vec<u8> = black_box(Vec::with_capacity(64 << 20));
        assert_growth(&before, &report(), &[("live_heap", 64 * MIB), ("reserved_untouched", -64 * MIB)]);
        drop(held);
    });
}

#[test]
fn zeroed_memory_that_was_never_written_is_reserved_untouched() {
    alone("zeroed_memory_that_was_never_written_is_reserved_untouched", || {
        let before = report();
        let layout = Layout::array::<u8>(64 << 20).expect("a valid layout");
        // SAFETY: the layout is not empty.
        let block = black_box(unsafe { std::alloc::alloc_zeroed(layout) });
        assert!(!block.is_null());
        assert_growth(&before, &report(), &[("live_heap", 64 * MIB), ("reserved_untouched", -64 * MIB)]);
        // SAFETY: allocated above with this layout.
        unsafe { std::alloc::dealloc(block, layout) };
    });
}

#[test]
fn a_touched_vec_is_live() {
    alone("a_touched_vec_is_live", || {
        let before = report();
        let held = black_box(vec![1u8; 64 << 20]);
        assert_growth(&before, &report(), &[("live_heap", 64 * MIB)]);
        drop(held);
    });
}

#[test]
fn small_objects_are_live_and_dirty_once_freed() {
    alone_with("small_objects_are_live_and_dirty_once_freed", "prof:false,dirty_decay_ms:-1", || {
        let before = report();
        let (held, payload) = objects(12_800);
        let full = report();
        assert_growth(&before, &full, &[("live_heap", payload)]);
        drop(held);
        let freed = report();
        assert_growth(&before, &freed, &[]);
        let dirty = part(&freed, "dirty") - part(&full, "dirty");
        assert!((dirty - payload).abs() < 3 * MIB, "dirty pages grew by {dirty}");
    });
}

/// The first object of a size class brings a thread's cache dozens of free ones.
#[test]
fn free_objects_in_a_threads_cache_are_not_live() {
    alone("free_objects_in_a_threads_cache_are_not_live", || {
        const SIZES: [usize; 8] = [320, 640, 896, 1280, 1792, 3584, 7168, 14_336];
        let (before, held) = (report(), SIZES.map(|size| black_box(vec![1u8; size])));
        let live = part(&report(), "live_heap") - part(&before, "live_heap");
        let payload = SIZES.iter().sum::<usize>() as i64;
        assert!((live - payload).abs() < 4096, "live heap grew by {live}, wanted {payload}");
        drop(held);
    });
}

#[test]
fn a_large_block_of_c_is_unaccounted() {
    alone("a_large_block_of_c_is_unaccounted", || {
        let before = report();
        c_block(32 << 20);
        assert_growth(&before, &report(), &[("unaccounted", 32 * MIB)]);
    });
}

#[test]
fn many_small_blocks_of_c_are_unaccounted() {
    alone("many_small_blocks_of_c_are_unaccounted", || {
        let before = report();
        c_blocks(32 << 20);
        assert_growth(&before, &report(), &[("unaccounted", 32 * MIB)]);
    });
}

/// More than two arenas of glibc: a full one looks like a mapping of jemalloc's, and only jemalloc can tell.
#[test]
fn full_arenas_of_c_are_unaccounted_beside_a_heap() {
    alone("full_arenas_of_c_are_unaccounted_beside_a_heap", || {
        let held = (black_box(vec![1u8; 150 << 20]), objects(5000));
        let before = report();
        thread::spawn(|| c_blocks(160 << 20)).join().expect("the thread ends");
        assert_growth(&before, &report(), &[("unaccounted", 160 * MIB)]);
        drop(held);
    });
}

#[test]
fn reserved_mappings_of_others_are_unaccounted() {
    alone("reserved_mappings_of_others_are_unaccounted", || {
        let held = black_box(vec![1u8; 20 << 20]);
        let before = report();
        let reserved = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        touch(mapping(16 << 20, reserved, None), 16 << 20);
        touch(mapping(1 << 40, reserved, None), 16 << 20);
        let start = Instant::now();
        assert_growth(&before, &report(), &[("unaccounted", 32 * MIB)]);
        // To ask for each page of the terabyte would take half a minute.
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        drop(held);
    });
}

#[test]
fn a_mapped_file_is_file() {
    alone("a_mapped_file_is_file", || {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&vec![1; 32 << 20]).expect("room for it");
        let before = report();
        touch(mapping(32 << 20, libc::MAP_SHARED, Some(&file)), 32 << 20);
        assert_growth(&before, &report(), &[("file", 32 * MIB)]);
    });
}

#[test]
fn shared_memory_is_shared() {
    alone("shared_memory_is_shared", || {
        // SAFETY: memfd_create(2) reads a name that ends in NUL; the descriptor is new and this file's alone.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"leakscope-test".as_ptr(), 0)) };
        file.set_len(32 << 20).expect("room for it");
        let before = report();
        touch(mapping(32 << 20, libc::MAP_SHARED, Some(&file)), 32 << 20);
        assert_growth(&before, &report(), &[("shared", 32 * MIB)]);
    });
}

/// With a block of C that was there before: some kernels merge it with the stack below it.
#[test]
fn stacks_of_threads_are_stacks() {
    alone("stacks_of_threads_are_stacks", || {
        let start = report();
        c_block(32 << 20);
        let before = report();
        assert_growth(&start, &before, &[("unaccounted", 32 * MIB)]);
        let (touched, measured) = (&Barrier::new(17), &Barrier::new(17));
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    touch_stack();
                    touched.wait();
                    measured.wait();
                });
            }
            touched.wait();
            let after = report();
            measured.wait();
            assert_growth(&before, &after, &[("stacks", 16 * MIB)]);
        });
    });
}

#[inline(never)]
fn touch_stack() {
    let mut frame = [0u8; 1 << 20];
    touch(black_box(&mut frame).as_mut_ptr(), size_of_val(&frame));
}

/// jemalloc leaves sampled small objects out of `allocated`, more than a quarter of these; the report puts them back.
#[test]
fn what_the_profiler_samples_is_live_and_its_padding_the_profilers() {
    let name = "what_the_profiler_samples_is_live_and_its_padding_the_profilers";
    alone_with(name, "prof:true,prof_active:true,lg_prof_sample:14", || {
        let before = report();
        let (held, payload) = objects(12_800);
        let after = report();
        let raw =
            |report: &Report| report.jemalloc.expect("jemalloc is the allocator").allocated_bytes as i64;
        assert!(raw(&after) - raw(&before) < payload * 4 / 5, "nothing was left out");
        let live = part(&after, "live_heap") - part(&before, "live_heap");
        assert!((live - payload).abs() < MIB, "live heap grew by {live}, wanted {payload}");
        // Sampled with probability 1 - e^(-5120/16384); each then takes 12 KiB of pages for its 5 KiB.
        let samples = 12_800.0 * (1.0 - (-5120.0f64 / 16384.0).exp());
        let padding = (samples * 7168.0) as i64;
        let profiler = part(&after, "profiler") - part(&before, "profiler");
        assert!((profiler - padding).abs() < padding / 10, "profiler grew by {profiler}, wanted {padding}");
        assert!(after.parts.iter().any(|part| part.part == "live_heap" && part.quality == Quality::Estimate));
        drop(held);
    });
}

#[test]
fn its_own_open_descriptors_are_counted_exactly() {
    alone("its_own_open_descriptors_are_counted_exactly", || {
        let _one_more = File::open("/dev/null").expect("it is there");
        // SAFETY: fcntl(2) with F_GETFD only asks, and answers -1 where the descriptor is not open.
        let open = (0..1024).filter(|descriptor| unsafe { libc::fcntl(*descriptor, libc::F_GETFD) } != -1);
        assert_eq!(report().process.open_files, Some(open.count() as u64));
    });
}

#[test]
fn a_report_leaves_nothing_behind() {
    alone("a_report_leaves_nothing_behind", || {
        let live = || memory::report().jemalloc.expect("jemalloc is the allocator").live_bytes;
        (0..10).for_each(|_| drop(report()));
        let before = live();
        (0..1000).for_each(|_| drop(report()));
        let grown = live().saturating_sub(before);
        assert!(grown < 4096, "1000 reports left {grown} bytes");
    });
}
