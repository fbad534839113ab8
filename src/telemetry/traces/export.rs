//! The way out for spans: a bounded queue that never waits, and one thread that sends batches.
//!
//! Every span that reaches the queue is either taken by the collector or counted as dropped. The thread has a runtime of
//! its own: exporting takes no time from requests, and a shutdown that waits for it can't deadlock.

use std::{
    collections::VecDeque,
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_otlp::{ExporterBuildError, RetryPolicy, SpanExporter, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{Span, SpanData, SpanExporter as _, SpanProcessor},
};
use tokio::{
    runtime,
    sync::{Notify, Semaphore},
    time::timeout,
};
use tracing::{info, warn};

use crate::telemetry::variable;

/// Batches under way at a time: while the collector works on one, the next are made ready and sent.
const CONCURRENT_EXPORTS: usize = 4;

/// How long a shutdown waits for the collector.
const SHUTDOWN: Duration = Duration::from_secs(3);

/// Spans on their way out.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// A batch is full, or the queue was closed.
    wake: Notify,
    /// The thread has sent what there was and has ended.
    ended: Notify,
    dropped: AtomicU64,
    /// The last batch was not taken.
    failing: AtomicBool,
    limits: Limits,
}

#[derive(Debug, Default)]
struct State {
    spans: VecDeque<SpanData>,
    closed: bool,
}

/// The settings of OpenTelemetry's batch span processor, with its names and defaults.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Spans in the queue; a span takes about 0.5 KiB with its attributes.
    queue: usize,
    batch: usize,
    delay: Duration,
    timeout: Duration,
}

impl Limits {
    fn from_env() -> Self {
        let milliseconds = |name, default| Duration::from_millis(number(name, default));
        let queue = number("OTEL_BSP_MAX_QUEUE_SIZE", 2048_usize).max(1);
        Self {
            queue,
            batch: number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512_usize).clamp(1, queue),
            delay: milliseconds("OTEL_BSP_SCHEDULE_DELAY", 5_000),
            timeout: milliseconds("OTEL_BSP_EXPORT_TIMEOUT", 30_000),
        }
    }
}

fn number<T: FromStr>(name: &str, default: T) -> T {
    let Some(text) = variable(name) else { return default };
    text.parse().unwrap_or_else(|_| {
        warn!(name, text, "not a whole number; the default holds");
        default
    })
}

impl Queue {
    fn new(limits: Limits) -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            ended: Notify::new(),
            dropped: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            limits,
        }
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Ends the thread once the queue is empty; waits for that, but not long.
    pub async fn close(&self) {
        let ended = self.ended.notified();
        let already = std::mem::replace(&mut self.state().closed, true);
        self.wake.notify_one();
        if !already && timeout(SHUTDOWN, ended).await.is_err() {
            let unsent = self.state().spans.drain(..).count();
            self.drop_spans(unsent);
            warn!(unsent, "the collector did not take the last spans in time");
        }
    }

    /// Never waits for anything but another thread's push.
    fn push(&self, span: SpanData) {
        let mut state = self.state();
        if state.closed || state.spans.len() >= self.limits.queue {
            drop(state);
            self.drop_spans(1);
            return;
        }
        state.spans.push_back(span);
        let full = state.spans.len() == self.limits.batch;
        drop(state);
        if full {
            self.wake.notify_one();
        }
    }

    /// The next batch, and whether the queue has been closed.
    fn take(&self) -> (Vec<SpanData>, bool) {
        let mut state = self.state();
        let length = state.spans.len().min(self.limits.batch);
        (state.spans.drain(..length).collect(), state.closed)
    }

    fn holds_a_batch(&self) -> bool {
        self.state().spans.len() >= self.limits.batch
    }

    fn drop_spans(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The SDK's hook for spans that have ended.
#[derive(Debug)]
pub(super) struct Enqueue(pub Arc<Queue>);

impl SpanProcessor for Enqueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.0.push(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Why no exporter could be made.
pub(super) type StartError = Box<dyn std::error::Error + Send + Sync>;

/// Starts the exporting thread.
///
/// # Errors
/// Where the environment names an endpoint that can't be used. An endpoint that does not answer is no error.
pub(super) fn start(resource: Resource) -> Result<Arc<Queue>, StartError> {
    let queue = Arc::new(Queue::new(Limits::from_env()));
    let for_thread = Arc::clone(&queue);
    let (ready, built) = mpsc::sync_channel(1);
    thread::Builder::new().name("otlp-export".into()).spawn(move || run(&for_thread, &resource, &ready))?;
    built.recv()??;
    Ok(queue)
}

/// The thread: builds the exporter inside its runtime, says how that went, and exports until the queue is closed.
fn run(queue: &Arc<Queue>, resource: &Resource, ready: &mpsc::SyncSender<Result<(), StartError>>) {
    let tell = |result| ready.send(result).expect("the starting thread waits for this");
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tell(Err(error.into())),
    };
    runtime.block_on(async {
        match exporter(resource) {
            Ok(exporter) => {
                tell(Ok(()));
                export(queue, exporter).await;
            }
            Err(error) => tell(Err(error.into())),
        }
    });
}

fn exporter(resource: &Resource) -> Result<SpanExporter, ExporterBuildError> {
    // A batch is tried once: a second try may deliver it twice, and then nobody could say any more what was dropped.
    let mut exporter =
        SpanExporter::builder().with_tonic().with_retry_policy(RetryPolicy::disabled()).build()?;
    exporter.set_resource(resource);
    Ok(exporter)
}

async fn export(queue: &Arc<Queue>, exporter: SpanExporter) {
    let exporter = Arc::new(exporter);
    let places = Arc::new(Semaphore::new(CONCURRENT_EXPORTS));
    loop {
        let _ = timeout(queue.limits.delay, queue.wake.notified()).await;
        loop {
            let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
            let (batch, closed) = queue.take();
            if batch.is_empty() {
                drop(place);
                if closed {
                    let _all_back = places.acquire_many(CONCURRENT_EXPORTS as u32).await;
                    return queue.ended.notify_one();
                }
                break;
            }
            let (queue_of_task, exporter) = (Arc::clone(queue), Arc::clone(&exporter));
            tokio::spawn(async move {
                send(&queue_of_task, &exporter, batch).await;
                drop(place);
            });
            if !closed && !queue.holds_a_batch() {
                break;
            }
        }
    }
}

async fn send(queue: &Queue, exporter: &SpanExporter, batch: Vec<SpanData>) {
    let size = batch.len();
    let result = timeout(queue.limits.timeout, exporter.export(batch))
        .await
        .unwrap_or(Err(OTelSdkError::Timeout(queue.limits.timeout)));
    if result.is_err() {
        queue.drop_spans(size);
    }
    tell(&queue.failing, result, queue.dropped());
}

/// Logs a change, not every failure.
fn tell(failing: &AtomicBool, result: OTelSdkResult, dropped: u64) {
    let failed_before = failing.swap(result.is_err(), Relaxed);
    match result {
        Err(error) if !failed_before => {
            warn!(%error, "the collector takes no spans; they are dropped, and counted");
        }
        Ok(()) if failed_before => info!(dropped, "the collector takes spans again"),
        _ => {}
    }
}
