//! `/metrics` against the table of names and labels that dashboards, alerts and labs rest on.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
};

use crate::support::Service;

/// Name, type, labels. Each row is there from the first scrape of a service with a limit; a row whose value is not known
/// is absent, never 0.
const TABLE: &[(&str, &str, &[&str])] = &[
    ("process_cpu_seconds_total", "counter", &[]),
    ("process_max_fds", "gauge", &[]),
    ("process_open_fds", "gauge", &[]),
    ("process_resident_memory_bytes", "gauge", &[]),
    ("process_start_time_seconds", "gauge", &[]),
    ("process_threads", "gauge", &[]),
    ("process_virtual_memory_bytes", "gauge", &[]),
    ("process_virtual_memory_max_bytes", "gauge", &[]),
    ("memory_limit_bytes", "gauge", &[]),
    ("memory_usage_bytes", "gauge", &[]),
    ("memory_part_bytes", "gauge", &["part"]),
    ("memory_growth_rate_bytes_per_second", "gauge", &[]),
    ("memory_trend_verdict", "gauge", &["verdict"]),
    ("memory_time_to_limit_seconds", "gauge", &[]),
    ("jemalloc_allocated_bytes", "gauge", &[]),
    ("jemalloc_active_bytes", "gauge", &[]),
    ("jemalloc_resident_bytes", "gauge", &[]),
    ("jemalloc_metadata_bytes", "gauge", &[]),
    ("jemalloc_retained_bytes", "gauge", &[]),
    ("jemalloc_mapped_bytes", "gauge", &[]),
    ("leak_enabled", "gauge", &["leak", "variant"]),
    ("leak_entries", "gauge", &["leak"]),
    ("leak_held_bytes", "gauge", &["leak"]),
    ("leak_requests_total", "counter", &["leak"]),
    ("leak_cache_lookups_total", "counter", &["leak", "result"]),
    ("http_requests_total", "counter", &["endpoint", "method", "service", "status"]),
    ("http_request_duration_seconds", "histogram", &["endpoint", "method", "service"]),
    ("http_request_allocated_bytes_total", "counter", &["endpoint"]),
    ("http_request_freed_bytes_total", "counter", &["endpoint"]),
    ("previous_run_ends_total", "counter", &["cause"]),
    ("trace_spans_dropped_total", "counter", &[]),
];

/// Absent where the process has no limit, or memory does not grow, or the machine does not say.
const OPTIONAL: [&str; 3] =
    ["memory_limit_bytes", "memory_time_to_limit_seconds", "process_virtual_memory_max_bytes"];

/// One scrape: families by name, samples by name with labels.
struct Scrape {
    text: String,
    kinds: BTreeMap<String, String>,
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Scrape {
    #[track_caller]
    fn of(service: &Service) -> Self {
        let (status, body) = service.get("/metrics");
        assert_eq!(status, 200);
        let text = body.as_str().expect("text, not JSON").to_owned();
        let mut kinds = BTreeMap::new();
        let mut labels = BTreeMap::<String, BTreeSet<String>>::new();
        for line in text.lines() {
            if let Some(typed) = line.strip_prefix("# TYPE ") {
                let (name, kind) = typed.split_once(' ').expect("name and type");
                let before = kinds.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} comes twice");
            } else if !line.is_empty() && !line.starts_with('#') {
                let series = line.rsplit_once(' ').expect("series and value").0;
                let (name, rest) = series.split_once('{').unwrap_or((series, ""));
                let family = ["_bucket", "_sum", "_count"]
                    .iter()
                    .filter_map(|suffix| name.strip_suffix(suffix))
                    .find(|family| kinds.contains_key(*family))
                    .unwrap_or(name);
                let names = rest.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name);
                labels
                    .entry(family.to_owned())
                    .or_default()
                    .extend(names.filter(|name| *name != "le").map(str::to_owned));
            }
        }
        Self { text, kinds, labels }
    }

    /// The value of that series, written as Prometheus writes it.
    fn value(&self, series: &str) -> Option<f64> {
        let line = self.text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().expect("a number"))
    }

    /// The sum over the series of that metric that have all of these labels.
    fn sum(&self, metric: &str, labels: &[&str]) -> f64 {
        self.text
            .lines()
            .filter(|line| line.starts_with(&format!("{metric}{{")))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number"))
            .sum()
    }
}

