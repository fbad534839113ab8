//! Lab 6: what three leaks show besides their bytes, all of them until the limit kills the service, and the same load on the
//! fixed twins.

use serde::Deserialize;

use super::{
    super::{
        Hints, Judged, Lab, NO_NOTE, Unmet,
        evidence::{EndEvidence, Evidence, ReadingEvidence, RunEvidence},
        judge,
        measure::{busy, drift_bytes, is_flat, is_near, mib, rate, requests, seconds, served, told},
    },
    off_by,
};
use crate::leaks::NAMES;

/// The lab.
pub const LAB: Lab = Lab {
    id: "6",
    title: "Three leaks, then the kill",
    minutes: 14,
    optional: false,
    answer: Some(
        r#"{"answer": {"latency": "a leak", "hit_rate": "a leak", "bytes_only": "a leak", "seconds_to_kill": 60}}"#,
    ),
    judge: |evidence, answer| judge(evidence, answer, check),
    note: NO_NOTE,
};

/// Requests that each leak must serve alone.
const ALONE_REQUESTS: u64 = 300;
/// So long a load on the fixed twins is long enough, whatever the kill needed,
const FIXED_SECONDS: f64 = 60.0;
/// of which so much may be missing: its two ends fall between readings,
const ENDS_SECONDS: f64 = 6.0;
/// and its rate may be lower than that of the load that killed by this factor.
const SAME_RATE: f64 = 0.8;
/// How far the answer's seconds may be from the recorder's,
const SECONDS_WITHIN: f64 = 0.2;
/// or in seconds, where the kill came soon.
const SECONDS_ANYWAY: f64 = 5.0;

/// What each leak shows besides its bytes; `tests/live_leaks.rs` proves it.
const SLOWER: &str = "listeners";
const FINDS_NOTHING: &str = "cache";
const SILENT: &str = "history";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    latency: String,
    hit_rate: String,
    bytes_only: String,
    seconds_to_kill: f64,
}

const ALONE_HINTS: Hints = [
    "what a leak shows besides its bytes can only be told while the others are off",
    "one leak at a time, the same load for each; the load's report has latencies, the status has hit rates",
    "/admin/leaks/status, `.leaks`: exactly one is enabled, and its `requests` move",
];
const KILL_HINTS: Hints = [
    "three leaks at once need a minute or two to the limit",
    "all leaks on, and a load that goes on until the service is gone",
    "/admin/leaks/all; the load's report says when the service was lost, /admin/post-mortem why",
];
const FIXED_HINTS: Hints = [
    "the same load that killed the service is the proof",
    "the service has started again without leaks: the same features, repaired, and the same load",
    "`variant` in what /admin/leaks/all takes; `.leaks` of /admin/leaks/status says what is on",
];
const ANSWER_HINTS: Hints = [
    "one leak makes requests slower and slower, one never finds what it kept, one shows nothing but bytes",
    "latencies in the three loads' reports, hit rates in the status; the kill's time in the load's report and the log",
    "seconds_to_kill counts from the first request with all three on to the kill",
];

/// A run in which all leaks were on until the limit ended it.
struct Kill<'a> {
    end: &'a EndEvidence,
    /// Readings from when all leaks were on.
    last: &'a [ReadingEvidence],
}

impl Kill<'_> {
    fn of(run: &RunEvidence) -> Option<Kill<'_>> {
        let end = run.died_of_limit()?;
        let all_on = |reading: &ReadingEvidence| NAMES.iter().all(|leak| reading.leaks(leak));
        let last = run.stretches(all_on).pop()?;
        let is_last = last.last().map(|reading| reading.seconds) == run.readings.last().map(|it| it.seconds);
        (is_last && requests(last) > 0).then_some(Kill { end, last })
    }

    /// From the first request with all leaks on.
    fn seconds(&self) -> f64 {
        let first = busy(self.last).first().map_or(self.end.seconds, |load| load[0].seconds);
        self.end.seconds - first
    }

    fn requests(&self) -> u64 {
        let until = self.end.requests.unwrap_or(0).max(self.last[self.last.len() - 1].requests);
        until - self.last[0].requests
    }

    fn rate(&self) -> f64 {
        self.requests() as f64 / self.seconds().max(1.0)
    }

    fn told(&self) -> String {
        format!("the limit ended the service after {} requests with all leaks on", self.requests())
    }
}

