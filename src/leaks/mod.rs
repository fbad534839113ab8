//! The patient's bugs. A folder for each, and one word in the registry.
//!
//! Nothing here knows of admin, telemetry or the instrument.

use serde::Serialize;

pub mod cache;
pub mod history;
pub mod listeners;

/// Names of all leaks, in the order in which they are shown.
pub const NAMES: [&str; 3] = ["cache", "listeners", "history"];

/// Which implementation of a leak's feature is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// The production bug.
    Leaky,
    /// The same feature without it.
    Fixed,
}

impl Variant {
    /// Names as typed by users.
    pub const NAMES: [&str; 2] = ["leaky", "fixed"];

    /// The name as typed by users.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leaky => "leaky",
            Self::Fixed => "fixed",
        }
    }

    /// The variant of that name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "leaky" => Some(Self::Leaky),
            "fixed" => Some(Self::Fixed),
            _ => None,
        }
    }
}

/// What a leak sees of one request.
#[derive(Debug, Clone, Copy)]
pub struct RequestInfo<'a> {
    /// Unique id of the request.
    pub request_id: &'a str,
    /// Path with query, as the client sent it.
    pub path: &'a str,
}

/// What a leak holds at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    /// Entries of all variants together.
    pub entries: u64,
    /// The payload's buffers only: entries times the documented size.
    pub payload_bytes: u64,
}

/// Lookups of a cache.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lookups {
    /// Answered from the cache.
    pub hits: u64,
    /// Not found.
    pub misses: u64,
}

/// One feature of the service with a memory bug, and its repaired twin.
pub trait Leak: Send + Sync {
    /// Name in paths, metrics and labels.
    fn name(&self) -> &'static str;

    /// One sentence for the learner.
    fn description(&self) -> &'static str;

    /// The JSON name of its number of entries: `entries` or `count`.
    fn count_field(&self) -> &'static str;

    /// What a clear calls the things it removed: `entries_removed`, `callbacks_removed`, `records_removed`.
    fn removed_field(&self) -> &'static str;

    /// Which variant is on; `None`: off.
    fn variant(&self) -> Option<Variant>;

    /// Switches to a variant, or off. What another variant holds stays until [`Leak::clear`].
    fn set_variant(&self, variant: Option<Variant>);

    /// Does the feature's work for one request with the variant that is on; returns that variant.
    fn serve(&self, request: &RequestInfo<'_>) -> Option<Variant>;

    /// What all variants hold together.
    fn held(&self) -> Held;

    /// Requests that a variant has served since the start.
    fn requests(&self) -> u64;

    /// Lookups since the start, where that has a meaning.
    fn lookups(&self) -> Option<Lookups> {
        None
    }

    /// Empties all variants and gives the memory back; returns the number of entries removed.
    fn clear(&self) -> u64;
}

/// All leaks of the service.
pub struct Registry {
    leaks: Vec<Box<dyn Leak>>,
}

impl Registry {
    /// Every leak, switched off.
    pub fn new() -> Self {
        Self { leaks: Vec::new() }
    }

    /// In the order of [`NAMES`].
    pub fn iter(&self) -> impl Iterator<Item = &dyn Leak> {
        self.leaks.iter().map(AsRef::as_ref)
    }

    /// The leak of that name.
    pub fn get(&self, name: &str) -> Option<&dyn Leak> {
        self.iter().find(|leak| leak.name() == name)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}
