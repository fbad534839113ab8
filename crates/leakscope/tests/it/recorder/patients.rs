//! What the recorder's tests start as processes of their own: each records, and most of them die of something.

use std::{
    env,
    hint::black_box,
    io::Write,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use leakscope::{
    Instrument,
    memory::{Limit, LimitSource},
};

use super::{FOLDER, LIMIT_BYTES, Recording, map, record};

fn folder_of_patient() -> Recording {
    record(Path::new(&env::var_os(FOLDER).expect("started by a test"))).0
}

fn say(text: impl std::fmt::Display) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).unwrap();
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn patient_busy() {
    let recording = folder_of_patient();
    for number in 0_u64.. {
        recording.served(number);
        recording.recorder().set_state(map("number", number));
        say(format_args!("number {number}"));
        recording.recorder().event("done", map("padding", "x".repeat(300)));
    }
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn patient_abort() {
    let _recorder = folder_of_patient();
    std::process::abort();
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn patient_segv() {
    let _recorder = folder_of_patient();
    // SAFETY: none; the fault is what is tested.
    unsafe { black_box(std::ptr::without_provenance_mut::<u8>(16)).write_volatile(1) };
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn patient_bus() {
    let _recorder = folder_of_patient();
    // SAFETY: raise(3) takes a plain number.
    unsafe { libc::raise(libc::SIGBUS) };
    panic!("the signal came from outside, and still has to end the process");
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn patient_trap() {
    let _recorder = folder_of_patient();
    // SAFETY: raise(3) takes a plain number.
    unsafe { libc::raise(libc::SIGTRAP) };
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn patient_divides() {
    let _recorder = folder_of_patient();
    // SAFETY: raise(3) takes a plain number.
    unsafe { libc::raise(libc::SIGFPE) };
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn patient_illegal() {
    let _recorder = folder_of_patient();
    // SAFETY: raise(3) takes a plain number.
    unsafe { libc::raise(libc::SIGILL) };
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn patient_overflow() {
    #[expect(unconditional_recursion, reason = "it is what is tested")]
    fn deeper(depth: u64) -> u64 {
        black_box([depth; 128]);
        deeper(black_box(depth + 1)) + 1
    }
    let _recorder = folder_of_patient();
    black_box(deeper(0));
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn patient_returns() {
    // The recorder is dropped, and the program ends as one whose main returns.
    let _recorder = folder_of_patient();
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn patient_exits() {
    let _recorder = folder_of_patient();
    std::process::exit(3);
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn patient_grows() {
    let recording = folder_of_patient();
    recording.recorder().set_state(map("on", "growth"));
    let mut held = Vec::new();
    let started = Instant::now();
    // 100 MB/s, past the limit: then as whoever enforces it.
    for number in 1_u64.. {
        grow(&mut held);
        recording.served(number);
        let bytes = number * (256 << 10);
        if bytes >= LIMIT_BYTES {
            // SAFETY: raise(3) takes a plain number.
            unsafe { libc::raise(libc::SIGKILL) };
        }
        let due = Duration::from_secs_f64(bytes as f64 / 1e8);
        thread::sleep(due.saturating_sub(started.elapsed()));
    }
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn patient_without_a_limit() {
    let folder = env::var_os(FOLDER).expect("started by a test");
    let limit = Limit { bytes: None, source: LimitSource::None };
    let _instrument = Instrument::builder().record_in(folder).limit(limit).on_problem(|_| ()).start();
    let mut held = Vec::new();
    loop {
        grow(&mut held);
        say(format_args!("{} KiB", held.len() * 8));
        thread::sleep(Duration::from_millis(2));
    }
}

#[inline(never)]
fn grow(held: &mut Vec<Vec<u8>>) {
    held.extend((0..32).map(|_| vec![1; 8 << 10]));
}
