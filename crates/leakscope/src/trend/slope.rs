//! A slope with an interval that holds for autocorrelated samples.
//!
//! Estimate: feasible generalized least squares for an AR(1) error with a bias-corrected coefficient (Prais and Winsten 1954). Interval: what
//! autocorrelation is left is caught by the equal-weighted cosine estimate of the score's long-run variance, with Student's t (Lazarus, Lewis,
//! Stock and Watson, "HAR Inference: Recommendations for Practice", JBES 2018). Whitening first and estimating the rest after it is Andrews and
//! Monahan's (1992).

use super::{
    Interval,
    line::{Levels, coefficient, dot, remainder},
    robust::t_quantile,
};

/// A long-run variance from a few hundred residuals comes out low, and the levels were chosen by the same samples: measured over the generated
/// families, intervals without this factor covered 93 % instead of 95 %.
const SMALL_SAMPLE: f64 = 1.1;

/// A slope, its standard error, and how well that error is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slope {
    pub(super) value: f64,
    pub(super) error: f64,
    pub(super) degrees: f64,
    /// Standard deviation of the samples around the line.
    pub(super) noise: f64,
    /// Share of the variance within segments that the line explains.
    pub(super) r2: f64,
}

impl Slope {
    /// The two-sided 95 % interval.
    pub(super) fn interval(&self) -> Interval {
        let reach = t_quantile(0.025, self.degrees) * self.error;
        Interval { value: self.value, low: self.value - reach, high: self.value + reach }
    }

    /// Upper bound, exceeded with a probability of `upper_tail`.
    pub(super) fn upper(&self, upper_tail: f64) -> f64 {
        self.value + t_quantile(upper_tail, self.degrees) * self.error
    }

    /// Whether the slope is above 0 with at most `upper_tail` of error.
    pub(super) fn is_positive(&self, upper_tail: f64) -> bool {
        self.value > t_quantile(upper_tail, self.degrees) * self.error
    }
}

/// The slope of `y` against `x` with `levels`; `None` where `x` does not vary or too few samples are left.
pub(super) fn fit(x: &[f64], y: &[f64], levels: &Levels) -> Option<Slope> {
    let terms = levels.count() + 1;
    let spare = y.len().checked_sub(terms + 2)? as f64;
    let (plain_x, plain_y) = (levels.free(x, 0.0), levels.free(y, 0.0));
    let residuals = remainder(&plain_x, &plain_y);
    let persistence = levels.persistence(&residuals, terms);
    let (white_x, white_y) = (levels.free(x, persistence), levels.free(y, persistence));
    let square = dot(&white_x, &white_x);
    if square <= 1e-12 * dot(x, x) || square <= 0.0 {
        return None;
    }
    let errors = remainder(&white_x, &white_y);
    let scores: Vec<f64> = white_x.iter().zip(&errors).map(|(x, error)| x * error).collect();
    let (variance, degrees) = long_run_variance(&scores);
    let count = y.len() as f64;
    let total = dot(&plain_y, &plain_y);
    let unexplained = dot(&residuals, &residuals);
    Some(Slope {
        value: coefficient(&white_x, &white_y),
        error: SMALL_SAMPLE * (count * variance * count / (count - terms as f64)).sqrt() / square,
        degrees,
        noise: (unexplained / spare).sqrt(),
        r2: if total > 0.0 { (1.0 - unexplained / total).clamp(0.0, 1.0) } else { 0.0 },
    })
}

/// Long-run variance of `scores` and its degrees of freedom: the mean square of their first `0.4 n^(2/3)` cosine transforms.
fn long_run_variance(scores: &[f64]) -> (f64, f64) {
    let count = scores.len() as f64;
    let waves = (0.4 * count.powf(2.0 / 3.0)).round().max(4.0).min(count - 1.0);
    let mut squares = 0.0;
    for wave in 1..=waves as usize {
        let step = std::f64::consts::PI * wave as f64 / count;
        let projection: f64 =
            scores.iter().enumerate().map(|(i, score)| score * (step * (i as f64 + 0.5)).cos()).sum();
        squares += 2.0 / count * projection * projection;
    }
    (squares / waves, waves)
}

/// The slope of `y` against `x` where samples are few and independent, as the troughs of a sawtooth are: ordinary least squares.
pub(super) fn fit_independent(x: &[f64], y: &[f64]) -> Option<Slope> {
    let levels = Levels::new([]);
    let spare = y.len().checked_sub(2).filter(|spare| *spare > 0)? as f64;
    let (x, y) = (levels.free(x, 0.0), levels.free(y, 0.0));
    let (square, total) = (dot(&x, &x), dot(&y, &y));
    if square <= 0.0 {
        return None;
    }
    let residuals = remainder(&x, &y);
    let unexplained = dot(&residuals, &residuals);
    Some(Slope {
        value: coefficient(&x, &y),
        error: (unexplained / spare / square).sqrt(),
        degrees: spare,
        noise: (unexplained / spare).sqrt(),
        r2: if total > 0.0 { (1.0 - unexplained / total).clamp(0.0, 1.0) } else { 0.0 },
    })
}
