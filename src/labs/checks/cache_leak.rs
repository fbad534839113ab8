//! Lab 2: a leak under steady load: how much a request leaves, and when it runs out.

use serde::Deserialize;

use super::{
    super::{
        Hints, Judged, Lab, NO_NOTE, Unmet,
        evidence::{Evidence, ReadingEvidence, RunEvidence},
        judge,
        measure::{
            busy, bytes_per_request, growth_bytes, is_near, last_seconds, loads, rate, seconds, served, told,
        },
    },
    off_by,
};

/// The lab.
pub const LAB: Lab = Lab {
    id: "2",
    title: "The cache leak",
    minutes: 9,
    optional: false,
    answer: Some(r#"{"answer": {"bytes_per_request": 10000, "seconds_to_limit": 60}}"#),
    judge: |evidence, answer| judge(evidence, answer, check),
    note: NO_NOTE,
};

const LEAK: &str = "cache";
/// Requests that the leaky cache must have served.
const REQUESTS: u64 = 1_000;
/// Length of the steady load,
const STEADY_SECONDS: f64 = 60.0;
/// of which so much may be missing: its two ends fall between readings.
const ENDS_SECONDS: f64 = 6.0;
/// Requests a second of the steady load.
const STEADY_RATE: f64 = 40.0;
/// How far the answer's bytes may be from the samples'.
const BYTES_WITHIN: f64 = 0.15;
/// How far its seconds may be.
const SECONDS_WITHIN: f64 = 0.25;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    bytes_per_request: f64,
    seconds_to_limit: f64,
}

const LOAD_HINTS: Hints = [
    "a slope needs time: traffic at one rate, without a pause, while the leak is on",
    "a load generator keeps a rate; a loop of curl does not",
    "the text's second load: its rate and its duration; /admin/leaks/status says whether the leaky cache is on",
];
const ANSWER_HINTS: Hints = [
    "two looks at memory and the number of requests between them say what one request leaves",
    "the load's own report says how much memory grew over how many requests; the rate turns bytes into seconds",
    "what is left is the limit less what was in use when the load ended: `.limit.bytes` and `.process.rss_bytes` of GET /admin/memory",
];

fn check(evidence: &Evidence, answer: Option<&Answer>) -> Judged {
    let on: Vec<_> = evidence
        .runs
        .iter()
        .flat_map(|run| run.stretches(|reading| reading.leaks(LEAK)).into_iter().map(move |it| (run, it)))
        .collect();
    let requests: u64 = on.iter().map(|(_, stretch)| served(stretch, LEAK)).sum();
    // A load of one rate, or one that went on at another: both are steady, and the answer may be of either.
    let steady: Vec<_> = on
        .iter()
        .flat_map(|(run, stretch)| busy(stretch).into_iter().chain(loads(stretch)).map(|load| (*run, load)))
        .map(|(run, load)| (run, last_seconds(load, STEADY_SECONDS)))
        .filter(|(_, load)| seconds(load) >= STEADY_SECONDS - ENDS_SECONDS && rate(load) >= STEADY_RATE)
        .collect();
    let Some((_, last)) = steady.last().filter(|_| requests >= REQUESTS) else {
        return Err(Unmet::new(
            format!("the leaky cache served {requests} requests; {}", longest(&on)),
            format!(
                "the leaky cache on, at least {REQUESTS} requests, and {STEADY_SECONDS} s of steady load of at least \
                 {STEADY_RATE} a second"
            ),
            LOAD_HINTS,
        ));
    };
    let told = told(last);
    let Some(answer) = answer else {
        return Err(Unmet::new(
            told,
            "an answer: how many bytes a request leaves, and how many seconds the limit was away when the load ended: \
             {\"bytes_per_request\": N, \"seconds_to_limit\": N}",
            ANSWER_HINTS,
        ));
    };
    let judged = steady.iter().rev().map(|(run, load)| judge_answer(run, load, answer));
    let judged: Vec<_> = judged.collect();
    match judged.iter().position(Result::is_ok) {
        Some(_) => Ok(told),
        None => Err(Unmet::new(
            format!("{told}; {}", judged.into_iter().find_map(Result::err).unwrap_or_default()),
            format!(
                "bytes_per_request within {:.0} %, and seconds_to_limit within {:.0} % of what the samples say",
                BYTES_WITHIN * 100.0,
                SECONDS_WITHIN * 100.0
            ),
            ANSWER_HINTS,
        )),
    }
}

