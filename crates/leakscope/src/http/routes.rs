//! The routes: each asks one room of the instrument, and turns its answer into JSON.

use std::{
    future::{Ready, ready},
    num::NonZeroUsize,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use axum::{
    Json, Router,
    extract::{Query, Request, State, rejection::QueryRejection},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Error, Leakscope,
    mount::Parts,
    pprof::{self, Base, NoProfile, Seconds},
    query::{Parameters, parameters},
};
use crate::{
    heap::{self, By, Growth, Site, Status},
    instrument::{Compared, Window},
    memory::{Limit, Report},
    recorder::PostMortem,
    request,
    trend::TrendReport,
};

type Scope = State<Leakscope>;
type Asked<T> = Result<Query<T>, QueryRejection>;
type Answer<T> = Result<Json<T>, Error>;

/// Places shown unless told otherwise.
const PLACES: usize = 20;

struct Route {
    method: &'static str,
    path: &'static str,
    about: &'static str,
    handler: fn() -> MethodRouter<Leakscope>,
}

const fn route(
    method: &'static str,
    path: &'static str,
    about: &'static str,
    handler: fn() -> MethodRouter<Leakscope>,
) -> Route {
    Route { method, path, about, handler }
}

/// All there are: what is served, what `GET /debug` lists, and what an error proposes.
const ROUTES: [Route; 10] = [
    route("GET", "/debug", "these routes, and what can't be done in this program", || get(index)),
    route("GET", "/debug/memory", "what is held: parts that sum to RSS", || get(memory)),
    route("GET", "/debug/memory/snapshot", "who allocated what is held; by, limit", || get(snapshot)),
    route("POST", "/debug/memory/baseline", "sets what diffs compare with", || post(baseline)),
    route("GET", "/debug/memory/diff", "what grew since the baseline; by, limit", || get(diff)),
    route("GET", "/debug/memory/trend", "whether it grows, and when it runs out; window", || get(trend)),
    route("GET", "/debug/post-mortem", "how the last run ended; n", || get(post_mortem)),
    route("GET", "/debug/requests", "what requests keep, by route", || get(requests)),
    route("GET", "/debug/pprof/heap", "a profile for go tool pprof; seconds", || get(heap)),
    route("GET", "/debug/pprof/flamegraph", "an SVG; base", || get(flamegraph)),
];

/// The routes behind the guard, for a router that has others too.
pub(super) fn router(scope: &Leakscope) -> Router {
    let routes =
        ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, (route.handler)()));
    guarded(routes.method_not_allowed_fallback(method_not_allowed), scope)
}

/// The routes alone on a listener.
pub(super) fn site(scope: &Leakscope) -> Router {
    router(scope).merge(guarded(Router::new().fallback(unknown_route), scope))
}

fn guarded(routes: Router<Leakscope>, scope: &Leakscope) -> Router {
    routes.layer(from_fn_with_state(scope.clone(), check)).with_state(scope.clone())
}

async fn check(State(scope): Scope, request: Request, next: Next) -> Response {
    match scope.parts().guard.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => Error::from(refused).into_response(),
    }
}

async fn unknown_route(request: Request) -> Error {
    Error::UnknownRoute { path: format!("{} {}", request.method(), request.uri().path()) }
}

async fn method_not_allowed(request: Request) -> Error {
    Error::MethodNotAllowed { path: request.uri().path().to_owned(), method: request.method().to_string() }
}

/// As an error proposes them.
pub(super) fn list() -> String {
    let routes = ROUTES.iter().map(|route| format!("{} {}", route.method, route.path));
    routes.collect::<Vec<_>>().join(", ")
}

/// The method that a path takes, which may lie below another one.
pub(super) fn method_of(path: &str) -> &'static str {
    ROUTES.iter().find(|route| path.ends_with(route.path)).map_or("GET", |route| route.method)
}

