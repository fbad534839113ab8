//! From the pieces to the answer.

use serde::{Deserialize, Serialize};

use super::{
    Config, Interval, PerRequest, Trend,
    jumps::{self, Habit, Jump},
    line::Levels,
    series::Series,
    slope::{self, Slope},
    stretch::{self, Stretch},
};

/// Fewest samples that are judged.
const FEWEST_SAMPLES: usize = 10;
/// Tail beyond which a slope counts as growth: stricter than the interval, since the question is asked again every second.
const GROWTH_TAIL: f64 = 0.001;
/// The same for the few troughs of a sawtooth.
const GROWTH_TAIL_OF_TROUGHS: f64 = 0.005;
/// Tail of the upper bound that `flat` must stay under: an equivalence test at 5 %, as usual (Schuirmann 1987).
const FLAT_TAIL: f64 = 0.05;
/// Troughs that rise by this share of the drop before them are no sawtooth's; nor is a tooth that rises so much above all before.
const ABOVE_TEETH: f64 = 0.25;
/// Noises by which a level must be higher to be called higher.
const CLEARLY: f64 = 3.0;

/// Whether memory grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::Verdict))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It grows, and nothing seen says that it stops.
    Growing,
    /// It does not grow: more than a few times the noise would have been seen. Falling is `flat` too.
    Flat,
    /// The samples do not tell yet.
    Undecided,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Growing, Self::Flat, Self::Undecided];

    /// As it is serialized: `growing`, `flat` or `undecided`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Growing => "growing",
            Self::Flat => "flat",
            Self::Undecided => "undecided",
        }
    }
}

/// What would decide an undecided series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(as = leakscope::DecidesIn))]
pub struct DecidesIn {
    /// About so many more seconds of samples.
    pub seconds: f64,
    /// Requests in that time at the rate of the window; `None` where none are served.
    pub requests: Option<u64>,
    /// The same in words, with the reason.
    pub text: String,
}

/// What the figures rest on.
struct Evidence {
    /// Seconds of it.
    seconds: f64,
    /// Requests in it.
    requests: f64,
    per_second: Option<Slope>,
    per_request: Option<Slope>,
    /// Whether requests, not time, drive the series.
    by_request: bool,
    /// Standard deviation of the samples around the line: of all that moves them but the trend.
    noise: f64,
    /// Error allowed when a slope is called growth.
    growth_tail: f64,
    /// Bytes to go before growth since the last drop is more than a tooth of a sawtooth.
    unproven_bytes: Option<f64>,
}

impl Evidence {
    /// Bytes that a slope against what drives the series comes to over the whole of it.
    fn growth_at(&self, slope: f64) -> f64 {
        slope * if self.by_request { self.requests } else { self.seconds }
    }

    /// Whether the slope is growth, beyond chance and beyond what does not matter.
    fn grows(&self, config: &Config) -> bool {
        self.driving().is_some_and(|slope| {
            slope.is_positive(self.growth_tail) && self.growth_at(slope.value) > config.negligible_bytes
        })
    }

    /// Slope against what drives the series.
    fn driving(&self) -> Option<Slope> {
        if self.by_request { self.per_request } else { self.per_second }
    }

    /// Bytes per second, whatever drives the series.
    fn rate(&self) -> Option<Interval> {
        let interval = self.driving()?.interval();
        let factor = if self.by_request { self.requests / self.seconds } else { 1.0 };
        Some(Interval {
            value: interval.value * factor,
            low: interval.low * factor,
            high: interval.high * factor,
        })
    }
}

/// The answer for one series.
pub(super) fn judge(series: &Series, headroom_bytes: Option<f64>, config: &Config) -> Trend {
    let evidence = if series.len() < FEWEST_SAMPLES { None } else { gather(series, config) };
    let mut trend = Trend {
        verdict: Verdict::Undecided,
        decides_in: None,
        window_seconds: series.seconds_since(0),
        samples: series.len(),
        stretch_seconds: series.seconds_since(0),
        noise_bytes: None,
        bytes_per_second: None,
        bytes_per_request: None,
        time_to_limit_seconds: None,
        requests_to_limit: None,
    };
    let Some(evidence) = evidence else {
        let pace = if series.len() > 1 { trend.window_seconds / (series.len() - 1) as f64 } else { 1.0 };
        let missing = FEWEST_SAMPLES.saturating_sub(series.len()).max(1) as f64;
        trend.decides_in =
            Some(decides_in(missing * pace.max(1.0), series, "too few samples since the start"));
        return trend;
    };
    trend.stretch_seconds = evidence.seconds;
    trend.noise_bytes = Some(evidence.noise);
    trend.bytes_per_second = evidence.rate();
    trend.bytes_per_request =
        evidence.per_request.map(|slope| PerRequest { bytes: slope.interval(), r2: slope.r2 });
    (trend.verdict, trend.decides_in) = decide(&evidence, series, config);
    if trend.verdict == Verdict::Growing {
        let until = |slope: f64| headroom_bytes.filter(|_| slope > 0.0).map(|bytes| bytes.max(0.0) / slope);
        trend.time_to_limit_seconds = trend.bytes_per_second.and_then(|rate| until(rate.value));
        trend.requests_to_limit = trend
            .bytes_per_request
            .filter(|per_request| per_request.bytes.low > 0.0)
            .and_then(|per_request| until(per_request.bytes.value))
            .map(|requests| requests as u64);
    }
    trend
}

