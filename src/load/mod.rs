//! Load at a constant rate for one URL, and its report.
//!
//! Open loop: when a request is due does not depend on how fast the ones before it were answered, so a service that
//! stalls can't slow its own measurement down. It is a client like any other: of a leaklab service it knows the metrics.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::Uri;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

mod memory;
mod plan;
mod report;
mod tally;

use memory::Memory;
pub use plan::{Plan, RawPlan};
pub use report::LoadReport;
use tally::{Failed, Outcome, Tally};

use crate::http::client::Client;

/// Longest time for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Pause after a request without an answer where the rate is `max`: a service that is down is not to be hammered, and a
/// number of requests is not to be used up on it.
const AFTER_SILENCE: Duration = Duration::from_millis(20);
/// A request that leaves this much later than it was due is counted as late.
const LATE: Duration = Duration::from_millis(10);

/// Sends what the plan says, or less if `stop` is ready before; then reports.
pub async fn run(plan: &Plan, stop: impl Future) -> LoadReport {
    let client = Client::new(ANSWER_WITHIN);
    let memory_before = Memory::read(&client, &plan.url).await;
    let run = Arc::new(Run::new(plan, client));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..plan.concurrency {
        workers.spawn(Arc::clone(&run).work());
    }
    let finished = async { while workers.join_next().await.is_some() {} };
    let progress = Progress::new(plan);
    tokio::select! {
        () = finished => {}
        () = progress.follow(&run) => {}
        _ = stop => run.stopped.store(true, Ordering::Relaxed),
    }
    let elapsed = run.start.elapsed();
    // After a stop, what is on its way is abandoned: it would be counted with a time that is not its own.
    workers.shutdown().await;
    drop(progress);
    let memory_after = Memory::read(&run.client, &plan.url).await;
    let tally = std::mem::take(&mut *run.tally.lock().expect("no worker panics"));
    LoadReport::new(plan, tally, run.unsent(elapsed), elapsed, memory_before.zip(memory_after))
}

/// What the workers share.
struct Run {
    client: Client,
    url: Uri,
    /// Time from one request to the next; zero: as fast as they are answered.
    period: Duration,
    duration: Duration,
    requests: u64,
    start: Instant,
    /// The number of the next request.
    next: AtomicU64,
    sent: AtomicU64,
    stopped: AtomicBool,
    tally: Mutex<Tally>,
}

impl Run {
    fn new(plan: &Plan, client: Client) -> Self {
        Self {
            client,
            url: plan.url.clone(),
            period: plan.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate)),
            duration: plan.duration.unwrap_or(Duration::MAX),
            requests: plan.requests.unwrap_or(u64::MAX),
            start: Instant::now(),
            next: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            tally: Mutex::default(),
        }
    }

    /// Takes one request after the other, until there are no more. There are as many workers as requests may be on their
    /// way: a request that is due when none is free leaves late, and its latency counts from when it was due.
    async fn work(self: Arc<Self>) {
        while !self.stopped.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let due = self.period.mul_f64(number as f64);
            if number >= self.requests || due >= self.duration || self.start.elapsed() >= self.duration {
                return;
            }
            let late = self.start.elapsed() > due + LATE && !self.period.is_zero();
            // A worker that waits for its time wakes up to a millisecond after it: that is ours, not the service's.
            let from = if self.start.elapsed() < due {
                tokio::time::sleep_until((self.start + due).into()).await;
                Instant::now()
            } else if self.period.is_zero() {
                Instant::now()
            } else {
                self.start + due
            };
            self.sent.fetch_add(1, Ordering::Relaxed);
            let outcome = self.send().await;
            let now = Instant::now();
            let silent = outcome.is_err_and(Failed::is_silence);
            self.tally.lock().expect("no worker panics").add(outcome, now - from, now - self.start, late);
            if silent && self.period.is_zero() {
                tokio::time::sleep(AFTER_SILENCE).await;
            }
        }
    }

    /// One request, its whole answer included.
    async fn send(&self) -> Outcome {
        match self.client.get(&self.url).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(Failed::Status(answer.status.as_u16())),
            Err(error) => Err(Failed::of(&error)),
        }
    }

    /// Requests that were due by then and never left: all connections were busy.
    fn unsent(&self, elapsed: Duration) -> u64 {
        if self.period.is_zero() {
            return 0;
        }
        let until = elapsed.min(self.duration).as_secs_f64();
        let due = ((until / self.period.as_secs_f64()).ceil() as u64).min(self.requests);
        due.saturating_sub(self.sent.load(Ordering::Relaxed))
    }

    /// How far it is, out of [`Progress::STEPS`].
    fn progress(&self) -> u64 {
        let by_time = self.start.elapsed().as_secs_f64() / self.duration.as_secs_f64();
        let by_number = self.next.load(Ordering::Relaxed) as f64 / self.requests as f64;
        (by_time.max(by_number).min(1.0) * Progress::STEPS as f64) as u64
    }
}

/// The bar on standard error, where that is a terminal.
struct Progress(ProgressBar);

impl Progress {
    const STEPS: u64 = 1_000;

    fn new(plan: &Plan) -> Self {
        let bar = ProgressBar::with_draw_target(Some(Self::STEPS), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} % {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▌░"));
        bar.set_message(plan.url.to_string());
        Self(bar)
    }

    /// Draws until it is dropped.
    async fn follow(&self, run: &Run) {
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            tick.tick().await;
            self.0.set_position(run.progress());
            let seconds = run.start.elapsed().as_secs_f64().max(0.001);
            let line = run.tally.lock().expect("no worker panics").line(seconds);
            self.0.set_message(line);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
