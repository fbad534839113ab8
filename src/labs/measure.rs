//! What checks measure in a stretch of readings: requests, rates, growth, and whether memory was flat.

use super::evidence::Reading;

/// Flat: the live heap moved by less.
pub const FLAT_BYTES: u64 = 2 << 20;
/// A load may pause for so long and still be one load: a busy machine stalls.
const STALL_SECONDS: f64 = 4.0;
/// Requests that come at rates within this factor belong to one load.
const ALIKE_RATE: f64 = 1.6;
/// A rate is told over at least so long.
const STEP_SECONDS: f64 = 1.0;

/// Requests served in a stretch.
pub fn requests(stretch: &[Reading]) -> u64 {
    let at = |reading: Option<&Reading>| reading.map_or(0, |reading| reading.requests);
    at(stretch.last()).saturating_sub(at(stretch.first()))
}

/// Requests that any variant of that leak served in a stretch.
pub fn served(stretch: &[Reading], leak: &str) -> u64 {
    let at = |reading: Option<&Reading>| reading.map_or(0, |reading| reading.served(leak));
    at(stretch.last()).saturating_sub(at(stretch.first()))
}

/// How long a stretch is.
pub fn seconds(stretch: &[Reading]) -> f64 {
    let at = |reading: Option<&Reading>| reading.map_or(0.0, |reading| reading.seconds);
    at(stretch.last()) - at(stretch.first())
}

/// Requests a second; 0 for a stretch of no length.
pub fn rate(stretch: &[Reading]) -> f64 {
    per(requests(stretch) as f64, seconds(stretch))
}

/// What the live heap grew by.
pub fn growth_bytes(stretch: &[Reading]) -> f64 {
    let at = |reading: Option<&Reading>| reading.map_or(0.0, |reading| reading.live_heap_bytes as f64);
    at(stretch.last()) - at(stretch.first())
}

/// What the live heap grew by for each request.
pub fn bytes_per_request(stretch: &[Reading]) -> f64 {
    per(growth_bytes(stretch), requests(stretch) as f64)
}

fn per(amount: f64, count: f64) -> f64 {
    if count > 0.0 { amount / count } else { 0.0 }
}

/// How far the live heap moved from the first quarter of a stretch to the last one; medians, since a heap profile that is
/// being taken shows as a peak.
pub fn drift_bytes(stretch: &[Reading]) -> i64 {
    let quarter = (stretch.len() / 4).max(1).min(stretch.len());
    let first = median(&stretch[..quarter]);
    let last = median(&stretch[stretch.len() - quarter..]);
    last as i64 - first as i64
}

fn median(readings: &[Reading]) -> u64 {
    let mut bytes: Vec<_> = readings.iter().map(|reading| reading.live_heap_bytes).collect();
    bytes.sort_unstable();
    bytes.get(bytes.len() / 2).copied().unwrap_or(0)
}

/// Whether memory was flat in a stretch.
pub fn is_flat(stretch: &[Reading]) -> bool {
    drift_bytes(stretch).unsigned_abs() < FLAT_BYTES
}

/// The parts of a stretch without a pause.
pub fn busy(stretch: &[Reading]) -> Vec<&[Reading]> {
    let (mut parts, mut first, mut at) = (Vec::new(), 0, 0);
    for still in stretch.chunk_by(|before, after| before.requests == after.requests) {
        let next = at + still.len();
        if seconds(still) > STALL_SECONDS || at == 0 || next == stretch.len() {
            parts.push(&stretch[first..=at]);
            first = next - 1;
        }
        at = next;
    }
    parts.retain(|part| requests(part) > 0);
    parts
}

/// The end of a stretch: the readings of its last so many seconds.
pub fn last_seconds(stretch: &[Reading], seconds: f64) -> &[Reading] {
    let Some(end) = stretch.last() else { return stretch };
    &stretch[stretch.partition_point(|reading| reading.seconds < end.seconds - seconds)..]
}

/// The loads in a stretch: parts in which requests came at about one rate.
pub fn loads(stretch: &[Reading]) -> Vec<&[Reading]> {
    let (mut loads, mut first, mut last) = (Vec::new(), 0, 0);
    for next in 1..stretch.len() {
        let (load, step) = (&stretch[first..=last], &stretch[last..=next]);
        if seconds(step) < STEP_SECONDS && next + 1 < stretch.len() {
            continue; // too short to tell a rate
        }
        let (known, new) = (rate(load), rate(step));
        if last > first && !(known / ALIKE_RATE..=known * ALIKE_RATE).contains(&new) {
            loads.push(load);
            first = last;
        }
        last = next;
    }
    loads.extend(stretch.get(first..));
    loads.retain(|load| requests(load) > 0);
    loads
}

/// The parts of a stretch without a request, at least so long.
pub fn idle(stretch: &[Reading], least_seconds: f64) -> Vec<&[Reading]> {
    let still = |before: &Reading, after: &Reading| before.requests == after.requests;
    stretch.chunk_by(still).filter(|part| seconds(part) >= least_seconds).collect()
}

/// Whether an answer is within a share of the truth.
pub fn is_near(answer: f64, truth: f64, share: f64) -> bool {
    (answer - truth).abs() <= share * truth.abs()
}

/// `12.3 MiB`, for people.
pub fn mib(bytes: impl Into<f64>) -> String {
    format!("{:.1} MiB", bytes.into() / f64::from(1 << 20))
}

/// `live heap 18.2 -> 40.1 MiB over 1,000 requests in 20 s`, for people.
pub fn told(stretch: &[Reading]) -> String {
    let live = |reading: Option<&Reading>| reading.map_or(0.0, |reading| reading.live_heap_bytes as f64);
    format!(
        "live heap {} -> {} over {} requests in {:.0} s",
        mib(live(stretch.first())),
        mib(live(stretch.last())),
        requests(stretch),
        seconds(stretch)
    )
}
