//! The newest straight stretch of a series: slips of level are taken out, and after a bend only what came later counts.
//!
//! As long as one more slip or one more bend explains the series significantly better, the better of the two is accepted: a supremum Wald
//! test over its place (Andrews 1993), on whitened samples, with the autocorrelation of what the change leaves over (else a bend would pass for
//! strong autocorrelation and hide itself).

use super::line::{Levels, coefficient, dot, remainder};

/// Least Wald statistic of a change. Andrews' 1 % point for one coefficient and 15 % trimming is 12.4; the rest is for short and heavy-tailed series.
const SIGNIFICANT: f64 = 18.0;
/// Places that are tried.
const PLACES: usize = 48;
/// Fewest samples on either side of a change: what ended as the window began leaves no more, and fewer may be a mere spike.
const EDGE: usize = 3;
/// Fewest samples after a bend, and at least an eighth of all: an end that is that short may be anything.
const LEAST_STRETCH: usize = 10;
/// Changes after which the search ends.
const MOST_CHANGES: usize = 8;

/// Where the newest straight stretch starts, and the levels within it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stretch {
    pub(super) from: usize,
    pub(super) levels: Levels,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Slip(usize),
    Bend(usize),
}

/// Finds it for `y` along `x`.
pub(super) fn newest(x: &[f64], y: &[f64], levels: Levels) -> Stretch {
    let mut stretch = Stretch { from: 0, levels };
    for _ in 0..MOST_CHANGES {
        let (x, y) = (&x[stretch.from..], &y[stretch.from..]);
        match best_change(x, y, &stretch.levels) {
            Some(Change::Slip(at)) => stretch.levels = stretch.levels.with(at),
            Some(Change::Bend(at)) => {
                stretch = Stretch { from: stretch.from + at, levels: stretch.levels.since(at) };
            }
            None => break,
        }
    }
    stretch
}

/// The change that leaves the smallest residual, if it is significant or makes the slope needless.
fn best_change(x: &[f64], y: &[f64], levels: &Levels) -> Option<Change> {
    let last = y.len().checked_sub(EDGE)?;
    let last_bend = last.saturating_sub(LEAST_STRETCH.max(y.len() / 8));
    let (free_x, free_y) = (levels.free(x, 0.0), levels.free(y, 0.0));
    let straight = remainder(&free_x, &free_y);
    let mut best = (dot(&straight, &straight), None);
    let mut needless = (best.0, None);
    for at in (EDGE..=last).step_by((last / PLACES).max(1)) {
        for change in [Change::Slip(at), Change::Bend(at)] {
            if matches!(change, Change::Bend(at) if at > last_bend) {
                continue;
            }
            let column = levels.free(&change.column(x, levels), 0.0);
            let rest = squares_left(&remainder(&free_x, &column), &straight);
            if rest < best.0 {
                best = (rest, Some(change));
            }
            if let Change::Slip(_) = change {
                let rest = squares_left(&column, &free_y);
                if rest < needless.0 {
                    needless = (rest, Some(change));
                }
            }
        }
    }
    let significant = best.1.filter(|change| wald(*change, x, y, levels) > SIGNIFICANT);
    significant.or(needless.1)
}

/// Sum of squares of `y` after `column` explained its part.
fn squares_left(column: &[f64], y: &[f64]) -> f64 {
    dot(y, y) - coefficient(column, y) * dot(column, y)
}

/// Wald statistic of `change` beside levels and slope.
fn wald(change: Change, x: &[f64], y: &[f64], levels: &Levels) -> f64 {
    let column = change.column(x, levels);
    let fit = |persistence: f64| {
        let x = levels.free(x, persistence);
        let column = remainder(&x, &levels.free(&column, persistence));
        let straight = remainder(&x, &levels.free(y, persistence));
        let bent = remainder(&column, &straight);
        (straight, bent)
    };
    let (straight, bent) = fit(0.0);
    let persistence = match change {
        Change::Slip(_) => levels.persistence(&straight, levels.count() + 1),
        Change::Bend(_) => levels.persistence(&bent, levels.count() + 2),
    };
    let terms = levels.count() + 2;
    let (straight, bent) = fit(persistence);
    let left = dot(&bent, &bent);
    let spare = y.len().saturating_sub(terms).max(1) as f64;
    (dot(&straight, &straight) - left) / (left / spare).max(f64::MIN_POSITIVE)
}

impl Change {
    /// The regressor that a change adds.
    fn column(self, x: &[f64], levels: &Levels) -> Vec<f64> {
        match self {
            Self::Slip(at) => {
                let segment =
                    levels.segments(x.len()).find(|segment| segment.contains(&at)).unwrap_or(0..x.len());
                (0..x.len()).map(|i| if i >= at && segment.contains(&i) { 1.0 } else { 0.0 }).collect()
            }
            Self::Bend(at) => x.iter().map(|value| (value - x[at]).max(0.0)).collect(),
        }
    }
}
