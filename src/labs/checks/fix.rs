//! Lab 5: a leak is gone only if it was there, its memory came back, and traffic no longer makes it grow. Its second part
//! asks the same of a fix of the learner's own.

use super::super::{
    Hints, Judged, Lab, NO_NOTE, NoAnswer, Unmet,
    evidence::{Evidence, ReadingEvidence},
    judge,
    measure::{FLAT_BYTES, drift_bytes, is_flat, mib, requests, served, told},
};
use crate::leaks::NAMES;

/// The lab.
pub const LAB: Lab = Lab {
    id: "5",
    title: "Fix and verify",
    minutes: 7,
    optional: false,
    answer: None,
    judge: |evidence, answer| judge(evidence, answer, check),
    note: NO_NOTE,
};

/// The second part of it.
pub const BY_YOURSELF: Lab = Lab {
    id: "5-fix",
    title: "Fix it yourself (optional)",
    minutes: 20,
    optional: true,
    answer: None,
    judge: |evidence, answer| judge(evidence, answer, check_by_yourself),
    note: NO_NOTE,
};

/// The name of the learner's variant.
const MINE: &str = "mine";
/// A leak that held so much was seen.
const SEEN_BYTES: u64 = 5 << 20;
/// Share of it that must come back.
const BACK: f64 = 0.9;
/// Requests that prove the fix.
const REQUESTS: u64 = 500;
/// A cache that works finds at least so much of what it is asked for.
const HIT_RATE: f64 = 0.5;

const HINTS: Hints = [
    "gone is a difference, too: the same traffic that made memory grow leaves it flat",
    "first give back what the leak holds, then change what keeps it, then the same traffic again",
    "`.leaks` of /admin/leaks/status: which variant is on, and what it holds; routes to clear and to switch are at /docs",
];
const HINTS_BY_YOURSELF: Hints = [
    "the fix is what keeps the memory, not what allocates it",
    "the test of the exercise says whether the fix is one; the service takes it with the next build",
    "exercises/; the variant's name is `mine`; /admin/leaks/status says whether it is on",
];

/// How far one leak's story goes.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Stage {
    NotSeen { held_bytes: u64 },
    Seen { held_bytes: u64 },
    Back { requests: u64 },
    NotFlat { told: String },
    Flat { told: String },
}

fn check(evidence: &Evidence, _: Option<&NoAnswer>) -> Judged {
    let is_fixed = |reading: &ReadingEvidence, _: &str| reading.leaky() == 0;
    let served_by = |stretch: &[ReadingEvidence], leak: &str| match stretch[0].variant(leak) {
        Some(_) => served(stretch, leak),
        None => requests(stretch),
    };
    told_of(evidence, &["leaky"], is_fixed, served_by, "the fixed variant, or without it", HINTS)
}

fn check_by_yourself(evidence: &Evidence, _: Option<&NoAnswer>) -> Judged {
    let is_mine =
        |reading: &ReadingEvidence, leak: &str| reading.variant(leak) == Some(MINE) && reading.leaky() == 0;
    let served_by = |stretch: &[ReadingEvidence], leak: &str| match found_rate(stretch, leak) {
        Some(rate) if rate < HIT_RATE => 0,
        _ => served(stretch, leak),
    };
    let wanted = "the variant `mine`, which does its work (a cache that finds nothing does not)";
    told_of(evidence, &["leaky", MINE], is_mine, served_by, wanted, HINTS_BY_YOURSELF)
}

/// What was found of all that was looked up in a stretch; `None`: that leak looks nothing up.
fn found_rate(stretch: &[ReadingEvidence], leak: &str) -> Option<f64> {
    let lookups = |reading: Option<&ReadingEvidence>| reading?.leaks.get(leak)?.lookups;
    let (hits_before, misses_before) = lookups(stretch.first()).unwrap_or_default();
    let (hits, misses) = lookups(stretch.last())?;
    let (hits, misses) = (hits.saturating_sub(hits_before), misses.saturating_sub(misses_before));
    (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64)
}