fn check(evidence: &Evidence, answer: Option<&Answer>) -> Judged {
    alone(evidence)?;
    let kills: Vec<_> =
        evidence.runs.iter().enumerate().filter_map(|(at, run)| Some((at, Kill::of(run)?))).collect();
    let Some((_, last)) = kills.last() else {
        return Err(Unmet::new(
            killed(evidence),
            "all leaks on in their leaky variant, and a load until the memory limit ends the service",
            KILL_HINTS,
        ));
    };
    let told = format!("{}; {}", last.told(), fixed(evidence, &kills)?);
    let Some(answer) = answer else {
        return Err(Unmet::new(
            told,
            "an answer, with the name of a leak for each: {\"latency\": \"...\", \"hit_rate\": \"...\", \
             \"bytes_only\": \"...\", \"seconds_to_kill\": N}",
            ANSWER_HINTS,
        ));
    };
    match judge_answer(answer, &kills) {
        Ok(()) => Ok(told),
        Err(wrong) => Err(Unmet::new(
            format!("{told}; {wrong}"),
            format!(
                "the leak that shows in latency, the one that shows in its hit rate, the one that shows in bytes only, and \
                 the seconds to the kill within {:.0} %",
                SECONDS_WITHIN * 100.0
            ),
            ANSWER_HINTS,
        )),
    }
}

/// Each leak must have been on alone.
fn alone(evidence: &Evidence) -> Result<(), Unmet> {
    let requests_alone = |leak: &str| -> u64 {
        let only = |reading: &ReadingEvidence| reading.leaks(leak) && reading.leaky() == 1;
        let stretches = evidence.runs.iter().flat_map(|run| run.stretches(only));
        stretches.map(|stretch| served(stretch, leak)).sum()
    };
    let each = NAMES.map(|leak| (leak, requests_alone(leak)));
    if each.iter().all(|(_, requests)| *requests >= ALONE_REQUESTS) {
        return Ok(());
    }
    let told: Vec<_> = each.iter().map(|(leak, requests)| format!("{leak} {requests}")).collect();
    Err(Unmet::new(
        format!("requests with one leak alone: {}", told.join(", ")),
        format!("at least {ALONE_REQUESTS} requests with each leak alone"),
        ALONE_HINTS,
    ))
}

fn killed(evidence: &Evidence) -> String {
    let kills = evidence.runs.iter().filter(|run| run.died_of_limit().is_some()).count();
    let on =
        evidence.runs.iter().flat_map(|run| &run.readings).map(ReadingEvidence::leaky).max().unwrap_or(0);
    format!(
        "the limit ended the service {kills} times, never with all leaks on; at most {on} were on at once"
    )
}

/// After a kill the fixed twins must have taken the same load, and been flat; says how they did.
fn fixed(evidence: &Evidence, kills: &[(usize, Kill)]) -> Result<String, Unmet> {
    let is_fixed = |reading: &ReadingEvidence| {
        reading.leaky() == 0 && NAMES.iter().all(|leak| reading.variant(leak).is_some())
    };
    let mut best: Option<(&[ReadingEvidence], bool)> = None;
    for (at, kill) in kills {
        for stretch in evidence.runs[at + 1..].iter().flat_map(|run| run.stretches(is_fixed)) {
            let same_load = |load: &&[ReadingEvidence]| {
                seconds(load) >= FIXED_SECONDS - ENDS_SECONDS && rate(load) >= SAME_RATE * kill.rate()
            };
            let enough = requests(stretch) >= kill.requests() || busy(stretch).iter().any(same_load);
            if enough && is_flat(stretch) {
                return Ok(format!("with the fixed variants {}", told(stretch)));
            }
            if best.is_none_or(|(it, was_enough)| (enough, requests(stretch)) > (was_enough, requests(it))) {
                best = Some((stretch, enough));
            }
        }
    }
    let observed = match best {
        Some((stretch, true)) => {
            format!(
                "with the fixed variants {}: it moved by {}",
                told(stretch),
                mib(drift_bytes(stretch) as f64)
            )
        }
        Some((stretch, false)) => format!("with the fixed variants {}", told(stretch)),
        None => "after the kill the fixed variants were never all on".to_owned(),
    };
    let needed = kills.last().map_or(0, |(_, kill)| kill.requests());
    Err(Unmet::new(
        observed,
        format!(
            "after the kill all three fixed, and the load that killed: {needed} requests, or {FIXED_SECONDS} s at its rate, \
             without a kill and flat"
        ),
        FIXED_HINTS,
    ))
}

