//! The heap is process-wide, so each case runs in a process of its own: a test starts its own binary again, with one
//! ignored test as the patient.
#![allow(dead_code)] // each test binary uses its own part

use std::process::Command;

/// Runs the ignored test `patient` of this binary alone in a fresh process, with these environment variables, and fails
/// with its output if it fails.
#[track_caller]
pub fn run_alone(patient: &str, environment: &[(&str, &str)]) {
    let output = Command::new(std::env::current_exe().expect("the test binary's path"))
        .args(["--exact", patient, "--ignored", "--nocapture", "--test-threads=1"])
        .env_remove("_RJEM_MALLOC_CONF")
        .envs(environment.iter().copied())
        .output()
        .expect("the test binary starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{patient}: {}\n{stdout}\n{stderr}", output.status);
    assert!(stdout.contains("1 passed"), "there is no patient {patient}: {stdout}");
    print!("{stdout}");
}

/// jemalloc's sample interval by the environment.
pub fn lg_sample(lg: &'static str) -> (&'static str, &'static str) {
    match lg {
        "14" => ("_RJEM_MALLOC_CONF", "lg_prof_sample:14"),
        "16" => ("_RJEM_MALLOC_CONF", "lg_prof_sample:16"),
        other => panic!("no test samples at {other}"),
    }
}
