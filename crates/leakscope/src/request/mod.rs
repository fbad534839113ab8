//! What one request allocated and freed, and so what it left behind.
//!
//! [`RequestAccounting`] is a tower layer. It reads jemalloc's per-thread counters at both edges of each poll of the
//! request's future and of its response body, so that a request is followed across awaits and threads, and requests
//! that share a thread don't mix. A request is over when its response body has been dropped and the server has let go
//! of the last byte of it; a [`Sink`] is told then, once, also when the handler panicked or the client went away.
//! This module knows of HTTP and of the allocator, and of no particular service, metric or tracer.
//!
#![cfg_attr(feature = "jemalloc", doc = "```no_run")]
#![cfg_attr(not(feature = "jemalloc"), doc = "```ignore")]
//! use axum::{Router, routing::get};
//! use leakscope::request::{Measured, RequestAccounting};
//!
//! leakscope::jemalloc!();
//!
//! # async fn serve() -> std::io::Result<()> {
//! if let Err(reason) = leakscope::request::available() {
//!     eprintln!("requests are not measured: {reason}");
//! }
//! let accounting = RequestAccounting::new(|request: &http::request::Parts| {
//!     // Taken before the handler runs: the span to write to, a label, whatever the end of the request needs.
//!     // (A metric's label is the route, not the path: axum has it as `MatchedPath` in the request's extensions.)
//!     let path = request.uri.path().to_owned();
//!     move |measured: Measured| {
//!         println!("{path} kept {} B ({})", measured.retained_bytes(), measured.retained_class());
//!     }
//! });
//! let app = Router::new().route("/", get(|| async { "hello" })).layer(accounting);
//! axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8080").await?, app).await
//! # }
//! ```
//!
//! A span that shall carry the figures must still be open when the response body has been sent, which is later than
//! when the handler returns: let the sink own it, and end it there.
//!
//! # What counts
//!
//! Everything that the layered service allocates and frees while it is called or polled, in jemalloc's size classes
//! (5,000 bytes are 5,120), and:
//!
//! - **What came in is not freed by the request.** The service gets a copy of the request's head; the server's own is
//!   held until the request is over. A request body counts by length, as though the service had allocated what it reads
//!   of it: kept, it is retained.
//! - **What goes out is not kept by the request.** The server gets a copy of the response's head. Data of the response
//!   body counts as freed when the server drops it, if that frees anything: static data and slices of a cache don't.
//! - **Layers nest.** An outer one counts all that happens inside. Sinks, and what makes them, count for nobody.
//!
//! # What it can't see
//!
//! - What another task or thread allocates or frees: `tokio::spawn`, `spawn_blocking`, a channel's receiver. A buffer that
//!   the request allocates and a worker frees later reads as retained; one that a worker allocates and the request
//!   frees reads as negative. A figure is one request's, a sum over many tells more.
//! - Whose growth it is: the request in which a shared map doubles, or in which a runtime's queue grows, pays in full.
//! - How much of the server's read buffer a kept slice of the request's head or body pins.
//! - Memory that is not allocated through jemalloc, and what an upgraded connection does after its response.
//!
//! # What it costs
//!
//! About 0.5 microseconds of processor time for a request with one header and 0.8 for one with eight, measured on a
//! busy two-core machine by `cargo test --release -p leakscope --test it request_cost -- --ignored --nocapture`. Most of it
//! is the copies of the two heads; a further poll is two reads of the counters at each edge. No body is copied. The
//! layer's own memory counts for nobody but a layer around it: some 400 bytes, the original head with the part of the
//! server's read buffer that it is a slice of, and 64 bytes for each frame of the response that the server has not yet
//! sent. It is held until the request is over, so a response that streams for hours holds it, and whatever is in the
//! request's extensions, as long.

mod account;
mod body;
mod head;
mod layer;
mod thread;

use std::fmt;

pub use crate::jemalloc::Unavailable;
pub use body::{RequestBody, ResponseBody};
pub use layer::{Accounted, RequestAccounting, ResponseFuture, call};
pub use thread::available;

/// What a request allocated and freed, in bytes of jemalloc's size classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Bytes allocated on the request's behalf, and read of its body.
    pub allocated_bytes: u64,
    /// Bytes freed on its behalf, whoever had allocated them.
    pub freed_bytes: u64,
}

impl Measured {
    /// Bytes allocated less bytes freed. Negative where the request freed what others had allocated, such as an older
    /// entry of a cache.
    pub fn retained_bytes(&self) -> i64 {
        // The true difference fits: nothing allocates 2^63 bytes.
        self.allocated_bytes.wrapping_sub(self.freed_bytes) as i64
    }

    /// The class of [`retained_bytes`](Self::retained_bytes), to search by.
    ///
    /// ```
    /// # use leakscope::request::Measured;
    /// let kept_a_page = Measured { allocated_bytes: 10_000, freed_bytes: 5_904 };
    /// assert_eq!(kept_a_page.retained_class().as_str(), "4_64KiB");
    /// ```
    pub fn retained_class(&self) -> RetainedClass {
        match self.retained_bytes() {
            ..=512 => RetainedClass::None,
            513..4096 => RetainedClass::Under4KiB,
            4096..=65536 => RetainedClass::From4To64KiB,
            _ => RetainedClass::Over64KiB,
        }
    }
}

/// How much a request left behind, coarsely: tracing backends search tags by equality only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RetainedClass {
    /// 512 bytes or fewer, negative ones too.
    None,
    /// 513 to 4,095 bytes.
    Under4KiB,
    /// 4,096 to 65,536 bytes.
    From4To64KiB,
    /// 65,537 bytes or more.
    Over64KiB,
}

impl RetainedClass {
    /// All of them, the smallest first.
    pub const ALL: [Self; 4] = [Self::None, Self::Under4KiB, Self::From4To64KiB, Self::Over64KiB];

    /// The class as a tag's value: `none`, `lt_4KiB`, `4_64KiB` or `gt_64KiB`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Under4KiB => "lt_4KiB",
            Self::From4To64KiB => "4_64KiB",
            Self::Over64KiB => "gt_64KiB",
        }
    }
}

impl fmt::Display for RetainedClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Is told what a request allocated and freed. Any `FnOnce(Measured)` is one.
pub trait Sink: Send + Sync + 'static {
    /// Called exactly once, when the request is over, on whatever thread ended it. It must neither block nor panic: it
    /// runs inside a drop, possibly while a panic of the handler unwinds.
    fn finish(self, measured: Measured);
}

impl<F: FnOnce(Measured) + Send + Sync + 'static> Sink for F {
    fn finish(self, measured: Measured) {
        self(measured);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(allocated_bytes: u64, freed_bytes: u64) -> &'static str {
        Measured { allocated_bytes, freed_bytes }.retained_class().as_str()
    }

    #[test]
    fn classes_begin_and_end_where_they_say() {
        assert_eq!(class(0, 10), "none");
        assert_eq!((class(512, 0), class(513, 0)), ("none", "lt_4KiB"));
        assert_eq!((class(4095, 0), class(4096, 0)), ("lt_4KiB", "4_64KiB"));
        assert_eq!((class(65_536, 0), class(65_537, 0)), ("4_64KiB", "gt_64KiB"));
    }
}
