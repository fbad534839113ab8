//! `/metrics`: what requests recorded, and what is read from the [`Sources`] at each scrape.
//!
//! Two kinds of rows, two recorders. Requests record into a recorder that lives as long as the process (`requests`).
//! Everything else is read at the scrape into a recorder of that scrape (`readings`): a row that has nothing to say is
//! not there, and no stale value can stay. The names and labels are a contract with dashboards, alerts and labs.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::Method;
use leakscope::{http::RouteTotals, memory::Report};

mod durations;
mod readings;
mod requests;

pub use readings::Sources;
pub(super) use requests::{Endpoint, Requests, method_index, method_name};

/// Age up to which a memory report serves another scrape: a storm of scrapes costs five reports a second at most.
const REPORT_AGE: Duration = Duration::from_millis(200);

/// The process's metrics.
pub struct Metrics {
    requests: Arc<Requests>,
    report: Mutex<Option<(Instant, Arc<Report>)>>,
}

impl Metrics {
    /// Nothing recorded yet. `service` is the label of that name, `routes` are all that there are, by method and pattern;
    /// `totals` gives what the requests of a pattern keep.
    pub fn new<'a>(
        service: &str,
        routes: impl IntoIterator<Item = (Method, &'a str)>,
        totals: impl Fn(Option<&str>) -> RouteTotals,
    ) -> Self {
        Self { requests: Arc::new(Requests::new(service, routes, totals)), report: Mutex::default() }
    }

    /// Prometheus text. A few milliseconds once a second, less in between; call it off the async runtime.
    pub fn render(&self, sources: &Sources) -> String {
        let report = self.report(sources);
        let mut text = self.requests.render();
        text.push_str(&readings::render(sources, &report));
        text
    }

    /// Where requests are recorded.
    pub(super) fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.requests)
    }

    /// The newest report; scrapes that come at the same time wait for one.
    fn report(&self, sources: &Sources) -> Arc<Report> {
        let mut cached = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, report)) = &*cached
            && read.elapsed() < REPORT_AGE
        {
            return Arc::clone(report);
        }
        let report = sources.instrument.memory();
        *cached = Some((Instant::now(), Arc::clone(&report)));
        report
    }
}
