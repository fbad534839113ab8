//! Composition root: build, serve, drain.

use std::{future::Future, io, sync::Arc};

use axum::{
    extract::{MatchedPath, Request, State},
    http::StatusCode,
};
use leakscope::{
    Instrument, Leakscope,
    http::openapi,
    memory::{self, Limit},
};
use tokio::net::TcpListener;

use crate::{
    admin::{self, RssAtStart, docs::Document, health, permission::Permission, profiles::FreshProfile},
    config::Settings,
    http::{
        error::Error,
        lifecycle::{Lifecycle, Phase},
        server,
    },
    labs::Labs,
    leaks::Registry,
    post_mortem,
    recording::{Done, Recording},
    telemetry::{
        self, ServiceName,
        http::Service,
        metrics::{Metrics, Sources},
        traces::Traces,
        trend,
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
    /// Whether leaks may be armed without a limit (`serve --no-limit`).
    pub no_limit: bool,
    /// What watches the service's memory, with its own routes under /debug.
    pub leakscope: Leakscope,
    /// The last heap profile, for those who must not wait for one.
    pub fresh_profile: Arc<FreshProfile>,
    /// Prometheus metrics.
    pub metrics: Arc<Metrics>,
    /// OTLP traces; does nothing without an endpoint.
    pub traces: Arc<Traces>,
    /// RSS when it had just started.
    pub rss_at_start: RssAtStart,
    document: Arc<Document>,
    lifecycle: Lifecycle,
}

impl App {
    fn permission(&self) -> Permission {
        Permission::new(self.instrument().limit(), self.no_limit)
    }

    /// What knows the service's memory.
    fn instrument(&self) -> &Instrument {
        self.leakscope.instrument()
    }

    /// What the admin routes need.
    fn admin(&self) -> admin::Parts {
        admin::Parts {
            service: self.service.clone(),
            lifecycle: self.lifecycle.clone(),
            document: Arc::clone(&self.document),
            metrics: Arc::clone(&self.metrics),
            sources: Sources {
                instrument: self.instrument().clone(),
                leaks: Arc::clone(&self.leaks),
                recording: Arc::clone(&self.recording),
                traces: Arc::clone(&self.traces),
            },
            leaks: Arc::clone(&self.leaks),
            permission: self.permission(),
            recording: Arc::clone(&self.recording),
            labs: Arc::clone(&self.labs),
            instrument: self.instrument().clone(),
            profiles: Arc::clone(self.instrument().profiles()),
            fresh_profile: Arc::clone(&self.fresh_profile),
            rss_at_start: self.rss_at_start,
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
/// `limit`: what ends this process, and at how many bytes.
pub fn build(settings: Settings, no_limit: bool, limit: Limit) -> Arc<App> {
    let service = ServiceName::from_env();
    let leaks = Arc::new(Registry::new());
    let instrument = Instrument::builder()
        .limit(limit)
        .on_verdict(trend::announce)
        .on_problem(|problem| tracing::warn!("{problem}"));
    let instrument = Recording::prepare(instrument, &settings, Arc::clone(&leaks)).start();
    let leakscope = Leakscope::new(instrument.clone(), admin::known_hosts(&settings.allowed_hosts));
    let document = Document::new([
        workload::routes().into_openapi(),
        admin::open_routes().into_openapi(),
        admin::guarded_routes().into_openapi(),
        openapi(),
    ]);
    let metrics = Metrics::new(service.as_str(), document.routes(), |route| leakscope.route_totals(route));
    Arc::new(App {
        leaks,
        labs: Arc::new(Labs::open(&settings.data_dir)),
        recording: Arc::new(Recording::new(instrument.clone())),
        no_limit,
        fresh_profile: FreshProfile::new(instrument),
        leakscope,
        metrics: Arc::new(metrics),
        traces: Arc::new(Traces::from_env()),
        rss_at_start: RssAtStart { bytes: memory::report().process.rss_bytes },
        document: Arc::new(document),
        lifecycle: Lifecycle::new(),
        service,
        settings,
    })
}

/// The service's routes with guard, errors and telemetry around them. Those under /debug are leakscope's own.
pub fn service(app: &Arc<App>) -> Service {
    let guarded = admin::guarded_routes()
        .with_state::<Arc<Document>>(app.admin())
        .merge(app.leakscope.router().with_state(()).into());
    let guarded = admin::guard(guarded, &app.settings.allowed_hosts);
    let open = admin::open_routes().with_state(app.admin());
    let workload = workload::routes().with_state(app.workload());
    let (routes, _) = workload.merge(open).merge(guarded).split_for_parts();
    let routes = routes
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_route)
        .with_state(Arc::clone(&app.document));
    telemetry::http::layer(routes, &app.metrics, &app.traces, Arc::clone(app.instrument().requests()))
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
    // Describing the routes takes megabytes for a moment; they would show in what the service is first seen to hold.
    memory::purge();
    app.lifecycle.enter(Phase::Ready);
    tracing::info!(%address, "listening");
    let stop = async {
        shutdown.await;
        app.lifecycle.enter(Phase::Draining);
        app.leakscope.drain();
        tracing::info!("draining");
    };
    server::serve(&listener, service, draining, stop).await;
    app.traces.shutdown().await;
    app.leakscope.stop();
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
    app.recording.leaks(Done::Ready {}, &app.leaks);
}
