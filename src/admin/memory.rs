//! What is held, who allocated it, and what changed since the baseline.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use axum::{Json, extract::State};
use leakscope::{
    heap::{self, By, Compared, Growth, Site, Snapshot},
    http::off_runtime,
    memory::{self, Limit, ProcessMemory, Report},
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    leaks::held,
    object::{Object, two_decimals},
};
use crate::{
    app::App,
    http::{
        error::{Error, ErrorBody},
        extract::{Fields, Parameters},
    },
    recording::Event,
};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(overview))
        .routes(routes!(snapshot))
        .routes(routes!(diff))
        .routes(routes!(baseline))
        .routes(routes!(gc))
}

/// Places shown by the overview.
const TOP_OVERVIEW: usize = 10;
/// Files shown by a snapshot.
const TOP_FILES: usize = 15;
/// Lines (or functions) shown by a snapshot, and places shown by a diff.
const TOP_LINES: usize = 20;

/// The process, its limit, its allocator, the parts that sum to RSS, and who allocated what is held. Never waits for a profile.
#[utoipa::path(
    get,
    path = "/admin/memory",
    tag = "memory",
    responses((status = 200, body = Object, description = "`process`, `limit`, `parts`, `cgroup`, `jemalloc`, `heap_profile`, `leaks`, `missing`"))
)]
async fn overview(State(app): State<Arc<App>>) -> Json<Object> {
    let profile = app.profiles.last_and_fresh();
    off_runtime(&app, move |app| {
        let report = app.profiles.report();
        if app.leaks.iter().all(|leak| leak.variant().is_none()) {
            app.recording.look(app.requests.load(Relaxed), report.process.rss_bytes);
        }
        Json(
            Object::default()
                .with("process", process(&report.process, app.limit))
                .with("limit", app.limit)
                .with("parts", parts(&report))
                .with("cgroup", report.cgroup.as_ref())
                .with("jemalloc", jemalloc(&report))
                .with("heap_profile", heap_profile(app, profile))
                .with("leaks", held(&app.leaks))
                .with("missing", &report.missing),
        )
    })
    .await
}

fn process(process: &ProcessMemory, limit: Limit) -> Object {
    let (whole, percent_of) = match limit.bytes {
        Some(bytes) => (Some(bytes), "limit"),
        None => (host_memory_bytes(), "host memory"),
    };
    let percent = whole.map(|whole| two_decimals(process.rss_bytes as f64 * 100.0 / whole as f64));
    Object::default()
        .with("pid", process.pid)
        .with_size("rss", process.rss_bytes)
        .with_size("vms", process.virtual_bytes)
        .with("percent", percent)
        .with("percent_of", percent_of)
        .with_size_if_known("pss", process.pss_bytes)
        .with_size_if_known("anonymous", process.anonymous_bytes)
        .with_size_if_known("file", process.file_bytes)
        .with_size_if_known("swap", process.swap_bytes)
        .with("threads", process.threads)
        .with("open_files", process.open_files)
}

/// Linux only; elsewhere nothing is known.
fn host_memory_bytes() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(total.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

fn parts(report: &Report) -> Vec<Object> {
    let part = |part: &memory::Part| {
        Object::default().with("part", part.part).with_size("size", part.bytes).with("quality", part.quality)
    };
    report.parts.iter().map(part).collect()
}

fn jemalloc(report: &Report) -> Option<Object> {
    report.jemalloc.map(|jemalloc| {
        Object::default()
            .with_size("allocated", jemalloc.allocated_bytes)
            .with_size("active", jemalloc.active_bytes)
            .with_size("resident", jemalloc.resident_bytes)
            .with_size("metadata", jemalloc.metadata_bytes)
            .with_size("retained", jemalloc.retained_bytes)
            .with_size("mapped", jemalloc.mapped_bytes)
    })
}

fn heap_profile(app: &App, last: Option<Result<Arc<Snapshot>, heap::Error>>) -> Object {
    let profiler = app.profiler.status();
    let object = match (last, &profiler.problem) {
        (_, Some(problem)) if !profiler.enabled => {
            Object::default().with("status", "off").with("problem", problem)
        }
        (None, _) => Object::default().with("status", "pending"),
        (Some(Err(error)), _) => {
            Object::default().with("status", "failed").with("problem", error.to_string())
        }
        (Some(Ok(snapshot)), _) => {
            let top: Vec<_> = snapshot.sites(By::Line).iter().take(TOP_OVERVIEW).map(top_site).collect();
            Object::default()
                .with("status", "ready")
                .with("age_seconds", two_decimals(snapshot.age().as_secs_f64()))
                .with_size("total_traced", snapshot.total_bytes)
                .with("count", snapshot.total_count)
                .with("top_allocations", top)
        }
    };
    object.with("sample_interval_bytes", profiler.sample_interval_bytes).with("unwinder", &profiler.unwinder)
}

fn top_site(site: &Site) -> Object {
    Object::default()
        .with("file", &site.file)
        .with("location", &site.location)
        .with("function", &site.function)
        .with_size_kb("size", site.bytes)
        .with("size_error_bytes", site.bytes_error)
        .with("count", site.count)
}

/// What a snapshot shows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SnapshotQuery {
    /// Only this grouping: `line`, `function`, `file` or `stack` (the last one only when asked for).
    #[param(value_type = Option<String>, example = "line")]
    by: Option<By>,
    /// Places shown at most (15 files and 20 lines unless told).
    limit: Option<usize>,
}

