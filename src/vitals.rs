//! What a running service says of itself to anybody who asks: read from its `/metrics`.
//!
//! The supervisor and the load generator look at the service from outside, as Prometheus does; neither knows how the
//! figures are made.

use std::collections::BTreeMap;

/// One reading of `/metrics`. A figure that the service does not offer is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vitals {
    /// When the process started, in seconds since the Unix epoch: it tells one process from the next.
    pub started_seconds: Option<f64>,
    /// Resident memory.
    pub rss_bytes: Option<u64>,
    /// What counts against the limit.
    pub usage_bytes: Option<u64>,
    /// Live allocations as the allocator counts them.
    pub live_heap_bytes: Option<u64>,
    /// Growth of memory as the service sees it.
    pub growth_bytes_per_second: Option<f64>,
    /// What the service says of the trend of its memory: `growing`, `flat` or `undecided`.
    pub trend: Option<String>,
    /// Time to the limit, where memory grows.
    pub time_to_limit_seconds: Option<f64>,
    /// Requests answered on /api since the process started.
    pub api_requests: u64,
    /// Leaks that are on, `name` or `name:variant` where the variant is not the leaky one.
    pub leaks_on: Vec<String>,
    /// Bytes that each leak holds.
    pub held_bytes: BTreeMap<String, u64>,
}

impl Vitals {
    /// Reads Prometheus text; lines that it does not know or can't read are passed over.
    pub fn parse(metrics: &str) -> Self {
        let mut vitals = Self::default();
        for Sample { name, labels, value } in metrics.lines().filter_map(Sample::parse) {
            match name {
                "process_start_time_seconds" => vitals.started_seconds = Some(value),
                "process_resident_memory_bytes" => vitals.rss_bytes = Some(value as u64),
                "memory_usage_bytes" => vitals.usage_bytes = Some(value as u64),
                "memory_part_bytes" if label(&labels, "part") == "live_heap" => {
                    vitals.live_heap_bytes = Some(value as u64);
                }
                "memory_growth_rate_bytes_per_second" => vitals.growth_bytes_per_second = Some(value),
                "memory_trend_verdict" if value == 1.0 => {
                    vitals.trend = Some(label(&labels, "verdict").to_owned());
                }
                "memory_time_to_limit_seconds" => vitals.time_to_limit_seconds = Some(value),
                "http_requests_total" if label(&labels, "endpoint").starts_with("/api") => {
                    vitals.api_requests += value as u64;
                }
                "leak_enabled" if value == 1.0 => {
                    let (leak, variant) = (label(&labels, "leak"), label(&labels, "variant"));
                    vitals.leaks_on.push(match variant {
                        "leaky" => leak.to_owned(),
                        other => format!("{leak}:{other}"),
                    });
                }
                "leak_held_bytes" => {
                    vitals.held_bytes.insert(label(&labels, "leak").to_owned(), value as u64);
                }
                _ => {}
            }
        }
        vitals
    }

    /// Whether this is a leaklab service's answer and not some other program's.
    pub fn is_leaklab(&self) -> bool {
        !self.held_bytes.is_empty()
    }
}

struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    value: f64,
}

impl<'a> Sample<'a> {
    /// `name{label="value",...} 12.5`. Label values keep their escapes: those that matter here have none.
    fn parse(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let name_end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(name_end);
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (key, value) = rest.trim_start_matches([',', ' ']).split_once("=\"")?;
                let value_end = closing_quote(value)?;
                labels.push((key, &value[..value_end]));
                rest = &value[value_end + 1..];
            }
            rest = &rest[1..];
        }
        let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self { name, labels, value })
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

fn label<'a>(labels: &[(&str, &'a str)], name: &str) -> &'a str {
    labels.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_read() {
        let vitals = Vitals::parse(
            r#"# HELP process_resident_memory_bytes Resident memory size in bytes.
process_resident_memory_bytes 17825792
process_start_time_seconds 1795257624.12
memory_part_bytes{part="live_heap"} 4194304
memory_part_bytes{part="file"} 9000000
memory_usage_bytes 1.8e7
memory_growth_rate_bytes_per_second -12.5
memory_trend_verdict{verdict="growing"} 1
memory_trend_verdict{verdict="flat"} 0
memory_time_to_limit_seconds 205.5
http_requests_total{service="leaky-service",method="GET",endpoint="/api/data",status="200"} 40
http_requests_total{service="leaky-service",method="GET",endpoint="/api/echo",status="200"} 2
http_requests_total{service="leaky-service",method="GET",endpoint="/metrics",status="200"} 900
leak_enabled{leak="cache",variant="leaky"} 1
leak_enabled{leak="cache",variant="fixed"} 0
leak_enabled{leak="history",variant="fixed"} 1
leak_held_bytes{leak="cache"} 983040
leak_held_bytes{leak="history"} 0
"#,
        );
        let expected = Vitals {
            started_seconds: Some(1_795_257_624.12),
            rss_bytes: Some(17 << 20),
            usage_bytes: Some(18_000_000),
            live_heap_bytes: Some(4 << 20),
            growth_bytes_per_second: Some(-12.5),
            trend: Some("growing".into()),
            time_to_limit_seconds: Some(205.5),
            api_requests: 42,
            leaks_on: vec!["cache".into(), "history:fixed".into()],
            held_bytes: [("cache".into(), 983_040), ("history".into(), 0)].into(),
        };
        assert_eq!(vitals, expected);
        assert!(vitals.is_leaklab());
    }

    #[test]
    fn what_can_t_be_read_is_passed_over() {
        let text = "garbage\nhttp_requests_total{endpoint=\"/api\nx{a=\"b\"}\n{} 1\nleak_held_bytes{leak=\"a\\\"}, b=\\\\\"} 7 1234";
        let vitals = Vitals::parse(text);
        assert_eq!(vitals.held_bytes, [(r#"a\"}, b=\\"#.to_owned(), 7)].into());
        assert!(!Vitals::parse("process_resident_memory_bytes 5").is_leaklab());
    }
}
