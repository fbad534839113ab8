//! Lab 4: which line allocated what is held.

use serde::Deserialize;

use super::super::{
    Hints, Judged, Lab, NO_NOTE, Unmet,
    evidence::{Evidence, RunEvidence},
    judge,
    measure::mib,
};
use crate::recording::Done;

/// The lab.
pub const LAB: Lab = Lab {
    id: "4",
    title: "Name the line",
    minutes: 8,
    optional: false,
    answer: Some(r#"{"answer": {"line": "src/main.rs:12"}}"#),
    judge: |evidence, answer| judge(evidence, answer, check),
    note: NO_NOTE,
};

/// Growth that a diff must show.
const GROWTH_BYTES: i64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    line: String,
}

const DIFF_HINTS: Hints = [
    "what grew shows only between two profiles: one before the traffic and one after it",
    "the heap profile's diff; its first call only sets the baseline",
    "/admin/memory/baseline or the first /admin/memory/diff, traffic with the leak on, then /admin/memory/diff",
];
const ANSWER_HINTS: Hints = [
    "the place that grew most is the first one",
    "the diff has it, as a file and a line",
    "`.growing_allocations[0].location`, as it stands there",
];

/// A diff that was taken while something leaked.
struct Diff<'a> {
    growth_bytes: i64,
    line: Option<&'a str>,
}

fn check(evidence: &Evidence, answer: Option<&Answer>) -> Judged {
    let diffs: Vec<_> = evidence.runs.iter().flat_map(diffs).collect();
    let grown: Vec<_> = diffs.iter().filter(|diff| diff.growth_bytes >= GROWTH_BYTES).collect();
    let lines: Vec<_> = grown.iter().filter_map(|diff| diff.line).collect();
    if lines.is_empty() {
        let observed = match diffs.iter().max_by_key(|diff| diff.growth_bytes) {
            Some(diff) => {
                format!("the best diff with a leak on shows {} of growth", mib(diff.growth_bytes as f64))
            }
            None => "no diff against a baseline while a leak was on".to_owned(),
        };
        let wanted = format!(
            "a baseline, then a diff that shows at least {} of growth while a leak was on",
            mib(GROWTH_BYTES as f64)
        );
        return Err(Unmet::new(observed, wanted, DIFF_HINTS));
    }
    let largest = grown.iter().map(|diff| diff.growth_bytes).max().unwrap_or(0);
    let told = format!("{} of growth since the baseline", mib(largest as f64));
    match answer {
        Some(answer) if lines.contains(&answer.line.trim()) => {
            Ok(format!("{told}, most of it at {}", answer.line.trim()))
        }
        Some(answer) => Err(Unmet::new(
            format!("{told}; {:?} is not the line that grew most", answer.line),
            "the line that grew most in the diff: {\"line\": \"src/....rs:NN\"}",
            ANSWER_HINTS,
        )),
        None => Err(Unmet::new(told, "an answer: {\"line\": \"src/....rs:NN\"}", ANSWER_HINTS)),
    }
}

fn diffs(run: &RunEvidence) -> Vec<Diff<'_>> {
    let mut baseline = None;
    let mut diffs = Vec::new();
    for (seconds, event) in &run.events {
        match event {
            Done::Baseline { .. } => baseline = Some(*seconds),
            Done::Diff { keep, total_growth_bytes, line } => {
                let since = baseline.unwrap_or(*seconds);
                let mut between =
                    run.readings.iter().filter(|it| it.seconds >= since && it.seconds <= *seconds);
                if between.any(|reading| reading.leaky() > 0) {
                    diffs.push(Diff { growth_bytes: *total_growth_bytes, line: line.as_deref() });
                }
                if !keep {
                    baseline = Some(*seconds);
                }
            }
            _ => {}
        }
    }
    diffs
}

#[cfg(test)]
mod tests {
    use super::{super::super::story::Story, *};

    const LINE: &str = "src/leaks/cache/leaky.rs:55";

    fn passes(story: &Story, line: &str) -> bool {
        check(&story.evidence(), Some(&Answer { line: line.into() })).is_ok()
    }

    fn diff(growth_bytes: i64, keep: bool) -> Done {
        Done::Diff { keep, total_growth_bytes: growth_bytes, line: Some(LINE.into()) }
    }

    fn baseline() -> Done {
        Done::Baseline { total_bytes: 1 }
    }

    #[test]
    fn the_line_of_a_diff_that_grew_passes_and_outlives_a_kill() {
        let mut story = Story::new();
        assert!(!passes(&story, LINE));
        story.switch("cache", Some("leaky")).event(baseline()).load(50, 10).event(diff(12 << 20, false));
        assert!(passes(&story, LINE) && passes(&story, " src/leaks/cache/leaky.rs:55\n"));
        assert!(!passes(&story, "src/leaks/cache/leaky.rs:54"));
        check(&story.evidence(), None).expect_err("an answer is wanted");
        story.event(diff(0, false)).killed_by_the_limit();
        assert!(passes(&story, LINE));
    }

    #[test]
    fn a_leak_that_is_off_again_and_a_kept_baseline_count() {
        let mut story = Story::new();
        story.event(baseline()).load(50, 4).event(diff(1000, true)).switch("cache", Some("leaky"));
        assert!(passes(story.load(50, 10).switch("cache", None).event(diff(12 << 20, true)), LINE));
    }

    #[test]
    fn little_growth_no_leak_or_another_process_s_baseline_fail() {
        let mut story = Story::new();
        story.event(baseline()).load(50, 10).event(diff(12 << 20, false));
        assert!(!passes(&story, LINE), "no leak was on");
        story.switch("cache", Some("leaky")).load(50, 2).event(diff(1 << 19, false));
        assert!(!passes(&story, LINE), "half a MiB");
    }
}
