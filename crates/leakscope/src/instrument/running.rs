//! The running instrument.

use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use super::{
    Profiles,
    builder::InstrumentBuilder,
    clock::{Clock, Subscriber},
    ring::Ring,
    watch::{self, Latest, Window},
};
use crate::{
    heap::{Status, Unwinder},
    jemalloc::{Profiler, purge_thread},
    lock::lock,
    memory::{self, Limit, Report, Sample},
    quantity::{Observation, Observer},
    recorder::{self, Lookout, PostMortem, Recorder, Save},
    trend::TrendReport,
};

/// Time between two samples on disk.
const RECORDED: Duration = Duration::from_millis(250);

/// The instrument, running: what is held, who allocated it, how fast it grows, and a record that outlives the process.
/// Clones are the same one; it ends with the last of them.
///
#[cfg_attr(feature = "jemalloc", doc = "```no_run")]
#[cfg_attr(not(feature = "jemalloc"), doc = "```ignore")]
/// use leakscope::Instrument;
///
/// leakscope::jemalloc!();
///
/// fn main() {
///     let instrument = Instrument::builder().record_in("/var/lib/shop/leakscope").start();
///     // ... work ...
///     println!("{:?}", instrument.latest_trend().trend.verdict);
///     instrument.stop();
/// }
/// ```
#[derive(Clone)]
pub struct Instrument(Arc<Parts>);

struct Parts {
    // Dropped first: its subscribers use the others.
    clock: Clock,
    profiles: Arc<Profiles>,
    limit: Limit,
    requests: Arc<AtomicU64>,
    ring: Arc<Mutex<Ring>>,
    trend: Arc<Latest>,
    recorder: Option<Arc<Recorder>>,
    problems: Vec<String>,
}

impl Instrument {
    /// What to start, and how.
    pub fn builder() -> InstrumentBuilder {
        InstrumentBuilder::default()
    }

    fn start(builder: InstrumentBuilder) -> Self {
        let InstrumentBuilder {
            folder,
            settings,
            figures,
            requests,
            interval,
            capacity,
            on_problem,
            on_verdict,
            ..
        } = builder;
        let limit = builder.limit.unwrap_or_else(|| memory::limit(None));
        let profiler = Profiler::start();
        let mut problems = problems(profiler.status());
        problems.iter().for_each(|problem| on_problem(problem));
        let told = Arc::new(Mutex::new(Vec::new()));
        let on_problem: Arc<dyn Fn(&str) + Send + Sync> = Arc::new({
            let told = Arc::clone(&told);
            move |problem| {
                on_problem(problem);
                lock(&told).push(problem.to_owned());
            }
        });
        let observer = Arc::new(Observer::new(limit, Arc::clone(&requests)));
        let recorder = folder.map(|folder| {
            Arc::new(Recorder::start(recorder::Config {
                folder,
                limit_bytes: limit.bytes,
                settings,
                observer: Arc::clone(&observer),
                figures,
                on_problem,
            }))
        });
        problems.append(&mut lock(&told));
        // What judging the last run took goes back before the first sample.
        purge_thread();
        let ring = Arc::new(Mutex::new(Ring::new(capacity, observer.now())));
        let trend = Arc::new(Latest::new(Window::default().trend(&ring, limit.bytes)));

        let opened = recorder.as_ref().filter(|recorder| recorder.is_open());
        let lookout = opened.map(|recorder| {
            let live_heap_bytes = lock(&ring).latest().live_heap_bytes();
            let save = save(&profiler);
            Arc::new(Mutex::new(Lookout::new(Arc::clone(recorder), limit.bytes, live_heap_bytes, save)))
        });
        let mut subscribers = vec![
            Subscriber {
                first: interval, // the ring has the one of the start
                pace: interval,
                see: Box::new({
                    let ring = Arc::clone(&ring);
                    move |now| lock(&ring).push(*now)
                }),
            },
            Subscriber {
                first: watch::PACE,
                pace: watch::PACE,
                see: Box::new({
                    let (ring, trend, lookout) = (Arc::clone(&ring), Arc::clone(&trend), lookout.clone());
                    move |_| {
                        trend.renew(Window::default().trend(&ring, limit.bytes), &on_verdict);
                        if let Some(lookout) = &lookout {
                            lock(lookout).verdict_is(trend.get().trend.verdict);
                        }
                    }
                }),
            },
        ];
        subscribers.extend(opened.zip(lookout.clone()).into_iter().flat_map(recording));
        // Without a limit there is no threshold to look out for.
        let looks = lookout.filter(|_| limit.bytes.is_some_and(|bytes| bytes > 0));
        let clock = Clock::start(observer, subscribers, looks)
            .expect("the operating system starts a thread for the clock");
        let profiles = Arc::new(Profiles::new(profiler));
        Self(Arc::new(Parts { clock, profiles, limit, requests, ring, trend, recorder, problems }))
    }

