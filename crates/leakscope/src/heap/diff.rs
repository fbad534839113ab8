//! What changed between two snapshots: a function of two values.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use serde::Serialize;

use super::{
    By, Site, Snapshot,
    estimate::Estimate,
    snapshot::{Key, Place, rounded},
};

/// How one place changed between two snapshots.
#[derive(Debug, Clone, Serialize)]
pub struct Growth {
    /// The place, as it is in the later snapshot (zeros where it is gone).
    pub site: Site,
    /// Change in bytes.
    pub bytes_diff: i64,
    /// Standard error of `bytes_diff`. A stack whose samples did not change adds none: they are the same allocations. One
    /// whose samples did adds the errors of both snapshots, as if all it held had been replaced in between; where what
    /// was there first is still there, as in a leak, the true error is smaller.
    pub bytes_diff_error: u64,
    /// Change in allocations.
    pub count_diff: i64,
    /// Whether the change in bytes exceeds 1.96 standard errors: by chance alone it would in one place of twenty.
    pub significant: bool,
}

/// What changed from `base` to `now`, largest growth first. Places that did not change are left out.
pub fn diff(base: &Snapshot, now: &Snapshot, by: By) -> Vec<Growth> {
    let before: HashMap<&[u64], &Estimate> =
        base.stacks.iter().map(|stack| (&*stack.trace.addresses, &stack.live)).collect();
    let after: HashSet<&[u64]> = now.stacks.iter().map(|stack| &*stack.trace.addresses).collect();

    let mut changes: HashMap<Key<'_>, Change<'_>> = HashMap::new();
    let nothing = Estimate::default();
    for stack in &now.stacks {
        let change = changes.entry(Key::new(&stack.trace.site, by)).or_default();
        change.place.add(&stack.trace.site, stack.live.bytes);
        change.add(before.get(&*stack.trace.addresses).unwrap_or(&&nothing), &stack.live);
    }
    for stack in base.stacks.iter().filter(|stack| !after.contains(&*stack.trace.addresses)) {
        let change = changes.entry(Key::new(&stack.trace.site, by)).or_default();
        change.place.add(&stack.trace.site, 0.0);
        change.add(&stack.live, &nothing);
    }

    let changed = changes.iter().filter(|(_, change)| change.bytes != 0.0 || change.count != 0.0);
    let mut growth: Vec<_> = changed.map(|(key, change)| change.growth(key)).collect();
    growth.sort_by(|a, b| {
        (Reverse(a.bytes_diff), &a.site.location).cmp(&(Reverse(b.bytes_diff), &b.site.location))
    });
    growth
}

#[derive(Default)]
struct Change<'a> {
    place: Place<'a>,
    now: Estimate,
    bytes: f64,
    bytes_variance: f64,
    count: f64,
}

impl Change<'_> {
    /// Adds one stack.
    fn add(&mut self, before: &Estimate, after: &Estimate) {
        self.now.add(after);
        if before == after {
            return;
        }
        self.bytes += after.bytes - before.bytes;
        self.count += after.count - before.count;
        self.bytes_variance += before.bytes_variance + after.bytes_variance;
    }

    fn growth(&self, key: &Key<'_>) -> Growth {
        let error = self.bytes_variance.sqrt();
        Growth {
            site: self.place.site(key, &self.now),
            bytes_diff: self.bytes.round() as i64,
            bytes_diff_error: rounded(error),
            count_diff: self.count.round() as i64,
            significant: self.bytes.abs() > 1.96 * error,
        }
    }
}
