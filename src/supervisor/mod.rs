//! The lab: runs the service as a child under a memory limit where no container does, tells what ends it, and starts it
//! again.
//!
//! It knows the service as anybody outside does: a program that listens on an address and answers `/readyz` and
//! `/metrics`. Nothing of the leaks' code is used here, and of the instrument only what looks at another process:
//! `leakscope::proc`, and the recorder's words for how a process ended.

mod backoff;
mod cgroup;
mod console;
mod ending;
mod enforcer;
mod lab;
mod lifeline;
mod plan;
mod poll;
mod recent;
mod service;
mod signals;
mod watcher;

pub use console::Console;
pub use ending::Ending;
pub use enforcer::Enforce;
pub use lab::{DescribeEnd, Failure, run};
pub use lifeline::{Supervised, die_with_parent};
pub use plan::{LabPlan, reachable};
