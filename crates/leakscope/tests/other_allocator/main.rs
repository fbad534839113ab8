//! A program whose allocator is not jemalloc. jemalloc is linked and answers, but its figures mean nothing: each part says so.

#[path = "../support/mod.rs"]
mod support;

mod heap;
mod memory;
#[cfg(feature = "tower")]
mod request;
