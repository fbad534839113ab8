//! What changed between two snapshots: a function of two values.
//!
//! The error of a difference is not that of its two terms. Allocations that are live in both snapshots are the same ones,
//! sampled or not, and cancel exactly: what errs is the samples that came and those that went. A profile does not tell these
//! apart, but the count of samples ever taken does nearly: with it, the samples freed in between are known, and of those that
//! were live at first no more than that can have gone. So the error of a leak is that of its growth alone, however much it
//! held before; of memory that was all replaced it is that of both snapshots; where a stack also makes short-lived
//! allocations it lies between, on the safe side.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use serde::Serialize;

use super::{
    By, Site, Snapshot,
    estimate::Estimate,
    snapshot::{Key, Place, Stack, rounded},
};

/// How one place changed between two snapshots.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Growth))]
pub struct Growth {
    /// The place, as it is in the later snapshot (zeros where it is gone).
    #[serde(flatten)]
    pub site: Site,
    /// Change in bytes.
    pub bytes_diff: i64,
    /// Standard error of `bytes_diff`: that of what came and of what went. Where frees can't be counted (see
    /// [`Unwinder::Default`](super::Unwinder::Default)) it is that of both snapshots together, which is too large for a leak.
    pub bytes_diff_error: u64,
    /// Change in allocations.
    pub count_diff: i64,
    /// Whether the change in bytes exceeds 1.96 standard errors: by chance alone it would in one place of twenty.
    pub significant: bool,
}

/// What changed from `base` to `now`, largest growth first. Places that did not change are left out.
pub fn diff(base: &Snapshot, now: &Snapshot, by: By) -> Vec<Growth> {
    let before: HashMap<&[u64], &Stack> =
        base.stacks.iter().map(|stack| (&*stack.trace.addresses, stack)).collect();
    let after: HashSet<&[u64]> = now.stacks.iter().map(|stack| &*stack.trace.addresses).collect();

    let mut changes: HashMap<Key<'_>, Change<'_>> = HashMap::new();
    for stack in &now.stacks {
        let change = changes.entry(Key::new(&stack.trace, by)).or_default();
        change.place.add(&stack.trace, stack.live.bytes);
        change.add(before.get(&*stack.trace.addresses).copied(), Some(stack));
    }
    for stack in base.stacks.iter().filter(|stack| !after.contains(&*stack.trace.addresses)) {
        let change = changes.entry(Key::new(&stack.trace, by)).or_default();
        change.place.add(&stack.trace, 0.0);
        change.add(Some(stack), None);
    }

    let changed = changes.iter().filter(|(_, change)| change.bytes != 0.0 || change.count != 0.0);
    let mut growth: Vec<_> = changed.map(|(key, change)| change.growth(key)).collect();
    growth.sort_by(|a, b| {
        (Reverse(a.bytes_diff), &a.site.location).cmp(&(Reverse(b.bytes_diff), &b.site.location))
    });
    growth
}

