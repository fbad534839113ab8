//! One value of each quantity at one moment, and the trend of many of them.

use super::{QUANTITIES, Quantity};
use crate::{
    memory::{self, LIVE_HEAP, RSS, UNACCOUNTED, USAGE},
    trend::{self, Config, TrendReport},
};

/// Stands for a value that could not be read. No quantity comes near it.
const UNKNOWN: i64 = i64::MIN;

/// One value of each of [`QUANTITIES`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Observation {
    /// Seconds since the start (monotonic clock).
    pub seconds: f64,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Requests served so far.
    pub requests: u64,
    /// In the order of [`QUANTITIES`].
    values: [i64; QUANTITIES.len()],
}

impl Observation {
    /// With the value that `value_of` gives for each quantity.
    pub fn new(
        seconds: f64,
        unix_ms: u64,
        requests: u64,
        mut value_of: impl FnMut(&Quantity) -> Option<i64>,
    ) -> Self {
        let values = QUANTITIES.each_ref().map(|quantity| value_of(quantity).unwrap_or(UNKNOWN));
        Self { seconds, unix_ms, requests, values }
    }

    /// The value of the quantity of that name; `None`: it could not be read, or there is none.
    pub fn value(&self, name: &str) -> Option<i64> {
        let index = QUANTITIES.iter().position(|quantity| quantity.name == name)?;
        Some(self.values[index]).filter(|value| *value != UNKNOWN)
    }

    /// Resident set size; 0 where it can't be read.
    pub fn rss_bytes(&self) -> u64 {
        self.size(RSS).unwrap_or(0)
    }

    /// What counts against the limit; 0 where it can't be read.
    pub fn usage_bytes(&self) -> u64 {
        self.size(USAGE).unwrap_or(0)
    }

    /// Live heap; RSS where jemalloc is not there.
    pub fn live_heap_bytes(&self) -> u64 {
        self.size(LIVE_HEAP).unwrap_or_else(|| self.rss_bytes())
    }

    fn size(&self, name: &str) -> Option<u64> {
        self.value(name).and_then(|value| u64::try_from(value).ok())
    }
}

impl From<&Observation> for memory::Sample {
    fn from(of: &Observation) -> Self {
        Self {
            seconds: of.seconds,
            rss_bytes: of.rss_bytes(),
            live_heap_bytes: of.live_heap_bytes(),
            usage_bytes: of.usage_bytes(),
            unaccounted_bytes: of.value(UNACCOUNTED).unwrap_or(0),
            requests: of.requests,
        }
    }
}

/// The trend of each quantity that has one and was ever read, from observations of one process, oldest first.
pub(crate) fn report(observations: &[Observation], limit_bytes: Option<u64>, config: &Config) -> TrendReport {
    let series = QUANTITIES.iter().filter_map(|quantity| {
        let samples: Vec<_> = observations.iter().filter_map(|of| sample(of, quantity)).collect();
        Some(trend::Column {
            name: quantity.name,
            unit: quantity.unit,
            basis: quantity.basis,
            negligible_growth: quantity.negligible_growth?,
            samples,
        })
        .filter(|series| !series.samples.is_empty())
    });
    let usage_bytes = observations.last().map(Observation::usage_bytes);
    trend::report_of(series, usage_bytes.zip(limit_bytes), config)
}

fn sample(of: &Observation, quantity: &Quantity) -> Option<trend::Sample> {
    let value = of.value(quantity.name)?;
    Some(trend::Sample { seconds: of.seconds, bytes: value as f64, requests: of.requests })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trend::{Basis, SeriesTrend, Verdict};

    /// A minute in which `name` grows by so much a second and everything else that can be read stands still.
    fn minute(name: &str, growth: i64, unknown: &[&str]) -> Vec<Observation> {
        let value = |second: i64, quantity: &Quantity| {
            let moved = if quantity.name == name { growth * second } else { 0 };
            (!unknown.contains(&quantity.name)).then_some(1_000 + moved)
        };
        (0..60)
            .map(|second| {
                Observation::new(second as f64, 0, 50 * second as u64, |quantity| value(second, quantity))
            })
            .collect()
    }

    #[test]
    fn a_count_has_a_trend_of_its_own_and_no_part_in_the_verdict_on_memory() {
        let report = report(&minute("open_descriptors", 2, &[]), None, &Config::default());
        assert_eq!(report.trend.verdict, Verdict::Flat);
        let SeriesTrend::Count(descriptors) = &report.series["open_descriptors"] else {
            panic!("{report:#?}")
        };
        assert_eq!(descriptors.verdict, Verdict::Growing);
        assert_eq!(descriptors.per_second.map(|slope| slope.value.round()), Some(2.0));
        assert_eq!(descriptors.per_request.map(|slope| (100.0 * slope.bytes.value).round()), Some(4.0));
        assert!(!report.series.contains_key(USAGE), "it is compared with the limit, and that is all");
    }

    #[test]
    fn without_a_live_heap_the_answer_rests_on_rss() {
        for (growth, verdict) in [(0, Verdict::Flat), (1 << 20, Verdict::Growing)] {
            let report = report(&minute(RSS, growth, &[LIVE_HEAP]), None, &Config::default());
            assert_eq!((report.basis, report.trend.verdict), (Basis::Rss, verdict));
            assert!(!report.series.contains_key(LIVE_HEAP));
        }
    }

    #[test]
    fn names_are_unique_and_what_decides_has_a_trend() {
        for (index, quantity) in QUANTITIES.iter().enumerate() {
            assert!(QUANTITIES[..index].iter().all(|other| other.name != quantity.name));
            assert!(quantity.basis.is_none() || quantity.negligible_growth.is_some(), "{}", quantity.name);
        }
    }
}