#[test]
fn the_first_scrape_has_the_tables_rows_and_no_others() {
    let service = Service::start(&[]);
    let scrape = Scrape::of(&service);
    for (name, kind, labels) in TABLE {
        let Some(found) = scrape.kinds.get(*name) else {
            assert!(OPTIONAL.contains(name), "{name} is missing in:\n{}", scrape.text);
            continue;
        };
        assert_eq!(found, kind, "{name}");
        let labels: BTreeSet<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        assert_eq!(scrape.labels[*name], labels, "{name}");
        assert!(scrape.text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    let known: BTreeSet<&str> = TABLE.iter().map(|(name, ..)| *name).collect();
    let strangers: Vec<&String> = scrape.kinds.keys().filter(|name| !known.contains(name.as_str())).collect();
    assert!(strangers.is_empty(), "not in the table: {strangers:?}");
}

#[test]
fn counters_and_leak_gauges_start_at_0() {
    let service = Service::start(&[]);
    let scrape = Scrape::of(&service);
    for leak in leaklab::leaks::NAMES {
        for metric in ["leak_entries", "leak_held_bytes", "leak_requests_total"] {
            let series = format!("{metric}{{leak=\"{leak}\"}}");
            assert_eq!(scrape.value(&series), Some(0.0), "{series}");
        }
        for variant in leaklab::leaks::Variant::NAMES {
            let series = format!("leak_enabled{{leak=\"{leak}\",variant=\"{variant}\"}}");
            assert_eq!(scrape.value(&series), Some(0.0), "{series}");
        }
    }
    for result in ["hit", "miss"] {
        assert_eq!(
            scrape.value(&format!("leak_cache_lookups_total{{leak=\"cache\",result=\"{result}\"}}")),
            Some(0.0)
        );
    }
    for cause in ["limit_kill", "killed", "crashed", "stopped"] {
        let series = format!("previous_run_ends_total{{cause=\"{cause}\"}}");
        assert_eq!(scrape.value(&series), Some(0.0), "{series}");
    }
    assert_eq!(scrape.value("trace_spans_dropped_total"), Some(0.0));
    for metric in ["http_request_allocated_bytes_total", "http_request_freed_bytes_total"] {
        let series = format!("{metric}{{endpoint=\"/api/data\"}}");
        assert_eq!(scrape.value(&series), Some(0.0), "{series}");
    }
    let data = ["endpoint=\"/api/data\"", "method=\"GET\"", "status=\"200\""];
    assert!(scrape.text.lines().any(|line| data.iter().all(|label| line.contains(label))), "{}", scrape.text);
    assert_eq!(scrape.sum("http_requests_total", &data), 0.0);
}

#[test]
fn a_leak_that_is_on_shows_with_what_it_holds() {
    let service = Service::start(&[]);
    service.post("/admin/leaks/cache", r#"{"enabled":true}"#);
    service.drive("/api/data", 50, 2);
    let scrape = Scrape::of(&service);
    assert_eq!(scrape.value("leak_enabled{leak=\"cache\",variant=\"leaky\"}"), Some(1.0));
    assert_eq!(scrape.value("leak_enabled{leak=\"cache\",variant=\"fixed\"}"), Some(0.0));
    assert_eq!(scrape.value("leak_entries{leak=\"cache\"}"), Some(50.0));
    assert_eq!(scrape.value("leak_held_bytes{leak=\"cache\"}"), Some(50.0 * 24.0 * 1024.0));
    assert_eq!(scrape.value("leak_requests_total{leak=\"cache\"}"), Some(50.0));
    assert_eq!(scrape.value("leak_cache_lookups_total{leak=\"cache\",result=\"miss\"}"), Some(50.0));
    assert_eq!(scrape.value("leak_cache_lookups_total{leak=\"cache\",result=\"hit\"}"), Some(0.0));
}

/// Bytes that requests of that route have kept.
fn retained(scrape: &Scrape, endpoint: &str) -> f64 {
    let bytes = |what| {
        let series = format!("http_request_{what}_bytes_total{{endpoint=\"{endpoint}\"}}");
        scrape.value(&series).unwrap_or_else(|| panic!("no {series}"))
    };
    bytes("allocated") - bytes("freed")
}

#[test]
fn what_a_request_keeps_is_the_difference_of_two_counters() {
    let service = Service::start(&[]);
    service.post("/admin/leaks/cache", r#"{"enabled":true}"#);
    // Both buffers of 12 KiB are a size class of their own. A key takes 64 bytes, and a table that has just doubled at
    // most four rows of 49.
    for (endpoint, least, most) in
        [("/api/data", 24.0 * 1024.0, 24.0 * 1024.0 + 64.0 + 4.0 * 49.0), ("/api/echo", 0.0, 0.0)]
    {
        service.drive(endpoint, 100, 4);
        let before = retained(&Scrape::of(&service), endpoint);
        let requests = 1_000;
        service.drive(endpoint, requests, 4);
        let kept = (retained(&Scrape::of(&service), endpoint) - before) / requests as f64;
        // The last answers may be over a moment after their clients have read them.
        let off = 512.0;
        assert!((least - off..=most + off).contains(&kept), "{endpoint} keeps {kept} bytes per request");
    }
}

#[test]
fn requests_are_counted_by_route_method_and_status() {
    let service = Service::start_with(&[], &[("OTEL_SERVICE_NAME", "patient")]);
    service.drive("/api/data", 30, 3);
    for path in ["/no/such/route", "/nor/this"] {
        assert_eq!(service.get(path).0, 404);
    }
    let scrape = Scrape::of(&service);
    let data = ["service=\"patient\"", "endpoint=\"/api/data\"", "method=\"GET\""];
    assert_eq!(scrape.sum("http_requests_total", &[&data[..], &["status=\"200\""]].concat()), 30.0);
    assert_eq!(scrape.sum("http_request_duration_seconds_count", &data), 30.0);
    assert_eq!(
        scrape.sum("http_request_duration_seconds_bucket", &[&data[..], &["le=\"+Inf\""]].concat()),
        30.0
    );
    assert_eq!(scrape.sum("http_requests_total", &["endpoint=\"other\"", "status=\"404\""]), 2.0);
    let buckets: Vec<&str> = scrape
        .text
        .lines()
        .filter(|line| data.iter().all(|label| line.contains(label)))
        .filter_map(|line| line.split_once("le=\"")?.1.split('"').next())
        .collect();
    assert_eq!(buckets, ["0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "+Inf"]);
}

#[test]
fn the_parts_of_one_scrape_sum_to_a_resident_size() {
    let service = Service::start(&[]);
    let scrape = Scrape::of(&service);
    let sum = scrape.sum("memory_part_bytes", &[]);
    let resident = scrape.value("process_resident_memory_bytes").expect("Linux says it");
    // Both are read in one scrape, but not at one moment.
    assert!((sum - resident).abs() < 4e6, "the parts sum to {sum}, resident are {resident}");
}

#[test]
fn promtool_finds_nothing_to_say() {
    let service = Service::start(&[]);
    service.drive("/api/data", 10, 1);
    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        println!("promtool is not installed: not checked");
        return;
    };
    let text = Scrape::of(&service).text;
    promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("promtool reads");
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn a_storm_of_scrapes_is_answered_and_counted() {
    let service = Service::start(&[]);
    service.drive("/metrics", 200, 8);
    let scrapes = Scrape::of(&service).sum("http_requests_total", &["endpoint=\"/metrics\""]);
    assert_eq!(scrapes, 200.0);
}