/// Runs what blocks for milliseconds (files under /proc, a heap dump, writing an event down) off the async threads.
///
/// # Panics
/// As `work` does.
pub async fn off_runtime<S: Send + Sync + 'static, T: Send + 'static>(
    state: &Arc<S>,
    work: impl FnOnce(&S) -> T + Send + 'static,
) -> T {
    let state = Arc::clone(state);
    match tokio::task::spawn_blocking(move || work(&state)).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Not `async`: its type would then follow from the list that it is in.
fn index(State(scope): Scope) -> Ready<Json<Value>> {
    let routes: Vec<_> = ROUTES
        .iter()
        .map(|route| json!({ "method": route.method, "path": route.path, "about": route.about }))
        .collect();
    ready(Json(json!({ "routes": routes, "problems": scope.problems() })))
}

#[derive(Serialize)]
struct Memory {
    #[serde(flatten)]
    report: Report,
    limit: Limit,
    profiler: Status,
}

async fn memory(State(scope): Scope) -> Json<Memory> {
    let read = |parts: &Parts| Memory {
        report: Arc::unwrap_or_clone(parts.instrument.memory()),
        limit: parts.instrument.limit(),
        profiler: parts.instrument.profiles().profiler().status().clone(),
    };
    Json(off_runtime(scope.parts(), read).await)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Places {
    #[serde(default)]
    by: By,
    limit: Option<usize>,
}

impl Parameters for Places {
    const EXPECTED: &'static str = "by=line, by=function, by=file or by=stack, and limit=20";
}

#[derive(Serialize)]
struct Snapshot {
    total_bytes: u64,
    total_count: u64,
    by: By,
    sites: Vec<Site>,
}

async fn snapshot(State(scope): Scope, query: Asked<Places>) -> Answer<Snapshot> {
    let Places { by, limit } = parameters(query)?;
    let taken = move |parts: &Parts| {
        let snapshot = parts.instrument.profiles().take()?;
        parts.record("snapshot", json!({ "total_bytes": snapshot.total_bytes }));
        let mut sites = snapshot.sites(by);
        sites.truncate(limit.unwrap_or(PLACES));
        let (total_bytes, total_count) = (snapshot.total_bytes, snapshot.total_count);
        Ok(Json(Snapshot { total_bytes, total_count, by, sites }))
    };
    off_runtime(scope.parts(), taken).await.map_err(no_profile)
}

fn no_profile(error: heap::Error) -> Error {
    NoProfile::from(error).into()
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Diff {
    BaselineSet { total_bytes: u64 },
    Compared { by: By, baseline_age_seconds: f64, total_bytes_diff: i128, growing: Vec<Growth> },
}

async fn baseline(State(scope): Scope) -> Answer<Diff> {
    let set = |parts: &Parts| {
        let now = parts.instrument.profiles().take()?;
        parts.instrument.profiles().set_baseline(Arc::clone(&now));
        Ok(Json(baseline_set(parts, &now)))
    };
    off_runtime(scope.parts(), set).await.map_err(no_profile)
}

fn baseline_set(parts: &Parts, now: &heap::Snapshot) -> Diff {
    parts.record("baseline", json!({ "total_bytes": now.total_bytes }));
    Diff::BaselineSet { total_bytes: now.total_bytes }
}

async fn diff(State(scope): Scope, query: Asked<Places>) -> Answer<Diff> {
    let Places { by, limit } = parameters(query)?;
    let compared = move |parts: &Parts| {
        let Compared { base, now } = parts.instrument.profiles().compare(false)?;
        let Some(base) = base else { return Ok(Json(baseline_set(parts, &now))) };
        let total_bytes_diff = i128::from(now.total_bytes) - i128::from(base.total_bytes);
        parts.record("diff", json!({ "total_bytes_diff": total_bytes_diff }));
        Ok(Json(Diff::Compared {
            by,
            baseline_age_seconds: base.age().as_secs_f64(),
            total_bytes_diff,
            growing: heap::growing(&base, &now, by, limit.unwrap_or(PLACES)),
        }))
    };
    off_runtime(scope.parts(), compared).await.map_err(no_profile)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Back {
    #[serde(default)]
    window: Window,
}

impl Parameters for Back {
    const EXPECTED: &'static str = "window=300: seconds, a whole number from 10 to 1800";
}

async fn trend(State(scope): Scope, query: Asked<Back>) -> Answer<TrendReport> {
    let Back { window } = parameters(query)?;
    let read = move |parts: &Parts| parts.instrument.trend(window);
    Ok(Json(off_runtime(scope.parts(), read).await))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nth {
    n: Option<NonZeroUsize>,
}

impl Parameters for Nth {
    const EXPECTED: &'static str = "n=1 for the last run, n=2 for the one before it, and so on";
}

async fn post_mortem(State(scope): Scope, query: Asked<Nth>) -> Answer<PostMortem> {
    let nth = parameters(query)?.n.map_or(1, NonZeroUsize::get);
    let recorder = scope.recorder().ok_or(Error::NotRecorded)?;
    let kept = &recorder.history().post_mortems;
    kept.get(nth - 1).cloned().map(Json).ok_or(Error::NoPreviousRun { kept: kept.len() })
}

async fn requests(State(scope): Scope) -> Json<Value> {
    let parts = scope.parts();
    let problem = request::available().err().map(|reason| reason.to_string());
    Json(
        json!({ "requests": parts.instrument.requests().load(Relaxed), "problem": problem, "routes": parts.requests.routes() }),
    )
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Growing {
    seconds: Option<Seconds>,
}

impl Parameters for Growing {
    const EXPECTED: &'static str = "no query, or one of seconds=1 to seconds=300";
}

async fn heap(State(scope): Scope, query: Asked<Growing>) -> Result<Response, Error> {
    let Growing { seconds } = parameters(query)?;
    let parts = scope.parts();
    Ok(pprof::heap(parts.instrument.profiles(), seconds, parts.stopping()).await?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Against {
    base: Option<Base>,
}

impl Parameters for Against {
    const EXPECTED: &'static str = "no query, or base=baseline";
}

async fn flamegraph(State(scope): Scope, query: Asked<Against>) -> Result<Response, Error> {
    let Against { base } = parameters(query)?;
    Ok(pprof::flamegraph(scope.parts().instrument.profiles(), base).await?)
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::StatusCode};
    use tower_service::Service;

    use super::*;

    #[tokio::test]
    async fn merged_into_a_router_they_are_guarded_and_leave_its_other_routes_alone() {
        let leakscope = Leakscope::builder().allow_host("Shop.internal").on_problem(|_| {}).start();
        let own = Router::new().route("/", get(|| async { "own" })).fallback(|| async { "no such page" });
        let mut service = own.layer(leakscope.layer()).merge(leakscope.router());
        for (path, host, status) in [
            ("/debug", "localhost", 200),
            ("/debug/memory", "shop.internal:80", 200),
            ("/debug/requests", "evil.example", 403),
            ("/", "evil.example", 200),
            ("/nothing", "evil.example", 200),
        ] {
            let request = Request::builder().uri(path).header("host", host).body(Body::empty()).unwrap();
            let answer = service.call(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::from_u16(status).unwrap(), "{path} {host}");
        }
        assert_eq!(leakscope.instrument().requests().load(Relaxed), 2, "its own routes don't count");
    }

    #[test]
    fn a_path_below_another_one_takes_its_method() {
        assert_eq!(method_of("/debug/memory/baseline"), "POST");
        assert_eq!(method_of("/ops/debug/memory/baseline"), "POST");
        assert_eq!(method_of("/debug/memory"), "GET");
    }
}
