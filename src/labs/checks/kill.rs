//! Lab 7: the kill and what it leaves, and the crash loop of a service that starts with its leaks.

use serde::Deserialize;

use super::{
    super::{
        Hints, Judged, Lab, NO_NOTE, Unmet,
        evidence::{EndEvidence, Evidence, RunEvidence},
        judge,
    },
    off_by,
};
use crate::recording::Done;

/// The lab.
pub const LAB: Lab = Lab {
    id: "7",
    title: "The kill",
    minutes: 10,
    optional: false,
    answer: Some(r#"{"answer": {"exit_status": 0, "share_of_limit": 0.5, "line": "src/main.rs:12"}}"#),
    judge: |evidence, answer| judge(evidence, answer, check),
    note: NO_NOTE,
};

/// What a shell, Docker and Kubernetes call the end by a signal: so much more than its number.
const STATUS_OF_SIGNAL: i64 = 128;
/// How far the answer's share of the limit may be from the post-mortem's.
const SHARE_WITHIN: f64 = 0.05;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    exit_status: i64,
    share_of_limit: f64,
    line: String,
}

const LOOP_HINTS: Hints = [
    "a service that leaks from its start on dies again each time it is started again, as long as there is traffic",
    "leaks can be switched on by the settings, so that they are on after every start",
    "LEAKLAB_LEAKS, a load that goes on after the first kill, and the log's or the supervisor's words about each end",
];
const READ_HINTS: Hints = [
    "the process is gone, but what it wrote down is not",
    "the flight recorder's post-mortem",
    "/admin/post-mortem of the service that was started again",
];
const ANSWER_HINTS: Hints = [
    "the exit status says which signal it was, the post-mortem how full it was and what had grown",
    "a shell and `docker inspect` say 128 and the signal's number; the kernel's kill is SIGKILL",
    "`.at.limit_share` and `.growing[0].location` of /admin/post-mortem",
];

fn check(evidence: &Evidence, answer: Option<&Answer>) -> Judged {
    let kills: Vec<&EndEvidence> = evidence.runs.iter().filter_map(RunEvidence::died_of_limit).collect();
    let dies_armed = |run: &RunEvidence| run.armed && run.died_of_limit().is_some();
    if !evidence.runs.windows(2).any(|runs| runs.iter().all(dies_armed)) {
        let armed = evidence.runs.iter().filter(|run| dies_armed(run)).count();
        return Err(Unmet::new(
            format!(
                "the limit ended the service {} times, {armed} of them with leaks on from the start",
                kills.len()
            ),
            "a crash loop: two ends by the limit in a row, of a service that starts with leaks on",
            LOOP_HINTS,
        ));
    }
    let first_kill = evidence.runs.iter().position(|run| run.died_of_limit().is_some()).unwrap_or(0);
    let reads = |run: &RunEvidence| run.events.iter().any(|(_, event)| *event == Done::PostMortem {});
    let told = format!(
        "the limit ended the service {} times, twice in a row with leaks on from the start",
        kills.len()
    );
    if !evidence.runs[first_kill + 1..].iter().any(reads) {
        return Err(Unmet::new(
            format!("{told}; nobody has read a post-mortem since"),
            "a look at what was left of the service",
            READ_HINTS,
        ));
    }
    let Some(answer) = answer else {
        return Err(Unmet::new(
            told,
            "an answer: {\"exit_status\": N, \"share_of_limit\": 0.N, \"line\": \"src/....rs:NN\"}",
            ANSWER_HINTS,
        ));
    };
    match judge_answer(answer, &kills) {
        Ok(()) => Ok(told),
        Err(wrong) => Err(Unmet::new(
            format!("{told}; {wrong}"),
            "the exit status of a process that the limit ended, its last usage as a share of the limit (0 to 1), and the \
             line that had grown most",
            ANSWER_HINTS,
        )),
    }
}

fn judge_answer(answer: &Answer, kills: &[&EndEvidence]) -> Result<(), String> {
    let status = STATUS_OF_SIGNAL + i64::from(libc::SIGKILL);
    if answer.exit_status != status {
        return Err(format!("{} is not its exit status", answer.exit_status));
    }
    let shares: Vec<_> = kills.iter().filter_map(|kill| kill.limit_share).collect();
    if let Some(last) = shares.last()
        && !shares.iter().any(|share| (answer.share_of_limit - share).abs() <= SHARE_WITHIN)
    {
        return Err(format!(
            "{} of the limit is {}",
            answer.share_of_limit,
            off_by(answer.share_of_limit, *last)
        ));
    }
    // Where there was no heap profile, no line is known.
    let mut lines = kills.iter().filter_map(|kill| kill.line.as_deref()).peekable();
    if lines.peek().is_some() && !lines.any(|line| line == answer.line.trim()) {
        return Err(format!("{:?} is not the line that had grown most", answer.line));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use leakscope::recorder::Cause;

    use super::{super::super::story::Story, *};

    fn right() -> Answer {
        Answer { exit_status: 137, share_of_limit: 0.97, line: "src/leaks/cache/leaky.rs:55".into() }
    }

    fn passes(story: &Story) -> bool {
        check(&story.evidence(), Some(&right())).is_ok()
    }

    /// 9,900 requests of 24 KiB and 13 MiB of everything else: 0.96 of 256 MiB.
    fn die_armed(story: &mut Story, cause: Cause) {
        story.armed().switch("cache", Some("leaky")).load(99, 100).end(cause);
    }

    #[test]
    fn a_crash_loop_and_a_look_at_what_was_left_pass() {
        let mut story = Story::new();
        assert!(!passes(&story));
        die_armed(&mut story, Cause::LimitKill);
        assert!(!passes(story.event(Done::PostMortem {})), "once is no loop");
        die_armed(&mut story, Cause::LimitKill);
        assert!(passes(&story), "it was read between the two");
        check(&story.evidence(), None).expect_err("an answer is wanted");
        assert!(passes(story.end(Cause::Stopped)), "it outlives a restart");
    }

    #[test]
    fn ends_of_other_kinds_in_between_or_nobody_reading_fail() {
        let mut unread = Story::new();
        unread.event(Done::PostMortem {});
        die_armed(&mut unread, Cause::LimitKill);
        die_armed(&mut unread, Cause::LimitKill);
        assert!(!passes(&unread), "it was read before, when there was nothing to read");
        let mut not_armed = Story::new();
        for _ in 0..2 {
            not_armed.switch("cache", Some("leaky")).load(99, 100).killed_by_the_limit();
        }
        assert!(!passes(not_armed.event(Done::PostMortem {})), "switched on by hand each time");
        for cause in [Cause::Stopped, Cause::Killed] {
            let mut other = Story::new();
            die_armed(&mut other, Cause::LimitKill);
            die_armed(&mut other, cause);
            die_armed(&mut other, Cause::LimitKill);
            assert!(!passes(other.event(Done::PostMortem {})), "{cause:?} in between");
        }
    }

    #[test]
    fn each_answer_is_judged() {
        let mut story = Story::new();
        die_armed(&mut story, Cause::LimitKill);
        die_armed(&mut story, Cause::LimitKill);
        story.event(Done::PostMortem {});
        for wrong in [
            Answer { exit_status: 9, ..right() },
            Answer { share_of_limit: 0.7, ..right() },
            Answer { share_of_limit: 97.0, ..right() },
            Answer { line: "src/leaks/cache/leaky.rs:5".into(), ..right() },
        ] {
            assert!(check(&story.evidence(), Some(&wrong)).is_err());
        }
    }
}