/// Reads the series; `None` where neither time nor requests move.
fn gather(series: &Series, config: &Config) -> Option<Evidence> {
    let by_request = requests_explain_more(series);
    let x = if by_request { &series.requests } else { &series.seconds };
    let found = jumps::find(x, &series.bytes, config.negligible_bytes);
    // Of the troughs, where that is growth: by so much each tooth is expected to reach higher.
    let mut rise = 0.0;
    let whole = match jumps::habit(&found) {
        Habit::Teeth(starts) => {
            let troughs = troughs(series, &starts, by_request);
            let rising = troughs.as_ref().filter(|troughs| troughs.grows(config));
            rise = rising.and_then(Evidence::driving).map_or(0.0, |slope| slope.value);
            troughs
        }
        Habit::Stair => straight(series, by_request, &found, Levels::new([])),
        Habit::Shifts(levels) => straight(series, by_request, &found, levels),
    };
    let level: Vec<f64> = x.iter().zip(&series.bytes).map(|(x, bytes)| bytes - rise * x).collect();
    let drops: Vec<usize> = jumps::resets(&found).iter().map(|drop| drop.index).collect();
    if is_one_more_tooth(x, &level, &drops) {
        return whole;
    }
    // What was held before the last drop tells nothing of what came after it: a run of its own.
    let run =
        drops.last().and_then(|last| gather(&series.since(*last), config)).filter(|run| run.grows(config));
    let own = run.map(|run| Evidence { unproven_bytes: unproven(&level, &found, run.noise), ..run });
    // Where the troughs rise, growth is proven, whichever it is.
    own.filter(|run| rise == 0.0 || run.unproven_bytes.is_none()).or(whole)
}

/// The newest straight stretch, after jumps that are no habit.
fn straight(series: &Series, by_request: bool, found: &[Jump], levels: Levels) -> Option<Evidence> {
    let x = if by_request { &series.requests } else { &series.seconds };
    let Stretch { from, levels } = stretch::newest(x, &series.bytes, levels);
    let mut found = found.to_vec();
    found.retain(|jump| jump.index <= from);
    found.extend(levels.changes().iter().map(|change| jumps::at(from + change, x, &series.bytes)));
    let bytes = &series.bytes[from..];
    let swings = levels.count() > 2 * jumps::HABIT;
    let mut evidence = Evidence {
        seconds: series.seconds_since(from),
        requests: series.requests_since(from),
        per_second: slope::fit(&series.seconds[from..], bytes, &levels),
        per_request: slope::fit(&series.requests[from..], bytes, &levels),
        by_request,
        noise: 0.0,
        growth_tail: GROWTH_TAIL,
        unproven_bytes: None,
    };
    evidence.noise = match swings {
        true => swing(&x[from..], bytes),
        false => evidence.driving()?.noise,
    };
    evidence.unproven_bytes = unproven(&series.bytes, &found, evidence.noise);
    Some(evidence)
}

/// Standard deviation around one straight line through everything, jumps and teeth included.
fn swing(x: &[f64], bytes: &[f64]) -> f64 {
    slope::fit(x, bytes, &Levels::new([])).map_or(0.0, |line| line.noise)
}

/// Whether the series keeps closer to a line over requests than to one over time.
fn requests_explain_more(series: &Series) -> bool {
    let spread = |x: &[f64]| {
        let slope = jumps::rough_slope(x, &series.bytes)?;
        let lag = (x.len() / 8).max(1);
        let pairs = x.windows(lag + 1).zip(series.bytes.windows(lag + 1));
        Some(pairs.map(|(x, y)| (y[lag] - y[0] - slope * (x[lag] - x[0])).abs()).sum::<f64>())
    };
    match (spread(&series.requests), spread(&series.seconds)) {
        (Some(over_requests), Some(over_time)) => over_requests <= 1.1 * over_time,
        (over_requests, _) => over_requests.is_some(),
    }
}

