//! The instrument as one value: started by a builder, mounted as a router and a layer, stopped at the end.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::Router;
use serde_json::{Map, Value};
use tokio::{net::TcpListener, sync::watch};

use super::{Counted, Guard, parts::Parts, routes};
use crate::{
    heap::{Profiler, Profiles, Status, Unwinder},
    memory::{self, Limit, Sampler, SamplerConfig, USUAL_CAPACITY, USUAL_INTERVAL},
    recorder::{self, PostMortem, Recorder},
    request::{self, RequestAccounting},
};

/// The whole instrument, running. Clones are the same one; it ends with the last of them.
/// The [crate's own page](crate) shows it on a listener of its own; here its routes are merged into those of the service.
///
/// ```no_run
/// # use axum::{Router, routing::get};
/// use leakscope::Leakscope;
///
/// let leakscope = Leakscope::builder()
///     .record_in("/var/lib/shop/leakscope")
///     .allow_host("shop.internal")
///     .on_problem(|problem| println!("leakscope: {problem}"))
///     .start();
/// let service: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(leakscope.layer())
///     .merge(leakscope.router());
/// ```
#[derive(Clone)]
pub struct Leakscope(Arc<Parts>);

/// What to start, and how. Nothing needs to be set.
pub struct Builder {
    folder: Option<PathBuf>,
    settings: Map<String, Value>,
    limit: Option<Limit>,
    allowed_hosts: Vec<String>,
    on_problem: Box<dyn Fn(&str) + Send + Sync>,
}

impl Builder {
    /// Records into that folder, for a post-mortem at the next start: see [`recorder`]. One process at a time.
    pub fn record_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Settings of the program that the post-mortem is to show. At most 32 KiB.
    pub fn settings(mut self, settings: Map<String, Value>) -> Self {
        self.settings = settings;
        self
    }

    /// The memory limit in force, where it is not the cgroup's.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// A host name or address, without scheme or port, that the routes answer to beside the loopback's: see [`Guard`].
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.allowed_hosts.push(host.into().to_ascii_lowercase());
        self
    }

    /// Is told what can't be done here, at the start and later. Unless set, standard error is.
    pub fn on_problem(mut self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_problem = Box::new(tell);
        self
    }

    /// Starts everything. Blocks for some milliseconds, and for up to half a second where a heap profile of the last run
    /// has to be symbolized. Never fails: what can't be done here is told, and is in [`Leakscope::problems`].
    ///
    /// # Panics
    /// If the operating system can't start a thread.
    pub fn start(self) -> Leakscope {
        let limit = self.limit.unwrap_or_else(|| memory::limit(None));
        let profiler = Profiler::start();
        let problems = problems(profiler.status());
        problems.iter().for_each(|problem| (self.on_problem)(problem));
        let served = Arc::new(AtomicU64::new(0));
        let count = || {
            let served = Arc::clone(&served);
            Box::new(move || served.load(Relaxed))
        };
        let sampler = Sampler::start(SamplerConfig {
            interval: USUAL_INTERVAL,
            capacity: USUAL_CAPACITY,
            limit,
            requests: count(),
        });
        let recorder = self.folder.map(|folder| {
            Recorder::start(recorder::Config {
                folder,
                limit,
                settings: self.settings,
                profiler: Arc::clone(&profiler),
                sampler: Arc::clone(&sampler),
                requests: count(),
                figures: Box::new(serde_json::Map::new),
                on_problem: self.on_problem,
            })
        });
        Leakscope(Arc::new(Parts {
            profiles: Arc::new(Profiles::new(profiler)),
            sampler,
            limit,
            requests: Arc::default(),
            guard: Guard::new(self.allowed_hosts),
            recorder,
            served,
            problems,
            stopping: watch::Sender::new(false),
        }))
    }
}

/// What can't be done in this program, each with what would help.
fn problems(profiler: &Status) -> Vec<String> {
    let mut problems: Vec<String> = profiler.problem.iter().cloned().collect();
    if let (true, Unwinder::Default { reason }) = (profiler.enabled, &profiler.unwinder) {
        problems.push(format!("heap profiling costs about twelve times as much as it could: {reason}"));
    }
    problems.extend(request::available().err().map(|reason| format!("requests are not measured: {reason}")));
    let missing = memory::report().missing;
    problems.extend(missing.iter().map(|missing| format!("{}: {}", missing.source, missing.reason)));
    problems
}

impl Leakscope {
    /// What to start, and how.
    pub fn builder() -> Builder {
        Builder {
            folder: None,
            settings: Map::new(),
            limit: None,
            allowed_hosts: Vec::new(),
            on_problem: Box::new(|problem| eprintln!("leakscope: {problem}")),
        }
    }

    /// Serves the [routes](super) on a listener of their own until [`stop`](Self::stop). They say much of the program and
    /// ask for no password: listen on the loopback, or where only those come who may.
    ///
    /// # Errors
    /// Those of [`axum::serve()`].
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let stopping = Arc::clone(&self.0);
        let stopping = async move { stopping.stopping().await };
        axum::serve(listener, routes::site(&self.0)).with_graceful_shutdown(stopping).await
    }

    /// The [routes](super), all under `/debug` and behind the [`Guard`], to merge into a router of the program's own.
    pub fn router(&self) -> Router {
        routes::router(&self.0)
    }

    /// Measures what each request keeps, by route, and counts requests for the trend. Put it around the program's routes
    /// with [`Router::layer`]. Where requests can't be measured they are still counted.
    pub fn layer(&self) -> RequestAccounting<impl Fn(&http::request::Parts) -> Counted + Clone + use<>> {
        let requests = Arc::clone(&self.0.requests);
        RequestAccounting::new(move |request: &http::request::Parts| requests.begin(request))
            .counting(Arc::clone(&self.0.served))
    }

    /// What can't be done in this program, each with what would help; empty where all can.
    pub fn problems(&self) -> &[String] {
        &self.0.problems
    }

    /// How the last run ended, where one was recorded.
    pub fn previous_run(&self) -> Option<&PostMortem> {
        self.recorder()?.history().post_mortems.first()
    }

    /// The flight recorder, for events and state of the program's own; `None` unless [asked for](Builder::record_in).
    pub fn recorder(&self) -> Option<&Recorder> {
        self.0.recorder.as_deref()
    }

    /// Writes down that the program stops in good order, and ends [`serve`](Self::serve).
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
        if let Some(recorder) = self.recorder() {
            recorder.stop();
        }
    }
}

impl fmt::Debug for Leakscope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leakscope")
            .field("limit", &self.0.limit)
            .field("problems", &self.0.problems)
            .finish_non_exhaustive()
    }
}
