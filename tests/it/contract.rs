//! The HTTP contract: paths, JSON fields and behaviour, as the exercises' `jq` paths rely on them.

use leaklab::{app, leaks::NAMES};
use serde_json::{Value, json};

use crate::in_process::{NO_LIMIT, Service, assert_fields, settings};

#[tokio::test]
async fn data_answers_with_ids_and_names_the_leaks_that_kept_memory() {
    let service = Service::new();
    service.posted("/admin/leaks/cache", r#"{"enabled": true}"#).await;
    service.posted("/admin/leaks/history", r#"{"enabled": true, "variant": "fixed"}"#).await;
    let answer = service.get("/api/data").await;
    assert_fields(
        &answer.json,
        &["service", "request_id", "trace_id", "duration_ms", "leaks_triggered", "data"],
    );
    assert_fields(&answer.json["data"], &["message", "timestamp"]);
    assert_eq!(answer.json["service"], "leaky-service");
    assert_eq!(answer.json["leaks_triggered"], json!(["cache"]), "leaky ones only");
    assert_eq!(answer.json["request_id"], answer.headers["x-request-id"].to_str().expect("text"));
    assert_eq!(answer.json["trace_id"], answer.headers["x-trace-id"].to_str().expect("text"));
    let timestamp = answer.json["data"]["timestamp"].as_str().expect("text");
    humantime::parse_rfc3339(timestamp).expect("RFC 3339");
}

#[tokio::test]
async fn echo_never_leaks() {
    let service = Service::new();
    service.posted("/admin/leaks/all", r#"{"enabled": true}"#).await;
    let answer = service.ok("/api/echo?hello").await;
    assert_eq!(answer["leaks_triggered"], json!([]));
    assert_eq!(answer["data"]["message"], "hello");
    for name in NAMES {
        assert_eq!(service.ok("/admin/leaks/status").await["leaks"][name]["bytes_held"], 0, "{name}");
    }
}

#[tokio::test]
async fn status_shows_what_each_request_left_exactly() {
    let service = Service::new();
    let status = service.ok("/admin/leaks/status").await;
    assert_fields(&status, &["leaks", "memory", "previous_run"]);
    for field in
        ["rss_mb", "rss_bytes", "vms_mb", "vms_bytes", "growth_since_start_mb", "growth_since_start_bytes"]
    {
        assert!(status["memory"][field].is_number(), "{field}");
    }
    assert_eq!(status["leaks"].as_object().expect("by name").keys().collect::<Vec<_>>(), NAMES);
    for leak in status["leaks"].as_object().expect("by name").values() {
        assert_eq!(
            (&leak["enabled"], &leak["variant"]),
            (&json!(false), &Value::Null),
            "all are off at the start"
        );
    }

    let counts =
        [("cache", "entries", 24 << 10), ("listeners", "count", 16 << 10), ("history", "entries", 8 << 10)];
    service.posted("/admin/leaks/all", r#"{"enabled": true}"#).await;
    for _ in 0..64 {
        service.ok("/api/data").await;
    }
    let status = service.ok("/admin/leaks/status").await;
    for (name, count, bytes) in counts {
        let leak = &status["leaks"][name];
        assert_eq!((&leak["enabled"], &leak["variant"]), (&json!(true), &json!("leaky")), "{name}");
        assert_eq!((&leak[count], &leak["bytes_held"]), (&json!(64), &json!(64 * bytes)), "{name}");
        assert_eq!(leak["estimated_size_bytes"], leak["bytes_held"], "{name}");
        assert_eq!(leak["estimated_size_mb"], 64.0 * f64::from(bytes) / f64::from(1 << 20), "{name}");
    }
    assert_eq!(status["leaks"]["cache"]["hit_rate"], 0.0);
    assert!(status["leaks"]["history"].get("hit_rate").is_none(), "it looks nothing up");
}

#[tokio::test]
async fn a_switch_answers_with_its_state_and_warns_of_what_stays() {
    let service = Service::new();
    let on = service.posted("/admin/leaks/listeners", r#"{"enabled": true}"#).await;
    assert_fields(&on, &["leak", "enabled", "variant", "description"]);
    assert_eq!(
        (&on["leak"], &on["enabled"], &on["variant"]),
        (&json!("listeners"), &json!(true), &json!("leaky"))
    );
    service.ok("/api/data").await;

    let again = service.posted("/admin/leaks/listeners", r#"{"enabled": true}"#).await;
    assert!(again.get("note").is_none(), "only what was switched off is warned of: {again}");

    let off = service.posted("/admin/leaks/listeners", r#"{"enabled": false}"#).await;
    assert_eq!((&off["enabled"], &off["variant"]), (&json!(false), &Value::Null));
    let note = off["note"].as_str().expect("something stays");
    assert!(note.contains("1 entries (0.02 MiB)") && note.contains("/admin/leaks/clear"), "{note}");

    service.posted("/admin/leaks/clear", "").await;
    let off = service.posted("/admin/leaks/listeners", r#"{"enabled": false}"#).await;
    assert!(off.get("note").is_none(), "nothing stays: {off}");
}

#[tokio::test]
async fn the_fixed_cache_hits_for_nine_of_ten_requests() {
    let service = Service::new();
    service.posted("/admin/leaks/cache", r#"{"enabled": true, "variant": "fixed"}"#).await;
    for _ in 0..50 {
        assert_eq!(service.ok("/api/data").await["leaks_triggered"], json!([]));
    }
    let cache = &service.ok("/admin/leaks/status").await["leaks"]["cache"];
    assert!(cache["hit_rate"].as_f64().expect("a rate") >= 0.9, "{cache}");
    assert_eq!((&cache["entries"], &cache["variant"]), (&json!(1), &json!("fixed")));
}

#[tokio::test]
async fn the_learners_variant_serves_shows_everywhere_and_is_not_called_a_leak() {
    let service = Service::new();
    for name in NAMES {
        let on =
            service.posted(&format!("/admin/leaks/{name}"), r#"{"enabled": true, "variant": "mine"}"#).await;
        assert_eq!((&on["enabled"], &on["variant"]), (&json!(true), &json!("mine")), "{name}");
    }
    assert_eq!(service.ok("/api/data").await["leaks_triggered"], json!([]), "leaky ones only");
    for (name, leak) in service.ok("/admin/leaks/status").await["leaks"].as_object().expect("by name") {
        assert_eq!((&leak["variant"], &leak["requests"]), (&json!("mine"), &json!(1)), "{name}");
    }
    let metrics = service.get("/metrics").await.text;
    for name in NAMES {
        let series = format!("leak_enabled{{leak=\"{name}\",variant=\"mine\"}} 1");
        assert!(metrics.lines().any(|line| line == series), "no {series} in:\n{metrics}");
    }
    let next = service.restarted();
    let previous = &next.ok("/admin/leaks/status").await["previous_run"];
    assert_eq!(previous["leaks_on"], json!(NAMES.map(|name| format!("{name}:mine"))));
}

#[tokio::test]
async fn clear_says_what_it_removed_in_each_leaks_own_words_and_switches_nothing_off() {
    let service = Service::new();
    service.posted("/admin/leaks/all", r#"{"enabled": true}"#).await;
    let fields =
        [("cache", "entries_removed"), ("listeners", "callbacks_removed"), ("history", "records_removed")];
    for (name, field) in fields {
        service.ok("/api/data").await;
        let body = format!(r#"{{"leak_type": "{name}"}}"#);
        let cleared = service.posted("/admin/leaks/clear", &body).await;
        assert_fields(&cleared, &["cleared", field]);
        assert_eq!(cleared["cleared"], name);
        assert!(cleared[field].as_u64().expect("a number") >= 1, "{cleared}");
    }
    service.posted("/admin/leaks/clear", "{}").await;
    service.ok("/api/data").await;
    let cleared = service.posted("/admin/leaks/clear", "").await;
    let all = json!({
        "cleared": "all", "cache_entries_removed": 1, "listeners_removed": 1, "history_records_removed": 1
    });
    assert_eq!(cleared, all, "an empty body means all");
    for name in NAMES {
        let leak = &service.ok("/admin/leaks/status").await["leaks"][name];
        assert_eq!((&leak["enabled"], &leak["bytes_held"]), (&json!(true), &json!(0)), "{name}");
    }
}

#[tokio::test]
async fn history_reads_back_what_was_asked() {
    let service = Service::new();
    for variant in ["leaky", "fixed"] {
        let on = format!(r#"{{"enabled": true, "variant": "{variant}"}}"#);
        service.posted("/admin/leaks/history", &on).await;
        let id = service.ok("/api/data?item=7").await["request_id"].as_str().expect("an id").to_owned();
        let record = service.ok(&format!("/api/history/{id}")).await;
        assert_eq!((&record["request_id"], &record["size_bytes"]), (&json!(id), &json!(8192)), "{variant}");
        let text = record["record"].as_str().expect("text");
        assert!(text.starts_with(&format!("GET /api/data?item=7 request_id={id}\n")), "{variant}: {text}");
    }
}

#[tokio::test]
async fn memory_shows_the_process_its_limit_and_parts_that_sum_to_rss() {
    let service = Service::new();
    let memory = service.ok("/admin/memory").await;
    for field in ["pid", "rss_mb", "rss_bytes", "vms_mb", "vms_bytes", "percent"] {
        assert!(memory["process"][field].is_number(), "{field}: {memory}");
    }
    assert_eq!(memory["process"]["pid"], std::process::id());
    assert_fields(&memory["limit"], &["bytes", "source"]);
    let parts = memory["parts"].as_array().expect("parts");
    let sum: i64 = parts.iter().map(|part| part["size_bytes"].as_i64().expect("bytes")).sum();
    assert_eq!(json!(sum), memory["process"]["rss_bytes"]);
    assert_eq!(memory["leaks"].as_object().expect("by name").len(), NAMES.len());
    assert!(
        ["pending", "ready", "off"].contains(&memory["heap_profile"]["status"].as_str().expect("a word"))
    );
}

#[tokio::test]
async fn gc_says_what_came_back() {
    let gc = Service::new().posted("/admin/gc", "").await;
    let before = gc["memory_before_bytes"].as_i64().expect("bytes");
    let after = gc["memory_after_bytes"].as_i64().expect("bytes");
    assert_eq!(gc["freed_bytes"], before - after);
    for field in ["memory_before_mb", "memory_after_mb", "freed_mb", "note"] {
        assert!(!gc[field].is_null(), "{field}");
    }
}

#[tokio::test]
async fn without_a_limit_no_leak_is_switched_on_but_every_one_off() {
    let service = Service::unlimited();
    for path in ["/admin/leaks/cache", "/admin/leaks/all"] {
        let refused = service.post(path, r#"{"enabled": true}"#).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.json["error"]["code"]),
            (409, &json!("no_limit")),
            "{path}"
        );
        let refused = service.post(path, r#"{"enabled": true, "variant": "mine"}"#).await;
        assert_eq!(refused.status.as_u16(), 409, "{path}: nobody knows whether the learner's code leaks");
        service.posted(path, r#"{"enabled": false}"#).await;
        service.posted(path, r#"{"enabled": true, "variant": "fixed"}"#).await;
    }
    let cache = &service.ok("/admin/leaks/status").await["leaks"]["cache"];
    assert_eq!(cache["variant"], "fixed", "the twin leaks nothing: {cache}");
}

#[tokio::test]
async fn the_next_run_names_the_leaks_that_were_on_and_starts_with_none() {
    let service = Service::new();
    assert_eq!(service.ok("/admin/leaks/status").await["previous_run"], Value::Null);
    service.posted("/admin/leaks/all", r#"{"enabled": true}"#).await;
    service.posted("/admin/leaks/listeners", r#"{"enabled": false}"#).await;
    service.posted("/admin/leaks/history", r#"{"enabled": true, "variant": "fixed"}"#).await;

    let next = service.restarted();
    let status = next.ok("/admin/leaks/status").await;
    assert_eq!(status["previous_run"], json!({ "leaks_on": ["cache", "history:fixed"], "cause": "stopped" }));
    assert_eq!(status["leaks"]["cache"]["enabled"], false);
}

#[tokio::test]
async fn it_is_not_ready_before_it_listens() {
    let service = Service::new();
    let answer = service.get("/readyz").await;
    assert_eq!((answer.status.as_u16(), answer.json), (503, json!({ "status": "starting" })));
    assert_eq!(service.ok("/livez").await, json!({ "status": "ok" }));
    assert_eq!(service.ok("/health").await, json!({ "status": "ok", "service": "leaky-service" }));
}

#[tokio::test]
async fn the_trend_of_a_service_that_just_started_is_undecided_and_says_what_decides_it() {
    let service = Service::new();
    for path in ["/admin/memory/trend", "/admin/memory/trend?window=10", "/admin/memory/trend?window=1800"] {
        let trend = service.ok(path).await;
        let mut fields = vec![
            "verdict",
            "decides_in",
            "window_seconds",
            "samples",
            "stretch_seconds",
            "noise_bytes",
            "bytes_per_second",
            "bytes_per_request",
            "time_to_limit_seconds",
            "requests_to_limit",
        ];
        // This test's own program does not allocate with jemalloc, so there is no live heap.
        for series in ["rss", "unaccounted"] {
            assert_fields(&trend["series"][series], &fields);
        }
        fields.extend(["basis", "series"]);
        assert_fields(&trend, &fields);
        assert_eq!(trend["verdict"], "undecided", "{path}: {trend}");
        assert!(trend["decides_in"]["text"].as_str().expect("text").contains("more seconds"), "{trend}");
        assert_eq!(trend["bytes_per_second"], Value::Null, "nothing to say yet");
    }
    let metrics = service.get("/metrics").await.text;
    for (verdict, holds) in [("growing", 0), ("flat", 0), ("undecided", 1)] {
        let row = format!("memory_trend_verdict{{verdict=\"{verdict}\"}} {holds}\n");
        assert!(metrics.contains(&row), "no {row} in {metrics}");
    }
    assert!(!metrics.contains("\nmemory_time_to_limit_seconds"), "it does not grow: {metrics}");
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let answer = Service::new().get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.headers["content-type"].to_str().expect("text").starts_with("text/plain; version=0.0.4"));
    assert!(answer.text.contains("leak_entries{leak=\"cache\"} 0"), "{}", answer.text);
}

#[tokio::test]
async fn labs_say_where_the_learner_stands_and_what_is_still_wanted() {
    let service = Service::new();
    let labs = service.ok("/admin/labs").await["labs"].clone();
    let ids: Vec<_> =
        labs.as_array().expect("a list").iter().map(|lab| lab["id"].as_str().expect("text")).collect();
    assert_eq!(ids, ["1", "2", "3", "4", "5", "5-fix", "6", "7", "8", "9"]);
    for (id, lab) in ids.iter().zip(labs.as_array().expect("a list")) {
        assert_fields(lab, &["id", "title", "minutes", "optional", "passed", "passed_at"]);
        assert_eq!(
            (&lab["passed"], &lab["passed_at"], &lab["optional"]),
            (&json!(false), &Value::Null, &json!(*id == "5-fix"))
        );
        let verdict = service.posted(&format!("/admin/labs/{id}/check"), "").await;
        assert_fields(&verdict, &["id", "passed", "observed", "wanted", "hint"]);
        assert_eq!((&verdict["id"], &verdict["passed"]), (&json!(id), &json!(false)));
        for field in ["observed", "wanted", "hint"] {
            let text = verdict[field].as_str().unwrap_or_else(|| panic!("{id} has no {field}: {verdict}"));
            assert!(!text.is_empty() && !text.contains("curl"), "{id}: {field} gives no command: {text}");
        }
        let again = service.posted(&format!("/admin/labs/{id}/check"), "{}").await;
        assert_ne!(again["hint"], verdict["hint"], "{id}: hints narrow");
    }
    assert_eq!(service.posted("/admin/labs/reset", "").await["labs"], labs, "nothing was passed");
}

/// Leaks named by the settings are on once the service serves, and a run without a limit refuses those that may grow.
#[tokio::test]
async fn settings_switch_leaks_on_at_the_start() {
    use leaklab::leaks::Variant::{Fixed, Leaky, Mine};
    for (no_limit, on) in [(true, [Some(Leaky), Some(Mine), Some(Fixed)]), (false, [None, None, Some(Fixed)])]
    {
        let data_dir = tempfile::tempdir().expect("a temporary folder");
        let mut settings = settings(data_dir.path());
        settings.leaks = vec![("cache", Leaky), ("listeners", Mine), ("history", Fixed)];
        let app = app::build(settings, no_limit, NO_LIMIT);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        app::serve(std::sync::Arc::clone(&app), listener, std::future::ready(())).await.expect("it served");
        assert_eq!(app.leaks.iter().map(|leak| leak.variant()).collect::<Vec<_>>(), on);
    }
}