/// A sawtooth speaks by its troughs alone: the lowest of the first samples after each drop.
fn troughs(series: &Series, starts: &[usize], by_request: bool) -> Option<Evidence> {
    let lowest = |start: usize| {
        let end = (start + 5).min(series.len());
        (start..end).min_by(|a, b| series.bytes[*a].total_cmp(&series.bytes[*b]))
    };
    let at: Vec<usize> = starts.iter().copied().filter_map(lowest).collect();
    let pick = |column: &[f64]| at.iter().map(|i| column[*i]).collect::<Vec<f64>>();
    let bytes = pick(&series.bytes);
    Some(Evidence {
        seconds: series.seconds_since(0),
        requests: series.requests_since(0),
        per_second: slope::fit_independent(&pick(&series.seconds), &bytes),
        per_request: slope::fit_independent(&pick(&series.requests), &bytes),
        by_request,
        noise: swing(if by_request { &series.requests } else { &series.seconds }, &series.bytes),
        growth_tail: GROWTH_TAIL_OF_TROUGHS,
        unproven_bytes: None,
    })
}

/// Whether what came after the last of these drops is no higher, and not clearly longer, than what came before one of them.
fn is_one_more_tooth(x: &[f64], level: &[f64], drops: &[usize]) -> bool {
    let (Some(last), Some(now)) = (drops.last(), level.len().checked_sub(1)) else { return true };
    let starts = std::iter::once(&0).chain(drops);
    let longest = starts.zip(drops).map(|(start, end)| x[*end] - x[*start]).fold(0.0, f64::max);
    x[now] - x[*last] <= (1.0 + ABOVE_TEETH) * longest && level[now] <= highest(&level[..*last])
}

fn highest(bytes: &[f64]) -> f64 {
    bytes.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// After a drop that was no burst's end, growth must reach clearly above all before, or its trough must lie there: else it may be a tooth.
fn unproven(bytes: &[f64], found: &[Jump], noise: f64) -> Option<f64> {
    let drop = jumps::resets(found).last().copied()?;
    let lowest = |part: &[f64]| part.iter().copied().fold(f64::INFINITY, f64::min);
    let rise = lowest(&bytes[drop.index..]) - lowest(&bytes[..drop.index]);
    let clearly = (-drop.bytes * ABOVE_TEETH).max(CLEARLY * noise);
    if rise > clearly {
        return None;
    }
    let missing = highest(&bytes[..drop.index]) + clearly - bytes.last()?;
    (missing > 0.0).then_some(missing)
}

fn decide(evidence: &Evidence, series: &Series, config: &Config) -> (Verdict, Option<DecidesIn>) {
    let (Some(slope), Some(rate)) = (evidence.driving(), evidence.rate()) else {
        return (Verdict::Undecided, None);
    };
    let growth = evidence.growth_at(slope.value);
    let hidden = (config.flat_noise_ratio * evidence.noise).max(config.negligible_bytes);
    let grows = evidence.grows(config);
    match evidence.unproven_bytes {
        None if grows => (Verdict::Growing, None),
        _ if evidence.growth_at(slope.upper(FLAT_TAIL)) <= hidden => (Verdict::Flat, None),
        Some(missing) if grows => {
            let reason = "since the last drop it has not yet grown clearly past what it had been before";
            (Verdict::Undecided, Some(decides_in(missing / rate.value, series, reason)))
        }
        _ => {
            // The interval of the growth shrinks with the square root of the time.
            let reach = evidence.growth_at(slope.upper(FLAT_TAIL)) - growth;
            let to_flat = if growth < hidden { (reach / (hidden - growth)).powi(2) } else { f64::INFINITY };
            let to_growth = if growth > 0.0 { (1.6 * reach / growth).powf(2.0 / 3.0) } else { f64::INFINITY };
            let more = (to_flat.min(to_growth) - 1.0).clamp(0.1, 3.0) * evidence.seconds;
            let seconds = more.min(config.window_seconds);
            (
                Verdict::Undecided,
                Some(decides_in(seconds, series, "the noise is still as large as the growth")),
            )
        }
    }
}

fn decides_in(seconds: f64, series: &Series, reason: &str) -> DecidesIn {
    let seconds = seconds.max(1.0).round();
    let elapsed = series.seconds_since(0);
    let rate = if elapsed > 0.0 { series.requests_since(0) / elapsed } else { 0.0 };
    let requests = (rate > 0.0).then(|| (rate * seconds).ceil() as u64);
    let time = if seconds < 90.0 {
        format!("{seconds:.0} more seconds")
    } else {
        format!("{:.0} more minutes", (seconds / 60.0).ceil())
    };
    let text = match requests {
        Some(requests) => format!("{time}, or {requests} more requests: {reason}"),
        None => format!("{time}: {reason}"),
    };
    DecidesIn { seconds, requests, text }
}
