//! Traces as a collector sees them, and requests while there is none.

use std::{
    net::{SocketAddr, TcpListener},
    process::Command,
    time::{Duration, Instant},
};

use crate::otlp::{Collector, Manner, attribute, hex};
use crate::support::{Service, eventually, metric};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};

const CALLER_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER_SPAN: &str = "00f067aa0ba902b7";

/// Spans of one `/api/data` with every leak off: the server's and `work`.
const SPANS_PER_REQUEST: u64 = 2;

fn traced(endpoint: &str, more: &[(&str, &str)]) -> Service {
    let environment =
        [&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "50")], more].concat();
    Service::start_with(&[], &environment)
}

/// The answer's headers `x-request-id` and `x-trace-id`.
#[track_caller]
fn ids(service: &Service, path: &str, traceparent: Option<&str>) -> (String, String) {
    let mut request = ureq::get(format!("{}{path}", service.url));
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    let answer = request.call().expect("an answer");
    let header = |name| answer.headers().get(name).expect(name).to_str().expect("text").to_owned();
    (header("x-request-id"), header("x-trace-id"))
}

#[track_caller]
fn dropped(service: &Service) -> u64 {
    metric(&service.url, "trace_spans_dropped_total") as u64
}

#[track_caller]
fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no span {name:?} among {spans:#?}"));
    assert!(found.next().is_none(), "more than one span {name:?}");
    span
}

#[test]
fn the_callers_trace_goes_on_through_work_and_leaks() {
    let collector = Collector::start(Manner::Keeps);
    let service = traced(&collector.endpoint(), &[("OTEL_SERVICE_NAME", "patient")]);
    service.post("/admin/leaks/cache", r#"{"enabled":true}"#);
    eventually("the span of the switch", || (collector.count() == 1).then_some(()));

    let traceparent = format!("00-{CALLER_TRACE}-{CALLER_SPAN}-01");
    let (request_id, trace_id) = ids(&service, "/api/data?x=1", Some(&traceparent));
    assert_eq!(trace_id, CALLER_TRACE);
    let spans = eventually("three spans more", || {
        let spans = collector.spans();
        (spans.len() >= 4).then(|| spans[1..].to_vec())
    });

    assert_eq!(spans.len(), 3, "{spans:#?}");
    assert!(spans.iter().all(|span| hex(&span.trace_id) == CALLER_TRACE), "{spans:#?}");
    let server = named(&spans, "GET /api/data");
    assert_eq!(hex(&server.parent_span_id), CALLER_SPAN);
    assert_eq!(server.kind, SpanKind::Server as i32);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/api/data"),
        ("url.path", "/api/data"),
        ("http.response.status_code", "200"),
        ("request_id", &request_id),
    ] {
        assert_eq!(attribute(server, key).as_deref(), Some(value), "{key}");
    }
    for child in ["work", "leak.cache"] {
        let child = named(&spans, child);
        assert_eq!(child.parent_span_id, server.span_id);
        assert!(child.start_time_unix_nano >= server.start_time_unix_nano);
        assert!(child.end_time_unix_nano <= server.end_time_unix_nano);
    }
    let names = collector.service_names();
    assert!(names.iter().all(|name| name == "patient"), "{names:?}");
}

