//! Logs, traces, metrics and the HTTP middleware.

pub mod http;
pub mod logs;
pub mod metrics;
pub mod traces;
