//! Lab 9: leakscope in another service, which is leaklab's own no more. There is no journal to judge: the learner names the
//! line of the bug there, and the source says where that is.

use serde::Deserialize;

use super::super::{Hints, Judged, Lab, NO_NOTE, Unmet, evidence::Evidence, judge};

/// The lab.
pub const LAB: Lab = Lab {
    id: "9",
    title: "Take it home",
    minutes: 15,
    optional: false,
    answer: Some(r#"{"answer": {"line": "examples/main.rs:12"}}"#),
    judge: |evidence, answer| judge(evidence, answer, check),
    note: NO_NOTE,
};

/// The service with the bug, as its source stands.
const SOURCE: &str = include_str!("../../../crates/leakscope/examples/mount.rs");
/// Its path, as its profile names it.
const PATH: &str = "crates/leakscope/examples/mount.rs";
/// What marks the line that allocates what the bug keeps.
const MARK: &str = "// the growth site";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    line: String,
}

const HINTS: Hints = [
    "what grows there is what its requests carry",
    "its own diff, before and after some traffic, as in lab 4",
    "the first place of the diff that lies in the service's own file; `by=stack` shows who called whom",
];

fn check(_: &Evidence, answer: Option<&Answer>) -> Judged {
    let wanted = "an answer: the line that grows in the service of the example, as its own diff names it: \
        {\"line\": \"....rs:NN\"}";
    let Some(answer) = answer else {
        return Err(Unmet::new("no answer", wanted, HINTS));
    };
    match answer.line.trim().rsplit_once(':') {
        Some((path, line)) if is_source(path) && line.parse().ok() == growth_line() => {
            Ok(format!("{} allocates what the bug keeps", answer.line.trim()))
        }
        _ => Err(Unmet::new(format!("{:?} is not the line that grows", answer.line), wanted, HINTS)),
    }
}

/// Whether that is the example's path, from whichever folder.
fn is_source(path: &str) -> bool {
    !path.is_empty() && (PATH.ends_with(path) || path.ends_with(PATH)) && path.ends_with("mount.rs")
}

/// Counted from 1.
fn growth_line() -> Option<usize> {
    SOURCE.lines().position(|line| line.contains(MARK)).map(|before| before + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(line: &str) -> bool {
        check(&Evidence::default(), Some(&Answer { line: line.into() })).is_ok()
    }

    #[test]
    fn the_marked_line_passes_from_whichever_folder_it_is_named() {
        let line = growth_line().expect("it is marked");
        assert_eq!(SOURCE.matches(MARK).count(), 1);
        for path in [
            "crates/leakscope/examples/mount.rs",
            "examples/mount.rs",
            "/a/crates/leakscope/examples/mount.rs",
        ] {
            assert!(passes(&format!("{path}:{line}")), "{path}");
        }
        assert!(!passes(&format!("examples/mount.rs:{}", line + 1)));
        assert!(!passes(&format!("src/main.rs:{line}")));
        assert!(!passes(&format!(":{line}")) && !passes(&line.to_string()) && !passes(""));
        check(&Evidence::default(), None).expect_err("an answer is wanted");
    }
}
