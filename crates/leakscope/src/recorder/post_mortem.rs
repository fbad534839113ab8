//! What ended a run and what it looked like then: a pure function of what the recorder, and perhaps a supervisor, wrote.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{
    cause::{Cause, Certainty, signal_name},
    end::End,
    entry::{Entry, RunEntries},
    ring::Recorded,
    run_event::RunEvent,
    witness::Dated,
};
use crate::{
    quantity::{self, Observation},
    trend::{self, TrendReport},
};

/// What was left of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::PostMortem))]
pub struct PostMortem {
    /// Why it ended.
    pub cause: Cause,
    /// How sure that is.
    pub certainty: Certainty,
    /// How it is known, in sentences.
    pub evidence: Vec<String>,
    /// The signal that ended it, by name, where it is known.
    pub signal: Option<String>,
    /// The last that is known of its memory.
    pub at: At,
    /// The trend at the end. `None` without samples, and where another version wrote it in another form.
    #[serde(default, deserialize_with = "if_it_fits")]
    pub trend: Option<TrendReport>,
    /// The lines that held most in the last heap profile, which since the start is what they have grown by.
    pub growing: Vec<Growing>,
    /// What the last profile is, or why there is none.
    pub profile: String,
    /// The program's state as it last told it.
    #[cfg_attr(feature = "utoipa", schema(value_type = HashMap<String, serde_json::Value>))]
    pub state: Map<String, Value>,
    /// The settings that it started with.
    #[cfg_attr(feature = "utoipa", schema(value_type = HashMap<String, serde_json::Value>))]
    pub settings: Map<String, Value>,
    /// The last things that were written down, oldest first: thresholds, profiles and the program's own events.
    pub events: Vec<RunEvent>,
    /// Which run: a number that grows.
    pub run: u64,
    /// Process id.
    pub pid: u32,
    /// Build id of the program.
    pub build_id: String,
    /// When it started, in milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// When it ended, where somebody saw that.
    pub ended_unix_ms: Option<u64>,
}

impl From<&PostMortem> for End {
    fn from(of: &PostMortem) -> Self {
        let last_sample = || of.started_unix_ms + (of.at.uptime_seconds.unwrap_or_default() * 1e3) as u64;
        Self {
            cause: of.cause,
            ended_unix_ms: of.ended_unix_ms.unwrap_or_else(last_sample),
            requests: of.at.requests,
            limit_share: of.at.limit_share,
            growing: of.growing.first().map(|line| line.location.clone()),
        }
    }
}

/// The last that is known of a run's memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::At))]
pub struct At {
    /// Resident set size in the last sample.
    pub rss_bytes: Option<u64>,
    /// What counts against the limit: in the last sample, or what a supervisor saw after that.
    pub usage_bytes: Option<u64>,
    /// The limit.
    pub limit_bytes: Option<u64>,
    /// `usage_bytes` by `limit_bytes`.
    pub limit_share: Option<f64>,
    /// Requests served, as of the last sample.
    pub requests: Option<u64>,
    /// From the start to the end, or to the last sample where nobody saw the end.
    pub uptime_seconds: Option<f64>,
    /// From the last sample to the end; where nobody saw the end, to the next start: at most so old.
    pub sample_age_seconds: Option<f64>,
}

/// One line of the last heap profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Growing))]
pub struct Growing {
    /// `file:line`.
    pub location: String,
    /// Function.
    pub function: String,
    /// Live bytes, un-biased.
    pub bytes: u64,
    /// Its share of all live bytes, 0 to 1.
    pub share: f64,
}

/// What a run's heap profile said.
#[derive(Debug, Clone, Default)]
pub(super) struct LastProfile {
    pub growing: Vec<Growing>,
    pub says: String,
}

/// From this share of the limit on, a death without a witness is put down to the limit.
const NEAR_LIMIT: f64 = 0.9;
/// How far ahead of the last sample growth is reckoned on: two samples.
const AHEAD_SECONDS: f64 = 0.5;
/// Over how long that growth is measured.
const GROWTH_SECONDS: f64 = 1.0;
const EVENTS: usize = 20;

/// Judges one run. `samples` may be of other runs too; `now_unix_ms` is when it is judged, the next start.
pub(super) fn judge(
    run: &RunEntries,
    samples: &[Recorded],
    witness: Option<&Dated>,
    profile: LastProfile,
    now_unix_ms: u64,
) -> PostMortem {
    let samples: Vec<_> =
        samples.iter().filter(|sample| sample.run == run.id).map(|sample| sample.observation).collect();
    let witness =
        witness.filter(|dated| dated.witness.pid == run.start.pid && dated.unix_ms >= run.started_unix_ms);
    let limit_bytes = run.start.limit_bytes;
    let last = samples.last();
    let seen_bytes = witness.and_then(|dated| dated.witness.usage_bytes);
    let usage_bytes = seen_bytes.or(last.map(|last| last.usage_bytes()));
    let ended_unix_ms = run.stopped_unix_ms.or(witness.map(|dated| dated.unix_ms));
    let seconds_between = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e3;
    let at = At {
        rss_bytes: last.map(|last| last.rss_bytes()),
        usage_bytes,
        limit_bytes,
        limit_share: share(usage_bytes, limit_bytes),
        requests: last.map(|last| last.requests),
        uptime_seconds: match ended_unix_ms {
            Some(ended) => Some(seconds_between(run.started_unix_ms, ended)),
            None => last.map(|last| last.seconds),
        },
        sample_age_seconds: last
            .map(|last| seconds_between(last.unix_ms, ended_unix_ms.unwrap_or(now_unix_ms))),
    };
    let Finding { cause, certainty, signal, mut evidence } = find_cause(run, &samples, witness);
    if let Some(last) = last {
        evidence.push(last_sample(last, limit_bytes, at.sample_age_seconds, ended_unix_ms.is_some()));
    } else {
        evidence.push("there is no sample of this run".to_owned());
    }
    PostMortem {
        cause,
        certainty,
        evidence,
        signal: signal.map(signal_name),
        at,
        trend: trend_at_end(&samples, limit_bytes),
        growing: profile.growing,
        profile: profile.says,
        state: run.state.clone(),
        settings: run.start.settings.clone(),
        events: last_events(&run.events),
        run: run.id,
        pid: run.start.pid,
        build_id: run.start.build_id.clone(),
        started_unix_ms: run.started_unix_ms,
        ended_unix_ms,
    }
}

