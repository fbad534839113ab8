//! How a run ended, as JSON for programs and in three lines for people: in the log, in the terminal, after each kill.

use indicatif::{BinaryBytes, HumanCount};
use leakscope::{
    recorder::{At, Cause, Certainty, Growing, PostMortem, RunEvent},
    trend::TrendReport,
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::recording::leaks_on;

/// Lines of code named to people; JSON has more.
const NAMED: usize = 3;
/// A line that holds less is not named to people.
const LEAST_SHARE: f64 = 0.01;

/// How a run ended, as `GET /admin/post-mortem` answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndOfRun {
    cause: Cause,
    certainty: Certainty,
    /// How the cause is known, in sentences.
    evidence: Vec<String>,
    /// Name of the signal that ended it, where it is known.
    signal: Option<String>,
    at: At,
    /// The trend at the end; null without samples.
    trend: Option<TrendReport>,
    /// The lines that held most in the last heap profile.
    growing: Vec<Growing>,
    /// What the last heap profile is, or why there is none.
    profile: String,
    /// The leaks that were on, in the form that LEAKLAB_LEAKS takes.
    #[schema(example = json!(["cache", "history:fixed"]))]
    leaks_on: Vec<String>,
    /// The settings that it started with.
    #[schema(value_type = HashMap<String, Value>)]
    settings: Map<String, Value>,
    /// The last things that were written down, the oldest first.
    events: Vec<RunEvent>,
    /// Process id.
    pid: u32,
    /// Build id of the program.
    build_id: String,
    /// When it started, in milliseconds since the Unix epoch.
    started_unix_ms: u64,
    /// When it ended, where that was seen.
    ended_unix_ms: Option<u64>,
}

impl EndOfRun {
    /// What the recorder says of a run, with the leaks instead of the recorder's own state.
    pub fn of(post_mortem: &PostMortem) -> Self {
        let leaks_on = leaks_on(post_mortem).into_iter().map(str::to_owned).collect();
        let of = post_mortem.clone();
        Self {
            cause: of.cause,
            certainty: of.certainty,
            evidence: of.evidence,
            signal: of.signal,
            at: of.at,
            trend: of.trend,
            growing: of.growing,
            profile: of.profile,
            leaks_on,
            settings: of.settings,
            events: of.events,
            pid: of.pid,
            build_id: of.build_id,
            started_unix_ms: of.started_unix_ms,
            ended_unix_ms: of.ended_unix_ms,
        }
    }
}

/// What ended it and at how many bytes; how that is known; what had grown.
pub fn lines(of: &PostMortem) -> [String; 3] {
    [end(of), evidence(of), growth(of)]
}

fn end(of: &PostMortem) -> String {
    let signal = of.signal.as_deref().unwrap_or("no signal");
    let cause = match of.cause {
        Cause::LimitKill => "killed by the memory limit".to_owned(),
        Cause::Killed => format!("killed by somebody else ({signal}), not by the memory limit"),
        Cause::Crashed => format!("crashed ({signal})"),
        Cause::Stopped => "stopped in good order".to_owned(),
    };
    let leaks = match leaks_on(of) {
        none if none.is_empty() => "none".to_owned(),
        some => some.join(", "),
    };
    format!("{cause}{}; leaks on: {leaks}", figures(&of.at))
}

fn figures(at: &At) -> String {
    let usage = match (at.usage_bytes, at.limit_bytes, at.limit_share) {
        (Some(usage), Some(limit), Some(share)) => {
            format!(" at {} of {} ({:.1} %)", BinaryBytes(usage), BinaryBytes(limit), share * 100.0)
        }
        (Some(usage), ..) => format!(" at {}, without a limit", BinaryBytes(usage)),
        (None, ..) => ", before its first sample".to_owned(),
    };
    let requests = at.requests.map(|requests| format!(", after {} requests", HumanCount(requests)));
    let uptime = at.uptime_seconds.map(|seconds| format!(" and {seconds:.1} s"));
    usage + &requests.unwrap_or_default() + &uptime.unwrap_or_default()
}

fn evidence(of: &PostMortem) -> String {
    let certainty = match of.certainty {
        Certainty::Certain => "certain",
        Certainty::Likely => "likely",
    };
    format!("{certainty}: {}", of.evidence.join("; "))
}

fn growth(of: &PostMortem) -> String {
    let trend = of.trend.as_ref().map(|report| &report.trend);
    let verdict = trend.map_or("unknown", |trend| trend.verdict.as_str());
    let slope = trend.and_then(|trend| trend.bytes_per_second).map(|slope| {
        let sign = if slope.value < 0.0 { '-' } else { '+' };
        format!(" ({sign}{}/s)", BinaryBytes(slope.value.abs() as u64))
    });
    let named: Vec<_> = of
        .growing
        .iter()
        .take(NAMED)
        .filter(|line| line.share >= LEAST_SHARE)
        .map(|line| format!("{} {} ({:.0} %)", line.location, BinaryBytes(line.bytes), line.share * 100.0))
        .collect();
    let named = match named.is_empty() {
        true => format!("heap profile: {}", of.profile),
        false => format!("grown most: {}", named.join(", ")),
    };
    format!("trend at the end: {verdict}{}; {named}", slope.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::telemetry::trend::tests::minute;

    fn post_mortem() -> PostMortem {
        serde_json::from_value(json!({
            "cause": "limit_kill", "certainty": "certain", "evidence": ["counted", "seen"], "signal": "SIGKILL",
            "at": {"usage_bytes": 256 << 20, "limit_bytes": 256 << 20, "limit_share": 1.0, "requests": 5212,
                "uptime_seconds": 104.25},
            "trend": minute(1_228_800),
            "growing": [], "profile": "there is none", "state": {"leaks_on": ["cache", "history:fixed"]},
            "settings": {}, "events": [], "run": 1, "pid": 1, "build_id": "b", "started_unix_ms": 1, "ended_unix_ms": 2
        }))
        .expect("its own form")
    }

    #[test]
    fn three_lines_say_what_how_and_where() {
        let mut of = post_mortem();
        of.growing = ["a.rs:1", "b.rs:2", "c.rs:3", "d.rs:4"]
            .map(|location| Growing {
                location: location.into(),
                function: "f".into(),
                bytes: 64 << 20,
                share: 0.25,
            })
            .into();
        let expected = [
            "killed by the memory limit at 256.00 MiB of 256.00 MiB (100.0 %), after 5,212 requests and 104.2 s; \
             leaks on: cache, history:fixed",
            "certain: counted; seen",
            "trend at the end: growing (+1.17 MiB/s); grown most: a.rs:1 64.00 MiB (25 %), b.rs:2 64.00 MiB (25 %), \
             c.rs:3 64.00 MiB (25 %)",
        ];
        assert_eq!(lines(&of), expected);
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        let mut of = post_mortem();
        (of.cause, of.certainty, of.trend) = (Cause::Killed, Certainty::Likely, None);
        (of.at, of.signal) = (At::default(), None);
        of.state.clear();
        let expected = [
            "killed by somebody else (no signal), not by the memory limit, before its first sample; leaks on: none",
            "likely: counted; seen",
            "trend at the end: unknown; heap profile: there is none",
        ];
        assert_eq!(lines(&of), expected);
    }
}