fn judge_answer(answer: &Answer, kills: &[(usize, Kill)]) -> Result<(), String> {
    for (sign, said, leak) in [
        ("latency", &answer.latency, SLOWER),
        ("hit_rate", &answer.hit_rate, FINDS_NOTHING),
        ("bytes_only", &answer.bytes_only, SILENT),
    ] {
        if said.trim() != leak {
            return Err(format!("{sign}: it is not {said:?}"));
        }
    }
    let seconds: Vec<_> = kills.iter().map(|(_, kill)| kill.seconds()).collect();
    let said = answer.seconds_to_kill;
    let is_right =
        |seconds: &f64| is_near(said, *seconds, SECONDS_WITHIN) || (said - seconds).abs() <= SECONDS_ANYWAY;
    match seconds.last() {
        Some(last) if !seconds.iter().any(is_right) => {
            Err(format!("{said} seconds to the kill is {}", off_by(said, *last)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use leakscope::recorder::Cause;

    use super::{super::super::story::Story, *};

    fn right() -> Answer {
        Answer {
            latency: "listeners".into(),
            hit_rate: "cache".into(),
            bytes_only: "history".into(),
            seconds_to_kill: 100.0,
        }
    }

    fn passes(story: &Story) -> bool {
        check(&story.evidence(), Some(&right())).is_ok()
    }

    fn each_alone(requests: u64) -> Story {
        let mut story = Story::new();
        for leak in NAMES {
            story.switch(leak, Some("leaky")).load(requests / 6, 6).switch(leak, None).clear();
        }
        story
    }

    /// All on, and 100 seconds at 50/s until the limit.
    fn killed() -> Story {
        let mut story = each_alone(300);
        story.switch_all(Some("leaky")).pause(30.0).load(50, 100).killed_by_the_limit();
        story
    }

    #[test]
    fn alone_killed_and_fixed_passes() {
        let mut story = killed();
        assert!(!passes(&story), "not fixed yet");
        story.switch_all(Some("fixed"));
        assert!(!passes(story.load(50, 20)), "20 s are no proof");
        assert!(passes(story.load(50, 40)));
        check(&story.evidence(), None).expect_err("an answer is wanted");
        assert!(passes(story.end(Cause::Killed).pause(60.0)), "it outlives another kill");
    }

    #[test]
    fn as_many_requests_as_the_kill_needed_are_enough_at_any_rate() {
        assert!(!passes(killed().switch_all(Some("fixed")).load(20, 240)), "4,800 of 5,000, too slow");
        assert!(passes(killed().switch_all(Some("fixed")).load(20, 252)));
    }

    #[test]
    fn no_step_can_be_left_out() {
        let mut not_alone = each_alone(240);
        not_alone.switch_all(Some("leaky")).load(50, 100).killed_by_the_limit().switch_all(Some("fixed"));
        assert!(!passes(not_alone.load(50, 60)), "240 requests each are too few");
        let mut stopped = each_alone(300);
        stopped.switch_all(Some("leaky")).load(50, 100).end(Cause::Killed).switch_all(Some("fixed"));
        assert!(!passes(stopped.load(50, 60)), "somebody else killed it");
        let mut two = each_alone(300);
        two.switch("cache", Some("leaky"))
            .switch("history", Some("leaky"))
            .load(50, 100)
            .killed_by_the_limit();
        assert!(!passes(two.switch_all(Some("fixed")).load(50, 60)), "two leaks did it");
        let mut off = killed();
        assert!(!passes(off.load(50, 100)), "switched off is not fixed");
        let mut before = each_alone(300);
        before.switch_all(Some("fixed")).load(50, 100).switch_all(Some("leaky"));
        assert!(!passes(before.load(50, 100).killed_by_the_limit()), "the fixed ones came first");
    }

    #[test]
    fn fixed_ones_that_grow_or_die_fail() {
        let mut grows = killed();
        grows.leaking_too("fixed").switch_all(Some("fixed"));
        assert!(!passes(grows.load(50, 60)));
        let mut dies = killed();
        assert!(!passes(dies.switch_all(Some("fixed")).load(50, 30).killed_by_the_limit().load(50, 60)));
    }

    #[test]
    fn each_answer_is_judged() {
        let mut story = killed();
        story.switch_all(Some("fixed")).load(50, 60);
        let wrong: [fn(&mut Answer); 4] = [
            |answer| answer.latency = "cache".into(),
            |answer| answer.hit_rate = "history".into(),
            |answer| answer.bytes_only = "listeners".into(),
            |answer| answer.seconds_to_kill = 130.0,
        ];
        for wrong in wrong {
            let mut answer = right();
            wrong(&mut answer);
            assert!(check(&story.evidence(), Some(&answer)).is_err());
        }
        let near = Answer { seconds_to_kill: 85.0, ..right() };
        check(&story.evidence(), Some(&near)).expect("within a fifth");
    }
}
