//! When to write a heap profile: usage has passed a threshold, and was well below it before.

/// Percent of the limit at which a profile is written.
pub(super) const PERCENT: [u8; 3] = [70, 85, 95];
/// How far usage must fall below a threshold before that one counts again, in percent of the limit.
const FALL_PERCENT: f64 = 5.0;

/// Which thresholds were passed and not yet left behind.
#[derive(Debug, Default)]
pub(super) struct Thresholds {
    passed: [bool; PERCENT.len()],
}

impl Thresholds {
    /// Takes a reading as a share of the limit; returns the thresholds that it is the first to pass, smallest first.
    pub fn pass(&mut self, share: f64) -> Vec<u8> {
        let percent = share * 100.0;
        let mut news = Vec::new();
        for (passed, threshold) in self.passed.iter_mut().zip(PERCENT) {
            if percent >= f64::from(threshold) {
                if !std::mem::replace(passed, true) {
                    news.push(threshold);
                }
            } else if percent < f64::from(threshold) - FALL_PERCENT {
                *passed = false;
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(shares: &[f64]) -> Vec<Vec<u8>> {
        let mut thresholds = Thresholds::default();
        shares.iter().map(|share| thresholds.pass(*share)).collect()
    }

    #[test]
    fn each_is_passed_once() {
        let none = Vec::new;
        assert_eq!(
            passes(&[0.1, 0.7, 0.72, 0.86, 0.96, 1.2]),
            [none(), vec![70], none(), vec![85], vec![95], none()]
        );
        assert_eq!(passes(&[0.1, 0.99]), [none(), vec![70, 85, 95]], "a jump passes all of them");
    }

    #[test]
    fn usage_has_to_fall_by_5_points_before_a_threshold_counts_again() {
        let swings = passes(&[0.71, 0.66, 0.71, 0.651, 0.9, 0.649, 0.71, 0.86]);
        let expected: [&[u8]; 8] = [&[70], &[], &[], &[], &[85], &[], &[70], &[85]];
        assert_eq!(swings, expected);
    }
}
