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
    routes: RwLock<HashMap<String, RouteTotals>>,
}

/// What the requests of one route have allocated and freed so far. Clones are the same sum.
#[derive(Debug, Clone, Default)]
pub struct RouteTotals(Arc<Totals>);

#[derive(Debug, Default)]
struct Totals {
    requests: AtomicU64,
    allocated_bytes: AtomicU64,
    freed_bytes: AtomicU64,
}

impl RouteTotals {
    /// Adds one request that is over.
    pub fn add(&self, measured: Measured) {
        self.0.requests.fetch_add(1, Relaxed);
        self.0.allocated_bytes.fetch_add(measured.allocated_bytes, Relaxed);
        self.0.freed_bytes.fetch_add(measured.freed_bytes, Relaxed);
    }

    /// Requests that are over.
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Relaxed)
    }

    /// Bytes that they allocated.
    pub fn allocated_bytes(&self) -> u64 {
        self.0.allocated_bytes.load(Relaxed)
    }

    /// Bytes that they freed until their answers were sent.
    pub fn freed_bytes(&self) -> u64 {
        self.0.freed_bytes.load(Relaxed)
    }

    fn as_route(&self, route: &str) -> Route {
        let (requests, allocated_bytes, freed_bytes) =
            (self.requests(), self.allocated_bytes(), self.freed_bytes());
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

/// Adds one request to its route's sums when it is over.
#[derive(Debug)]
pub struct Counted(RouteTotals);

impl Sink for Counted {
    fn finish(self, measured: Measured) {
        let Self(totals) = self;
        totals.add(measured);
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
        Counted(self.of(request.extensions.get::<MatchedPath>().map(MatchedPath::as_str)))
    }

    /// The sums of the route of that pattern, or of what no route takes.
    pub fn of(&self, route: Option<&str>) -> RouteTotals {
        let route = route.unwrap_or(NO_ROUTE);
        let known = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(route).cloned();
        known.unwrap_or_else(|| {
            let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
            routes.entry(route.to_owned()).or_default().clone()
        })
    }

    /// All routes that were asked for, the one that keeps most first.
    pub fn routes(&self) -> Vec<Route> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let asked = routes.iter().filter(|(_, totals)| totals.requests() > 0);
        let mut routes: Vec<_> = asked.map(|(route, totals)| totals.as_route(route)).collect();
        routes.sort_by(|a, b| (b.retained_bytes, &a.route).cmp(&(a.retained_bytes, &b.route)));
        routes
    }
}