impl Fields for SnapshotQuery {
    const EXAMPLE: &'static str = "a query of by=line, by=function, by=file or by=stack, and limit=20";
}

/// Takes a heap profile: live memory by file, line and function.
#[utoipa::path(
    get,
    path = "/admin/memory/snapshot",
    tag = "memory",
    params(SnapshotQuery),
    responses(
        (status = 200, body = Object, description = "`total_traced_mb`, `peak_traced_mb`, `by_file`, `by_line`, `by_function` (or `by_stack`), `tip`"),
        (status = 400, body = ErrorBody, description = "A parameter that is not understood"),
        (status = 409, body = ErrorBody, description = "Profiling is off; says how to switch it on"),
    )
)]
async fn snapshot(
    State(app): State<Arc<App>>,
    Parameters(query): Parameters<SnapshotQuery>,
) -> Result<Json<Object>, Error> {
    off_runtime(&app, move |app| {
        let snapshot = app.profiles.take()?;
        app.recording.event(Event::Snapshot { total_bytes: snapshot.total_bytes });
        let peak_bytes = app.sampler.peak_live_heap_bytes().max(snapshot.total_bytes);
        let object = Object::default()
            .with("timestamp", humantime::format_rfc3339(snapshot.taken_at).to_string())
            .with_size("total_traced", snapshot.total_bytes)
            .with_size("peak_traced", peak_bytes);
        let groups = [
            (By::File, "by_file", TOP_FILES),
            (By::Line, "by_line", TOP_LINES),
            (By::Function, "by_function", TOP_LINES),
            (By::Stack, "by_stack", TOP_LINES),
        ];
        let wanted =
            groups.into_iter().filter(|(by, ..)| query.by.map_or(*by != By::Stack, |only| only == *by));
        let object = wanted.fold(object, |object, (by, field, most)| {
            let sites = snapshot.sites(by);
            let sites: Vec<_> =
                sites.iter().take(query.limit.unwrap_or(most)).map(|site| place(by, site)).collect();
            object.with(field, sites)
        });
        Ok(Json(object.with("tip", SNAPSHOT_TIP)))
    })
    .await
}

const SNAPSHOT_TIP: &str = "a place allocated what it is shown with, and something still refers to it; \
    what grows shows in GET /admin/memory/diff";

fn place(by: By, site: &Site) -> Object {
    let object = match by {
        By::File => Object::default().with("filename", &site.location),
        By::Line | By::Stack => {
            Object::default().with("location", &site.location).with("function", &site.function)
        }
        By::Function => Object::default().with("function", &site.location).with("file", &site.file),
    };
    object
        .with_size("size", site.bytes)
        .with("size_error_bytes", site.bytes_error)
        .with("count", site.count)
        .with("count_error", site.count_error)
        .with_some("stack", &site.stack)
}

/// What a diff shows, and what it does to the baseline.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// `true`: the baseline stays; else this profile becomes the next one.
    #[serde(default)]
    keep: bool,
    /// What to group by: `line` (the default), `function`, `file` or `stack`.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "line")]
    by: By,
    /// Places shown at most (20 unless told).
    limit: Option<usize>,
}

impl Fields for DiffQuery {
    const EXAMPLE: &'static str =
        "a query of keep=true, by=line, by=function, by=file or by=stack, and limit=20";
}

