//! The API's document against a running service: every route is asked, and every answer is one that the document describes.

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::support::{self, Service, agent, eventually};

/// Routes in the order in which they are asked: method, pattern, path, body, and the expected status. `REQUEST` stands for the id
/// of a request that was recorded.
const ASKED: &[(&str, &str, &str, &str, u16)] = &[
    ("get", "/health", "/health", "", 200),
    ("get", "/livez", "/livez", "", 200),
    ("get", "/readyz", "/readyz", "", 200),
    ("get", "/metrics", "/metrics", "", 200),
    ("get", "/openapi.json", "/openapi.json", "", 200),
    ("get", "/docs", "/docs", "", 200),
    ("get", "/api/data", "/api/data?item=7", "", 200),
    ("get", "/api/echo", "/api/echo?hello", "", 200),
    ("get", "/api/history/{request_id}", "/api/history/REQUEST", "", 200),
    ("get", "/api/history/{request_id}", "/api/history/none", "", 404),
    ("get", "/api/history/{request_id}", "/api/history/%ff", "", 400),
    ("get", "/admin/leaks/status", "/admin/leaks/status", "", 200),
    ("post", "/admin/leaks/{leak}", "/admin/leaks/cache", r#"{"enabled": true, "variant": "fixed"}"#, 200),
    ("post", "/admin/leaks/{leak}", "/admin/leaks/history", r#"{"enabled": false}"#, 200),
    ("post", "/admin/leaks/{leak}", "/admin/leaks/cache", "", 400),
    ("post", "/admin/leaks/{leak}", "/admin/leaks/unicorn", r#"{"enabled": true}"#, 404),
    ("post", "/admin/leaks/{leak}", "/admin/leaks/cache", r#"{"enabled": 1}"#, 422),
    ("post", "/admin/leaks/all", "/admin/leaks/all", r#"{"enabled": true}"#, 200),
    ("post", "/admin/leaks/all", "/admin/leaks/all", "[]", 400),
    ("post", "/admin/leaks/all", "/admin/leaks/all", r#"{"enabled": true, "variant": "new"}"#, 422),
    ("post", "/admin/leaks/clear", "/admin/leaks/clear", r#"{"leak_type": "cache"}"#, 200),
    ("post", "/admin/leaks/clear", "/admin/leaks/clear", "", 200),
    ("post", "/admin/leaks/clear", "/admin/leaks/clear", "{", 400),
    ("post", "/admin/leaks/clear", "/admin/leaks/clear", r#"{"leak_type": "unicorn"}"#, 404),
    ("post", "/admin/leaks/clear", "/admin/leaks/clear", r#"{"leak_type": 1}"#, 422),
    ("get", "/admin/memory", "/admin/memory", "", 200),
    ("get", "/admin/memory/snapshot", "/admin/memory/snapshot", "", 200),
    ("get", "/admin/memory/snapshot", "/admin/memory/snapshot?by=stack&limit=3", "", 200),
    ("get", "/admin/memory/snapshot", "/admin/memory/snapshot?by=colour", "", 400),
    ("get", "/debug/pprof/flamegraph", "/debug/pprof/flamegraph?base=baseline", "", 409),
    ("get", "/debug/memory/diff", "/debug/memory/diff", "", 409),
    ("get", "/admin/memory/diff", "/admin/memory/diff", "", 200),
    ("get", "/admin/memory/diff", "/admin/memory/diff?keep=true&by=stack", "", 200),
    ("get", "/admin/memory/diff", "/admin/memory/diff?limit=-1", "", 400),
    ("post", "/admin/memory/baseline", "/admin/memory/baseline", "", 200),
    ("get", "/admin/memory/trend", "/admin/memory/trend?window=10", "", 200),
    ("get", "/admin/memory/trend", "/admin/memory/trend?window=9", "", 400),
    ("post", "/admin/gc", "/admin/gc", "", 200),
    ("get", "/admin/post-mortem", "/admin/post-mortem?n=1", "", 200),
    ("get", "/admin/post-mortem", "/admin/post-mortem?n=9", "", 404),
    ("get", "/admin/post-mortem", "/admin/post-mortem?n=0", "", 400),
    ("get", "/admin/labs", "/admin/labs", "", 200),
    ("post", "/admin/labs/{id}/check", "/admin/labs/1/check", "", 200),
    ("post", "/admin/labs/{id}/check", "/admin/labs/1/check", "[", 400),
    ("post", "/admin/labs/{id}/check", "/admin/labs/unicorn/check", "", 404),
    ("post", "/admin/labs/{id}/check", "/admin/labs/2/check", r#"{"answer": {}}"#, 422),
    ("post", "/admin/labs/{id}/reset", "/admin/labs/1/reset", "", 200),
    ("post", "/admin/labs/{id}/reset", "/admin/labs/unicorn/reset", "", 404),
    ("post", "/admin/labs/reset", "/admin/labs/reset", "", 200),
    ("get", "/debug", "/debug", "", 200),
    ("get", "/debug/memory", "/debug/memory", "", 200),
    ("get", "/debug/memory/snapshot", "/debug/memory/snapshot?by=stack&limit=3", "", 200),
    ("get", "/debug/memory/snapshot", "/debug/memory/snapshot?by=colour", "", 400),
    ("post", "/debug/memory/baseline", "/debug/memory/baseline", "", 200),
    ("get", "/debug/memory/diff", "/debug/memory/diff?by=function", "", 200),
    ("get", "/debug/memory/diff", "/debug/memory/diff?limit=-1", "", 400),
    ("get", "/debug/memory/trend", "/debug/memory/trend?window=10", "", 200),
    ("get", "/debug/memory/trend", "/debug/memory/trend?window=9", "", 400),
    ("get", "/debug/post-mortem", "/debug/post-mortem", "", 200),
    ("get", "/debug/post-mortem", "/debug/post-mortem?n=9", "", 404),
    ("get", "/debug/post-mortem", "/debug/post-mortem?n=0", "", 400),
    ("get", "/debug/requests", "/debug/requests", "", 200),
    ("get", "/debug/pprof/heap", "/debug/pprof/heap", "", 200),
    ("get", "/debug/pprof/heap", "/debug/pprof/heap?seconds=0", "", 400),
    ("get", "/debug/pprof/flamegraph", "/debug/pprof/flamegraph", "", 200),
    ("get", "/debug/pprof/flamegraph", "/debug/pprof/flamegraph?base=birth", "", 400),
];

/// The document that a service gives of itself.
struct Document(Value);

impl Document {
    fn of(service: &Service) -> Self {
        Self(service.ok("/openapi.json"))
    }

    /// Method and pattern of each route.
    fn operations(&self) -> BTreeSet<(String, String)> {
        let paths = self.0["paths"].as_object().expect("paths").iter();
        let methods = |item: &Value| item.as_object().expect("methods").keys().cloned().collect::<Vec<_>>();
        paths
            .flat_map(|(path, item)| methods(item).into_iter().map(|method| (method, path.clone())))
            .collect()
    }

    /// What the document says of an answer: its content by type.
    #[track_caller]
    fn content(&self, method: &str, pattern: &str, status: u16) -> &Map<String, Value> {
        let response = &self.0["paths"][pattern][method]["responses"][status.to_string()];
        response["content"].as_object().unwrap_or_else(|| panic!("{method} {pattern} has no {status}"))
    }

    /// Judges by the schema of a JSON answer. An OpenAPI 3.1 document is a JSON Schema in which references lead to parts of itself.
    fn validator(&self, method: &str, pattern: &str, status: u16) -> Validator {
        let escaped = pattern.replace('/', "~1").replace('{', "%7B").replace('}', "%7D");
        let place = format!("#/paths/{escaped}/{method}/responses/{status}/content/application~1json/schema");
        let mut schema = self.0.clone();
        schema["$ref"] = json!(place);
        jsonschema::draft202012::new(&schema).expect("a schema")
    }

    /// The first place below a schema at which anything at all would fit.
    fn untyped(&self, schema: &Value, place: &str, seen: &mut BTreeSet<String>) -> Option<String> {
        if let Some(reference) = schema["$ref"].as_str() {
            if !seen.insert(reference.to_owned()) {
                return None;
            }
            let target = self.0.pointer(&reference[1..]).expect("a part of the document");
            return self.untyped(target, reference, seen);
        }
        let members = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|of| schema[of].as_array());
        let members: Vec<_> = members.flatten().collect();
        let properties = schema["properties"].as_object();
        let is = |name: &str| match &schema["type"] {
            Value::Array(types) => types.iter().any(|one| one == name),
            one => one == name,
        };
        let is_described = match is("object") {
            true => properties.is_some_and(|it| !it.is_empty()) || !schema["additionalProperties"].is_null(),
            false => !schema["type"].is_null() || !members.is_empty(),
        };
        if !is_described {
            return Some(format!("{place}: {schema}"));
        }
        let inner = properties.into_iter().flatten().map(|(name, inner)| (format!("{place}/{name}"), inner));
        let items = is("array").then(|| (format!("{place}/[]"), &schema["items"]));
        let members = members.into_iter().map(|member| (place.to_owned(), member));
        inner.chain(items).chain(members).find_map(|(place, inner)| self.untyped(inner, &place, seen))
    }
}

/// A service whose previous run is known and which has recorded a request; and that request's id.
fn service() -> (Service, String) {
    let before = Service::start(&["--leaks", "cache,history:fixed"]);
    before.drive("/api/data", 10, 1);
    eventually("a sample with its requests", || {
        (support::metric(&before.url, "leak_entries{leak=\"cache\"}") == 10.0).then_some(())
    });
    let service = Service::start_in(before.end_by(libc::SIGKILL), &[], &[]);
    service.post("/admin/leaks/history", r#"{"enabled": true}"#);
    let request = service.ok("/api/data")["request_id"].as_str().expect("an id").to_owned();
    (service, request)
}

#[test]
fn every_route_of_a_running_service_answers_as_the_document_says() {
    let (service, request) = service();
    let document = Document::of(&service);
    for (method, pattern, path, body, status) in ASKED {
        let url = format!("{}{}", service.url, path.replace("REQUEST", &request));
        let answer = match *method {
            "get" => agent().get(&url).call(),
            _ => agent().post(&url).send(*body),
        };
        let mut answer = answer.expect("an answer");
        let asked = format!("{method} {path} {body}");
        let body = answer.body_mut().read_to_vec().expect("a whole body");
        let text = String::from_utf8_lossy(&body);
        assert_eq!(answer.status().as_u16(), *status, "{asked}: {text}");
        let kind = answer.headers()["content-type"].to_str().expect("text");
        let content = document.content(method, pattern, *status);
        let described = content.keys().any(|known| kind.starts_with(known.as_str()));
        assert!(described, "{asked} is {kind}, not one of {:?}", content.keys());
        if kind == "application/json" {
            let answer: Value = serde_json::from_slice(&body).expect("JSON");
            let validator = document.validator(method, pattern, *status);
            let wrong: Vec<_> = validator
                .iter_errors(&answer)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(wrong.is_empty(), "{asked}: {wrong:#?}\n{answer:#}");
        }
    }
    let answered = ASKED.iter().filter(|asked| asked.4 == 200);
    let answered: BTreeSet<_> = answered.map(|asked| (asked.0.to_owned(), asked.1.to_owned())).collect();
    assert_eq!(answered, document.operations(), "every route is asked, and answers");
}

#[test]
fn a_heap_profile_that_is_ready_is_described_too() {
    let service = Service::start(&[]);
    let memory = eventually("a heap profile", || {
        Some(service.ok("/admin/memory")).filter(|memory| memory["heap_profile"]["status"] == "ready")
    });
    let validator = Document::of(&service).validator("get", "/admin/memory", 200);
    assert!(memory["heap_profile"]["top_allocations"][0]["size_kb"].is_number(), "{memory:#}");
    validator.validate(&memory).unwrap_or_else(|error| panic!("{}: {error}", error.instance_path()));
}

#[test]
fn no_answer_is_described_as_just_an_object() {
    let service = Service::start(&[]);
    let document = Document::of(&service);
    for (method, pattern) in document.operations() {
        let responses = document.0["paths"][&pattern][&method]["responses"].as_object().expect("responses");
        for (status, response) in responses {
            let schema = &response["content"]["application/json"]["schema"];
            if !schema.is_null() {
                let place = format!("{method} {pattern} {status}");
                assert_eq!(document.untyped(schema, &place, &mut BTreeSet::new()), None);
            }
        }
    }
}

#[test]
fn a_wrong_answer_would_be_noticed() {
    let service = Service::start(&[]);
    let document = Document::of(&service);
    let validator = document.validator("get", "/admin/leaks/status", 200);
    let mut status = service.ok("/admin/leaks/status");
    assert!(validator.is_valid(&status));
    status["leaks"]["cache"]["estimated_size_mb"] = json!("much");
    assert!(!validator.is_valid(&status));
    let anything = json!({ "type": "object" });
    assert!(document.untyped(&anything, "", &mut BTreeSet::new()).is_some());
}
