//! What really happened, as the flight recorder wrote it down: the runs of the service, where memory and leaks stood from
//! moment to moment, and what was done. Checks are functions of this and know no file.

use std::{collections::BTreeMap, path::Path};

use leakscope::recorder::{self, Cause};
use serde_json::Value;

use crate::recording::{Done, LeakFigures};

/// Everything that counts for a check.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// Oldest first; the last one is the one that runs.
    pub runs: Vec<RunEvidence>,
}

/// One run of the service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunEvidence {
    /// Its memory limit.
    pub limit_bytes: Option<u64>,
    /// Whether settings switched leaks on at its start.
    pub armed: bool,
    /// `None`: it runs still.
    pub end: Option<EndEvidence>,
    /// Oldest first. A stretch in which nothing moved has one at each end.
    pub readings: Vec<ReadingEvidence>,
    /// What was done, with the time in seconds since the Unix epoch.
    pub events: Vec<(f64, Done)>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct EndEvidence {
    /// Seconds since the Unix epoch.
    pub seconds: f64,
    /// Why.
    pub cause: Cause,
    /// Requests served until then.
    pub requests: Option<u64>,
    /// Share of the limit that was in use.
    pub limit_share: Option<f64>,
    /// The line that held most.
    pub line: Option<String>,
}

/// Where things stood at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadingEvidence {
    /// Seconds since the Unix epoch.
    pub seconds: f64,
    /// Requests to /api since the start of the run.
    pub requests: u64,
    /// Live heap.
    pub live_heap_bytes: u64,
    /// What counts against the limit.
    pub usage_bytes: u64,
    /// Each leak that was ever on in this run.
    pub leaks: BTreeMap<String, LeakFigures>,
}

/// The name of the variant that leaks.
const LEAKY: &str = "leaky";

impl ReadingEvidence {
    /// The variant of a leak that is on.
    pub fn variant(&self, leak: &str) -> Option<&str> {
        self.leaks.get(leak)?.variant.as_deref()
    }

    /// Whether the leaky variant of that leak is on.
    pub fn leaks(&self, leak: &str) -> bool {
        self.variant(leak) == Some(LEAKY)
    }

    /// How many leaks are on in their leaky variant.
    pub fn leaky(&self) -> usize {
        self.leaks.keys().filter(|leak| self.leaks(leak)).count()
    }

    /// What that leak holds.
    pub fn held_bytes(&self, leak: &str) -> u64 {
        self.leaks.get(leak).map_or(0, |figures| figures.held_bytes)
    }

    /// Requests that any variant of that leak has served.
    pub fn served(&self, leak: &str) -> u64 {
        self.leaks.get(leak).map_or(0, |figures| figures.requests)
    }
}

impl RunEvidence {
    /// The longest stretches of readings of which all are `wanted`, and between which no leak was cleared while it leaked.
    pub fn stretches(&self, wanted: impl Fn(&ReadingEvidence) -> bool) -> Vec<&[ReadingEvidence]> {
        let together = |before: &ReadingEvidence, after: &ReadingEvidence| {
            let cleared =
                |leak: &String| before.leaks(leak) && after.held_bytes(leak) < before.held_bytes(leak);
            wanted(before) && wanted(after) && !before.leaks.keys().any(cleared)
        };
        self.readings.chunk_by(together).filter(|stretch| stretch.iter().all(&wanted)).collect()
    }

    /// The readings before one of its stretches. By place: two readings may be of one millisecond.
    pub fn before(&self, stretch: &[ReadingEvidence]) -> &[ReadingEvidence] {
        let first = self.readings.iter().position(|reading| std::ptr::eq(reading, stretch.as_ptr()));
        &self.readings[..first.unwrap_or(0)]
    }

    /// Whether the memory limit ended it.
    pub fn died_of_limit(&self) -> Option<&EndEvidence> {
        self.end.as_ref().filter(|end| end.cause == Cause::LimitKill)
    }
}

/// Nothing is written down while nothing moves: after so many seconds without a reading, that is what happened.
const STILL_SECONDS: f64 = 6.0;
/// Time between two readings while something moves.
const PACE_SECONDS: f64 = 2.0;

impl Evidence {
    /// What a recorder's folder knows from `since_unix_ms` on. Blocks for the disk; up to some ten milliseconds.
    pub fn read(folder: &Path, since_unix_ms: u64, now_unix_ms: u64) -> Self {
        let (runs, _) = recorder::runs(folder); // what can't be read, the recorder has said at its start
        Self::new(
            runs.into_iter().map(RunEvidence::from).collect(),
            since_unix_ms as f64 / 1e3,
            now_unix_ms as f64 / 1e3,
        )
    }

    /// What happened in these runs from then until now.
    pub fn new(runs: Vec<RunEvidence>, since: f64, now: f64) -> Self {
        let counts = |run: &RunEvidence| run.end.as_ref().is_none_or(|end| end.seconds >= since);
        let runs = runs.into_iter().map(|mut run| {
            let until = run.end.as_ref().map_or(now, |end| end.seconds);
            if let Some(latest) = run.readings.last().filter(|it| until - it.seconds > STILL_SECONDS).cloned()
            {
                run.readings.push(ReadingEvidence { seconds: until, ..latest });
            }
            run.readings = with_still_times(run.readings);
            run.forget_before(since);
            run
        });
        Self { runs: runs.filter(counts).collect() }
    }
}

