//! What tests share that need a process of their own.

use std::{
    env,
    process::{Command, Output},
};

const ROLE: &str = "LEAKSCOPE_TEST_ROLE";

/// Runs `body` in a process in which only the test `name` (with its modules) runs, with these environment variables and none of
/// jemalloc's from outside.
#[track_caller]
#[allow(dead_code, reason = "not every test binary uses all of this")]
pub fn alone(name: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
    if role().is_some() {
        return body();
    }
    let output = start(name, "alone", environment);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Runs the test `name` once more in a process of its own, in which [`role`] is `role`.
#[track_caller]
pub fn start(name: &str, role: &str, environment: &[(&str, &str)]) -> Output {
    Command::new(env::current_exe().expect("the test binary has a path"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env_remove("_RJEM_MALLOC_CONF")
        .env(ROLE, role)
        .envs(environment.iter().copied())
        .output()
        .expect("the test binary starts")
}

/// Keeps huge pages away: they make more resident than was touched.
#[allow(dead_code, reason = "not every test binary uses all of this")]
pub fn no_huge_pages() {
    // SAFETY: prctl(2) with this option changes how this process's mappings are filled from now on, nothing else.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// What this process was started for; `None` in the first one.
pub fn role() -> Option<String> {
    env::var(ROLE).ok()
}
