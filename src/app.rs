//! Composition root: build, serve, drain.

use std::{future::Future, io, sync::Arc};

use axum::{
    extract::{MatchedPath, Request, State},
    http::StatusCode,
};
use leakscope::{
    heap::Profiler,
    memory::{self, Limit, Sampler, SamplerConfig, USUAL_CAPACITY, USUAL_INTERVAL},
};
use tokio::net::TcpListener;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    admin::{self, RssAtStart, docs::Document, health, permission::Permission, profiles::Profiles},
    config::Settings,
    debug,
    http::{
        error::Error,
        lifecycle::{Lifecycle, Phase},
        server,
    },
    labs::Labs,
    leaks::Registry,
    post_mortem,
    recording::{Event, Recording},
    telemetry::{
        self, ServiceName,
        http::{ApiRequests, Service},
        metrics::{Metrics, Sources},
        traces::Traces,
        trend::TrendWatch,
    },
    workload::{self, Workload},
};

/// Everything that the service consists of. Routes get those of its parts that they need.
pub struct App {
    /// Name of the service in answers and metrics.
    pub service: ServiceName,
    /// The settings in force.
    pub settings: Settings,
    /// The patient's bugs.
    pub leaks: Arc<Registry>,
    /// How the runs before ended, and a record of this one.
    pub recording: Arc<Recording>,
    /// The exercises, and how far the learner is.
    pub labs: Arc<Labs>,
    /// What ends this process, and at how many bytes.
    pub limit: Limit,
    /// Whether leaks may be armed without a limit (`serve --no-limit`).
    pub no_limit: bool,
    /// Profiles taken for the admin routes.
    pub profiles: Arc<Profiles>,
    /// Memory over time.
    pub sampler: Arc<Sampler>,
    /// Whether it grows, and when it runs out.
    pub trend: Arc<TrendWatch>,
    /// Prometheus metrics.
    pub metrics: Arc<Metrics>,
    /// OTLP traces; does nothing without an endpoint.
    pub traces: Arc<Traces>,
    /// RSS when it had just started.
    pub rss_at_start: RssAtStart,
    /// Requests answered on /api since the start.
    pub api_requests: ApiRequests,
    document: Arc<Document>,
    lifecycle: Lifecycle,
}

impl App {
    fn permission(&self) -> Permission {
        Permission::new(self.limit, self.no_limit)
    }

    /// What the admin routes need.
    fn admin(&self) -> admin::Parts {
        admin::Parts {
            service: self.service.clone(),
            lifecycle: self.lifecycle.clone(),
            document: Arc::clone(&self.document),
            metrics: Arc::clone(&self.metrics),
            sources: Sources {
                sampler: Arc::clone(&self.sampler),
                limit: self.limit,
                trend: Arc::clone(&self.trend),
                leaks: Arc::clone(&self.leaks),
                recording: Arc::clone(&self.recording),
                traces: Arc::clone(&self.traces),
            },
            leaks: Arc::clone(&self.leaks),
            permission: self.permission(),
            recording: Arc::clone(&self.recording),
            labs: Arc::clone(&self.labs),
            profiles: Arc::clone(&self.profiles),
            sampler: Arc::clone(&self.sampler),
            limit: self.limit,
            rss_at_start: self.rss_at_start,
            api_requests: self.api_requests.clone(),
        }
    }

    /// What the workload's routes need.
    fn workload(&self) -> Arc<Workload> {
        Arc::new(Workload {
            service: self.service.clone(),
            work: self.settings.work,
            leaks: Arc::clone(&self.leaks),
        })
    }
}

/// Builds everything; nothing is served yet. Needs a Tokio runtime.
///
/// `watcher_limit_bytes`: a supervising process kills this one at that RSS.
pub fn build(settings: Settings, no_limit: bool, watcher_limit_bytes: Option<u64>) -> Arc<App> {
    let service = ServiceName::from_env();
    let api_requests = ApiRequests::default();
    let limit = memory::limit(watcher_limit_bytes);
    let profiler = Profiler::start();
    let count = || {
        let api_requests = api_requests.clone();
        Box::new(move || api_requests.count())
    };
    let sampler = Sampler::start(SamplerConfig {
        interval: USUAL_INTERVAL,
        capacity: USUAL_CAPACITY,
        limit,
        requests: count(),
    });
    let leaks = Arc::new(Registry::new());
    let recording = Recording::start(
        &settings,
        limit,
        Arc::clone(&profiler),
        Arc::clone(&sampler),
        count(),
        Arc::clone(&leaks),
    );
    let document = Document::new([
        workload::routes().into_openapi(),
        admin::open_routes().into_openapi(),
        guarded_routes().into_openapi(),
    ]);
    Arc::new(App {
        leaks,
        labs: Arc::new(Labs::open(&settings.data_dir)),
        recording: Arc::new(recording),
        limit,
        no_limit,
        profiles: Profiles::new(profiler),
        trend: Arc::new(TrendWatch::new(&sampler, limit)),
        sampler,
        metrics: Arc::new(Metrics::new(service.as_str(), document.routes())),
        traces: Arc::new(Traces::from_env()),
        rss_at_start: RssAtStart { bytes: memory::report().process.rss_bytes },
        api_requests,
        document: Arc::new(document),
        lifecycle: Lifecycle::new(),
        service,
        settings,
    })
}

/// What no page of another site may call.
fn guarded_routes() -> OpenApiRouter<admin::Parts> {
    admin::guarded_routes().merge(debug::routes())
}

/// The service's routes with guard, errors and telemetry around them.
pub fn service(app: &Arc<App>) -> Service {
    let guarded = admin::guard(guarded_routes(), &app.settings.allowed_hosts);
    let admin = admin::open_routes().merge(guarded).with_state(app.admin());
    let (routes, _) = workload::routes().with_state(app.workload()).merge(admin).split_for_parts();
    let routes = routes
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_route)
        .with_state(Arc::clone(&app.document));
    telemetry::http::layer(routes, &app.metrics, &app.traces, app.api_requests.clone())
}

async fn unknown_route(State(document): State<Arc<Document>>, request: Request) -> Error {
    let message = format!("there is no {} {}", request.method(), request.uri().path());
    let expected = format!("one of {}; described at /docs", document.list());
    Error::new(StatusCode::NOT_FOUND, "unknown_route", message, expected)
}

async fn method_not_allowed(
    State(document): State<Arc<Document>>,
    matched: MatchedPath,
    request: Request,
) -> Error {
    let message = format!("{} does not take {}", request.uri().path(), request.method());
    let expected = document.methods(matched.as_str());
    Error::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message, expected)
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
    let (service, draining) = (service(&app), health::draining_routes(app.lifecycle.clone()));
    app.lifecycle.enter(Phase::Ready);
    tracing::info!(%address, "listening");
    let stop = async {
        shutdown.await;
        app.lifecycle.enter(Phase::Draining);
        tracing::info!("draining");
    };
    tokio::select! {
        () = server::serve(&listener, service, draining, stop) => {}
        () = app.trend.watch(&app.sampler, app.limit) => {}
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
        let Some(leak) = app.leaks.get(name) else { continue };
        match app.permission().check(*variant) {
            Ok(()) => leak.set_variant(Some(*variant)),
            Err(error) => tracing::warn!(leak = name, %error, "not switched on"),
        }
    }
    app.recording.leaks(Event::Ready {}, &app.leaks);
}
