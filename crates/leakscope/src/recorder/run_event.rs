//! What was written down in a run, in the form in which a post-mortem tells it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::entry::Entry;

/// Something that was written down in a run. Which of the later fields it has depends on what it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::RunEvent))]
#[serde(default)]
#[non_exhaustive]
pub struct RunEvent {
    /// Which run: a number that grows.
    pub run: u64,
    /// Milliseconds since the Unix epoch; `None` for a crash or an exit: their handlers can't tell the time.
    pub unix_ms: Option<u64>,
    /// `threshold`, `profile`, `program`, `state`, `crash`, `stop` or `exit`.
    pub what: String,
    /// Of a threshold, and of a profile that was written for one: percent of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Of a threshold: what counted against the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_bytes: Option<u64>,
    /// Of a heap profile: its name in the recorder's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Of a heap profile: what had happened, as the end of a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Of a heap profile: how long it took to write, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
    /// Of a crash: the signal's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Of an event of the program's own: what the program calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Of an event of the program's own: what it said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<HashMap<String, serde_json::Value>>))]
    pub detail: Option<Map<String, Value>>,
    /// Of a change of the program's state: the new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<HashMap<String, serde_json::Value>>))]
    pub state: Option<Map<String, Value>>,
}

impl RunEvent {
    /// `None`: it has no form in JSON.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        serde_json::from_value(serde_json::to_value(entry).ok()?).ok()
    }
}