/// What grew since the baseline. The first call sets it; each later one compares, and becomes the new one unless `keep=true`.
#[utoipa::path(
    get,
    path = "/admin/memory/diff",
    tag = "memory",
    params(DiffQuery),
    responses(
        (status = 200, body = Object, description = "`status` is `baseline_set` or `diff_computed`; then `growing_allocations`, `total_growth_mb`"),
        (status = 400, body = ErrorBody, description = "A parameter that is not understood"),
        (status = 409, body = ErrorBody, description = "Profiling is off; says how to switch it on"),
    )
)]
async fn diff(
    State(app): State<Arc<App>>,
    Parameters(query): Parameters<DiffQuery>,
) -> Result<Json<Object>, Error> {
    off_runtime(&app, move |app| {
        let Compared { base, now } = app.profiles.compare(!query.keep)?;
        let Some(base) = base else {
            return Ok(Json(baseline_set(
                app,
                &now,
                "there was none yet (a baseline does not survive a restart)",
            )));
        };
        app.recording.event(Event::Diff {
            keep: query.keep,
            total_growth_bytes: now.total_bytes as i64 - base.total_bytes as i64,
            line: heap::growing(&base, &now, By::Line, 1).pop().map(|growth| growth.site.location),
        });
        Ok(Json(compared(&base, &now, &query)))
    })
    .await
}

/// Sets the baseline of diffs to now.
#[utoipa::path(
    post,
    path = "/admin/memory/baseline",
    tag = "memory",
    responses(
        (status = 200, body = Object, description = "`status` is `baseline_set`"),
        (status = 409, body = ErrorBody, description = "Profiling is off; says how to switch it on"),
    )
)]
async fn baseline(State(app): State<Arc<App>>) -> Result<Json<Object>, Error> {
    off_runtime(&app, |app| {
        let now = app.profiles.take()?;
        app.profiles.set_baseline(Arc::clone(&now));
        Ok(Json(baseline_set(app, &now, "as asked")))
    })
    .await
}

fn baseline_set(app: &App, snapshot: &Snapshot, why: &str) -> Object {
    app.recording.event(Event::Baseline { total_bytes: snapshot.total_bytes });
    Object::default()
        .with("status", "baseline_set")
        .with(
            "message",
            format!("the baseline is set, {why}; send traffic, then GET /admin/memory/diff says what grew"),
        )
        .with_size("baseline_size", snapshot.total_bytes)
}

fn compared(base: &Snapshot, now: &Snapshot, query: &DiffQuery) -> Object {
    let growing = heap::growing(base, now, query.by, query.limit.unwrap_or(TOP_LINES));
    let tip = if growing.is_empty() { NOTHING_GREW_TIP } else { GREW_TIP };
    Object::default()
        .with("status", "diff_computed")
        .with("by", query.by)
        .with("baseline_age_seconds", two_decimals(base.age().as_secs_f64()))
        .with("baseline_kept", query.keep)
        .with("growing_allocations", growing.iter().map(grown).collect::<Vec<_>>())
        .with_size("total_growth", i128::from(now.total_bytes) - i128::from(base.total_bytes))
        .with("tip", tip)
}

const NOTHING_GREW_TIP: &str = "Make sure leaks are enabled and you've generated traffic between snapshots: nothing grew by more than chance explains.";
const GREW_TIP: &str = "the first place allocated most of what is newly held: look there for what keeps it, \
    or for what it is handed to";

fn grown(growth: &Growth) -> Object {
    let site = &growth.site;
    Object::default()
        .with("location", &site.location)
        .with("function", &site.function)
        .with("file", &site.file)
        .with("line", site.line)
        .with_size_kb("size_diff", growth.bytes_diff)
        .with("size_diff_error_bytes", growth.bytes_diff_error)
        .with("count_diff", growth.count_diff)
        .with_size_kb("current_size", site.bytes)
        .with_some("stack", &site.stack)
}

/// Gives the allocator's unused pages back to the system.
#[utoipa::path(
    post,
    path = "/admin/gc",
    tag = "memory",
    responses((status = 200, body = Object, description = "`memory_before_mb`, `memory_after_mb`, `freed_mb` (all RSS), `note`"))
)]
async fn gc(State(app): State<Arc<App>>) -> Json<Object> {
    off_runtime(&app, |app| {
        let before = memory::report().process.rss_bytes;
        memory::purge();
        let after = memory::report().process.rss_bytes;
        app.recording.event(Event::Gc { freed_bytes: before as i64 - after as i64 });
        Json(
            Object::default()
                .with_size("memory_before", before)
                .with_size("memory_after", after)
                .with_size("freed", i128::from(before) - i128::from(after))
                .with("note", GC_NOTE),
        )
    })
    .await
}

const GC_NOTE: &str = "Rust has no garbage collector: what is dropped is free at once, but the allocator keeps its pages \
    for a while. This gives them back now; what something still refers to stays.";
