//! Sudden changes of level, and what they mean for the slope.

use super::{
    line::Levels,
    robust::{center_and_spread, median, weighted_median},
};

/// Samples on each side whose medians are compared; fewer in a short series.
const SIDE: usize = 5;
/// Spreads of the usual change beyond which a change is a jump.
const JUMP_SPREADS: f64 = 6.0;
/// So many jumps that each reach a new low or a new high are no accident: that is how the program lives.
pub(super) const HABIT: usize = 3;

/// A change of level that the slope does not explain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Jump {
    /// The first sample on the new level.
    pub(super) index: usize,
    /// Height; negative for a drop.
    pub(super) bytes: f64,
}

/// The slope between most pairs of samples an eighth of the series apart: one jump spoils an eighth of the pairs, and the median does not mind
/// (Theil's incomplete method, 1950; weighted by the distance in `x`). `None` where `x` stands still.
pub(super) fn rough_slope(x: &[f64], y: &[f64]) -> Option<f64> {
    let lag = (x.len() / 8).max(1);
    let pairs = x.windows(lag + 1).zip(y.windows(lag + 1));
    weighted_median(
        pairs
            .map(|(x, y)| (x[lag] - x[0], y[lag] - y[0]))
            .filter(|(run, _)| *run > 0.0)
            .map(|(run, rise)| (rise / run, run))
            .collect(),
    )
}

/// All jumps of `y` along `x` of more than `least_bytes`, oldest first.
pub(super) fn find(x: &[f64], y: &[f64], least_bytes: f64) -> Vec<Jump> {
    let slope = rough_slope(x, y).unwrap_or(0.0);
    let level: Vec<f64> = x.iter().zip(y).map(|(x, y)| y - slope * x).collect();
    let side = (level.len() / 12).clamp(1, SIDE);
    if level.len() < 4 * side {
        return Vec::new();
    }
    let changes: Vec<f64> = level.windows(2 * side).map(|near| change(near, side)).collect();
    let (usual, spread) = center_and_spread(&changes);
    let threshold = (JUMP_SPREADS * spread).max(least_bytes);
    let mut jumps = Vec::new();
    let mut at = 0;
    while at < changes.len() {
        let sign = (changes[at] - usual).signum();
        let run = changes[at..].iter().take_while(|change| (*change - usual) * sign > threshold).count();
        if run > 0 {
            let steepest = (at..at + run).map(|i| i + side).max_by(|a, b| {
                let rise = |i: usize| (level[i] - level[i - 1]) * sign;
                rise(*a).total_cmp(&rise(*b))
            });
            let height =
                changes[at..at + run].iter().fold(0.0f64, |most, change| most.max((change - usual) * sign));
            jumps.extend(steepest.map(|index| Jump { index, bytes: sign * height }));
        }
        at += run.max(1);
    }
    jumps
}

/// The change of level at sample `index` of `y` along `x`, from up to [`SIDE`] samples on each side.
pub(super) fn at(index: usize, x: &[f64], y: &[f64]) -> Jump {
    let slope = rough_slope(x, y).unwrap_or(0.0);
    let level = |range: std::ops::Range<usize>| median(range.map(|i| y[i] - slope * x[i]));
    let bytes = level(index..(index + SIDE).min(y.len())) - level(index.saturating_sub(SIDE)..index);
    Jump { index, bytes }
}

/// Median of the second half less median of the first.
fn change(near: &[f64], side: usize) -> f64 {
    let (before, after) = near.split_at(side);
    median(after.iter().copied()) - median(before.iter().copied())
}

/// What the jumps of a series amount to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Habit {
    /// Shifts of level, to be taken out.
    Shifts(Levels),
    /// Drops that keep coming: a sawtooth. The first samples after each drop.
    Teeth(Vec<usize>),
    /// Rises that keep coming: they are the growth.
    Stair,
}

/// Counts the jumps that lead to a new low or a new high of the level that shifts alone would give. A burst that comes back does neither twice.
pub(super) fn habit(jumps: &[Jump]) -> Habit {
    let drops = resets(jumps);
    if drops.len() >= HABIT {
        return Habit::Teeth(drops.iter().map(|drop| drop.index).collect());
    }
    let mirrored: Vec<Jump> = jumps.iter().map(|jump| Jump { bytes: -jump.bytes, ..*jump }).collect();
    if resets(&mirrored).len() >= HABIT {
        return Habit::Stair;
    }
    Habit::Shifts(Levels::new(jumps.iter().map(|jump| jump.index)))
}

/// Drops below all that earlier jumps had left: not the end of a burst, but memory that had been there before it.
pub(super) fn resets(jumps: &[Jump]) -> Vec<Jump> {
    let (mut level, mut lowest) = (0.0, 0.0);
    let mut found = Vec::new();
    for jump in jumps {
        level += jump.bytes;
        // Half of its own height below the lowest: the way back from a burst is never that exact.
        if level < lowest + jump.bytes.min(0.0) / 2.0 {
            found.push(*jump);
        }
        lowest = f64::min(lowest, level);
    }
    found
}
