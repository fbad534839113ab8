//! Composition root: build, serve, drain.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use axum::extract::{MatchedPath, Request};
use leakscope::{
    heap::Profiler,
    memory::{self, Limit, LimitSource, Sampler, SamplerConfig, USUAL_CAPACITY, USUAL_INTERVAL},
};
use tokio::{net::TcpListener, sync::watch};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    admin::{
        self,
        docs::{DOCUMENT, Head},
        health,
        profiles::Profiles,
    },
    config::Settings,
    debug,
    http::{error::Error, server},
    labs::Labs,
    leaks::{Registry, Variant},
    post_mortem,
    recording::{Event, Recording},
    telemetry::{self, http::Service, metrics::Metrics, traces::Traces, trend::TrendWatch},
    workload,
};

/// Everything that handlers share.
pub struct App {
    /// Name of the service in answers and metrics.
    pub service: String,
    /// The settings in force.
    pub settings: Settings,
    /// The patient's bugs.
    pub leaks: Arc<Registry>,
    /// How the runs before ended, and a record of this one.
    pub recording: Recording,
    /// The exercises, and how far the learner is.
    pub labs: Labs,
    /// What ends this process, and at how many bytes.
    pub limit: Limit,
    /// Whether leaks may be armed without a limit (`serve --no-limit`).
    pub no_limit: bool,
    /// Who allocated what is held.
    pub profiler: Arc<Profiler>,
    /// Profiles taken for the admin routes.
    pub profiles: Arc<Profiles>,
    /// Memory over time.
    pub sampler: Arc<Sampler>,
    /// Whether it grows, and when it runs out.
    pub trend: TrendWatch,
    /// Prometheus metrics.
    pub metrics: Metrics,
    /// OTLP traces; does nothing without an endpoint.
    pub traces: Traces,
    /// When the process started.
    pub started: Instant,
    /// RSS when it had just started.
    pub rss_at_start_bytes: u64,
    /// Requests answered on /api since the start.
    pub requests: Arc<AtomicU64>,
    phase: watch::Sender<Phase>,
}

/// Where the service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It does not listen yet.
    Starting,
    /// It answers.
    Ready,
    /// It finishes what is under way, and stops.
    Draining,
}

impl App {
    /// Whether that variant of a leak may be switched on: something else than the host's memory must end what may grow.
    pub fn may_switch_on(&self, variant: Variant) -> bool {
        !variant.may_grow() || self.limit.source != LimitSource::None || self.no_limit
    }

    /// Where the service is in its life.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Returns once the service is about to stop: for requests that take their time.
    pub async fn draining(&self) {
        let mut phase = self.phase.subscribe();
        let _ = phase.wait_for(|phase| *phase == Phase::Draining).await; // the sender lives as long as `self`
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }
}

/// Builds everything; nothing is served yet. Needs a Tokio runtime.
///
/// `watcher_limit_bytes`: a supervising process kills this one at that RSS.
pub fn build(settings: Settings, no_limit: bool, watcher_limit_bytes: Option<u64>) -> Arc<App> {
    let service = telemetry::service_name();
    let requests = Arc::new(AtomicU64::new(0));
    let limit = memory::limit(watcher_limit_bytes);
    let profiler = Profiler::start();
    let counted = Arc::clone(&requests);
    let sampler = Sampler::start(SamplerConfig {
        interval: USUAL_INTERVAL,
        capacity: USUAL_CAPACITY,
        limit,
        requests: Box::new(move || counted.load(Relaxed)),
    });
    let leaks = Arc::new(Registry::new());
    let recording = Recording::start(
        &settings,
        limit,
        Arc::clone(&profiler),
        Arc::clone(&sampler),
        Arc::clone(&requests),
        Arc::clone(&leaks),
    );
    Arc::new(App {
        leaks,
        labs: Labs::open(&settings.data_dir),
        recording,
        limit,
        no_limit,
        profiles: Profiles::new(Arc::clone(&profiler)),
        profiler,
        trend: TrendWatch::new(&sampler, limit),
        sampler,
        metrics: Metrics::new(&service, DOCUMENT.routes()),
        traces: Traces::from_env(),
        started: Instant::now(),
        rss_at_start_bytes: memory::report().process.rss_bytes,
        requests,
        phase: watch::Sender::new(Phase::Starting),
        service,
        settings,
    })
}

/// Every route, without what surrounds them.
pub(crate) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Head::openapi())
        .merge(workload::routes())
        .merge(admin::open_routes())
        .merge(guarded_routes())
}

/// What no page of another site may call.
fn guarded_routes() -> OpenApiRouter<Arc<App>> {
    admin::guarded_routes().merge(debug::routes())
}

/// The service's routes with guard, errors and telemetry around them.
pub fn service(app: &Arc<App>) -> Service {
    let guarded = admin::guard(guarded_routes(), &app.settings.allowed_hosts);
    let (routes, _) = workload::routes().merge(admin::open_routes()).merge(guarded).split_for_parts();
    let routes = routes
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_route)
        .with_state(Arc::clone(app));
    telemetry::http::layer(routes, app)
}

async fn unknown_route(request: Request) -> Error {
    let path = format!("{} {}", request.method(), request.uri().path());
    Error::UnknownRoute { path, routes: DOCUMENT.list() }
}

async fn method_not_allowed(matched: MatchedPath, request: Request) -> Error {
    Error::MethodNotAllowed {
        path: request.uri().path().to_owned(),
        method: request.method().to_string(),
        allowed: DOCUMENT.methods(matched.as_str()),
    }
}

/// Serves until `shutdown`, then drains: requests under way finish, within a few seconds.
///
/// # Errors
/// The listener has no address.
pub async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tell_previous_end(&app);
    arm(&app);
    let (service, draining) = (service(&app), health::draining_routes(&app));
    app.enter(Phase::Ready);
    tracing::info!(%address, "listening");
    let stop = async {
        shutdown.await;
        app.enter(Phase::Draining);
        tracing::info!("draining");
    };
    tokio::select! {
        () = server::serve(&listener, service, draining, stop) => {}
        () = app.trend.watch(&app) => {}
    }
    app.traces.shutdown().await;
    app.recording.stop();
    tracing::info!("stopped");
    Ok(())
}

/// Says how the previous run ended, unless somebody has said so already.
fn tell_previous_end(app: &App) {
    let history = app.recording.history();
    if let Some(last) = history.post_mortems.first().filter(|_| history.judged_now > 0) {
        let [end, evidence, growth] = post_mortem::lines(last);
        tracing::info!("previous run: {end}");
        tracing::info!("previous run: {evidence}");
        tracing::info!("previous run: {growth}");
    }
}

/// Switches on the leaks that the settings name. All others are off, whatever was on in the previous run.
fn arm(app: &App) {
    for (name, variant) in &app.settings.leaks {
        match app.leaks.get(name) {
            Some(leak) if app.may_switch_on(*variant) => leak.set_variant(Some(*variant)),
            _ => tracing::warn!(leak = name, error = %Error::NoLimit, "not switched on"),
        }
    }
    app.recording.leaks(Event::Ready {}, &app.leaks);
}
