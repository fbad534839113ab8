//! The tests of the service, in one program that is linked once.
//!
//! A test gets a program of its own, in `tests/`, only where it needs another allocator or another build, and says so in its
//! first lines. Tests here may run next to each other: each has its own port, data folder and process. No test may
//! change this process's environment, working folder or signals, or measure this process's memory.

#[path = "../support/otlp.rs"]
mod otlp;
#[path = "../support/mod.rs"]
mod support;

mod in_process;

mod cli;
mod contract;
mod document;
mod errors;
mod kills;
mod lab;
mod labs;
mod live_leaks;
mod live_trend;
mod load;
mod metrics;
mod post_mortem;
mod pprof;
mod routes;
mod server;
mod soak;
mod telemetry_logs;
mod traces;
