//! How often each stack has been sampled since the start, freed or not: a fixed table of counters that the unwinder adds
//! to and a snapshot reads.
//!
//! A profile tells what is live, not how much was freed in between; the difference of two needs that for its error. This
//! module knows stacks by a hash of their addresses only. It neither allocates nor locks, since it runs inside the
//! allocator.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Stacks counted at most: 256 KiB of zero pages, resident where touched. Programs have some hundreds to a few thousand.
const SLOTS: usize = 1 << 14;
/// Slots tried for one stack. A stack that finds none is not counted, and its error stays on the safe side.
const TRIES: usize = 64;

struct Slot {
    /// 0: free.
    stack: AtomicU64,
    samples: AtomicU64,
}

struct Table([Slot; SLOTS]);

static TALLY: Table = Table([const { Slot { stack: AtomicU64::new(0), samples: AtomicU64::new(0) } }; SLOTS]);

/// Counts one sample of the stack with these return addresses.
pub(super) fn count(addresses: impl Iterator<Item = u64>) {
    TALLY.count(hash(addresses));
}

/// Samples taken so far, by stack.
pub(super) struct Counts(HashMap<u64, u64>);

impl Counts {
    pub(super) fn now() -> Self {
        TALLY.counts()
    }

    /// How often this stack was sampled; `None` where it is not counted.
    pub(super) fn of(&self, addresses: &[u64]) -> Option<u64> {
        self.0.get(&hash(addresses.iter().copied())).copied()
    }
}

impl Table {
    fn count(&self, stack: u64) {
        for offset in 0..TRIES {
            let slot = &self.0[(stack as usize).wrapping_add(offset) % SLOTS];
            let taken_by = match slot.stack.compare_exchange(0, stack, Relaxed, Relaxed) {
                Ok(_) => stack,
                Err(other) => other,
            };
            if taken_by == stack {
                slot.samples.fetch_add(1, Relaxed);
                return;
            }
        }
    }

    fn counts(&self) -> Counts {
        let used = self.0.iter().filter(|slot| slot.stack.load(Relaxed) != 0);
        Counts(used.map(|slot| (slot.stack.load(Relaxed), slot.samples.load(Relaxed))).collect())
    }
}

/// Never 0. Two stacks of a program share a hash with a probability of about 1 in 10^11.
fn hash(addresses: impl Iterator<Item = u64>) -> u64 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    addresses.fold(0, mix).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_stack() {
        let table =
            Box::new(Table([const { Slot { stack: AtomicU64::new(0), samples: AtomicU64::new(0) } }; SLOTS]));
        let stacks: Vec<Vec<u64>> =
            (0..1_000).map(|i| vec![0x5555_0000_1000 + i % 10, 0x5555_0000_2000 + i]).collect();
        for (times, stack) in stacks.iter().enumerate() {
            (0..=times % 7).for_each(|_| table.count(hash(stack.iter().copied())));
        }
        let counts = table.counts();
        for (times, stack) in stacks.iter().enumerate() {
            assert_eq!(counts.of(stack), Some((times % 7) as u64 + 1));
        }
        assert_eq!(counts.of(&[0x5555_0000_2000, 0x5555_0000_1000]), None, "the order matters");
    }

    #[test]
    fn a_full_table_counts_no_more_and_never_wrongly() {
        let table =
            Box::new(Table([const { Slot { stack: AtomicU64::new(0), samples: AtomicU64::new(0) } }; SLOTS]));
        let stacks = 1..=2 * SLOTS as u64;
        stacks.clone().for_each(|stack| table.count(hash([stack].into_iter())));
        let counts = table.counts();
        let counted: Vec<_> = stacks.filter_map(|stack| counts.of(&[stack])).collect();
        assert!(counted.len() > SLOTS * 9 / 10 && counted.len() <= SLOTS, "{}", counted.len());
        assert!(counted.iter().all(|&samples| samples == 1));
    }
}
