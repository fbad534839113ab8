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
use leakscope::{Instrument, http::Guard, instrument::Profiles};
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

/// Those that the guarded routes answer to.
pub fn known_hosts(allowed_hosts: &[String]) -> Guard {
    let names = std::iter::once(IN_COMPOSE.to_owned()).chain(allowed_hosts.iter().cloned());
    Guard::new(names.collect())
}

/// The service's host name where its containers talk to each other.
const IN_COMPOSE: &str = "leaky-service";

async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(why) => error::refused(why).into_response(),
    }
}
