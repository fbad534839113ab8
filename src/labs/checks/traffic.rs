//! Lab 3: the growth of a leak follows traffic, not time.

use serde::Deserialize;

use super::{
    super::{
        Hints, Judged, Lab, NO_NOTE, Unmet,
        evidence::{Evidence, ReadingEvidence},
        judge,
        measure::{bytes_per_request, growth_bytes, idle, is_near, loads, rate, requests, seconds},
    },
    off_by,
};

/// The lab.
pub const LAB: Lab = Lab {
    id: "3",
    title: "Growth follows traffic",
    minutes: 7,
    optional: false,
    answer: Some(
        r#"{"answer": {"idle_bytes_per_second": 1000, "slow_bytes_per_request": 10000, "fast_bytes_per_request": 10000}}"#,
    ),
    judge: |evidence, answer| judge(evidence, answer, check),
    note: NO_NOTE,
};

/// Length of the pause.
const IDLE_SECONDS: f64 = 10.0;
/// Requests of each load.
const REQUESTS: u64 = 300;
/// The fast load's rate by the slow one's.
const FASTER: f64 = 3.0;
/// Growth per request of both loads is alike within this factor: new connections cost memory, too.
const ALIKE: f64 = 1.5;
/// Idle growth is none up to this share of what the slow load grew by a second.
const IDLE_SHARE: f64 = 0.1;
/// How far the answer's bytes per request may be from the samples'.
const BYTES_WITHIN: f64 = 0.25;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    idle_bytes_per_second: f64,
    slow_bytes_per_request: f64,
    fast_bytes_per_request: f64,
}

const HINTS: Hints = [
    "if growth follows traffic, it stops with the traffic, and three times the traffic grows three times as fast",
    "a load generator with two rates, and a pause in which nobody asks anything of /api",
    "one leak on all the time and not cleared in between; the panel Request Rate vs Memory Growth shows all three",
];
const ANSWER_HINTS: Hints = [
    "each figure is a difference of two looks, by time or by requests",
    "each load's own report says what grew over how many requests; the pause needs a look at both of its ends",
    "`.leaks` of GET /admin/leaks/status, or live heap and requests in the report of `leaklab load`",
];

/// A pause and two loads, of one leak that was on all the time.
struct Compared<'a> {
    idle: &'a [ReadingEvidence],
    slow: &'a [ReadingEvidence],
    fast: &'a [ReadingEvidence],
}

fn check(evidence: &Evidence, answer: Option<&Answer>) -> Judged {
    let on: Vec<_> =
        evidence.runs.iter().flat_map(|run| run.stretches(|reading| reading.leaky() > 0)).collect();
    let compared: Vec<_> = on.iter().flat_map(|stretch| compare(stretch)).collect();
    let Some(last) = compared.last() else {
        return Err(Unmet::new(
            observed(&on),
            format!(
                "while a leak is on: {IDLE_SECONDS} s without a request, and two loads of at least {REQUESTS} requests, \
                 one at {FASTER} times the other's rate"
            ),
            HINTS,
        ));
    };
    let told = last.told();
    let alike: Vec<_> = compared.iter().filter(|it| it.follows_traffic()).collect();
    if alike.is_empty() {
        return Err(Unmet::new(
            told,
            "growth that follows traffic: none in the pause, and about the same for each request of both loads; a clear or \
             a switch in the middle hides it",
            HINTS,
        ));
    }
    let Some(answer) = answer else {
        return Err(Unmet::new(
            told,
            "an answer: {\"idle_bytes_per_second\": N, \"slow_bytes_per_request\": N, \"fast_bytes_per_request\": N}",
            ANSWER_HINTS,
        ));
    };
    let judged: Vec<_> = alike.iter().rev().map(|it| it.judge_answer(answer)).collect();
    match judged.iter().position(Result::is_ok) {
        Some(_) => Ok(told),
        None => Err(Unmet::new(
            format!("{told}; {}", judged.into_iter().find_map(Result::err).unwrap_or_default()),
            format!(
                "bytes per request within {:.0} % of what the samples say, and idle bytes per second next to nothing",
                BYTES_WITHIN * 100.0
            ),
            ANSWER_HINTS,
        )),
    }
}

/// Every slow and fast load of a stretch, with its longest pause.
fn compare(stretch: &[ReadingEvidence]) -> Vec<Compared<'_>> {
    let pauses = idle(stretch, IDLE_SECONDS);
    let Some(idle) = pauses.into_iter().max_by(|one, other| seconds(one).total_cmp(&seconds(other))) else {
        return Vec::new();
    };
    let loads: Vec<_> = loads(stretch).into_iter().filter(|load| requests(load) >= REQUESTS).collect();
    let faster = |slow: &'_ [ReadingEvidence], fast: &'_ [ReadingEvidence]| rate(fast) >= FASTER * rate(slow);
    let pairs = loads.iter().flat_map(|slow| loads.iter().map(move |fast| (*slow, *fast)));
    pairs
        .filter(|(slow, fast)| faster(slow, fast))
        .map(|(slow, fast)| Compared { idle, slow, fast })
        .collect()
}

