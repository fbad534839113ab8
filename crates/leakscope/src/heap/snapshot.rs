//! Live memory by stack at one moment, and its view by place.

use std::{cmp::Reverse, collections::HashMap, fmt, sync::Arc, time::SystemTime};

use serde::Serialize;

use super::{By, estimate::Estimate, frame::Frame, parse::Mapping, symbolize::Trace};

/// Live memory of the whole process by allocation stack at one moment.
pub struct Snapshot {
    /// When it was taken.
    pub taken_at: SystemTime,
    /// Un-biased live bytes.
    pub total_bytes: u64,
    /// Un-biased live allocations.
    pub total_count: u64,
    /// Mean bytes between two samples.
    pub(super) interval_bytes: u64,
    pub(super) stacks: Vec<Stack>,
    pub(super) mappings: Vec<Mapping>,
}

/// One allocation stack and what is live of it.
pub(super) struct Stack {
    pub(super) trace: Arc<Trace>,
    pub(super) live: Estimate,
    pub(super) taken: Option<Taken>,
}

/// How often a stack had been sampled since the start, freed since or not: at least and at most, since sampling goes on
/// while the profile is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) at_least: u64,
    pub(super) at_most: u64,
}

/// What one place allocated that is still held.
#[derive(Debug, Clone, Serialize)]
pub struct Site {
    /// `file:line`, function or file, as asked for: the key. Where the file is unknown it is the function.
    pub location: String,
    /// Function, demangled; where the key spans several, the one that holds most.
    pub function: String,
    /// Source file; empty where unknown.
    pub file: String,
    /// Line; 0 where unknown or where the key spans several.
    pub line: u32,
    /// Un-biased live bytes.
    pub bytes: u64,
    /// Standard error of `bytes`.
    pub bytes_error: u64,
    /// Un-biased live allocations.
    pub count: u64,
    /// Standard error of `count`; too small where the place mixes sizes that differ by orders of magnitude.
    pub count_error: u64,
    /// Sampled allocations behind the figures.
    pub samples: u64,
}

impl Snapshot {
    pub(super) fn new(
        taken_at: SystemTime,
        interval_bytes: u64,
        stacks: Vec<Stack>,
        mappings: Vec<Mapping>,
    ) -> Self {
        let mut total = Estimate::default();
        for stack in &stacks {
            total.add(&stack.live);
        }
        let (total_bytes, total_count) = (rounded(total.bytes), rounded(total.count));
        Self { taken_at, total_bytes, total_count, interval_bytes, stacks, mappings }
    }

    /// Live memory by place, largest first.
    pub fn sites(&self, by: By) -> Vec<Site> {
        let mut places: HashMap<Key<'_>, (Place<'_>, Estimate)> = HashMap::new();
        for Stack { trace, live, .. } in &self.stacks {
            let (place, total) = places.entry(Key::new(&trace.site, by)).or_default();
            place.add(&trace.site, live.bytes);
            total.add(live);
        }
        let mut sites: Vec<_> = places.iter().map(|(key, (place, total))| place.site(key, total)).collect();
        sites.sort_by(|a, b| (Reverse(a.bytes), &a.location).cmp(&(Reverse(b.bytes), &b.location)));
        sites
    }
}

impl fmt::Debug for Snapshot {
    /// The totals; the stacks are many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("taken_at", &self.taken_at)
            .field("total_bytes", &self.total_bytes)
            .field("total_count", &self.total_count)
            .field("stacks", &self.stacks.len())
            .finish_non_exhaustive()
    }
}

/// What makes two growth sites the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key<'a> {
    /// What is shown.
    name: &'a str,
    /// 0 where the name says it all.
    line: u32,
    /// Tells functions apart that share a name: inlined ones come without their path.
    file: &'a str,
}

impl<'a> Key<'a> {
    pub(super) fn new(site: &'a Frame, by: By) -> Self {
        let (function, file) = (&*site.function, &*site.file);
        match by {
            By::Line if !file.is_empty() => Self { name: file, line: site.line, file },
            By::File if !file.is_empty() => Self { name: file, line: 0, file },
            By::Line | By::File | By::Function => Self { name: function, line: 0, file },
        }
    }
}

/// The source position of a key that several stacks, functions or lines may share.
#[derive(Default)]
pub(super) struct Place<'a> {
    /// The one that holds most so far, with its bytes.
    largest: Option<(&'a Frame, f64)>,
    several_lines: bool,
}

impl<'a> Place<'a> {
    pub(super) fn add(&mut self, site: &'a Frame, bytes: f64) {
        match &mut self.largest {
            Some((largest, largest_bytes)) => {
                self.several_lines |= largest.line != site.line;
                if bytes > *largest_bytes {
                    (*largest, *largest_bytes) = (site, bytes);
                }
            }
            none => *none = Some((site, bytes)),
        }
    }

    pub(super) fn site(&self, key: &Key<'_>, live: &Estimate) -> Site {
        let frame = self.largest.map(|(frame, _)| frame);
        Site {
            location: if key.line == 0 { key.name.to_owned() } else { format!("{}:{}", key.name, key.line) },
            function: frame.map(|frame| frame.function.to_string()).unwrap_or_default(),
            file: frame.map(|frame| frame.file.to_string()).unwrap_or_default(),
            line: frame.map_or(0, |frame| if self.several_lines { 0 } else { frame.line }),
            bytes: rounded(live.bytes),
            bytes_error: rounded(live.bytes_variance.sqrt()),
            count: rounded(live.count),
            count_error: rounded(live.count_variance.sqrt()),
            samples: live.samples,
        }
    }
}

/// To whole bytes or allocations.
pub(super) fn rounded(estimate: f64) -> u64 {
    estimate.round() as u64
}