impl RunEvidence {
    /// What stood at that moment is where what came later begins.
    fn forget_before(&mut self, since: f64) {
        self.events.retain(|(seconds, _)| *seconds >= since);
        let before = self.readings.partition_point(|reading| reading.seconds < since);
        if let Some(last_before) = before.checked_sub(1) {
            self.readings.drain(..last_before);
            self.readings[0].seconds = since;
        }
    }
}

/// Adds where each pause ended: just before things moved again.
fn with_still_times(readings: Vec<ReadingEvidence>) -> Vec<ReadingEvidence> {
    let mut filled: Vec<ReadingEvidence> = Vec::with_capacity(readings.len());
    for reading in readings {
        if let Some(last) = filled.last()
            && reading.seconds - last.seconds > STILL_SECONDS
        {
            filled.push(ReadingEvidence { seconds: reading.seconds - PACE_SECONDS, ..last.clone() });
        }
        filled.push(reading);
    }
    filled
}

impl From<recorder::Run> for RunEvidence {
    fn from(run: recorder::Run) -> Self {
        let seconds = |unix_ms: u64| unix_ms as f64 / 1e3;
        let reading = |(unix_ms, reading): (u64, recorder::Reading)| ReadingEvidence {
            seconds: seconds(unix_ms),
            requests: reading.requests,
            live_heap_bytes: reading.live_heap_bytes,
            usage_bytes: reading.usage_bytes,
            leaks: reading
                .program
                .into_iter()
                .filter_map(|(leak, figures)| Some((leak, serde_json::from_value(figures).ok()?)))
                .collect(),
        };
        let event = |event: recorder::ProgramEvent| {
            Some((seconds(event.unix_ms), Done::from_parts(&event.kind, event.detail)?))
        };
        Self {
            limit_bytes: run.limit_bytes,
            armed: run.settings.get("leaks").and_then(Value::as_array).is_some_and(|leaks| !leaks.is_empty()),
            end: run.end.map(|end| EndEvidence {
                seconds: seconds(end.ended_unix_ms),
                cause: end.cause,
                requests: end.requests,
                limit_share: end.limit_share,
                line: end.growing,
            }),
            readings: run.readings.into_iter().map(reading).collect(),
            events: run.events.into_iter().filter_map(event).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use leakscope::recorder::Cause;

    use super::{super::story::Story, *};

    fn seconds(run: &RunEvidence) -> Vec<f64> {
        run.readings.iter().map(|reading| reading.seconds - run.readings[0].seconds).collect()
    }

    #[test]
    fn a_pause_has_two_ends_and_the_present_is_one() {
        let mut story = Story::new();
        let evidence = story.load(10, 4).pause(20.0).load(10, 2).pause(10.0).evidence();
        let run = &evidence.runs[0];
        assert_eq!(seconds(run), [0.0, 2.0, 4.0, 24.0, 26.0, 34.0, 36.0]);
        let requests: Vec<_> = run.readings.iter().map(|reading| reading.requests).collect();
        assert_eq!(requests, [0, 20, 40, 40, 60, 60, 60]);
    }

    #[test]
    fn what_was_before_a_reset_is_only_where_the_rest_begins() {
        let mut story = Story::new();
        story.look().load(10, 10).end(Cause::Stopped).look().load(10, 10);
        let reset = story.now() - 5.0;
        let evidence = story.look().evidence_since(reset);
        assert_eq!(evidence.runs.len(), 1, "the run before is over");
        assert_eq!(seconds(&evidence.runs[0]), [0.0, 1.0, 3.0, 5.0]);
        assert_eq!(evidence.runs[0].readings[0].requests, 40, "as at the last reading before");
        assert_eq!(evidence.runs[0].events.len(), 1);
    }

    #[test]
    fn a_run_of_the_recorder_is_read_as_it_was_written() {
        let figures =
            serde_json::json!({ "cache": ["leaky", 5, 7, 1, 2], "history": [null, 3, 0], "odd": 1 });
        let Value::Object(program) = figures else { unreachable!() };
        let reading =
            recorder::Reading { requests: 9, rss_bytes: 1, live_heap_bytes: 2, usage_bytes: 3, program };
        let event = |kind: &str| recorder::ProgramEvent {
            unix_ms: 2_500,
            kind: kind.into(),
            detail: Default::default(),
        };
        let settings = serde_json::json!({ "leaks": ["cache"] });
        let run = RunEvidence::from(recorder::Run {
            id: 1,
            started_unix_ms: 1_000,
            limit_bytes: Some(64),
            settings: settings.as_object().cloned().unwrap_or_default(),
            end: None,
            readings: vec![(1_500, reading)],
            events: vec![event("ready"), event("of a newer build")],
        });
        assert!(run.armed && run.end.is_none());
        assert_eq!(run.events, [(2.5, Done::Ready {})]);
        let reading = &run.readings[0];
        assert_eq!(
            (reading.seconds, reading.requests, reading.live_heap_bytes, reading.usage_bytes),
            (1.5, 9, 2, 3)
        );
        assert!(reading.leaks("cache") && !reading.leaks("history") && reading.leaky() == 1);
        assert_eq!((reading.held_bytes("cache"), reading.served("history")), (7, 3));
    }
}
