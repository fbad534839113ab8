//! Live memory by stack at one moment, and its view by place.

use std::{
    cmp::Reverse,
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::{By, estimate::Estimate, frame::Frame, symbolize::Trace};
use crate::proc::CodeMapping;

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
    pub(super) mappings: Vec<CodeMapping>,
}

/// One allocation stack and what is live of it.
pub(crate) struct Stack {
    pub(crate) trace: Arc<Trace>,
    pub(crate) live: Estimate,
    pub(crate) taken: Option<Taken>,
}

/// How often a stack had been sampled since the start, freed since or not: at least and at most, since sampling goes on
/// while the profile is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) at_least: u64,
    pub(crate) at_most: u64,
}

/// What one place allocated that is still held.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Site))]
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
    /// Where the key is the stack: all of it, innermost first, inlined functions too. Else empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<Position>,
}

/// One frame of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Position))]
pub struct Position {
    /// Function, demangled.
    pub function: String,
    /// `file:line`; empty where unknown.
    pub location: String,
}

impl Snapshot {
    pub(crate) fn new(
        taken_at: SystemTime,
        interval_bytes: u64,
        stacks: Vec<Stack>,
        mappings: Vec<CodeMapping>,
    ) -> Self {
        let mut total = Estimate::default();
        for stack in &stacks {
            total.add(&stack.live);
        }
        let (total_bytes, total_count) = (rounded(total.bytes), rounded(total.count));
        Self { taken_at, total_bytes, total_count, interval_bytes, stacks, mappings }
    }

    /// How long ago it was taken; zero where the clock went back.
    pub fn age(&self) -> Duration {
        SystemTime::now().duration_since(self.taken_at).unwrap_or_default()
    }

    /// Live memory by place, largest first.
    pub fn sites(&self, by: By) -> Vec<Site> {
        let mut places: HashMap<Key<'_>, (Place<'_>, Estimate)> = HashMap::new();
        for Stack { trace, live, .. } in &self.stacks {
            let (place, total) = places.entry(Key::new(trace, by)).or_default();
            place.add(trace, live.bytes);
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
    /// Tells the ways to one line apart, where asked for.
    stack: Option<&'a [u64]>,
}

impl<'a> Key<'a> {
    pub(super) fn new(trace: &'a Trace, by: By) -> Self {
        let Frame { function, file, line, .. } = &trace.site;
        let stack = (by == By::Stack).then_some(&*trace.addresses);
        match by {
            By::Line | By::Stack if !file.is_empty() => Self { name: file, line: *line, file, stack },
            By::File if !file.is_empty() => Self { name: file, line: 0, file, stack },
            By::Line | By::File | By::Function | By::Stack => Self { name: function, line: 0, file, stack },
        }
    }
}

/// The source position of a key that several stacks, functions or lines may share.
#[derive(Default)]
pub(super) struct Place<'a> {
    /// The one that holds most so far, with its bytes.
    largest: Option<(&'a Trace, f64)>,
    several_lines: bool,
}

impl<'a> Place<'a> {
    pub(super) fn add(&mut self, trace: &'a Trace, bytes: f64) {
        match &mut self.largest {
            Some((largest, largest_bytes)) => {
                self.several_lines |= largest.site.line != trace.site.line;
                if bytes > *largest_bytes {
                    (*largest, *largest_bytes) = (trace, bytes);
                }
            }
            none => *none = Some((trace, bytes)),
        }
    }

    pub(super) fn site(&self, key: &Key<'_>, live: &Estimate) -> Site {
        let trace = self.largest.map(|(trace, _)| trace);
        let frame = trace.map(|trace| &trace.site);
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
            stack: trace.filter(|_| key.stack.is_some()).map(positions).unwrap_or_default(),
        }
    }
}

fn positions(trace: &Trace) -> Vec<Position> {
    let position = |frame: &Frame| Position {
        function: frame.function.to_string(),
        location: frame.position().unwrap_or_default(),
    };
    trace.frames().map(position).collect()
}

/// To whole bytes or allocations.
pub(super) fn rounded(estimate: f64) -> u64 {
    estimate.round() as u64
}