    /// What is held now; while a snapshot is being taken, just before it. Blocks for a few milliseconds.
    pub fn memory(&self) -> Arc<Report> {
        self.0.profiles.report()
    }

    /// The memory limit in force.
    pub fn limit(&self) -> Limit {
        self.0.limit
    }

    /// Who allocated what is held: snapshots, and the baseline of their diffs.
    pub fn profiles(&self) -> &Arc<Profiles> {
        &self.0.profiles
    }

    /// The newest sample.
    pub fn latest(&self) -> Sample {
        (&lock(&self.0.ring).latest()).into()
    }

    /// The samples of the last `window`, oldest first; the newest one is always among them.
    pub fn samples(&self, window: Duration) -> Vec<Sample> {
        lock(&self.0.ring).window(window).map(Sample::from).collect()
    }

    /// The largest live heap of all samples since the start.
    pub fn peak_live_heap_bytes(&self) -> u64 {
        lock(&self.0.ring).peak_live_heap_bytes()
    }

    /// Change of RSS per second over the last 30 seconds (fewer right after the start).
    pub fn growth_bytes_per_second(&self) -> f64 {
        lock(&self.0.ring).growth_bytes_per_second()
    }

    /// Whether memory grows, and when it reaches the limit, over that window until now. A few milliseconds for the longest.
    pub fn trend(&self, window: Window) -> TrendReport {
        window.trend(&self.0.ring, self.0.limit.bytes)
    }

    /// The same over the usual window, as it was read last: a few seconds ago at most.
    pub fn latest_trend(&self) -> Arc<TrendReport> {
        self.0.trend.get()
    }

    /// Requests served so far, for whoever counts them.
    pub fn requests(&self) -> &Arc<AtomicU64> {
        &self.0.requests
    }

    /// What could not be done at the start, each with what would help; empty where all can.
    pub fn problems(&self) -> &[String] {
        &self.0.problems
    }

    /// How the last run ended, where one was recorded.
    pub fn previous_run(&self) -> Option<&PostMortem> {
        self.recorder()?.history().post_mortems.first()
    }

    /// The flight recorder, for events and state of the program's own; `None` unless [asked for](InstrumentBuilder::record_in).
    pub fn recorder(&self) -> Option<&Recorder> {
        self.0.recorder.as_deref()
    }

    /// Ends the clock, and writes down that the program stops in good order.
    pub fn stop(&self) {
        self.0.clock.stop();
        if let Some(recorder) = self.recorder() {
            recorder.stop();
        }
    }
}

impl InstrumentBuilder {
    /// Starts everything. Blocks for some milliseconds, and for up to half a second where a heap profile of the last run
    /// has to be symbolized. What can't be done here is told, and is in [`Instrument::problems`].
    ///
    /// # Panics
    /// If the operating system can't start a thread.
    pub fn start(self) -> Instrument {
        Instrument::start(self)
    }
}

/// What the recorder wants to see.
fn recording((recorder, lookout): (&Arc<Recorder>, Arc<Mutex<Lookout>>)) -> [Subscriber; 2] {
    let (samples, readings) = (Arc::clone(recorder), Arc::clone(recorder));
    let sampled = move |now: &Observation| {
        samples.sample(now);
        lock(&lookout).live_heap_is(now.live_heap_bytes());
    };
    [
        Subscriber { first: Duration::ZERO, pace: RECORDED, see: Box::new(sampled) },
        Subscriber {
            first: Duration::ZERO,
            pace: recorder::PACE,
            see: Box::new(move |now| readings.read(now)),
        },
    ]
}

/// `None`: no heap profile can be taken here.
fn save(profiler: &Arc<Profiler>) -> Option<Save> {
    let profiler = Arc::clone(profiler);
    let enabled = profiler.status().enabled;
    enabled.then(|| -> Save { Box::new(move |path| profiler.save(path).map_err(|error| error.to_string())) })
}

/// What can't be done in this program, each with what would help.
fn problems(profiler: &Status) -> Vec<String> {
    let mut problems: Vec<String> = profiler.problem.iter().cloned().collect();
    if let (true, Unwinder::Default { reason }) = (profiler.enabled, &profiler.unwinder) {
        problems.push(format!("heap profiling costs about twelve times as much as it could: {reason}"));
    }
    let missing = memory::report().missing;
    problems.extend(missing.iter().map(|missing| format!("{}: {}", missing.source, missing.reason)));
    problems
}

impl fmt::Debug for Instrument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instrument")
            .field("limit", &self.0.limit)
            .field("problems", &self.0.problems)
            .finish_non_exhaustive()
    }
}
