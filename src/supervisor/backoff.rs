//! How long to wait before the next start: at once after a long life, longer and longer in a crash loop.

use std::time::Duration;

/// A service that lived at least this long was no part of a crash loop.
pub const LONG_LIFE: Duration = Duration::from_secs(10);

/// Delays after the first, second, ... quick death in a row; the last one holds from there on.
const DELAYS_MS: [u64; 7] = [0, 500, 1_000, 2_000, 4_000, 8_000, 10_000];

/// Counts quick deaths in a row.
#[derive(Debug, Default)]
pub struct Backoff {
    quick_deaths: usize,
}

impl Backoff {
    /// The delay before the next start of a service that has just died after `lived`.
    pub fn after(&mut self, lived: Duration) -> Duration {
        if lived >= LONG_LIFE {
            self.quick_deaths = 0;
        }
        let delay = DELAYS_MS[self.quick_deaths.min(DELAYS_MS.len() - 1)];
        self.quick_deaths += 1;
        Duration::from_millis(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_quick_deaths_in_a_row_make_it_wait() {
        let mut backoff = Backoff::default();
        let quick = Duration::from_millis(100);
        assert_eq!(backoff.after(quick), Duration::ZERO, "the first restart is immediate");

        let delays: Vec<_> = (0..20).map(|_| backoff.after(quick)).collect();
        assert!(delays.is_sorted(), "{delays:?}");
        assert!(delays[0] > Duration::ZERO);
        assert_eq!(delays[19], Duration::from_secs(10), "the wait is bounded");

        assert_eq!(backoff.after(LONG_LIFE), Duration::ZERO, "a long life is forgiven");
        assert!(backoff.after(quick) > Duration::ZERO);
    }
}
