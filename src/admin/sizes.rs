//! JSON objects whose sizes come in pairs, as the contract wants them.

use serde::Serialize;
use serde_json::{Map, Value};

/// A JSON object that is built field by field; fields stay in that order.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Object(Map<String, Value>);

impl Object {
    /// Adds a field. A value that JSON has no form for (infinity) becomes null.
    pub fn with(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        self.0.insert(name.into(), serde_json::to_value(value).unwrap_or_default());
        self
    }

    /// Adds a list, unless it is empty.
    pub fn with_some(self, name: &str, list: &[impl Serialize]) -> Self {
        if list.is_empty() { self } else { self.with(name, list) }
    }

    /// Adds `{name}_mb` (MiB, two decimals) and `{name}_bytes`.
    pub fn with_size(self, name: &str, bytes: impl Into<i128>) -> Self {
        self.with_size_in(name, "mb", MIB, bytes.into())
    }

    /// Adds `{name}_kb` (KiB, two decimals) and `{name}_bytes`.
    pub fn with_size_kb(self, name: &str, bytes: impl Into<i128>) -> Self {
        self.with_size_in(name, "kb", KIB, bytes.into())
    }

    /// The same with both null where nothing is known.
    pub fn with_size_if_known(self, name: &str, bytes: Option<u64>) -> Self {
        match bytes {
            Some(bytes) => self.with_size(name, bytes),
            None => self.with(format!("{name}_mb"), ()).with(format!("{name}_bytes"), ()),
        }
    }

    fn with_size_in(self, name: &str, unit: &str, unit_bytes: f64, bytes: i128) -> Self {
        let in_units = two_decimals(bytes as f64 / unit_bytes);
        self.with(format!("{name}_{unit}"), in_units).with(format!("{name}_bytes"), bytes)
    }
}

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

/// Rounded to two decimals.
pub fn two_decimals(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_in_pairs_and_keep_their_order() {
        let object = Object::default()
            .with("z", 1)
            .with_size("rss", 16_u64 << 20)
            .with_size("freed", -(1_i64 << 19) - 1)
            .with_size_kb("size", 1_000_u64)
            .with_size_if_known("swap", None)
            .with("never", f64::INFINITY);
        assert_eq!(
            serde_json::to_string(&object).expect("an object"),
            r#"{"z":1,"rss_mb":16.0,"rss_bytes":16777216,"freed_mb":-0.5,"freed_bytes":-524289,"size_kb":0.98,"size_bytes":1000,"swap_mb":null,"swap_bytes":null,"never":null}"#
        );
    }
}
