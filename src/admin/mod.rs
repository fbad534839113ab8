//! The service's own routes: its health, its metrics, its memory, the switches of its leaks, and the labs' checks.
//!
//! Handlers read the instrument and the leaks' registry, and turn what they say into the JSON of the contract. Each takes those of
//! the [`Parts`] that it needs.

use std::sync::Arc;

use axum::{
    extract::{FromRef, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use leakscope::{
    Instrument,
    http::{Guard, Hosts},
    instrument::Profiles,
};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    http::{error, lifecycle::Lifecycle},
    labs::Labs,
    leaks::Registry,
    recording::Recording,
    telemetry::{
        ServiceName,
        metrics::{Metrics, Sources},
    },
};

mod diff;
pub mod docs;
pub mod health;
mod labs;
mod leak_state;
mod leaks;
mod memory;
pub mod permission;
mod post_mortem;
pub mod profiles;
mod sizes;
mod snapshot;
mod trend;

/// What the routes take from the application. Clones share it.
#[derive(Clone, FromRef)]
#[expect(missing_docs, reason = "the types say what the parts are")]
pub struct Parts {
    pub service: ServiceName,
    pub lifecycle: Lifecycle,
    pub document: Arc<docs::Document>,
    pub metrics: Arc<Metrics>,
    pub sources: Sources,
    pub leaks: Arc<Registry>,
    pub permission: permission::Permission,
    pub recording: Arc<Recording>,
    pub labs: Arc<Labs>,
    pub instrument: Instrument,
    pub profiles: Arc<Profiles>,
    pub fresh_profile: Arc<profiles::FreshProfile>,
    pub rss_at_start: RssAtStart,
}

/// Resident memory when the process had just started.
#[derive(Debug, Clone, Copy)]
pub struct RssAtStart {
    /// In bytes.
    pub bytes: u64,
}

/// Routes that answer to everybody: health, metrics and documentation.
pub fn open_routes() -> OpenApiRouter<Parts> {
    health::routes().merge(docs::routes())
}

/// Routes under `/admin`; mount them behind [`guard`].
pub fn guarded_routes() -> OpenApiRouter<Parts> {
    leaks::routes()
        .merge(memory::routes())
        .merge(snapshot::routes())
        .merge(diff::routes())
        .merge(trend::routes())
        .merge(post_mortem::routes())
        .merge(labs::routes())
}

/// Puts the host and origin guard in front of routes.
pub fn guard<S>(routes: OpenApiRouter<S>, allowed_hosts: &[String]) -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    routes.layer(from_fn_with_state(Arc::new(known_hosts(allowed_hosts)), check))
}

/// What decides which requests the guarded routes answer: those that name a loopback host, the service in Compose, or a host of the
/// list. Requests that a proxy has passed on are answered only if there is a list: it says that the service is meant to be
/// reached from elsewhere.
pub fn known_hosts(allowed_hosts: &[String]) -> Guard {
    let guard = Guard::default().hosts(Hosts::Loopback).allow_host(IN_COMPOSE);
    match allowed_hosts {
        [] => guard,
        hosts => hosts.iter().fold(guard.allow_forwarded(), Guard::allow_host),
    }
}

/// The service's host name where its containers talk to each other.
const IN_COMPOSE: &str = "leaky-service";

async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let verdict = guard.check(&request);
    match verdict {
        Ok(()) => next.run(request).await,
        Err(why) => error::refused(why).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_passed_on_is_answered_only_where_a_host_is_listed() {
        let by_proxy = |host: &str| {
            let request = Request::builder().header("host", host).header("x-forwarded-for", "192.0.2.1");
            request.body(()).expect("a request")
        };
        let (none, lab) = (known_hosts(&[]), known_hosts(&["lab.example".to_owned()]));
        for host in ["localhost:8080", "leaky-service:8080"] {
            assert_eq!(none.check(&by_proxy(host)).map_err(|why| why.code()), Err("forwarded"), "{host}");
        }
        assert_eq!(lab.check(&by_proxy("lab.example")), Ok(()));
        assert!(lab.check(&by_proxy("10.0.0.1:8080")).is_err(), "an address is not listed");
    }
}