struct Finding {
    cause: Cause,
    certainty: Certainty,
    signal: Option<i32>,
    evidence: Vec<String>,
}

/// What the process itself wrote comes first, then what a supervisor saw, then what can be inferred.
fn find_cause(run: &RunEntries, samples: &[Observation], witness: Option<&Dated>) -> Finding {
    use Cause::{Crashed, Stopped};
    use Certainty::{Certain, Likely};
    let found = |cause, certainty, signal, evidence: String| {
        let supervisor = witness.map(|dated| dated.witness.evidence.clone());
        let evidence = supervisor.into_iter().chain((!evidence.is_empty()).then_some(evidence)).collect();
        Finding { cause, certainty, signal, evidence }
    };
    if run.stopped_unix_ms.is_some() {
        return found(Stopped, Certain, None, "it wrote down that it stopped".to_owned());
    }
    if let Some(signal) = run.crash_signal {
        let says = format!("its own handler wrote down {}", signal_name(signal));
        return found(Crashed, Certain, Some(signal), says);
    }
    if run.exited && witness.is_none() {
        let says = "the process exited by itself before it had said that it stops (main returned, or something called exit), and \
                    nobody saw its exit code";
        return found(Stopped, Likely, None, says.to_owned());
    }
    let (inferred, reason) = infer(run, samples);
    let Some(Dated { witness: seen, .. }) = witness else {
        return found(inferred, Likely, None, format!("nobody saw the end; {reason}"));
    };
    match seen.proves() {
        Some(cause) => found(cause, Certain, seen.signal, String::new()),
        None => found(inferred, Likely, seen.signal, reason),
    }
}

/// What the last samples say of a death that nobody saw.
fn infer(run: &RunEntries, samples: &[Observation]) -> (Cause, String) {
    let Some(limit_bytes) = run.start.limit_bytes else {
        return (Cause::Killed, "no memory limit was known, so that none can be suspected".to_owned());
    };
    let Some(last) = samples.last() else {
        return (Cause::Killed, "without a sample the limit can't be suspected".to_owned());
    };
    let used = |bytes: f64| bytes / limit_bytes as f64;
    let now = used(last.usage_bytes() as f64);
    if now >= NEAR_LIMIT {
        return (Cause::LimitKill, format!("it was at {:.1} % of its limit", now * 100.0));
    }
    let recent =
        samples.iter().find(|sample| sample.seconds >= last.seconds - GROWTH_SECONDS).unwrap_or(last);
    let seconds = last.seconds - recent.seconds;
    let growth = if seconds > 0.0 {
        (last.usage_bytes() as f64 - recent.usage_bytes() as f64) / seconds * AHEAD_SECONDS
    } else {
        0.0
    };
    if used(last.usage_bytes() as f64 + growth) >= 1.0 {
        let says = "it was growing so fast that it reached its limit before the next sample";
        return (Cause::LimitKill, format!("{says}, from {:.1} %", now * 100.0));
    }
    (Cause::Killed, format!("it was at {:.1} % of its limit, and not about to reach it", now * 100.0))
}

fn last_sample(
    last: &Observation,
    limit_bytes: Option<u64>,
    age_seconds: Option<f64>,
    end_is_known: bool,
) -> String {
    let age = age_seconds.unwrap_or_default();
    let when = if end_is_known { "the end" } else { "this was found out, and it ended somewhere between" };
    let share = share(Some(last.usage_bytes()), limit_bytes)
        .map(|share| format!(" ({:.1} % of the limit)", share * 100.0))
        .unwrap_or_default();
    let mib = last.usage_bytes() as f64 / f64::from(1 << 20);
    format!("the last sample was {mib:.2} MiB{share}, {age:.2} s before {when}")
}

fn share(part: Option<u64>, whole: Option<u64>) -> Option<f64> {
    whole.filter(|whole| *whole > 0).zip(part).map(|(whole, part)| part as f64 / whole as f64)
}

/// The trend wants a sample a second.
fn trend_at_end(samples: &[Observation], limit_bytes: Option<u64>) -> Option<TrendReport> {
    let last = samples.last()?;
    let mut thinned: Vec<Observation> = samples
        .iter()
        .rev()
        .scan(f64::INFINITY, |due, sample| {
            let taken = sample.seconds <= *due;
            if taken {
                *due = sample.seconds - 0.9;
            }
            Some(taken.then_some(*sample))
        })
        .flatten()
        .take_while(|sample| last.seconds - sample.seconds <= trend::Config::default().window_seconds)
        .collect();
    thinned.reverse();
    Some(quantity::report(&thinned, limit_bytes, &trend::Config::default()))
}

/// A trend in another form than today's must not cost the rest of a post-mortem.
fn if_it_fits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TrendReport>, D::Error> {
    let trend = Option::<Value>::deserialize(deserializer)?;
    Ok(trend.and_then(|trend| serde_json::from_value(trend).ok()))
}

fn last_events(events: &[Entry]) -> Vec<RunEvent> {
    let from = events.len().saturating_sub(EVENTS);
    events[from..].iter().filter_map(RunEvent::of).collect()
}
