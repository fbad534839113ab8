//! The API's description, generated from the routes themselves, and a page that shows it without a network.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{Method, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use utoipa::{
    OpenApi, PartialSchema, ToSchema,
    openapi::{
        Object, ObjectBuilder, RefOr, Schema, Type,
        path::{Operation, PathItem},
        schema::AdditionalProperties,
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Parts;

/// The page and the document.
pub(super) fn routes() -> OpenApiRouter<Parts> {
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
struct Head;

/// The routes that there are.
pub struct Document {
    json: Bytes,
    routes: Vec<(Method, String)>,
}

impl Document {
    /// Of all these routes together.
    pub fn new(routes: impl IntoIterator<Item = utoipa::openapi::OpenApi>) -> Self {
        let mut document = Head::openapi();
        routes.into_iter().for_each(|routes| document.merge(routes));
        let operations = document.paths.paths.iter();
        let routes = operations.flat_map(|(path, item)| methods(item).map(|method| (method, path.clone())));
        Self { routes: routes.collect(), json: document.to_json().expect("a document is JSON").into() }
    }

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

/// Every method that a document can describe. The router adds no other, but HEAD where there is GET.
fn methods(item: &PathItem) -> impl Iterator<Item = Method> {
    let has = |method: Method, operation: &Option<Operation>| operation.is_some().then_some(method);
    [
        has(Method::GET, &item.get),
        has(Method::PUT, &item.put),
        has(Method::POST, &item.post),
        has(Method::DELETE, &item.delete),
        has(Method::OPTIONS, &item.options),
        has(Method::HEAD, &item.head),
        has(Method::PATCH, &item.patch),
        has(Method::TRACE, &item.trace),
    ]
    .into_iter()
    .flatten()
}

/// Describes an OpenAPI document: its head, and that the rest is in maps by name.
struct OpenApiDocument;

impl PartialSchema for OpenApiDocument {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let map_of = |values: Object| {
            let values = AdditionalProperties::RefOr(RefOr::T(Schema::Object(values)));
            ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(values))
        };
        let described =
            || ObjectBuilder::new().schema_type(Type::Object).property("description", text()).build();
        let info = ["title", "description", "version"]
            .iter()
            .fold(ObjectBuilder::new().schema_type(Type::Object), |info, name| info.property(*name, text()));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("An OpenAPI document, version 3.1."))
            .property("openapi", text().examples(["3.1.0"]))
            .required("openapi")
            .property("info", info)
            .required("info")
            .property("paths", map_of(map_of(described()).build()).description(Some("By path and method.")))
            .required("paths")
            .property(
                "components",
                map_of(map_of(described()).build()).description(Some("By kind and name.")),
            )
            .into()
    }
}

impl ToSchema for OpenApiDocument {}

/// This API as an OpenAPI document.
#[utoipa::path(get, path = "/openapi.json", tag = "health", responses((status = 200, body = OpenApiDocument)))]
async fn openapi(State(document): State<Arc<Document>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.json.clone()).into_response()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_a_route_is_known() {
        #[utoipa::path(method(get, post, put, delete, head, options, patch, trace), path = "/all", responses((status = 200)))]
        #[expect(dead_code, reason = "only its description is looked at")]
        async fn all() {}

        #[derive(OpenApi)]
        #[openapi(paths(all))]
        struct All;

        let document = Document::new([All::openapi()]);
        let mut methods: Vec<_> = document.routes().map(|(method, _)| method.to_string()).collect();
        methods.sort();
        assert_eq!(methods, ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"]);
    }
}