impl Compared<'_> {
    fn idle_bytes_per_second(&self) -> f64 {
        growth_bytes(self.idle) / seconds(self.idle)
    }

    /// What may be called nothing, in bytes a second.
    fn nothing(&self) -> f64 {
        IDLE_SHARE * growth_bytes(self.slow) / seconds(self.slow)
    }

    fn follows_traffic(&self) -> bool {
        let (slow, fast) = (bytes_per_request(self.slow), bytes_per_request(self.fast));
        let alike = slow > 0.0 && (slow / ALIKE..=slow * ALIKE).contains(&fast);
        alike && self.idle_bytes_per_second().abs() <= self.nothing()
    }

    fn judge_answer(&self, answer: &Answer) -> Result<(), String> {
        if answer.idle_bytes_per_second.abs() > self.nothing() {
            return Err(format!("{} idle bytes per second is too much", answer.idle_bytes_per_second));
        }
        for (what, said, load) in [
            ("slow", answer.slow_bytes_per_request, self.slow),
            ("fast", answer.fast_bytes_per_request, self.fast),
        ] {
            let truth = bytes_per_request(load);
            if !is_near(said, truth, BYTES_WITHIN) {
                return Err(format!(
                    "{said} bytes per request of the {what} load is {}",
                    off_by(said, truth)
                ));
            }
        }
        Ok(())
    }

    fn told(&self) -> String {
        let kib = |bytes: f64| bytes / 1024.0;
        let load = |load: &[ReadingEvidence]| {
            format!(
                "{} requests at {:.0}/s grew {:.0} KiB",
                requests(load),
                rate(load),
                kib(growth_bytes(load))
            )
        };
        format!(
            "{:.0} s without a request grew {:.0} KiB; {}; {}",
            seconds(self.idle),
            kib(growth_bytes(self.idle)),
            load(self.slow),
            load(self.fast)
        )
    }
}

fn observed(on: &[&[ReadingEvidence]]) -> String {
    let pause = on.iter().flat_map(|it| idle(it, 0.0)).map(seconds).fold(0.0, f64::max);
    let mut rates: Vec<_> = on
        .iter()
        .flat_map(|stretch| loads(stretch))
        .filter(|load| requests(load) >= REQUESTS)
        .map(|load| format!("{} at {:.0}/s", requests(load), rate(load)))
        .collect();
    if rates.is_empty() {
        rates.push("none".to_owned());
    }
    format!(
        "while a leak was on: the longest pause {pause:.0} s; loads of at least {REQUESTS} requests: {}",
        rates.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::{super::super::story::*, *};

    fn right() -> Answer {
        let kept = kept_bytes("cache") as f64;
        Answer { idle_bytes_per_second: 0.0, slow_bytes_per_request: kept, fast_bytes_per_request: kept }
    }

    fn passes(story: &Story) -> bool {
        check(&story.evidence(), Some(&right())).is_ok()
    }

    #[test]
    fn a_pause_and_two_rates_pass_whatever_the_order() {
        let mut story = Story::new();
        assert!(!passes(&story), "nothing was done");
        story.switch("cache", Some("leaky")).pause(20.0).load(20, 20);
        assert!(!passes(&story), "one load");
        assert!(passes(story.pause(3.0).load(100, 6)));

        let mut fast_first = Story::new();
        assert!(passes(fast_first.switch("cache", Some("leaky")).load(200, 4).load(50, 10).pause(12.0)));
        assert!(passes(fast_first.pause(5.0).killed_by_the_limit()), "it outlives a kill");
    }

    #[test]
    fn rates_too_alike_too_few_requests_or_a_short_pause_fail() {
        let on = |story: &mut Story| assert!(!passes(story));
        on(Story::new().switch("cache", Some("leaky")).pause(20.0).load(40, 20).pause(3.0).load(100, 6));
        on(Story::new().switch("cache", Some("leaky")).pause(20.0).load(20, 10).pause(3.0).load(100, 6));
        on(Story::new().switch("cache", Some("leaky")).pause(8.0).load(20, 20).load(100, 6).pause(8.0));
        on(Story::new().pause(20.0).load(20, 20).pause(3.0).load(100, 6));
        on(Story::new().switch("cache", Some("leaky")).load(20, 20).clear().pause(20.0).load(100, 6));
    }

    #[test]
    fn growth_in_the_pause_is_not_growth_by_traffic() {
        let mut story = Story::new();
        story
            .switch("cache", Some("leaky"))
            .load(20, 20)
            .pause(5.0)
            .heap_grows(20 << 20)
            .pause(10.0)
            .load(100, 6);
        let unmet = check(&story.evidence(), Some(&right())).expect_err("it grew by itself");
        assert!(unmet.observed.contains("grew 20480 KiB"), "{}", unmet.observed);
    }

    #[test]
    fn each_figure_is_judged() {
        let mut story = Story::new();
        story.switch("cache", Some("leaky")).pause(20.0).load(20, 20).pause(3.0).load(100, 6);
        let kept = kept_bytes("cache") as f64;
        for (idle, slow, fast, passes) in [
            (1000.0, 1.2, 0.8, true),
            (20.0 * kept, 1.0, 1.0, false),
            (0.0, 1.3, 1.0, false),
            (0.0, 1.0, 0.7, false),
        ] {
            let answer = Answer {
                idle_bytes_per_second: idle,
                slow_bytes_per_request: slow * kept,
                fast_bytes_per_request: fast * kept,
            };
            assert_eq!(check(&story.evidence(), Some(&answer)).is_ok(), passes, "{idle} {slow} {fast}");
        }
    }
}
