//! A process that ends by its own fault, or by itself.

use std::{hint::black_box, os::unix::process::ExitStatusExt};

use leakscope::recorder::{Cause, Certainty, History};

use super::{folder_of_patient, start};

#[test]
#[ignore = "run by a test below, in a process of its own"]
fn patient_abort() {
    let _recorder = folder_of_patient();
    std::process::abort();
}

#[test]
#[ignore = "run by a test below, in a process of its own"]
fn patient_segv() {
    let _recorder = folder_of_patient();
    // SAFETY: none; the fault is what is tested.
    unsafe { black_box(std::ptr::without_provenance_mut::<u8>(16)).write_volatile(1) };
}

#[test]
#[ignore = "run by a test below, in a process of its own"]
fn patient_bus() {
    let _recorder = folder_of_patient();
    // SAFETY: raise(3) takes a plain number.
    unsafe { libc::raise(libc::SIGBUS) };
    panic!("the signal came from outside, and still has to end the process");
}

#[test]
#[ignore = "run by a test below, in a process of its own"]
fn patient_trap() {
    let _recorder = folder_of_patient();
    // SAFETY: raise(3) takes a plain number.
    unsafe { libc::raise(libc::SIGTRAP) };
}

#[test]
#[ignore = "run by a test below, in a process of its own"]
fn patient_divides() {
    let _recorder = folder_of_patient();
    // SAFETY: raise(3) takes a plain number.
    unsafe { libc::raise(libc::SIGFPE) };
}

#[test]
#[ignore = "run by a test below, in a process of its own"]
fn patient_illegal() {
    let _recorder = folder_of_patient();
    // SAFETY: raise(3) takes a plain number.
    unsafe { libc::raise(libc::SIGILL) };
}

#[test]
#[ignore = "run by a test below, in a process of its own"]
fn patient_overflow() {
    #[expect(unconditional_recursion, reason = "it is what is tested")]
    fn deeper(depth: u64) -> u64 {
        black_box([depth; 128]);
        deeper(black_box(depth + 1)) + 1
    }
    let _recorder = folder_of_patient();
    black_box(deeper(0));
}

#[track_caller]
fn crashes(patient: &str, written: &str, ends_by: i32) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = start(&format!("crash::{patient}"), folder.path()).wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), Some(ends_by), "{stderr}");
    let history = History::settle(folder.path());
    let newest = &history.post_mortems[0];
    assert_eq!(
        (newest.cause, newest.certainty),
        (Cause::Crashed, Certainty::Certain),
        "{:?}",
        newest.evidence
    );
    assert_eq!(newest.signal.as_deref(), Some(written));
    assert_eq!(history.ends(Cause::Crashed), 1);
    stderr
}

#[test]
fn a_crash_is_written_down_and_ends_as_it_would_have() {
    crashes("patient_abort", "SIGABRT", libc::SIGABRT);
    crashes("patient_segv", "SIGSEGV", libc::SIGSEGV);
    crashes("patient_bus", "SIGBUS", libc::SIGBUS);
    crashes("patient_trap", "SIGTRAP", libc::SIGTRAP);
    crashes("patient_divides", "SIGFPE", libc::SIGFPE);
    crashes("patient_illegal", "SIGILL", libc::SIGILL);
    // std tells the overflow by its handler, which ours goes on to, and aborts.
    let stderr = crashes("patient_overflow", "SIGSEGV", libc::SIGABRT);
    assert!(stderr.contains("has overflowed its stack"), "{stderr}");
}

#[test]
#[ignore = "run by a test below, in a process of its own"]
fn patient_exits() {
    let _recorder = folder_of_patient();
    std::process::exit(3);
}

#[test]
fn an_exit_that_was_not_announced_is_no_kill() {
    let folder = tempfile::tempdir().unwrap();
    let output = start("crash::patient_exits", folder.path()).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let newest = History::settle(folder.path()).post_mortems.remove(0);
    assert_eq!((newest.cause, newest.certainty), (Cause::Stopped, Certainty::Certain), "{newest:?}");
    assert!(newest.evidence[0].contains("exited by itself"), "{newest:?}");
}