/// What grew from `base` to `now` by more than chance explains, largest first, `most` places at most.
pub fn growing(base: &Snapshot, now: &Snapshot, by: By, most: usize) -> Vec<Growth> {
    let mut growing = diff(base, now, by);
    growing.retain(|growth| growth.bytes_diff > 0 && growth.significant);
    growing.truncate(most);
    growing
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
    /// Adds one stack as it was and as it is.
    fn add(&mut self, before: Option<&Stack>, after: Option<&Stack>) {
        let live = |stack: Option<&Stack>| stack.map(|stack| stack.live).unwrap_or_default();
        let (was, is) = (live(before), live(after));
        self.now.add(&is);
        self.bytes += is.bytes - was.bytes;
        self.count += is.count - was.count;
        // Samples that went, and that came, of those live in one of the two.
        let went = samples_gone(before, after).min(was.samples);
        let came = is.samples.saturating_sub(was.samples - went);
        self.bytes_variance += share(came, &is) + share(went, &was);
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

/// At most so many of the samples that were live before are gone.
fn samples_gone(before: Option<&Stack>, after: Option<&Stack>) -> u64 {
    let (Some(before), Some(after)) = (before, after) else { return u64::MAX };
    let (was, is) = (before.live.samples, after.live.samples);
    match (before.taken, after.taken) {
        (Some(then), Some(now)) => {
            let taken_between = now.at_most.saturating_sub(then.at_least);
            (was + taken_between).saturating_sub(is)
        }
        _ if before.live == after.live => 0, // nothing says that anything happened
        _ => u64::MAX,
    }
}

/// The variance of so many of an estimate's samples.
fn share(samples: u64, of: &Estimate) -> f64 {
    if of.samples == 0 { 0.0 } else { of.bytes_variance * samples as f64 / of.samples as f64 }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use super::*;
    use crate::heap::{
        estimate::tests::{Random, sampled},
        frame::{Frame, Owner},
        snapshot::Taken,
        symbolize::Trace,
    };

    const SIZE: u64 = 12_288;
    const INTERVAL: u64 = 1 << 16;

    /// A stack at `line` with so many live samples, of so many ever taken.
    fn stack(line: u32, samples: u64, taken: Option<u64>) -> Stack {
        let site = Frame {
            function: "shop::store".into(),
            file: "src/a.rs".into(),
            line,
            owner: Owner::Application,
        };
        let trace = Trace { addresses: [u64::from(line)].into(), frames: Box::default(), site };
        let live = Estimate::new(samples, samples * SIZE, INTERVAL);
        let taken = taken.map(|taken| Taken { at_least: taken, at_most: taken });
        Stack { trace: Arc::new(trace), live, taken }
    }

    fn snapshot(stacks: Vec<Stack>) -> Snapshot {
        Snapshot::new(SystemTime::UNIX_EPOCH, INTERVAL, stacks, Vec::new())
    }

    fn growth(base: Stack, now: Stack) -> Growth {
        diff(&snapshot(vec![base]), &snapshot(vec![now]), By::Line).remove(0)
    }

    /// Share of seeded runs in which the difference lies within 1.96 of its error, for a stack that held `kept + replaced`
    /// allocations and then `kept + came`.
    fn coverage(kept: u64, replaced: u64, came: u64, counted: bool) -> f64 {
        const RUNS: u32 = 2_000;
        let mut random = Random(kept << 40 | replaced << 20 | came);
        let truth = (came as f64 - replaced as f64) * SIZE as f64;
        let mut inside = 0;
        for _ in 0..RUNS {
            let [kept, replaced, came] =
                [kept, replaced, came].map(|count| sampled(&mut random, count, SIZE, INTERVAL));
            let taken = |samples| counted.then_some(samples);
            let base = stack(1, kept + replaced, taken(kept + replaced));
            let now = stack(1, kept + came, taken(kept + replaced + came));
            let (was, is) = (base.live.bytes, now.live.bytes);
            let mut change = Change::default();
            change.add(Some(&base), Some(&now));
            assert!((change.bytes - (is - was)).abs() < 1.0);
            inside += u32::from((change.bytes - truth).abs() <= 1.96 * change.bytes_variance.sqrt());
        }
        f64::from(inside) / f64::from(RUNS)
    }

    #[test]
    fn the_error_of_a_difference_holds_what_it_promises() {
        for (what, kept, replaced, came) in [
            ("a leak from nothing", 0, 0, 2_000),
            ("a leak that held much before", 10_000, 0, 1_000),
            ("memory given back", 2_000, 2_000, 0),
            ("all replaced", 0, 3_000, 3_000),
            ("some replaced while it grows", 3_000, 500, 2_000),
        ] {
            let share = coverage(kept, replaced, came, true);
            assert!((0.93..=0.97).contains(&share), "{what}: {share}");
        }
        let share = coverage(10_000, 0, 1_000, false);
        assert!(share > 0.99, "without counts it is on the safe side: {share}");
    }

    #[test]
    fn a_leak_shows_whatever_it_held_before() {
        let leak = growth(stack(1, 1_500, Some(1_500)), stack(1, 1_568, Some(1_568)));
        assert!(leak.significant, "{leak:?}");
        let churn = growth(stack(1, 1_500, Some(1_500)), stack(1, 1_568, Some(90_000)));
        assert!(!churn.significant, "{churn:?}");
        assert_eq!(leak.bytes_diff, churn.bytes_diff);
    }

    #[test]
    fn ranks_by_growth_and_leaves_out_what_stayed() {
        let base = snapshot(vec![stack(1, 10, Some(10)), stack(2, 10, Some(10)), stack(3, 10, Some(10))]);
        let now = snapshot(vec![stack(2, 40, Some(40)), stack(3, 10, Some(10)), stack(4, 90, Some(90))]);
        let found = diff(&base, &now, By::Line);
        let lines: Vec<_> = found.iter().map(|growth| growth.site.location.as_str()).collect();
        assert_eq!(lines, ["src/a.rs:4", "src/a.rs:2", "src/a.rs:1"]);
        assert_eq!((found[2].site.bytes, found[2].site.count), (0, 0), "gone");
        assert!(found[2].bytes_diff < 0 && found[2].count_diff < 0);
        let whole = diff(&base, &now, By::File);
        assert_eq!(whole.len(), 1);
        let difference = now.total_bytes as i64 - base.total_bytes as i64;
        assert!(whole[0].bytes_diff.abs_diff(difference) <= 1, "but for rounding");
    }
}