/// The story of the leak that came farthest: seen in one of those variants, given back, and flat where `is_fixed`.
fn told_of(
    evidence: &Evidence,
    seen_in: &[&str],
    is_fixed: impl Fn(&ReadingEvidence, &str) -> bool,
    served_by: impl Fn(&[ReadingEvidence], &str) -> u64,
    with: &str,
    hints: Hints,
) -> Judged {
    let stages = NAMES.iter().map(|leak| {
        let fixed = |reading: &ReadingEvidence| is_fixed(reading, leak);
        stage(evidence, leak, seen_in, &fixed, &|stretch| served_by(stretch, leak))
    });
    let farthest = stages.reduce(|one, other| if other > one { other } else { one });
    let seen = mib(SEEN_BYTES as f64);
    let (observed, wanted) = match farthest.unwrap_or(Stage::NotSeen { held_bytes: 0 }) {
        Stage::Flat { told } => return Ok(told),
        Stage::NotSeen { held_bytes } => (
            format!("no leak was seen to hold more than {}", mib(held_bytes as f64)),
            format!("first a leak that holds at least {seen}: what was never there can't be gone"),
        ),
        Stage::Seen { held_bytes } => (
            format!("a leak held {}; it was not given back, followed by {with}", mib(held_bytes as f64)),
            format!("{:.0} % of it given back, then {REQUESTS} requests with {with}", BACK * 100.0),
        ),
        Stage::Back { requests } => (
            format!("what the leak held came back; then {requests} requests were served with {with}"),
            format!("at least {REQUESTS} requests with {with}, and a flat live heap"),
        ),
        Stage::NotFlat { told } => (
            told,
            format!(
                "a live heap that stays within {} over {REQUESTS} requests with {with}",
                mib(FLAT_BYTES as f64)
            ),
        ),
    };
    Err(Unmet::new(observed, wanted, hints))
}

fn stage(
    evidence: &Evidence,
    leak: &str,
    seen_in: &[&str],
    is_fixed: &dyn Fn(&ReadingEvidence) -> bool,
    served_by: &dyn Fn(&[ReadingEvidence]) -> u64,
) -> Stage {
    let held_most =
        evidence.runs.iter().flat_map(|run| &run.readings).map(|reading| reading.held_bytes(leak)).max();
    let mut stage = Stage::NotSeen { held_bytes: held_most.unwrap_or(0) };
    let mut was_seen_before = false;
    for run in &evidence.runs {
        for stretch in run.stretches(is_fixed) {
            stage = match peak(run.before(stretch), leak, seen_in) {
                Some(peak) => match stretch.iter().position(|reading| came_back(peak, reading, leak)) {
                    Some(from) => proof(&stretch[from..], served_by),
                    None => Stage::Seen { held_bytes: peak.held_bytes(leak) },
                },
                // Another process: whatever was held is gone with the old one.
                None if was_seen_before => proof(stretch, served_by),
                None => continue,
            };
            if let Stage::Flat { .. } = stage {
                return stage; // what is proved is proved
            }
        }
        if let Some(peak) = peak(&run.readings, leak, seen_in) {
            was_seen_before = true;
            if run.readings.last().is_some_and(|last| !is_fixed(last)) {
                stage = Stage::Seen { held_bytes: peak.held_bytes(leak) };
            }
        }
    }
    stage
}

/// Where the leak held most, if that is enough to be called seen.
fn peak<'a>(readings: &'a [ReadingEvidence], leak: &str, seen_in: &[&str]) -> Option<&'a ReadingEvidence> {
    let leaking = |reading: &&ReadingEvidence| {
        reading.held_bytes(leak) >= SEEN_BYTES
            && reading.variant(leak).is_some_and(|variant| seen_in.contains(&variant))
    };
    readings.iter().filter(leaking).max_by_key(|reading| reading.held_bytes(leak))
}

/// What a stretch with the fix says.
fn proof(stretch: &[ReadingEvidence], served_by: &dyn Fn(&[ReadingEvidence]) -> u64) -> Stage {
    let requests = served_by(stretch);
    match (requests >= REQUESTS, is_flat(stretch)) {
        (false, _) => Stage::Back { requests },
        (true, false) => {
            let drift = mib(drift_bytes(stretch) as f64);
            Stage::NotFlat { told: format!("{}: it moved by {drift}", told(stretch)) }
        }
        (true, true) => {
            Stage::Flat { told: format!("the leak was seen and given back; then {}", told(stretch)) }
        }
    }
}

/// Whether most of what was held at the peak is given back: by the leak, and by the heap.
fn came_back(peak: &ReadingEvidence, now: &ReadingEvidence, leak: &str) -> bool {
    let given = peak.held_bytes(leak) as f64 - now.held_bytes(leak) as f64;
    let shrunk = peak.live_heap_bytes as f64 - now.live_heap_bytes as f64;
    given >= BACK * peak.held_bytes(leak) as f64 && shrunk >= BACK * given
}

#[cfg(test)]
mod tests {
    use leakscope::recorder::Cause;