fn judge_answer(run: &RunEvidence, load: &[ReadingEvidence], answer: &Answer) -> Result<(), String> {
    let bytes = bytes_per_request(load);
    if !is_near(answer.bytes_per_request, bytes, BYTES_WITHIN) {
        let off = off_by(answer.bytes_per_request, bytes);
        return Err(format!("{} bytes per request is {off}", answer.bytes_per_request));
    }
    let Some((limit_bytes, end)) = run.limit_bytes.zip(load.last()) else {
        return Err("this service has no memory limit, so there is no time to it".to_owned());
    };
    let left_bytes = limit_bytes.saturating_sub(end.usage_bytes) as f64;
    let until = left_bytes * seconds(load) / growth_bytes(load).max(1.0);
    if !is_near(answer.seconds_to_limit, until, SECONDS_WITHIN) {
        let off = off_by(answer.seconds_to_limit, until);
        return Err(format!("{} seconds to the limit is {off}", answer.seconds_to_limit));
    }
    Ok(())
}

fn longest(on: &[(&RunEvidence, &[ReadingEvidence])]) -> String {
    let loads = on.iter().flat_map(|(_, stretch)| busy(stretch));
    match loads.max_by(|one, other| seconds(one).total_cmp(&seconds(other))) {
        Some(load) => format!(
            "the longest load without a pause was {:.0} s at {:.0} a second",
            seconds(load),
            rate(load)
        ),
        None => "there was no load while it was on".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::story::*, *};

    /// As the text has it: 1,000 requests, a minute at 50/s.
    fn as_written() -> Story {
        let mut story = Story::new();
        story.switch(LEAK, Some("leaky")).load(100, 10).pause(5.0).load(50, 60);
        story
    }

    /// 24 KiB a request; the limit less 4,000 of them, 4 MiB of heap and 9 of everything else, at 50 a second.
    fn right() -> Answer {
        let left = LIMIT_BYTES - 4_000 * kept_bytes(LEAK) - (13 << 20);
        Answer {
            bytes_per_request: kept_bytes(LEAK) as f64,
            seconds_to_limit: left as f64 / (50 * kept_bytes(LEAK)) as f64,
        }
    }

    #[test]
    fn steady_load_and_the_right_answer_pass_and_outlive_a_kill() {
        let mut story = as_written();
        let without = check(&story.evidence(), None).expect_err("an answer is wanted");
        assert!(without.wanted.contains("bytes_per_request"), "{without:?}");
        check(&story.evidence(), Some(&right())).expect("right");
        story.load(100, 40).killed_by_the_limit().pause(600.0);
        check(&story.evidence(), Some(&right())).expect("what happened has happened");
    }

    #[test]
    fn figures_within_their_tolerance_pass_and_others_do_not() {
        let story = as_written();
        for (bytes, seconds, passes) in [
            (1.14, 1.0, true),
            (0.86, 1.24, true),
            (1.16, 1.0, false),
            (0.84, 1.0, false),
            (1.0, 1.3, false),
            (1.0, 0.7, false),
        ] {
            let Answer { bytes_per_request, seconds_to_limit } = right();
            let answer = Answer {
                bytes_per_request: bytes * bytes_per_request,
                seconds_to_limit: seconds * seconds_to_limit,
            };
            assert_eq!(check(&story.evidence(), Some(&answer)).is_ok(), passes, "{bytes} {seconds}");
        }
    }

    #[test]
    fn too_little_too_slow_too_short_or_the_wrong_leak_fail() {
        let fails = |story: &mut Story| assert!(check(&story.evidence(), Some(&right())).is_err());
        fails(&mut Story::new());
        fails(Story::new().load(50, 90));
        fails(Story::new().switch(LEAK, Some("fixed")).load(50, 90));
        fails(Story::new().switch("history", Some("leaky")).load(50, 90));
        fails(Story::new().switch(LEAK, Some("leaky")).load(30, 90));
        fails(Story::new().switch(LEAK, Some("leaky")).load(50, 40).pause(20.0).load(50, 40));
        fails(Story::new().switch(LEAK, Some("leaky")).load(50, 40).clear().load(50, 40));
    }

    #[test]
    fn another_route_and_what_came_before_a_reset() {
        // Faster, longer, without the first loop, other leaks on as well before.
        let mut story = Story::new();
        story
            .switch("history", Some("leaky"))
            .load(20, 10)
            .switch("history", None)
            .switch(LEAK, Some("leaky"));
        story.load(60, 70);
        let held = 4_200 * kept_bytes(LEAK) + 200 * kept_bytes("history");
        let left = LIMIT_BYTES - held - (13 << 20);
        let answer = Answer {
            bytes_per_request: kept_bytes(LEAK) as f64,
            seconds_to_limit: left as f64 / (60 * kept_bytes(LEAK)) as f64,
        };
        check(&story.evidence(), Some(&answer)).expect("any route");
        let reset = story.now();
        assert!(check(&story.evidence_since(reset), Some(&answer)).is_err(), "begun anew");
        assert!(
            check(&story.load(50, 30).evidence_since(reset), Some(&answer)).is_err(),
            "half of it is old"
        );
    }
}
