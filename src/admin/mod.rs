//! The service's own routes: its health, its metrics, its memory, the switches of its leaks, and the labs' checks.
//!
//! Handlers read the instrument and the leaks' registry, and turn what they say into the JSON of the contract.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use leakscope::http::Guard;
use utoipa_axum::router::OpenApiRouter;

use crate::{app::App, http::error::Error};

mod diff;
pub mod docs;
pub mod health;
mod labs;
mod leak_state;
mod leaks;
mod memory;
mod post_mortem;
pub mod profiles;
mod sizes;
mod snapshot;
mod trend;

/// Routes that answer to everybody: health, metrics and documentation.
pub fn open_routes() -> OpenApiRouter<Arc<App>> {
    health::routes().merge(docs::routes())
}

/// Routes under `/admin`; mount them behind [`guard`].
pub fn guarded_routes() -> OpenApiRouter<Arc<App>> {
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
    let names = std::iter::once(IN_COMPOSE.to_owned()).chain(allowed_hosts.iter().cloned());
    let guard = Arc::new(Guard::new(names.collect()));
    routes.layer(from_fn_with_state(guard, check))
}

/// The service's host name where its containers talk to each other.
const IN_COMPOSE: &str = "leaky-service";

async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => Error::from(refused).into_response(),
    }
}
