//! The end of a run, for people and for machines.

use std::{collections::BTreeMap, fmt, time::Duration};

use indicatif::{BinaryBytes, HumanCount};
use serde::Serialize;

use super::{Plan, memory::Memory, tally::Tally};

/// Shorter silences are not worth a line.
const NOTABLE_GAP: Duration = Duration::from_millis(100);

/// What a run found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadReport {
    /// What was asked for.
    pub url: String,
    /// Requests per second that were wanted; `None`: as many as possible.
    pub rate_wanted: Option<f64>,
    /// How long it took.
    pub seconds: f64,
    /// Requests that were sent.
    pub requests: u64,
    /// Good answers per second.
    pub requests_per_second: f64,
    /// Of good answers, in milliseconds, from when a request was due; `None`: there was none.
    pub latency_ms: Option<Latency>,
    /// Requests that were not answered with success.
    pub errors: u64,
    /// The same by kind.
    pub errors_by_kind: BTreeMap<String, u64>,
    /// Times without any answer.
    pub silences: Vec<Silence>,
    /// Requests that left more than 10 ms after they were due, since all connections were busy.
    pub late: u64,
    /// Requests that were due and never left, for the same reason.
    pub unsent: u64,
    /// Of a leaklab service.
    pub memory: Option<MemoryChange>,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 95 % are at most this.
    pub p95: f64,
    /// 99 % are at most this.
    pub p99: f64,
    /// The longest.
    pub worst: f64,
}

/// A time without any answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Silence {
    /// Seconds from the start of the run to the last answer before it.
    pub from_seconds: f64,
    /// Seconds without an answer.
    pub seconds: f64,
    /// Whether the service answered again.
    pub ended: bool,
}

/// The memory of a leaklab service over a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MemoryChange {
    /// Before the first request.
    pub start: Memory,
    /// After the last.
    pub end: Memory,
    /// Whether these are two processes: then nothing can be said per request.
    pub restarted: bool,
    /// Growth of RSS for each good answer.
    pub rss_bytes_per_request: Option<f64>,
    /// Growth of the live heap for each good answer.
    pub live_heap_bytes_per_request: Option<f64>,
}

impl LoadReport {
    pub(super) fn new(
        plan: &Plan,
        tally: Tally,
        unsent: u64,
        elapsed: Duration,
        memory: Option<(Memory, Memory)>,
    ) -> Self {
        let seconds = elapsed.as_secs_f64();
        let quantile = |q| tally.latencies.value_at_quantile(q) as f64 / 1e3;
        let latency_ms = (tally.good() > 0).then(|| Latency {
            p50: quantile(0.50),
            p95: quantile(0.95),
            p99: quantile(0.99),
            worst: tally.latencies.max() as f64 / 1e3,
        });
        let silences = tally.gaps.iter().map(|gap| (gap.from, gap.to.unwrap_or(elapsed), gap.to.is_some()));
        Self {
            url: plan.url.to_string(),
            rate_wanted: plan.rate,
            seconds,
            requests: tally.good() + tally.failed(),
            requests_per_second: tally.good() as f64 / seconds.max(1e-9),
            latency_ms,
            errors: tally.failed(),
            errors_by_kind: tally.failures.iter().map(|(kind, count)| (kind.to_string(), *count)).collect(),
            silences: silences
                .filter(|(from, to, _)| to.saturating_sub(*from) >= NOTABLE_GAP)
                .map(|(from, to, ended)| Silence {
                    from_seconds: from.as_secs_f64(),
                    seconds: (to - from).as_secs_f64(),
                    ended,
                })
                .collect(),
            late: tally.late,
            unsent,
            memory: memory.map(|(start, end)| MemoryChange::new(start, end, tally.good())),
        }
    }

    /// Whether anything was answered.
    pub fn answered(&self) -> bool {
        self.latency_ms.is_some()
    }
}

impl MemoryChange {
    fn new(start: Memory, end: Memory, requests: u64) -> Self {
        let restarted = start.started_seconds != end.started_seconds;
        let per_request = |before: u64, after: u64| {
            (!restarted && requests > 0).then(|| (after as f64 - before as f64) / requests as f64)
        };
        Self {
            start,
            end,
            restarted,
            rss_bytes_per_request: per_request(start.rss_bytes, end.rss_bytes),
            live_heap_bytes_per_request: start
                .live_heap_bytes
                .zip(end.live_heap_bytes)
                .and_then(|(before, after)| per_request(before, after)),
        }
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let good = HumanCount(self.requests - self.errors);
        writeln!(f, "{good} answers in {:.1} s: {:.1} requests/s", self.seconds, self.requests_per_second)?;
        match self.latency_ms {
            Some(Latency { p50, p95, p99, worst }) => {
                writeln!(
                    f,
                    "latency   p50 {p50:.1} ms   p95 {p95:.1} ms   p99 {p99:.1} ms   worst {worst:.1} ms"
                )?;
            }
            None => writeln!(f, "nothing was answered by {}", self.url)?,
        }
        if self.errors == 0 {
            writeln!(f, "errors    none")?;
        } else {
            let kinds: Vec<_> = self
                .errors_by_kind
                .iter()
                .map(|(kind, count)| format!("{kind} {}", HumanCount(*count)))
                .collect();
            writeln!(f, "errors    {}: {}", HumanCount(self.errors), kinds.join(", "))?;
        }
        for silence in &self.silences {
            let to = if silence.ended { "" } else { ", until the end" };
            writeln!(f, "no answer for {:.2} s from {:.1} s on{to}", silence.seconds, silence.from_seconds)?;
        }
        if self.late + self.unsent > 0 {
            let (late, unsent) = (HumanCount(self.late), HumanCount(self.unsent));
            writeln!(
                f,
                "late      {late} left more than 10 ms after they were due, {unsent} never left: all connections were busy \
                 (--concurrency)"
            )?;
        }
        if let Some(memory) = &self.memory {
            write!(f, "{memory}")?;
        }
        Ok(())
    }
}

impl fmt::Display for MemoryChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, start: u64, end: u64, per_request: Option<f64>| {
            write!(f, "{name:<9} {} -> {}", BinaryBytes(start), BinaryBytes(end))?;
            match per_request {
                Some(bytes) => writeln!(f, ": {bytes:.0} bytes per request"),
                None => writeln!(f),
            }
        };
        row("RSS", self.start.rss_bytes, self.end.rss_bytes, self.rss_bytes_per_request)?;
        if let (Some(start), Some(end)) = (self.start.live_heap_bytes, self.end.live_heap_bytes) {
            row("live heap", start, end, self.live_heap_bytes_per_request)?;
        }
        if self.restarted {
            writeln!(f, "the service was restarted in between: its memory began anew")?;
        }
        Ok(())
    }
}
