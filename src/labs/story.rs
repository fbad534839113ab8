//! Made-up evidence for tests: a service that is switched, driven and killed, and reads like a real one.

use leakscope::recorder::Cause;

use super::evidence::{EndEvidence, Evidence, ReadingEvidence, RunEvidence};
use crate::recording::{Done, LeakFigures};

pub const LIMIT_BYTES: u64 = 256 << 20;
/// Live heap of the service without anything held; RSS and usage are so much more.
const IDLE_BYTES: u64 = 4 << 20;
const OVERHEAD_BYTES: u64 = 9 << 20;

/// From one thing done by hand to the next.
const MOMENT_SECONDS: f64 = 0.5;

/// What a leaky variant keeps of each request.
pub fn kept_bytes(leak: &str) -> u64 {
    match leak {
        "cache" => 24 << 10,
        "listeners" => 16 << 10,
        _ => 8 << 10,
    }
}

pub struct Story {
    now: f64,
    runs: Vec<RunEvidence>,
    stands: ReadingEvidence,
    /// Variants that keep what they are given.
    leaking: Vec<String>,
    hits: bool,
}

impl Story {
    /// A service that has just started.
    pub fn new() -> Self {
        let mut story = Self {
            now: 1_000_000.0,
            runs: Vec::new(),
            stands: ReadingEvidence::default(),
            leaking: vec!["leaky".into()],
            hits: true,
        };
        story.start();
        story
    }

    fn start(&mut self) {
        self.runs.push(RunEvidence { limit_bytes: Some(LIMIT_BYTES), ..RunEvidence::default() });
        self.stands = ReadingEvidence { live_heap_bytes: IDLE_BYTES, ..ReadingEvidence::default() };
        self.read();
    }

    fn run(&mut self) -> &mut RunEvidence {
        self.runs.last_mut().expect("one was started")
    }

    fn read(&mut self) {
        self.stands.seconds = self.now;
        self.stands.usage_bytes = self.stands.live_heap_bytes + OVERHEAD_BYTES;
        let reading = self.stands.clone();
        self.run().readings.push(reading);
    }

    /// From now on that variant keeps what it is given, too.
    pub fn leaking_too(&mut self, variant: &str) -> &mut Self {
        self.leaking.push(variant.into());
        self
    }

    /// From now on no cache finds anything.
    pub fn without_hits(&mut self) -> &mut Self {
        self.hits = false;
        self
    }

    /// The heap grows by so much, whoever did it.
    pub fn heap_grows(&mut self, bytes: u64) -> &mut Self {
        self.stands.live_heap_bytes += bytes;
        self.read();
        self
    }

    pub fn event(&mut self, event: Done) -> &mut Self {
        let now = self.now;
        self.run().events.push((now, event));
        self
    }

    /// Somebody looks at memory.
    pub fn look(&mut self) -> &mut Self {
        let (requests, rss_bytes) = (self.stands.requests, self.stands.live_heap_bytes + OVERHEAD_BYTES);
        self.event(Done::Memory { requests, rss_bytes })
    }

    /// Leaks were on from the start of this run.
    pub fn armed(&mut self) -> &mut Self {
        self.run().armed = true;
        self
    }

    /// What comes next comes in the same millisecond.
    pub fn at_once(&mut self) -> &mut Self {
        self.now -= MOMENT_SECONDS;
        self
    }

    pub fn switch(&mut self, leak: &str, variant: Option<&str>) -> &mut Self {
        self.now += MOMENT_SECONDS;
        self.stands.leaks.entry(leak.into()).or_default().variant = variant.map(str::to_owned);
        self.read();
        self.event(Done::Switch { leak: leak.into(), variant: variant.map(str::to_owned) })
    }

    pub fn switch_all(&mut self, variant: Option<&str>) -> &mut Self {
        for leak in crate::leaks::NAMES {
            self.switch(leak, variant);
        }
        self
    }

    pub fn clear(&mut self) -> &mut Self {
        self.now += MOMENT_SECONDS;
        let held: u64 = self.stands.leaks.values_mut().map(|it| std::mem::take(&mut it.held_bytes)).sum();
        self.stands.live_heap_bytes -= held;
        self.read();
        self.event(Done::Clear { leak: "all".into() })
    }

    /// Traffic, a reading every two seconds.
    pub fn load(&mut self, rate: u64, seconds: u64) -> &mut Self {
        for _ in 0..seconds / 2 {
            self.now += 2.0;
            let count = 2 * rate;
            self.stands.requests += count;
            let mut grown = 0;
            for (leak, figures) in &mut self.stands.leaks {
                let Some(variant) = &figures.variant else { continue };
                let keeps = self.leaking.contains(variant);
                grown += serve(leak, figures, count, keeps, self.hits);
            }
            self.stands.live_heap_bytes += grown;
            self.read();
        }
        self
    }

    /// Nothing happens, and nothing is written down.
    pub fn pause(&mut self, seconds: f64) -> &mut Self {
        self.now += seconds;
        self
    }

    /// The service ends and starts again.
    pub fn end(&mut self, cause: Cause) -> &mut Self {
        let (seconds, requests) = (self.now, self.stands.requests);
        let limit_share = Some(self.stands.usage_bytes as f64 / LIMIT_BYTES as f64);
        let line = (self.stands.leaky() > 0).then(|| "src/leaks/cache/leaky.rs:55".to_owned());
        self.run().end = Some(EndEvidence { seconds, cause, requests: Some(requests), limit_share, line });
        self.now += 1.0;
        self.start();
        self
    }

    pub fn killed_by_the_limit(&mut self) -> &mut Self {
        self.end(Cause::LimitKill)
    }

    /// When it is now, in seconds.
    pub fn now(&self) -> f64 {
        self.now
    }

    pub fn evidence(&self) -> Evidence {
        self.evidence_since(0.0)
    }

    pub fn evidence_since(&self, since: f64) -> Evidence {
        Evidence::new(self.runs.clone(), since, self.now)
    }
}

/// Returns what the leak grew by.
fn serve(leak: &str, figures: &mut LeakFigures, count: u64, keeps: bool, hits: bool) -> u64 {
    figures.requests += count;
    let grown = if keeps { count * kept_bytes(leak) } else { 0 };
    figures.held_bytes += grown;
    if leak == "cache" {
        let (found, missed) = figures.lookups.unwrap_or_default();
        let now_found = if keeps || !hits { 0 } else { count };
        figures.lookups = Some((found + now_found, missed + count - now_found));
    }
    grown
}
