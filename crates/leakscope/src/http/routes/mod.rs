//! The routes: the table of them, the guard before them, and what is answered where there is none.
//!
//! Each handler, in the files below, asks one part of the instrument and answers with a type that has a schema.

use std::{
    future::{Ready, ready},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use http::StatusCode;
use serde::Serialize;

#[cfg(feature = "utoipa")]
use super::ErrorBody;
use super::{Error, parts::Parts};

mod heap;
mod memory;
mod runs;

type Scope = State<Arc<Parts>>;
type Answer<T> = Result<Json<T>, Error>;

struct Route {
    method: &'static str,
    path: &'static str,
    about: &'static str,
    handler: fn() -> MethodRouter<Arc<Parts>>,
}

const fn route(
    method: &'static str,
    path: &'static str,
    about: &'static str,
    handler: fn() -> MethodRouter<Arc<Parts>>,
) -> Route {
    Route { method, path, about, handler }
}

/// All there are: what is served, what `GET /debug` lists, and what an error proposes.
const ROUTES: [Route; 10] = [
    route("GET", "/debug", "these routes, and what can't be done in this program", || get(index)),
    route("GET", "/debug/memory", "what is held: parts that sum to RSS", || get(memory::memory)),
    route("GET", "/debug/memory/snapshot", "who allocated what is held; by, limit", || get(heap::snapshot)),
    route("POST", "/debug/memory/baseline", "sets what diffs compare with", || post(heap::baseline)),
    route("GET", "/debug/memory/diff", "what grew since the baseline; by, limit", || get(heap::diff)),
    route("GET", "/debug/memory/trend", "whether it grows, and when it runs out; window", || {
        get(memory::trend)
    }),
    route("GET", "/debug/post-mortem", "how the last run ended; n", || get(runs::post_mortem)),
    route("GET", "/debug/requests", "what requests keep, by route", || get(runs::requests)),
    route("GET", "/debug/pprof/heap", "a profile for go tool pprof; seconds", || get(heap::profile)),
    route("GET", "/debug/pprof/flamegraph", "an SVG; base", || get(heap::flamegraph)),
];

/// The routes as an OpenAPI document, to merge into a service's own.
#[cfg(feature = "utoipa")]
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(
        info(title = "leakscope", description = "Memory of a running service"),
        paths(
            index,
            memory::memory,
            memory::trend,
            heap::snapshot,
            heap::baseline,
            heap::diff,
            heap::profile,
            heap::flamegraph,
            runs::post_mortem,
            runs::requests
        )
    )]
    struct Document;
    <Document as utoipa::OpenApi>::openapi()
}

/// The routes behind the guard, for a router that has others too.
pub(super) fn router(parts: &Arc<Parts>) -> Router {
    let routes =
        ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, (route.handler)()));
    guarded(routes.method_not_allowed_fallback(method_not_allowed), parts)
}

/// The routes alone on a listener.
pub(super) fn site(parts: &Arc<Parts>) -> Router {
    router(parts).merge(guarded(Router::new().fallback(unknown_route), parts))
}

fn guarded(routes: Router<Arc<Parts>>, parts: &Arc<Parts>) -> Router {
    routes.layer(from_fn_with_state(Arc::clone(parts), check)).with_state(Arc::clone(parts))
}

async fn check(State(parts): Scope, request: Request, next: Next) -> Response {
    let verdict = parts.guard.check(&request);
    match verdict {
        Ok(()) => next.run(request).await,
        Err(refused) => Error::from(refused).into_response(),
    }
}

async fn unknown_route(request: Request) -> Error {
    let message = format!("there is no {} {}", request.method(), request.uri().path());
    let routes: Vec<_> = ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    Error::new(StatusCode::NOT_FOUND, "unknown_route", message, format!("one of {}", routes.join(", ")))
}

async fn method_not_allowed(request: Request) -> Error {
    let path = request.uri().path();
    let message = format!("{path} does not take {}", request.method());
    Error::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message, method_of(path))
}

/// The method that a path takes, which may lie below another one.
fn method_of(path: &str) -> &'static str {
    ROUTES.iter().find(|route| path.ends_with(route.path)).map_or("GET", |route| route.method)
}

/// The routes that there are, and what can't be done in this program.
#[derive(Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Index))]
struct Index {
    routes: Vec<Listed>,
    /// What can't be done in this program, each with what would help.
    problems: Vec<String>,
}

/// One route.
#[derive(Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Route))]
struct Listed {
    method: &'static str,
    path: &'static str,
    about: &'static str,
}

/// The routes that there are, and what can't be done in this program.
///
/// It is not `async`: its type would then follow from the list that it is in.
#[cfg_attr(
    feature = "utoipa",
    utoipa::path(
        get,
        path = "/debug",
        tag = "memory",
        responses(
            (status = 200, body = Index),
            (status = 403, body = ErrorBody, description = "The guard refuses the request"),
        )
    )
)]
fn index(State(parts): Scope) -> Ready<Json<Index>> {
    let listed = |route: &Route| Listed { method: route.method, path: route.path, about: route.about };
    ready(Json(Index { routes: ROUTES.iter().map(listed).collect(), problems: parts.problems.clone() }))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower_service::Service;

    use super::*;
    use crate::Leakscope;

    #[tokio::test]
    async fn merged_into_a_router_they_are_guarded_and_leave_its_other_routes_alone() {
        let leakscope = Leakscope::builder().allow_host("Shop.internal").on_problem(|_| {}).start();
        let own = Router::new().route("/", get(|| async { "own" })).fallback(|| async { "no such page" });
        let mut service = own.layer(leakscope.layer()).merge(leakscope.router());
        let mut ask = async |path: &str, host: &str| {
            let request = Request::builder().uri(path).header("host", host).body(Body::empty()).unwrap();
            service.call(request).await.unwrap()
        };
        for (path, host, status) in [
            ("/debug", "localhost", 200),
            ("/debug/memory", "shop.internal:80", 200),
            ("/debug/requests", "evil.example", 403),
            ("/", "evil.example", 200),
            ("/nothing", "evil.example", 200),
        ] {
            assert_eq!(ask(path, host).await.status().as_u16(), status, "{path} {host}");
        }
        let counted = ask("/debug/requests", "localhost").await.into_body();
        let counted = axum::body::to_bytes(counted, 1 << 20).await.unwrap();
        let counted: serde_json::Value = serde_json::from_slice(&counted).unwrap();
        assert_eq!(counted["requests"], 2, "its own routes don't count");
    }

    #[test]
    fn a_path_below_another_one_takes_its_method() {
        assert_eq!(method_of("/debug/memory/baseline"), "POST");
        assert_eq!(method_of("/ops/debug/memory/baseline"), "POST");
        assert_eq!(method_of("/debug/memory"), "GET");
    }

    #[cfg(feature = "utoipa")]
    #[test]
    fn the_document_has_every_route_and_no_other() {
        let document = serde_json::to_value(openapi()).unwrap();
        let paths = document["paths"].as_object().unwrap().iter();
        let mut documented: Vec<_> = paths
            .flat_map(|(path, item)| {
                item.as_object()
                    .unwrap()
                    .keys()
                    .map(move |method| format!("{} {path}", method.to_uppercase()))
            })
            .collect();
        let mut served: Vec<_> =
            ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        documented.sort();
        served.sort();
        assert_eq!(documented, served);
    }
}
