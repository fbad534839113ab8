//! What requests keep, by route: sums over all that are over.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::extract::MatchedPath;
use http::request::Parts;
use serde::Serialize;

use crate::request::{Measured, Sink};

/// Requests that no route took: their paths are the clients' choice, and may be any number.
const NO_ROUTE: &str = "(no route)";

/// One sum for each route, by its pattern, of which a program has a fixed number.
#[derive(Debug, Default)]
pub(super) struct Requests {
    routes: RwLock<HashMap<String, Arc<Totals>>>,
}

#[derive(Debug, Default)]
struct Totals {
    requests: AtomicU64,
    allocated_bytes: AtomicU64,
    freed_bytes: AtomicU64,
}

/// Adds one request to its route's sums when it is over.
#[derive(Debug)]
pub struct Counted(Arc<Totals>);

impl Sink for Counted {
    fn finish(self, measured: Measured) {
        let Self(totals) = self;
        totals.requests.fetch_add(1, Relaxed);
        totals.allocated_bytes.fetch_add(measured.allocated_bytes, Relaxed);
        totals.freed_bytes.fetch_add(measured.freed_bytes, Relaxed);
    }
}

/// The sums of one route over all its requests that are over.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::RequestsOfRoute))]
pub(super) struct Route {
    /// Pattern of the route, or `(no route)`.
    route: String,
    requests: u64,
    allocated_bytes: u64,
    /// Freed until the answers were sent.
    freed_bytes: u64,
    /// The difference of the two.
    retained_bytes: i64,
    retained_bytes_per_request: f64,
}

impl Requests {
    pub fn begin(&self, request: &Parts) -> Counted {
        let route = request.extensions.get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str);
        let known = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(route).cloned();
        Counted(known.unwrap_or_else(|| {
            let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(routes.entry(route.to_owned()).or_default())
        }))
    }

    /// All routes that were asked for, the one that keeps most first.
    pub fn routes(&self) -> Vec<Route> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let mut routes: Vec<_> = routes.iter().map(|(route, totals)| totals.as_route(route)).collect();
        routes.sort_by(|a, b| (b.retained_bytes, &a.route).cmp(&(a.retained_bytes, &b.route)));
        routes
    }
}

impl Totals {
    fn as_route(&self, route: &str) -> Route {
        let [requests, allocated_bytes, freed_bytes] =
            [&self.requests, &self.allocated_bytes, &self.freed_bytes].map(|total| total.load(Relaxed));
        let retained_bytes = Measured { allocated_bytes, freed_bytes }.retained_bytes();
        Route {
            route: route.to_owned(),
            requests,
            allocated_bytes,
            freed_bytes,
            retained_bytes,
            retained_bytes_per_request: retained_bytes as f64 / requests.max(1) as f64,
        }
    }
}
