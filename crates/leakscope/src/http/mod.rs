//! The whole instrument over HTTP, for an axum service that mounts it: [`Leakscope`] starts it, routes and guards it.
//!
//! Requests are turned into questions to the other rooms, and answers into JSON, pprof or SVG; nothing is measured here.
//! Routes of a service's own can be built from the same parts: [`Guard`], [`pprof`], [`Parameters`], [`Error`],
//! [`off_runtime()`]. With the feature `utoipa`, `openapi()` describes the routes for a service's own document.
//!
//! | route | answer |
//! |---|---|
//! | `GET /debug` | the routes, and what can't be done in this program |
//! | `GET /debug/memory` | what is held: process, cgroup, jemalloc, limit, and the parts that sum to RSS |
//! | `GET /debug/memory/snapshot` | who allocated it; `?by=` `line`, `function`, `file` or `stack`, `?limit=20` |
//! | `POST /debug/memory/baseline` | sets what diffs compare with |
//! | `GET /debug/memory/diff` | what grew since the baseline; the same parameters |
//! | `GET /debug/memory/trend` | whether it grows, and when it runs out; `?window=300` seconds |
//! | `GET /debug/post-mortem` | how the last run ended; `?n=2` for the one before it |
//! | `GET /debug/requests` | what requests keep, by route |
//! | `GET /debug/pprof/heap` | a profile for `go tool pprof`; `?seconds=30` for what grows meanwhile |
//! | `GET /debug/pprof/flamegraph` | an SVG; `?base=baseline` for what changed |
//!
//! No GET sets a baseline. Which requests are refused is said at [`Guard`].

mod error;
mod guard;
mod mount;
mod off_runtime;
mod parts;
pub mod pprof;
mod query;
mod requests;
mod routes;

pub use error::{Error, ErrorBody, ErrorDetail};
pub use guard::{Guard, Hosts, Refused};
pub use mount::{Builder, Leakscope};
pub use off_runtime::off_runtime;
pub use query::{Fields, Parameters};
pub use requests::{Counted, RouteTotals};
#[cfg(feature = "utoipa")]
pub use routes::openapi;
