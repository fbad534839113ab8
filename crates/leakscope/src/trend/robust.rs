//! Order statistics, and the quantiles of Student's t.

/// The factor that makes a median absolute deviation estimate the standard deviation of a normal distribution.
const NORMAL_CONSISTENCY: f64 = 1.4826;

/// Median; 0 of nothing.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    let (below, &mut upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if !even {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (lower + upper) / 2.0
}

/// Median and a standard deviation from the median absolute deviation: up to half of the values may be anything.
pub(super) fn center_and_spread(values: &[f64]) -> (f64, f64) {
    let center = median(values.iter().copied());
    (center, NORMAL_CONSISTENCY * median(values.iter().map(|value| (value - center).abs())))
}

/// The value that lies below half of the weight of `(value, weight)`; `None` without weight.
pub(super) fn weighted_median(mut pairs: Vec<(f64, f64)>) -> Option<f64> {
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let half = pairs.iter().map(|pair| pair.1).sum::<f64>() / 2.0;
    let mut weight = 0.0;
    pairs.into_iter().find_map(|pair| {
        weight += pair.1;
        (weight >= half && half > 0.0).then_some(pair.0)
    })
}

/// Quantile of Student's t with `degrees` >= 1 of freedom, for `upper_tail` below 0.5.
///
/// Hill, Algorithm 396, Communications of the ACM 13 (1970): exact at 1 and 2 degrees, else good to 4 digits at the least.
pub(super) fn t_quantile(upper_tail: f64, degrees: f64) -> f64 {
    use std::f64::consts::FRAC_PI_2;
    let p = 2.0 * upper_tail;
    if degrees < 1.5 {
        return 1.0 / (p * FRAC_PI_2).tan();
    }
    if degrees < 2.5 {
        return (2.0 / (p * (2.0 - p)) - 2.0).sqrt();
    }
    let n = degrees;
    let a = 1.0 / (n - 0.5);
    let b = 48.0 / (a * a);
    let mut c = ((20_700.0 * a / b - 98.0) * a - 16.0) * a + 96.36;
    let d = ((94.5 / (b + c) - 3.0) / b + 1.0) * (a * FRAC_PI_2).sqrt() * n;
    let mut y = (d * p).powf(2.0 / n);
    if y > 0.05 + a {
        let x = -normal_quantile(p / 2.0);
        y = x * x;
        if n < 5.0 {
            c += 0.3 * (n - 4.5) * (x + 0.6);
        }
        c += (((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0) * x + b;
        y = (((((0.4 * y + 6.3) * y + 36.0) * y + 94.5) / c - y - 3.0) / b + 1.0) * x;
        y = (a * y * y).exp_m1();
    } else {
        y = ((1.0 / (((n + 6.0) / (n * y) - 0.089 * d - 0.822) * (n + 2.0) * 3.0) + 0.5 / (n + 4.0)) * y
            - 1.0)
            * (n + 1.0)
            / (n + 2.0)
            + 1.0 / y;
    }
    (n * y).sqrt()
}

/// Lower-tail quantile of the normal distribution for `p` below 0.5 (Abramowitz and Stegun 26.2.23, off by at most 4.5e-4).
fn normal_quantile(p: f64) -> f64 {
    let t = (-2.0 * p.ln()).sqrt();
    -(t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_printed_tables() {
        for (upper_tail, degrees, printed) in [
            (0.025, 1.0, 12.706),
            (0.025, 2.0, 4.303),
            (0.025, 3.0, 3.182),
            (0.025, 8.0, 2.306),
            (0.025, 30.0, 2.042),
            (0.0025, 5.0, 4.773),
            (0.005, 120.0, 2.617),
        ] {
            let quantile = t_quantile(upper_tail, degrees);
            assert!(
                (quantile / printed - 1.0).abs() < 2e-3,
                "t({upper_tail}, {degrees}) = {quantile}, not {printed}"
            );
        }
    }

    #[test]
    fn medians_of_odd_even_and_no_values() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([]), 0.0);
        assert_eq!(weighted_median(vec![(1.0, 1.0), (2.0, 5.0), (3.0, 1.0)]), Some(2.0));
        assert_eq!(weighted_median(vec![(1.0, 0.0)]), None);
    }
}
