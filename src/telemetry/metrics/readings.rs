//! The rows that are read at a scrape.
//!
//! A new row is a line in [`GAUGES`] or [`COUNTERS`] and a line in the function that knows its value.

use std::sync::Arc;

use leakscope::{
    Instrument,
    memory::Report,
    recorder::{Cause, History},
    trend::Verdict,
};
use metrics::{counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;
use metrics_process::Collector;

use crate::{
    leaks::{Registry, Variant},
    recording::Recording,
    telemetry::traces::Traces,
};

/// What a scrape reads. Clones share it.
#[derive(Clone)]
#[expect(missing_docs, reason = "the types say what the sources are")]
pub struct Sources {
    pub instrument: Instrument,
    pub leaks: Arc<Registry>,
    pub recording: Arc<Recording>,
    pub traces: Arc<Traces>,
}

const GAUGES: [(&str, &str); 15] = [
    ("memory_limit_bytes", "Memory limit in force; absent where there is none."),
    ("memory_usage_bytes", "What counts against the limit: the cgroup's working set, else RSS."),
    ("memory_part_bytes", "Signed parts of the resident memory; they sum to RSS."),
    (
        "memory_growth_rate_bytes_per_second",
        "Slope of the trend once it is decided; until then the change of RSS per second over the last 30 seconds.",
    ),
    ("memory_trend_verdict", "1 for what the trend says of memory."),
    ("memory_time_to_limit_seconds", "Time until the limit, if it goes on so; absent when not growing."),
    ("jemalloc_allocated_bytes", "Live allocations."),
    ("jemalloc_active_bytes", "Pages that hold live allocations."),
    ("jemalloc_resident_bytes", "Pages that may be resident: active, dirty and metadata."),
    ("jemalloc_metadata_bytes", "The allocator's own tables."),
    ("jemalloc_retained_bytes", "Address space kept but not backed by memory."),
    ("jemalloc_mapped_bytes", "Address space of the active extents."),
    ("leak_enabled", "1 where this variant of the leak is on."),
    ("leak_entries", "Entries that the leak holds."),
    ("leak_held_bytes", "Payload that the leak holds."),
];

const COUNTERS: [(&str, &str); 4] = [
    ("leak_requests_total", "Requests that a variant of the leak has served."),
    ("leak_cache_lookups_total", "Lookups of a leak that looks things up, such as the response cache."),
    ("previous_run_ends_total", "Ends of earlier runs that the flight recorder knows of, by cause."),
    ("trace_spans_dropped_total", "Spans dropped: the queue was full or the collector did not take them."),
];

/// Prometheus text of every row.
pub(super) fn render(sources: &Sources, report: &Report) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    with_local_recorder(&recorder, || {
        describe();
        Collector::default().collect();
        memory(report, &sources.instrument);
        trend(&sources.instrument);
        leaks(&sources.leaks);
        previous_runs(sources.recording.history());
        counter!("trace_spans_dropped_total").absolute(sources.traces.dropped());
    });
    recorder.handle().render()
}

fn describe() {
    Collector::default().describe();
    for (name, help) in GAUGES {
        describe_gauge!(name, help);
    }
    for (name, help) in COUNTERS {
        describe_counter!(name, help);
    }
}

fn memory(report: &Report, instrument: &Instrument) {
    if let Some(bytes) = instrument.limit().bytes {
        gauge!("memory_limit_bytes").set(bytes as f64);
    }
    gauge!("memory_usage_bytes").set(instrument.latest().usage_bytes as f64);
    for part in &report.parts {
        gauge!("memory_part_bytes", "part" => part.part).set(part.bytes as f64);
    }
    if let Some(jemalloc) = report.jemalloc {
        gauge!("jemalloc_allocated_bytes").set(jemalloc.allocated_bytes as f64);
        gauge!("jemalloc_active_bytes").set(jemalloc.active_bytes as f64);
        gauge!("jemalloc_resident_bytes").set(jemalloc.resident_bytes as f64);
        gauge!("jemalloc_metadata_bytes").set(jemalloc.metadata_bytes as f64);
        gauge!("jemalloc_retained_bytes").set(jemalloc.retained_bytes as f64);
        gauge!("jemalloc_mapped_bytes").set(jemalloc.mapped_bytes as f64);
    }
}

fn previous_runs(history: &History) {
    for cause in Cause::ALL {
        counter!("previous_run_ends_total", "cause" => cause.name()).absolute(history.ends(cause));
    }
}

fn trend(instrument: &Instrument) {
    let report = instrument.latest_trend();
    let trend = &report.trend;
    for verdict in Verdict::ALL {
        let holds = if verdict == trend.verdict { 1.0 } else { 0.0 };
        gauge!("memory_trend_verdict", "verdict" => verdict.as_str()).set(holds);
    }
    if let Some(seconds) = trend.time_to_limit_seconds {
        gauge!("memory_time_to_limit_seconds").set(seconds);
    }
    let slope = trend.bytes_per_second.filter(|_| trend.verdict != Verdict::Undecided);
    let growth = slope.map_or_else(|| instrument.growth_bytes_per_second(), |slope| slope.value);
    gauge!("memory_growth_rate_bytes_per_second").set(growth);
}

fn leaks(leaks: &Registry) {
    for leak in leaks.iter() {
        let name = leak.name();
        let on = leak.variant().map(Variant::name);
        for variant in Variant::NAMES {
            let enabled = if on == Some(variant) { 1.0 } else { 0.0 };
            gauge!("leak_enabled", "leak" => name, "variant" => variant).set(enabled);
        }
        let held = leak.held();
        gauge!("leak_entries", "leak" => name).set(held.entries as f64);
        gauge!("leak_held_bytes", "leak" => name).set(held.payload_bytes as f64);
        counter!("leak_requests_total", "leak" => name).absolute(leak.requests());
        if let Some(lookups) = leak.lookups() {
            counter!("leak_cache_lookups_total", "leak" => name, "result" => "hit").absolute(lookups.hits);
            counter!("leak_cache_lookups_total", "leak" => name, "result" => "miss").absolute(lookups.misses);
        }
    }
}
