//! Every route: documented, answered, and behind the guard where it must be.

use axum::{body::Body, http::Method};
use serde_json::Value;

use crate::in_process::Service;

/// Every method and path of the document, with its parameters filled in.
fn documented(document: &Value) -> Vec<(Method, String)> {
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let path = path.replace("{leak}", "cache").replace("{request_id}", "none").replace("{id}", "1");
        item.as_object().expect("methods").keys().map(move |method| (method.clone(), path.clone()))
    });
    operations.map(|(method, path)| (method.to_uppercase().parse().expect("a method"), path)).collect()
}

#[tokio::test]
async fn every_documented_route_answers_and_those_of_the_contract_are_documented() {
    let service = Service::new();
    let routes = documented(&service.ok("/openapi.json").await);
    for route in [
        "GET /health",
        "GET /livez",
        "GET /readyz",
        "GET /metrics",
        "GET /openapi.json",
        "GET /docs",
        "GET /api/data",
        "GET /api/echo",
        "GET /api/history/none",
        "GET /admin/leaks/status",
        "POST /admin/leaks/cache",
        "POST /admin/leaks/all",
        "POST /admin/leaks/clear",
        "POST /admin/gc",
        "GET /admin/memory",
        "GET /admin/memory/snapshot",
        "GET /admin/memory/diff",
        "GET /admin/post-mortem",
        "POST /admin/memory/baseline",
        "GET /admin/memory/trend",
        "GET /admin/labs",
        "POST /admin/labs/1/check",
        "POST /admin/labs/1/reset",
        "POST /admin/labs/reset",
        "GET /debug/pprof/heap",
        "GET /debug/pprof/flamegraph",
    ] {
        let documented = routes.iter().any(|(method, path)| format!("{method} {path}") == route);
        assert!(documented, "{route} is not in the document");
    }
    for (method, path) in routes {
        let answer = service.ask(method.clone(), &path, &[], Body::empty()).await;
        let code = &answer.json["error"]["code"];
        assert!(code != "unknown_route" && code != "method_not_allowed", "{method} {path}: {}", answer.text);
    }
}

#[tokio::test]
async fn the_guard_stands_before_every_admin_and_debug_route_and_before_no_other() {
    let service = Service::new();
    for (method, path) in documented(&service.ok("/openapi.json").await) {
        for (header, value, code) in [
            ("host", "evil.example", "host_not_allowed"),
            ("host", "10.0.0.1:8080", "host_not_allowed"),
            ("sec-fetch-site", "cross-site", "cross_site"),
            ("sec-fetch-site", "same-site", "cross_site"),
        ] {
            let answer = service.ask(method.clone(), &path, &[(header, value)], Body::empty()).await;
            let refused = answer.status == 403 && answer.json["error"]["code"] == code;
            let guarded = ["/admin", "/debug"].iter().any(|prefix| path.starts_with(prefix));
            assert_eq!(refused, guarded, "{method} {path} with {header}: {}", answer.text);
        }
    }
    let lab = service.ask(Method::POST, "/admin/gc", &[("host", "lab.example:8080")], Body::empty()).await;
    assert_eq!(lab.status, 200, "it is in LEAKLAB_ALLOWED_HOSTS");
    let compose =
        service.ask(Method::GET, "/admin/memory", &[("host", "leaky-service:8080")], Body::empty()).await;
    assert_eq!(compose.status, 200);
    let refused = service.ask(Method::POST, "/admin/gc", &[("host", "evil.example")], Body::empty()).await;
    assert!(refused.text.contains("LEAKLAB_ALLOWED_HOSTS"), "{}", refused.text);
}

#[tokio::test]
async fn the_documentation_page_needs_no_other_site() {
    let page = Service::new().get("/docs").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("default-src 'none'") && !policy.contains("http"), "{policy}");
    assert!(!page.text.contains("://"), "no address of another site");
}
