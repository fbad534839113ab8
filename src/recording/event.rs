//! What is written down of what was done to the service, and of where its leaks stand: the vocabulary of the journal, in
//! which the labs' checks read it again.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Something that was done. In the journal each is a kind with its details.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "detail", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are what the variants say")]
pub enum Done {
    /// The service is about to serve.
    Ready {},
    /// A leak, or `all`, was switched to that variant; `None`: off.
    Switch { leak: String, variant: Option<String> },
    /// A leak, or `all`, was emptied.
    Clear { leak: String },
    /// Unused pages were given back to the system.
    Gc { freed_bytes: i64 },
    /// Somebody looked at memory while no leak was on.
    Memory { requests: u64, rss_bytes: u64 },
    /// A heap profile was taken.
    Snapshot { total_bytes: u64 },
    /// The baseline of diffs was set.
    Baseline { total_bytes: u64 },
    /// What grew since the baseline was asked for.
    Diff {
        keep: bool,
        total_growth_bytes: i64,
        /// The line that grew most, if any did by more than chance.
        line: Option<String>,
    },
    /// Somebody read how the last run ended.
    PostMortem {},
    /// Somebody said how many seconds are left until the limit.
    Forecast { seconds_to_limit: f64 },
}

impl Done {
    /// As the recorder takes it.
    pub fn into_parts(self) -> (String, Map<String, Value>) {
        match serde_json::to_value(self) {
            Ok(Value::Object(mut parts)) => {
                let kind = parts.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
                match parts.remove("detail") {
                    Some(Value::Object(detail)) => (kind, detail),
                    _ => (kind, Map::new()),
                }
            }
            _ => (String::new(), Map::new()),
        }
    }

    /// As the recorder gave it back; `None`: no event that this build knows.
    pub fn from_parts(kind: &str, detail: Map<String, Value>) -> Option<Self> {
        serde_json::from_value(json!({ "kind": kind, "detail": detail })).ok()
    }
}

/// Where a leak stands. In the journal it is a list, since there is one for each leak in every reading.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub struct LeakFigures {
    /// The variant that is on; `None`: off.
    pub variant: Option<String>,
    /// Requests that any of its variants has served since the start.
    pub requests: u64,
    /// What all variants hold.
    pub held_bytes: u64,
    /// Lookups that found something, and those that did not, where it looks anything up.
    pub lookups: Option<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Row {
    WithLookups(Option<String>, u64, u64, u64, u64),
    Plain(Option<String>, u64, u64),
}

impl From<Row> for LeakFigures {
    fn from(row: Row) -> Self {
        let (variant, requests, held_bytes, lookups) = match row {
            Row::WithLookups(variant, requests, held, hits, misses) => {
                (variant, requests, held, Some((hits, misses)))
            }
            Row::Plain(variant, requests, held) => (variant, requests, held, None),
        };
        Self { variant, requests, held_bytes, lookups }
    }
}

impl From<LeakFigures> for Row {
    fn from(figures: LeakFigures) -> Self {
        let LeakFigures { variant, requests, held_bytes, lookups } = figures;
        match lookups {
            Some((hits, misses)) => Self::WithLookups(variant, requests, held_bytes, hits, misses),
            None => Self::Plain(variant, requests, held_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_back_as_it_was_written() {
        for event in [
            Done::Ready {},
            Done::Switch { leak: "all".into(), variant: None },
            Done::Diff { keep: true, total_growth_bytes: -5, line: Some("src/a.rs:1".into()) },
            Done::Forecast { seconds_to_limit: 92.5 },
        ] {
            let (kind, detail) = event.clone().into_parts();
            assert!(!kind.is_empty());
            assert_eq!(Done::from_parts(&kind, detail), Some(event));
        }
        assert_eq!(Done::from_parts("of a newer build", Map::new()), None);
    }

    /// A reading has the figures of those leaks that were ever on in its run, so that each leak shortens the time that the journal
    /// reaches back. With three leaks on, as large as they can get, it is about an hour.
    #[test]
    fn the_figures_of_a_leak_take_36_bytes_at_most() {
        let largest = LeakFigures {
            variant: Some("leaky".into()),
            requests: 999_999,
            held_bytes: 256 << 20,
            lookups: Some((0, 999_999)),
        };
        let text = serde_json::to_string(&largest).expect("JSON");
        assert!(text.len() <= 36, "{text}");
    }

    #[test]
    fn a_leak_s_figures_are_short_and_are_read_back() {
        let cache = LeakFigures {
            variant: Some("leaky".into()),
            requests: 12,
            held_bytes: 34,
            lookups: Some((5, 6)),
        };
        let off = LeakFigures { requests: 12, held_bytes: 34, ..LeakFigures::default() };
        for (figures, text) in [(cache, r#"["leaky",12,34,5,6]"#), (off, "[null,12,34]")] {
            assert_eq!(serde_json::to_string(&figures).expect("JSON"), text);
            assert_eq!(serde_json::from_str::<LeakFigures>(text).expect("its own form"), figures);
        }
    }
}
