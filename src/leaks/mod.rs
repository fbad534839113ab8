//! The patient's bugs: features of the service that keep memory they should let go, each with its repaired twin.
//!
//! A leak is a folder here and one word in `registry!` below: routes, status, metrics, settings and documentation come from
//! the registry. A third implementation, the learner's own, lies in `exercises/` and is compiled in beside the two. Nothing
//! here knows of admin, telemetry or the instrument.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use serde::Serialize;
use utoipa::ToSchema;

pub mod cache;
pub mod history;
pub mod listeners;
mod payload;

/// Names every leak once: the folder's name is the leak's.
macro_rules! registry {
    ($($leak:ident),+) => {
        /// Names of all leaks, in the order in which they are shown.
        pub const NAMES: [&str; [$(stringify!($leak)),+].len()] = [$(stringify!($leak)),+];

        impl Registry {
            /// Every leak, switched off.
            pub fn new() -> Self {
                Self { leaks: vec![$(Leak::new(stringify!($leak), $leak::FACTS, $leak::implementations())),+] }
            }
        }
    };
}

registry!(cache, listeners, history);

/// Which implementation of a leak's feature is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// The production bug.
    Leaky,
    /// The same feature without it.
    Fixed,
    /// What the learner makes of it: `exercises/`, which starts as a copy of the bug. Only its growth sites are not
    /// `#[inline(never)]`: functions that are alike in all are compiled to one, and a profile of either would name its file.
    Mine,
}

impl Variant {
    /// Every variant, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Leaky, Self::Fixed, Self::Mine];

    /// Names as typed by users.
    pub const NAMES: [&str; 3] = [Self::Leaky.name(), Self::Fixed.name(), Self::Mine.name()];

    /// The name as typed by users.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leaky => "leaky",
            Self::Fixed => "fixed",
            Self::Mine => "mine",
        }
    }

    /// The variant of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.name() == name)
    }

    /// Whether it may grow without bound: the bug does, and of the learner's code nobody knows.
    pub const fn may_grow(self) -> bool {
        !matches!(self, Self::Fixed)
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Entries of all variants together.
    pub entries: u64,
    /// The payload's buffers only: entries times the documented size.
    pub payload_bytes: u64,
}

impl Held {
    /// `entries` of `payload_bytes` each.
    fn of(entries: usize, payload_bytes: usize) -> Self {
        Self { entries: entries as u64, payload_bytes: (entries * payload_bytes) as u64 }
    }
}

/// Lookups of a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Answered from the cache.
    pub hits: u64,
    /// Not found.
    pub misses: u64,
}

impl Lookups {
    /// Hits per lookup, 0 to 1; `None` before the first.
    pub fn hit_rate(self) -> Option<f64> {
        let lookups = self.hits + self.misses;
        (lookups > 0).then(|| self.hits as f64 / lookups as f64)
    }
}

/// A record of one past request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Id of the request that was recorded.
    pub request_id: String,
    /// What was recorded of it.
    pub text: String,
}

/// A request was completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Id of the request.
    pub request_id: &'a str,
}

/// What is called for each event.
pub type Listener = Box<dyn FnMut(&Event<'_>) + Send>;

/// What stays the same of a leak, whichever variant is on.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// One sentence for the learner.
    pub description: &'static str,
    /// The JSON name of its number of entries: `entries` or `count`.
    pub count_field: &'static str,
    /// What clearing it alone calls the number of things removed, such as `entries_removed`.
    pub removed_field: &'static str,
    /// What clearing all leaks calls that number, such as `cache_entries_removed`.
    pub removed_of_all_field: &'static str,
    /// Whether what it recorded of a request can be read back.
    pub records_requests: bool,
}

