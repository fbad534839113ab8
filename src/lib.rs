//! leaklab: a service with memory bugs that can be switched on and off, and the lab around it.
//!
//! The patient is [`workload`] and [`leaks`]; the instrument is the crate `leakscope`, which knows nothing of them. [`labs`]
//! judge what a learner did with both.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod http;
pub mod labs;
pub mod leaks;
pub mod load;
pub mod post_mortem;
pub mod recording;
pub mod supervisor;
pub mod telemetry;
pub mod vitals;
pub mod workload;

/// The code of the takeaways is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../labs/takeaways.md")]
struct Takeaways;
