//! What each leak holds, and what was removed from it, in the words that the leak itself has for its entries.
//!
//! The words come from the registry, so a new leak needs nothing here.

use serde::{Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use super::sizes::{EstimatedSize, two_decimals};
use crate::leaks::{Facts, Leak, Registry, Variant};

/// Whether a leak is on, and what it holds.
#[derive(Serialize, ToSchema)]
pub(super) struct LeakState {
    /// Whether one of its variants is on.
    enabled: bool,
    /// The variant that is on.
    variant: Option<Variant>,
    #[serde(flatten)]
    entries: Entries,
    #[serde(flatten)]
    estimated_size: EstimatedSize,
    /// The payload's buffers only: the number of entries times the documented size.
    bytes_held: u64,
    /// Requests that any of its variants has served since the start.
    requests: u64,
    /// Share of lookups that found something, 0 to 1. It is null before the first lookup, and only there for a leak that
    /// looks anything up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    hit_rate: Option<Option<f64>>,
}

/// The state of each leak by its name, in the registry's order.
pub(super) struct LeakStates(Vec<(&'static str, LeakState)>);

/// The state of every leak now.
pub(super) fn held(leaks: &Registry) -> LeakStates {
    LeakStates(leaks.iter().map(|leak| (leak.name(), LeakState::of(leak))).collect())
}

impl LeakState {
    fn of(leak: &Leak) -> Self {
        let held = leak.held();
        Self {
            enabled: leak.variant().is_some(),
            variant: leak.variant(),
            entries: Entries(Counts(vec![(leak.facts().count_field, held.entries)])),
            estimated_size: held.payload_bytes.into(),
            bytes_held: held.payload_bytes,
            requests: leak.requests(),
            hit_rate: leak.current_lookups().map(|lookups| lookups.hit_rate().map(two_decimals)),
        }
    }
}

impl Serialize for LeakStates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, state)| (name, state)))
    }
}

/// Numbers of things, each under the name that a leak has for it.
struct Counts(Vec<(&'static str, u64)>);

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// An object in which each of these names may stand, for a number.
fn schema_of_counts(about: &str, names: impl Fn(&Facts) -> Vec<&'static str>) -> RefOr<Schema> {
    let count = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).build();
    let leaks = Registry::new();
    let names = leaks.iter().flat_map(|leak| names(leak.facts()));
    let object = names.fold(ObjectBuilder::new().schema_type(Type::Object), |object, name| {
        object.property(name, count.clone())
    });
    object.description(Some(about)).build().into()
}

/// The number of entries of one leak.
#[derive(Serialize)]
#[serde(transparent)]
struct Entries(Counts);

impl PartialSchema for Entries {
    fn schema() -> RefOr<Schema> {
        let about = "The number of entries that the leak holds, under the name that this leak has for it.";
        schema_of_counts(about, |facts| vec![facts.count_field])
    }
}

impl ToSchema for Entries {}

/// How many things were removed from each leak that was cleared.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Removed(Counts);

impl Removed {
    /// Clears one leak.
    pub fn from_one(leak: &Leak) -> Self {
        Self(Counts(vec![(leak.facts().removed_field, leak.clear())]))
    }

    /// Clears every leak.
    pub fn from_all(leaks: &Registry) -> Self {
        Self(Counts(leaks.iter().map(|leak| (leak.facts().removed_of_all_field, leak.clear())).collect()))
    }
}

impl PartialSchema for Removed {
    fn schema() -> RefOr<Schema> {
        let about = "The number of things removed, under the name that each leak has for them: one name where one leak was \
            cleared, another where all were.";
        schema_of_counts(about, |facts| vec![facts.removed_field, facts.removed_of_all_field])
    }
}

impl ToSchema for Removed {}