#[test]
fn the_span_says_what_the_request_kept() {
    let collector = Collector::start(Manner::Keeps);
    let service = traced(&collector.endpoint(), &[]);
    // What is allocated once, by whoever comes first, is nobody's.
    for path in ["/api/data", "/api/echo"] {
        service.drive(path, 20, 1);
    }
    service.post("/admin/leaks/cache", r#"{"enabled":true}"#);
    let before = SPANS_PER_REQUEST * 40 + 1;
    eventually("the spans so far", || (collector.count() == before).then_some(()));
    service.ok("/api/data");
    service.ok("/api/echo");
    let spans = eventually("the server's span, its work and its leak, and the server's and its work", || {
        let spans = collector.spans();
        (spans.len() as u64 == before + 5).then(|| spans[before as usize..].to_vec())
    });
    let bytes = |span, what| {
        let key = format!("leakscope.request.{what}_bytes");
        attribute(span, &key).unwrap_or_else(|| panic!("no {key}")).parse::<i64>().expect("a whole number")
    };
    for (name, class) in [("GET /api/data", "4_64KiB"), ("GET /api/echo", "none")] {
        let span = named(&spans, name);
        println!("{name}: {} {} {}", bytes(span, "allocated"), bytes(span, "freed"), bytes(span, "retained"));
        assert_eq!(attribute(span, "leakscope.request.retained_class").as_deref(), Some(class), "{span:#?}");
        assert_eq!(bytes(span, "allocated") - bytes(span, "freed"), bytes(span, "retained"));
    }
}

#[test]
fn probes_and_scrapes_make_no_spans() {
    let collector = Collector::start(Manner::Keeps);
    let service = traced(&collector.endpoint(), &[]);
    for path in ["/health", "/livez", "/readyz", "/metrics"] {
        assert_eq!(service.get(path).0, 200, "{path}");
    }
    service.ok("/api/data");
    eventually("the spans of /api/data", || (collector.count() == SPANS_PER_REQUEST).then_some(()));
    let names: Vec<String> = collector.spans().into_iter().map(|span| span.name).collect();
    assert!(names.iter().all(|name| name == "GET /api/data" || name == "work"), "{names:?}");
}

#[test]
fn without_an_endpoint_the_trace_id_is_the_callers_or_a_fresh_one() {
    let service = Service::start(&[]);
    let traceparent = format!("00-{CALLER_TRACE}-{CALLER_SPAN}-01");
    assert_eq!(ids(&service, "/api/data", Some(&traceparent)).1, CALLER_TRACE);
    let fresh = [None, None, Some("00-malformed-01")].map(|parent| ids(&service, "/api/data", parent).1);
    assert!(fresh.iter().all(|id| id.len() == 32 && id != CALLER_TRACE), "{fresh:?}");
    assert!(fresh[0] != fresh[1] && fresh[1] != fresh[2], "{fresh:?}");
    assert_eq!(dropped(&service), 0);
}

#[test]
fn the_sampler_is_honoured() {
    let collector = Collector::start(Manner::Keeps);
    let service = traced(&collector.endpoint(), &[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]);
    service.ok("/api/data");
    let sampled = format!("00-{CALLER_TRACE}-{CALLER_SPAN}-01");
    ids(&service, "/api/data", Some(&sampled));
    eventually("the spans of the sampled caller", || (collector.count() == SPANS_PER_REQUEST).then_some(()));
    assert!(collector.spans().iter().all(|span| hex(&span.trace_id) == CALLER_TRACE));
}

#[test]
fn a_collector_that_is_dead_costs_spans_and_one_that_comes_back_gets_them() {
    let address = free_address();
    let service = traced(&format!("http://{address}"), &[]);
    let lost = 300;
    service.drive("/api/data", lost, 4);
    let made = SPANS_PER_REQUEST * lost as u64;
    eventually("every span is counted as dropped", || (dropped(&service) == made).then_some(()));

    let collector = Collector::start_at(address, Manner::Keeps);
    let sent = 100;
    service.drive("/api/data", sent, 4);
    let made = made + SPANS_PER_REQUEST * sent as u64;
    eventually("received and dropped are what was made", || {
        (collector.count() > 0 && collector.count() + dropped(&service) == made).then_some(())
    });
    let mut changes = Vec::new();
    eventually("one line when it went and one when it came", || {
        changes.extend(service.log().into_iter().filter(|line| line.contains("the collector takes")));
        (changes.len() >= 2).then_some(())
    });
    assert_eq!(changes.len(), 2, "{changes:#?}");
}

#[test]
fn a_collector_that_never_answers_costs_spans_not_time() {
    let collector = Collector::start(Manner::Hangs);
    // Up to four batches are under way while the queue fills.
    let (queue, under_way) = (64, 4 * 16);
    let service = traced(
        &collector.endpoint(),
        &[
            ("OTEL_BSP_MAX_QUEUE_SIZE", "64"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16"),
            // Longer than the test: a request that waited for the collector would show.
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "600000"),
        ],
    );
    service.ok("/api/data");
    eventually("the collector hangs on a batch", || (collector.requests() == 1).then_some(()));
    let requests = 500;
    let started = Instant::now();
    service.drive("/api/data", requests, 4);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?} for {requests} requests", started.elapsed());
    let made = SPANS_PER_REQUEST * (requests as u64 + 1);
    assert!(dropped(&service) >= made - queue - under_way, "{} of {made}", dropped(&service));
    assert!(
        dropped(&service) <= made - queue,
        "the queue holds what it can: {} of {made}",
        dropped(&service)
    );
}

#[test]
fn an_endpoint_that_can_not_be_used_is_said_and_the_service_serves() {
    for endpoint in ["https://127.0.0.1:4317", "not a url"] {
        let service = traced(endpoint, &[]);
        service.ok("/api/data");
        let log = service.log();
        let errors: Vec<_> = log.iter().filter(|line| line.contains(r#""level":"ERROR""#)).collect();
        assert!(errors.len() == 1 && errors[0].contains(endpoint), "{log:#?}");
        assert_eq!(dropped(&service), 0, "no span is made");
    }
}

#[test]
fn a_stop_sends_what_is_queued() {
    let collector = Collector::start(Manner::Counts);
    let service = traced(&collector.endpoint(), &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]);
    service.drive("/api/data", 20, 2);
    assert_eq!(collector.count(), 0, "a batch is not full, and the delay is an hour");
    let killed = Command::new("kill").arg(service.pid().to_string()).status().expect("kill runs");
    assert!(killed.success());
    eventually("the queued spans", || (collector.count() == 20 * SPANS_PER_REQUEST).then_some(()));
}

/// An address where nothing listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}
