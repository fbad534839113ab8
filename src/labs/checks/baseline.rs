//! Lab 1: what memory looks like while nothing leaks.

use super::super::{
    Hints, Judged, Lab, NO_NOTE, NoAnswer, Unmet,
    evidence::{Evidence, RunEvidence},
    judge,
    measure::mib,
};
use crate::recording::Done;

/// The lab.
pub const LAB: Lab = Lab {
    id: "1",
    title: "Baseline",
    minutes: 4,
    optional: false,
    answer: None,
    judge: |evidence, answer| judge(evidence, answer, check),
    note: NO_NOTE,
};

/// Requests between the two looks.
const REQUESTS: u64 = 100;
/// How far the two looks may differ.
const ALIKE_BYTES: u64 = 2 << 20;

const HINTS: Hints = [
    "a level needs two looks at the same figure, with traffic between them and no leak on",
    "the service says itself what memory it has; the same request before and after the traffic",
    "GET /admin/memory, `.process.rss_mb`; traffic goes to /api/data; /admin/leaks/status says what is on",
];

/// Two looks at memory, and what they saw.
struct Looks {
    requests: u64,
    before_bytes: u64,
    after_bytes: u64,
}

fn check(evidence: &Evidence, _: Option<&NoAnswer>) -> Judged {
    let wanted = format!(
        "all leaks off, memory looked at before and after at least {REQUESTS} requests to /api, and the two within {}",
        mib(ALIKE_BYTES as f64)
    );
    let looks: Vec<_> = evidence.runs.iter().flat_map(looks).collect();
    let enough = || looks.iter().filter(|looks| looks.requests >= REQUESTS);
    let told = |looks: &Looks| {
        format!(
            "RSS {} -> {} over {} requests without a leak",
            mib(looks.before_bytes as f64),
            mib(looks.after_bytes as f64),
            looks.requests
        )
    };
    if let Some(flat) = enough().find(|it| it.before_bytes.abs_diff(it.after_bytes) < ALIKE_BYTES) {
        return Ok(told(flat));
    }
    let seen = enough().next_back().or(looks.iter().max_by_key(|looks| looks.requests));
    let observed = seen.map_or_else(|| count(evidence), told);
    Err(Unmet::new(observed, wanted, HINTS))
}

/// Pairs of looks between which no leak was on.
fn looks(run: &RunEvidence) -> Vec<Looks> {
    let mut before: Vec<(u64, u64)> = Vec::new();
    let mut pairs = Vec::new();
    for (_, event) in &run.events {
        match *event {
            Done::Memory { requests, rss_bytes } => {
                pairs.extend(before.iter().map(|(requests_before, before_bytes)| Looks {
                    requests: requests.saturating_sub(*requests_before),
                    before_bytes: *before_bytes,
                    after_bytes: rss_bytes,
                }));
                before.push((requests, rss_bytes));
            }
            Done::Switch { variant: Some(_), .. } => before.clear(),
            _ => {}
        }
    }
    pairs
}

fn count(evidence: &Evidence) -> String {
    let looks =
        |run: &RunEvidence| run.events.iter().filter(|(_, it)| matches!(it, Done::Memory { .. })).count();
    format!(
        "memory was looked at {} times while no leak was on",
        evidence.runs.iter().map(looks).sum::<usize>()
    )
}

#[cfg(test)]
mod tests {
    use super::{super::super::story::Story, *};

    fn passes(story: &Story) -> bool {
        check(&story.evidence(), None).is_ok()
    }

    #[test]
    fn two_looks_around_a_hundred_requests_pass() {
        let mut story = Story::new();
        assert!(!passes(&story), "nothing was done");
        story.look().load(40, 2);
        assert!(!passes(story.look()), "80 requests are too few");
        assert!(passes(story.load(50, 2).look()), "the first look counts with the third");
    }

    #[test]
    fn a_leak_in_between_a_jump_or_a_restart_does_not() {
        let mut story = Story::new();
        story.look().switch("history", Some("leaky")).load(50, 2).switch("history", None);
        assert!(!passes(story.clear().look()), "a leak was on");
        story.heap_grows(3 << 20).load(50, 4);
        assert!(!passes(story.look()), "3 MiB are not the same");
        story.killed_by_the_limit();
        assert!(!passes(story.load(50, 10).look()), "the look before was another process's");
        assert!(passes(story.load(50, 2).look()), "it is enough to do it once");
    }
}
