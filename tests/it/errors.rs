//! Bad input: a 4xx in JSON with a stable code, what was wrong and what would be right; never a panic, never a 500.

use axum::{
    body::{Body, Bytes},
    http::Method,
};
use leaklab::leaks::NAMES;

use crate::in_process::{Answer, Service, assert_fields};

/// Asserts the error's form, status and code, and that message and expectation hold these words.
#[track_caller]
fn assert_error(answer: &Answer, status: u16, code: &str, message: &str, expected: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    assert_fields(&answer.json, &["error"]);
    let error = &answer.json["error"];
    assert_fields(error, &["code", "message", "expected"]);
    assert_eq!(error["code"], code, "{error}");
    assert!(error["message"].as_str().expect("text").contains(message), "{error} has no {message:?}");
    assert!(error["expected"].as_str().expect("text").contains(expected), "{error} has no {expected:?}");
}

#[tokio::test]
async fn bodies_that_do_not_fit_say_what_would() {
    let service = Service::new();
    let deep = "[".repeat(10_000);
    for (path, body, status, code, message, expected) in [
        ("/admin/leaks/cache", "", 400, "bad_json", "empty", r#"{"enabled": true}"#),
        ("/admin/leaks/cache", "enabled=true", 400, "bad_json", "expected value", r#"{"enabled": true}"#),
        ("/admin/leaks/cache", r#"{"enabled": tr"#, 400, "bad_json", "column", r#"{"enabled": true}"#),
        ("/admin/leaks/cache", "[true]", 400, "bad_json", "an array", r#"{"enabled": true}"#),
        ("/admin/leaks/cache", "null", 400, "bad_json", "null", r#"{"enabled": true}"#),
        ("/admin/leaks/cache", &deep, 400, "bad_json", "recursion", r#"{"enabled": true}"#),
        ("/admin/leaks/cache", "{}", 422, "bad_field", "enabled", r#"{"enabled": true}"#),
        (
            "/admin/leaks/cache",
            r#"{"enabled": "yes"}"#,
            422,
            "bad_field",
            "a boolean",
            r#"{"enabled": true}"#,
        ),
        ("/admin/leaks/cache", r#"{"enabled": 1}"#, 422, "bad_field", "a boolean", r#"{"enabled": true}"#),
        ("/admin/leaks/all", r#"{"enable": true}"#, 422, "bad_field", "`enabled` or `variant`", "enabled"),
        (
            "/admin/leaks/cache",
            r#"{"enabled": true, "variant": "mended"}"#,
            422,
            "unknown_variant",
            "mended",
            "leaky, fixed, mine",
        ),
        ("/admin/leaks/cache", r#"{"enabled": true, "variant": 7}"#, 422, "bad_field", "a string", "variant"),
        (
            "/admin/leaks/unicorn",
            r#"{"enabled": true}"#,
            404,
            "unknown_leak",
            "unicorn",
            "cache, listeners, history",
        ),
        ("/admin/leaks/clear", r#"{"leak_type": "unicorn"}"#, 404, "unknown_leak", "unicorn", "history, all"),
        ("/admin/leaks/clear", r#"{"leak": "cache"}"#, 422, "bad_field", "`leak_type`", "leak_type"),
        ("/admin/leaks/clear", r#"{"leak_type": ["cache"]}"#, 422, "bad_field", "a string", "leak_type"),
        ("/admin/labs/unicorn/check", "", 404, "unknown_lab", "unicorn", "1, 2, 3, 4, 5, 5-fix, 6, 7, 8, 9"),
        ("/admin/labs/unicorn/reset", "", 404, "unknown_lab", "unicorn", "/admin/labs"),
        ("/admin/labs/1/check", r#"{"answer": {"it": 1}}"#, 422, "bad_field", "`it`", "takes no answer"),
        ("/admin/labs/2/check", r#"{"answer": 7}"#, 422, "bad_field", "a map", "seconds_to_limit"),
        (
            "/admin/labs/2/check",
            r#"{"answer": {}}"#,
            422,
            "bad_field",
            "bytes_per_request",
            "seconds_to_limit",
        ),
        ("/admin/labs/4/check", r#"{"answer": {"line": 7}}"#, 422, "bad_field", "a string", "src/main.rs:12"),
        ("/admin/labs/4/check", r#"{"line": "src/main.rs:12"}"#, 422, "bad_field", "`answer`", "answer"),
        ("/admin/leaks/%ff", r#"{"enabled": true}"#, 400, "bad_url", "UTF-8", "UTF-8"),
    ] {
        assert_error(&service.post(path, body).await, status, code, message, expected);
    }
    for name in NAMES {
        let status = service.ok("/admin/leaks/status").await;
        assert_eq!(status["leaks"][name]["enabled"], false, "nothing of that switched {name} on");
    }
}

#[tokio::test]
async fn any_content_type_or_none_is_read_as_json() {
    let service = Service::new();
    for content_type in
        [None, Some("application/x-www-form-urlencoded"), Some("application/json"), Some("text/plain")]
    {
        let headers: Vec<_> = content_type.iter().map(|value| ("content-type", *value)).collect();
        let body = Body::from(r#"{"enabled": true}"#);
        let answer = service.ask(Method::POST, "/admin/leaks/cache", &headers, body).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json["enabled"]),
            (200, &true.into()),
            "{content_type:?}"
        );
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_list_what_there_is() {
    let service = Service::new();
    assert_error(&service.get("/api/dat").await, 404, "unknown_route", "GET /api/dat", "GET /api/data");
    assert_error(&service.get("/").await, 404, "unknown_route", "GET /", "/docs");
    let answer = service.ask(Method::DELETE, "/admin/leaks/cache", &[], Body::empty()).await;
    assert_error(&answer, 405, "method_not_allowed", "DELETE", "POST");
    assert_eq!(answer.headers["allow"], "POST");
    let answer = service.post("/api/data", "").await;
    assert_error(&answer, 405, "method_not_allowed", "POST", "GET");
    assert_eq!(answer.headers["allow"], "GET,HEAD");
    assert_error(&service.get("/api/history/none").await, 404, "unknown_record", "none", "request_id");
}

#[tokio::test]
async fn queries_that_do_not_fit_say_what_would() {
    let service = Service::new();
    for (path, message) in [
        ("/admin/memory/diff?by=colour", "colour"),
        ("/admin/memory/diff?keep=perhaps", "keep"),
        ("/admin/memory/diff?limit=-1", "limit"),
        ("/admin/memory/diff?top=3", "top"),
        ("/admin/memory/snapshot?by=colour", "colour"),
        ("/admin/memory/snapshot?limit=many", "limit"),
    ] {
        assert_error(&service.get(path).await, 400, "bad_url", message, "by=line");
    }
    for (query, message) in [
        ("window=9", "9 seconds"),
        ("window=1801", "1801 seconds"),
        ("window=-1", "window"),
        ("window=5m", "window"),
        ("window=NaN", "window"),
        ("span=300", "span"),
    ] {
        let answer = service.get(&format!("/admin/memory/trend?{query}")).await;
        assert_error(&answer, 400, "bad_url", message, "from 10 to 1800");
    }
    for (path, message, expected) in [
        ("/debug/pprof/heap?seconds=0", "seconds is 0", "seconds=300"),
        ("/debug/pprof/heap?seconds=301", "seconds is 301", "seconds=300"),
        ("/debug/pprof/heap?seconds=-1", "seconds", "seconds=300"),
        ("/debug/pprof/heap?debug=1", "debug", "seconds=300"),
        ("/debug/pprof/flamegraph?base=birth", "birth", "base=baseline"),
    ] {
        assert_error(&service.get(path).await, 400, "bad_query", message, expected);
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let service = Service::new();
    let padded = |bytes: usize| format!("{{\"enabled\": true}}{}", " ".repeat(bytes - 17));
    assert_eq!(service.post("/admin/leaks/cache", &padded(16 << 10)).await.status, 200, "just fits");
    let answer = service.post("/admin/leaks/cache", &padded((16 << 10) + 1)).await;
    assert_error(&answer, 413, "body_too_large", "16384", "16384");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let service = Service::new();
    let answer = service.ask(Method::POST, "/admin/leaks/cache", &[], Body::new(Never)).await;
    assert_error(&answer, 408, "body_too_slow", "5 seconds", "at once");
}

/// A body that never comes.
struct Never;

impl http_body::Body for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}