    use super::{super::super::story::Story, *};

    fn passes(story: &Story) -> bool {
        check(&story.evidence(), None).is_ok()
    }

    fn passes_by_yourself(story: &Story) -> bool {
        check_by_yourself(&story.evidence(), None).is_ok()
    }

    /// A leak that was seen.
    fn leaked(leak: &str) -> Story {
        let mut story = Story::new();
        story.switch(leak, Some("leaky")).load(50, 20);
        story
    }

    #[test]
    fn seen_given_back_and_flat_passes() {
        for leak in NAMES {
            let mut story = leaked(leak);
            assert!(!passes(&story), "{leak}: it leaks");
            assert!(!passes(story.clear()), "{leak}: cleared, and it leaks on");
            assert!(
                !passes(story.switch(leak, Some("fixed"))),
                "{leak}: switched, and nobody asked anything"
            );
            assert!(!passes(story.load(40, 10)), "{leak}: 400 requests are too few");
            assert!(passes(story.load(50, 4)), "{leak}");
            assert!(
                passes(story.switch(leak, Some("leaky")).load(50, 60)),
                "{leak}: what was proved is proved"
            );
        }
    }

    #[test]
    fn off_or_a_restart_are_routes_too() {
        assert!(passes(leaked("cache").clear().switch("cache", None).load(50, 10)));
        let mut story = leaked("cache");
        assert!(passes(story.end(Cause::Stopped).switch("cache", Some("fixed")).load(50, 10)));
        assert!(
            passes(leaked("cache").killed_by_the_limit().load(50, 10)),
            "after a kill its memory is back, too"
        );
    }

    #[test]
    fn what_was_never_there_is_not_gone() {
        assert!(!passes(Story::new().switch("cache", Some("fixed")).load(50, 60)));
        let mut small = Story::new();
        small.switch("cache", Some("leaky")).load(50, 4).clear().switch("cache", Some("fixed"));
        let unmet = check(&small.load(50, 60).evidence(), None).expect_err("4.7 MiB were too few");
        assert!(unmet.observed.contains("4.7 MiB"), "{}", unmet.observed);
    }

    #[test]
    fn what_is_still_held_or_still_grows_fails() {
        assert!(!passes(leaked("cache").switch("cache", Some("fixed")).load(50, 20)), "not given back");
        let mut other = leaked("cache");
        other.clear().switch("cache", Some("fixed")).switch("history", Some("leaky"));
        assert!(!passes(other.load(50, 20)), "another leak is on");
        let mut grows = leaked("cache");
        grows.clear().switch("cache", Some("fixed")).load(50, 10).heap_grows(4 << 20).load(50, 10);
        let unmet = check(&grows.evidence(), None).expect_err("something grows");
        assert!(unmet.observed.contains("moved by 4.0 MiB"), "{}", unmet.observed);
    }

    #[test]
    fn a_leak_seen_again_must_be_given_back_again() {
        let mut story = leaked("cache");
        story
            .end(Cause::Killed)
            .switch("cache", Some("leaky"))
            .load(50, 20)
            .at_once()
            .switch("cache", Some("fixed"));
        assert!(!passes(story.load(50, 20)), "this process holds it still");
        assert!(passes(story.clear().load(50, 10)));
    }

    #[test]
    fn by_yourself_wants_mine_at_work_and_flat() {
        let mut story = leaked("cache");
        story.end(Cause::Stopped).switch("cache", Some("fixed")).load(50, 20);
        assert!(passes(&story) && !passes_by_yourself(&story), "not the learner's own");
        let mut mine = leaked("cache");
        assert!(passes_by_yourself(mine.end(Cause::Stopped).switch("cache", Some(MINE)).load(50, 10)));
        assert!(passes(&mine), "it is as good as the reference");
        let mut deleted = leaked("cache");
        deleted.without_hits().end(Cause::Stopped).switch("cache", Some(MINE)).load(50, 20);
        assert!(!passes_by_yourself(&deleted), "a cache that finds nothing is none");
    }

    #[test]
    fn mine_as_shipped_leaks_and_is_mended_by_the_next_build() {
        let mut story = Story::new();
        story.leaking_too(MINE).switch("history", Some(MINE)).load(50, 20);
        assert!(!passes_by_yourself(&story), "as shipped it leaks");
        let mut mended = Story::new();
        mended.switch("history", Some("leaky")).load(50, 20).clear().end(Cause::Stopped);
        assert!(passes_by_yourself(mended.switch("history", Some(MINE)).load(50, 10)));
    }
}
