//! The instrument's face over HTTP: started by a builder, mounted as a router and a layer, stopped at the end.

use std::{fmt, io, path::PathBuf, sync::Arc};

use axum::Router;
use serde_json::{Map, Value};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use super::{
    Counted, Guard, Hosts, RouteTotals,
    parts::{Parts, WAITING},
    requests::Requests,
    routes,
};
use crate::{
    instrument::{Instrument, InstrumentBuilder},
    memory::Limit,
    recorder::{PostMortem, Recorder},
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
#[derive(Default)]
pub struct Builder {
    instrument: InstrumentBuilder,
    guard: Guard,
}

impl Builder {
    /// Records into that folder, for a post-mortem at the next start: see [`recorder`](crate::recorder). One process at a time.
    pub fn record_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.instrument = self.instrument.record_in(folder);
        self
    }

    /// Settings of the program that the post-mortem is to show. At most 32 KiB.
    pub fn settings(mut self, settings: Map<String, Value>) -> Self {
        self.instrument = self.instrument.settings(settings);
        self
    }

    /// The memory limit in force, where it is not the cgroup's.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.instrument = self.instrument.limit(limit);
        self
    }

    /// Sets which hosts the routes answer to without being named; loopback names and IP addresses, unless told otherwise: see
    /// [`Guard`].
    pub fn hosts(mut self, hosts: Hosts) -> Self {
        self.guard = self.guard.hosts(hosts);
        self
    }

    /// Makes the routes answer to one more host name or address, which has no scheme and no port: see [`Guard`].
    pub fn allow_host(mut self, host: impl AsRef<str>) -> Self {
        self.guard = self.guard.allow_host(host);
        self
    }

    /// Makes the routes answer requests that a proxy has passed on. Then the proxy decides who may ask: see [`Guard`].
    pub fn allow_forwarded(mut self) -> Self {
        self.guard = self.guard.allow_forwarded();
        self
    }

    /// Is told what can't be done here, at the start and later. Unless set, standard error is.
    pub fn on_problem(mut self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.instrument = self.instrument.on_problem(tell);
        self
    }

    /// Starts everything. Blocks for some milliseconds, and for up to half a second where a heap profile of the last run
    /// has to be symbolized. What can't be done here is told, and is in [`Leakscope::problems`].
    ///
    /// # Panics
    /// If the operating system can't start a thread.
    pub fn start(self) -> Leakscope {
        let tell = self.instrument.teller();
        let leakscope = Leakscope::new(self.instrument.start(), self.guard);
        // The instrument has told its own.
        let told = leakscope.instrument().problems().len();
        leakscope.problems()[told..].iter().for_each(|problem| tell(problem));
        leakscope
    }
}

impl Leakscope {
    /// What to start, and how.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The face of an instrument that runs already.
    pub fn new(instrument: Instrument, guard: Guard) -> Self {
        let mut problems = instrument.problems().to_vec();
        problems
            .extend(request::available().err().map(|reason| format!("requests are not measured: {reason}")));
        let stopping = watch::Sender::new(false);
        let waiting = Semaphore::new(WAITING);
        Self(Arc::new(Parts {
            instrument,
            requests: Requests::default(),
            guard,
            problems,
            stopping,
            waiting,
        }))
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
        let parts = Arc::clone(&self.0);
        RequestAccounting::new(move |request: &http::request::Parts| parts.requests.begin(request))
            .counting(Arc::clone(self.0.instrument.requests()))
    }

    /// The instrument behind it.
    pub fn instrument(&self) -> &Instrument {
        &self.0.instrument
    }

    /// What the requests of the route of that pattern keep, or those that no route takes: for a middleware of the program's
    /// own that measures requests itself, with [`request::call`], in place of [`layer`](Self::layer).
    pub fn route_totals(&self, route: Option<&str>) -> RouteTotals {
        self.0.requests.of(route)
    }

    /// What can't be done in this program, each with what would help; empty where all can.
    pub fn problems(&self) -> &[String] {
        &self.0.problems
    }

    /// How the last run ended, where one was recorded.
    pub fn previous_run(&self) -> Option<&PostMortem> {
        self.0.instrument.previous_run()
    }

    /// The flight recorder, for events and state of the program's own; `None` unless [asked for](Builder::record_in).
    pub fn recorder(&self) -> Option<&Recorder> {
        self.0.instrument.recorder()
    }

    /// Ends [`serve`](Self::serve), and requests to the instrument that take their time; the rest goes on until
    /// [`stop`](Self::stop).
    pub fn drain(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Writes down that the program stops in good order, and ends [`serve`](Self::serve).
    pub fn stop(&self) {
        self.drain();
        self.0.instrument.stop();
    }
}

impl fmt::Debug for Leakscope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leakscope")
            .field("instrument", &self.0.instrument)
            .field("problems", &self.0.problems)
            .finish_non_exhaustive()
    }
}
