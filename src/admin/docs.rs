//! The API's description, generated from the routes themselves, and a page that shows it without a network.

use std::sync::{Arc, LazyLock};

use axum::{
    http::{Method, header},
    response::{IntoResponse, Response},
};
use utoipa::{
    OpenApi,
    openapi::path::{Operation, PathItem},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::{self, App};

/// The page and the document.
pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(openapi)).routes(routes!(docs))
}

/// Title and sections of the document.
#[derive(OpenApi)]
#[openapi(
    info(title = "leaklab", description = "A service with memory bugs that can be switched on and off"),
    tags(
        (name = "workload", description = "What clients of the service call"),
        (name = "leaks", description = "Switch the bugs on and off, and give back what they hold"),
        (name = "memory", description = "What is held, who allocated it, what grew"),
        (name = "labs", description = "How far the learner is, and what is still wanted"),
        (name = "health", description = "Health, metrics, documentation"),
    )
)]
pub struct Head;

/// The routes that there are.
pub struct Document {
    json: String,
    routes: Vec<(Method, String)>,
}

/// Made once, from the same routes as the router.
pub static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let document = app::routes().into_openapi();
    let mut routes = Vec::new();
    for (path, item) in &document.paths.paths {
        routes.extend(methods(item).map(|method| (method, path.clone())));
    }
    Document { json: document.to_json().expect("a document is JSON"), routes }
});

fn methods(item: &PathItem) -> impl Iterator<Item = Method> {
    let has = |method: Method, operation: &Option<Operation>| operation.is_some().then_some(method);
    [has(Method::GET, &item.get), has(Method::POST, &item.post)].into_iter().flatten()
}

impl Document {
    /// Every method and path.
    pub fn routes(&self) -> impl Iterator<Item = (Method, &str)> {
        self.routes.iter().map(|(method, path)| (method.clone(), path.as_str()))
    }

    /// `GET /health, ...`, for those who took a wrong one.
    pub fn list(&self) -> String {
        let routes: Vec<_> = self.routes().map(|(method, path)| format!("{method} {path}")).collect();
        routes.join(", ")
    }

    /// The methods of one path.
    pub fn methods(&self, path: &str) -> String {
        let methods: Vec<_> =
            self.routes().filter(|(_, of)| *of == path).map(|(method, _)| method.to_string()).collect();
        methods.join(", ")
    }
}

/// This API as an OpenAPI document.
#[utoipa::path(get, path = "/openapi.json", tag = "health", responses((status = 200, body = Object)))]
async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.json.as_str()).into_response()
}

/// This API as a page on which it can be tried.
#[utoipa::path(get, path = "/docs", tag = "health", responses((status = 200, body = String, content_type = "text/html")))]
async fn docs() -> Response {
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    (headers, include_str!("docs.html")).into_response()
}

/// Nothing from anywhere else, and in nobody else's frame.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
