//! `/metrics`: what requests recorded, and what is read from the application's state at each scrape.
//!
//! Two kinds of rows, two recorders. Requests record into a recorder that lives as long as the process ([`requests`]).
//! Everything else is read at the scrape into a recorder of that scrape ([`readings`]): a row that has nothing to say is
//! not there, and no stale value can stay. The names and labels are a contract with dashboards, alerts and labs.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use axum::http::Method;
use leakscope::memory::{self, Report};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::app::App;

mod readings;
mod requests;

pub(super) use requests::{Endpoint, Requests, method_index, method_name};

/// Time between two upkeeps. Histograms keep raw samples in between: at 20,000 requests/s, 2,000 of 16 bytes.
const UPKEEP: Duration = Duration::from_millis(100);

/// Age up to which a memory report serves another scrape: a storm of scrapes costs five reports a second at most.
const REPORT_AGE: Duration = Duration::from_millis(200);

/// The process's metrics.
pub struct Metrics {
    requests: Arc<Requests>,
    requests_text: PrometheusHandle,
    report: Mutex<Option<(Instant, Arc<Report>)>>,
    /// Its end ends the upkeep thread.
    _upkeep: mpsc::Sender<()>,
}

impl Metrics {
    /// Makes the recorders and starts the upkeep thread, which ends with the returned value. `service` is the label of
    /// that name.
    pub fn install(service: &str) -> Self {
        let (requests, requests_text) = Requests::new(service);
        let (_upkeep, stop) = mpsc::channel::<()>();
        let handle = requests_text.clone();
        thread::Builder::new()
            .name("metrics-upkeep".into())
            .spawn(move || {
                while stop.recv_timeout(UPKEEP) == Err(mpsc::RecvTimeoutError::Timeout) {
                    handle.run_upkeep();
                }
            })
            .expect("a thread at the start of the process");
        Self { requests: Arc::new(requests), requests_text, report: Mutex::default(), _upkeep }
    }

    /// Makes the series of these routes exist with 0 before the first request.
    pub fn expect_routes<'a>(&self, routes: impl IntoIterator<Item = (Method, &'a str)>) {
        for (method, path) in routes {
            self.requests.expect(&method, path);
        }
    }

    /// Prometheus text. A few milliseconds once a second, less in between; call it off the async runtime.
    pub fn render(&self, app: &App) -> String {
        let report = self.report();
        let mut text = self.requests_text.render();
        text.push_str(&readings::render(app, &report));
        text
    }

    /// Where requests are recorded.
    pub(super) fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.requests)
    }

    /// The newest report; scrapes that come at the same time wait for one.
    fn report(&self) -> Arc<Report> {
        let mut cached = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, report)) = &*cached
            && read.elapsed() < REPORT_AGE
        {
            return Arc::clone(report);
        }
        let report = Arc::new(memory::report());
        *cached = Some((Instant::now(), Arc::clone(&report)));
        report
    }
}