/// One implementation of a leak's feature.
trait Feature: Send + Sync {
    /// Does the feature's work for one request.
    fn serve(&self, request: &RequestInfo<'_>);

    /// What it holds.
    fn held(&self) -> Held;

    /// Drops everything, gives the memory back, and returns the number of entries removed.
    fn clear(&self) -> u64;

    /// Lookups since the start, where that has a meaning.
    fn lookups(&self) -> Option<Lookups> {
        None
    }

    /// Reads back what was recorded of a request, where the feature records requests.
    fn record(&self, request_id: &str) -> Option<Record> {
        let _ = request_id;
        None
    }

    /// Runs `during`, and calls `listener` for each event meanwhile, where the feature announces events.
    fn listen(&self, listener: Listener, during: &mut dyn FnMut()) {
        let _ = listener;
        during();
    }
}

/// A leak's implementations, in the order of [`Variant::ALL`].
type Implementations = [Box<dyn Feature>; Variant::ALL.len()];

/// One feature of the service with a memory bug, its repaired twin, and the learner's repair.
pub struct Leak {
    name: &'static str,
    facts: Facts,
    implementations: Implementations,
    /// 0: off; else the place of the variant in [`Variant::ALL`], plus one.
    switch: AtomicU8,
    requests: AtomicU64,
}

impl Leak {
    fn new(name: &'static str, facts: Facts, implementations: Implementations) -> Self {
        Self { name, facts, implementations, switch: AtomicU8::new(0), requests: AtomicU64::new(0) }
    }

    /// Name in paths, metrics and labels.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it is called and what its parts are called.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Which variant is on; `None`: off.
    pub fn variant(&self) -> Option<Variant> {
        let place = usize::from(self.switch.load(Relaxed)).checked_sub(1)?;
        Variant::ALL.get(place).copied()
    }

    /// Switches to a variant, or off. What another variant holds stays until [`Leak::clear`].
    pub fn set_variant(&self, variant: Option<Variant>) {
        self.switch.store(variant.map_or(0, |variant| variant as u8 + 1), Relaxed);
    }

    /// Does the feature's work for one request with the variant that is on; returns that variant.
    pub fn serve(&self, request: &RequestInfo<'_>) -> Option<Variant> {
        let variant = self.variant()?;
        self.implementations[variant as usize].serve(request);
        self.requests.fetch_add(1, Relaxed);
        Some(variant)
    }

    /// What all variants hold together.
    pub fn held(&self) -> Held {
        self.implementations.iter().map(|one| one.held()).fold(Held::default(), |sum, held| Held {
            entries: sum.entries + held.entries,
            payload_bytes: sum.payload_bytes + held.payload_bytes,
        })
    }

    /// Requests that a variant has served since the start.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Lookups of all variants since the start, where that has a meaning.
    pub fn lookups(&self) -> Option<Lookups> {
        self.implementations
            .iter()
            .filter_map(|one| one.lookups())
            .reduce(|sum, more| Lookups { hits: sum.hits + more.hits, misses: sum.misses + more.misses })
    }

    /// Lookups since the start of the variant that is on (of the leaky one while all are off), where that has a meaning.
    pub fn current_lookups(&self) -> Option<Lookups> {
        self.implementations[self.variant().unwrap_or(Variant::Leaky) as usize].lookups()
    }

    /// What any variant recorded of a request.
    pub fn record(&self, request_id: &str) -> Option<Record> {
        self.implementations.iter().find_map(|one| one.record(request_id))
    }

    /// Runs `during`, and calls `listener` for each event of the variant that is on meanwhile, where it announces events.
    pub fn listen(&self, listener: Listener, mut during: impl FnMut()) {
        match self.variant() {
            Some(variant) => self.implementations[variant as usize].listen(listener, &mut during),
            None => during(),
        }
    }

    /// Empties all variants and gives the memory back; returns the number of entries removed.
    pub fn clear(&self) -> u64 {
        self.implementations.iter().map(|one| one.clear()).sum()
    }
}

/// All leaks of the service.
pub struct Registry {
    leaks: Vec<Leak>,
}

impl Registry {
    /// In the order of [`NAMES`].
    pub fn iter(&self) -> impl Iterator<Item = &Leak> {
        self.leaks.iter()
    }

    /// The leak of that name.
    pub fn get(&self, name: &str) -> Option<&Leak> {
        self.iter().find(|leak| leak.name() == name)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

/// The guard of a lock, also where another thread panicked while it held it: every change below is whole or not made.
fn locked<T>(lock: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
