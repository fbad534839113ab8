//! A median and an interval for it that holds whatever the distribution is.

/// A median with the interval that covers the true one with at least 95 % probability.
pub struct Median {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

/// By order statistics: of n values, the k-th smallest and the k-th largest enclose the true median unless fewer than k
/// fall on one side of it, and how many do is a binomial with p = 1/2. The largest k that leaves at most 5 % is taken;
/// fewer than six values can't give that, and the interval is then their whole range.
pub fn median_with_interval(values: &mut [f64]) -> Median {
    values.sort_by(f64::total_cmp);
    let count = values.len();
    let median = f64::midpoint(values[(count - 1) / 2], values[count / 2]);
    let skipped = skipped_on_each_side(count);
    Median { median, low: values[skipped], high: values[count - 1 - skipped] }
}

fn skipped_on_each_side(count: usize) -> usize {
    let mut probability = 0.5_f64.powi(count as i32);
    let mut tail = 0.0;
    let mut skipped = 0;
    while skipped < count / 2 {
        // P(exactly `skipped` of `count` fall below the median) joins the tail.
        tail += probability;
        if 2.0 * tail > 0.05 {
            break;
        }
        skipped += 1;
        probability *= (count - skipped + 1) as f64 / skipped as f64;
    }
    skipped.saturating_sub(1)
}
