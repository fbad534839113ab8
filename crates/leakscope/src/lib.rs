#![cfg_attr(all(feature = "axum", feature = "jemalloc"), doc = include_str!("../README.md"))]
//!
//! # The rooms
//!
//! - [`Instrument`]: all of it as one value, without HTTP.
//! - [`memory`]: **what is held?** One report in which the parts sum to RSS exactly.
//! - [`heap`]: **who allocated what is still held?** Snapshots and diffs by line, and their formats.
//! - [`mod@jemalloc`]: the sampling profiler that the snapshots come from, and the allocator's books (feature `jemalloc`, on by
//!   default; without it they say that they are not there, and nothing needs a C compiler).
//! - [`trend`]: **when does it run out?** Slope, bytes per request and time to the limit, from samples.
//! - [`quantity`]: what is read of the process again and again.
//! - [`recorder`]: **what was left?** A journal on disk that survives the process, and a post-mortem.
//! - `request` (feature `tower`): how much of what one request allocated is still there when it is over.
//! - [`proc`]: what the kernel says of any process and its cgroup; [`memory`] reads this process with it.
//! - `http` (feature `axum`): all of it over HTTP.
//!
//! It asks the operating system and the allocator, never the program under study.

pub mod heap;
#[cfg(feature = "axum")]
pub mod http;
pub mod instrument;
pub mod jemalloc;
pub mod memory;
pub mod proc;
pub mod quantity;
pub mod recorder;
#[cfg(feature = "tower")]
pub mod request;
pub mod trend;

mod lock;
#[cfg(feature = "jemalloc")]
mod macros;

#[cfg(feature = "axum")]
pub use http::Leakscope;
pub use instrument::Instrument;

/// What the macro's expansion names; not for use.
#[cfg(feature = "jemalloc")]
#[doc(hidden)]
pub mod __private {
    pub use tikv_jemallocator::Jemalloc;
}
