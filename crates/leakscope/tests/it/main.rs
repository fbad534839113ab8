//! The tests of the instrument in a program that allocates with jemalloc, linked once.
//!
//! Tests here run next to each other. What looks at its own process's heap, memory or cgroup runs in a process in which it
//! is alone: `support::alone` starts this program again for one test. Programs with another allocator are in
//! `tests/other_allocator`, programs that this workspace can't build in `tests/otherwise`.

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod heap_attribution;
mod heap_profiler;
mod memory;
mod memory_cgroup;
#[cfg(feature = "axum")]
mod mount;
mod recorder;
#[cfg(feature = "tower")]
mod request;
#[cfg(feature = "tower")]
mod request_cost;
mod trend;

leakscope::jemalloc!();
