//! What checks measure in a stretch of readings: requests, rates, growth, and whether memory was flat.

use super::evidence::ReadingEvidence;

/// Flat: the live heap moved by less.
pub const FLAT_BYTES: u64 = 2 << 20;
/// A load may pause for so long and still be one load: a busy machine stalls.
const STALL_SECONDS: f64 = 4.0;
/// Requests that come at rates within this factor belong to one load.
const ALIKE_RATE: f64 = 1.6;
/// A rate is told over at least so long.
const STEP_SECONDS: f64 = 1.0;

/// Requests served in a stretch.
pub fn requests(stretch: &[ReadingEvidence]) -> u64 {
    let at = |reading: Option<&ReadingEvidence>| reading.map_or(0, |reading| reading.requests);
    at(stretch.last()).saturating_sub(at(stretch.first()))
}

/// Requests that any variant of that leak served in a stretch.
pub fn served(stretch: &[ReadingEvidence], leak: &str) -> u64 {
    let at = |reading: Option<&ReadingEvidence>| reading.map_or(0, |reading| reading.served(leak));
    at(stretch.last()).saturating_sub(at(stretch.first()))
}

/// How long a stretch is.
pub fn seconds(stretch: &[ReadingEvidence]) -> f64 {
    let at = |reading: Option<&ReadingEvidence>| reading.map_or(0.0, |reading| reading.seconds);
    at(stretch.last()) - at(stretch.first())
}

/// Requests a second; 0 for a stretch of no length.
pub fn rate(stretch: &[ReadingEvidence]) -> f64 {
    per(requests(stretch) as f64, seconds(stretch))
}

/// What the live heap grew by.
pub fn growth_bytes(stretch: &[ReadingEvidence]) -> f64 {
    let at =
        |reading: Option<&ReadingEvidence>| reading.map_or(0.0, |reading| reading.live_heap_bytes as f64);
    at(stretch.last()) - at(stretch.first())
}

/// What the live heap grew by for each request.
pub fn bytes_per_request(stretch: &[ReadingEvidence]) -> f64 {
    per(growth_bytes(stretch), requests(stretch) as f64)
}

fn per(amount: f64, count: f64) -> f64 {
    if count > 0.0 { amount / count } else { 0.0 }
}

/// How far the live heap moved from the first quarter of a stretch to the last one; medians, since a heap profile that is
/// being taken shows as a peak.
pub fn drift_bytes(stretch: &[ReadingEvidence]) -> i64 {
    let quarter = (stretch.len() / 4).max(1).min(stretch.len());
    let first = median(&stretch[..quarter]);
    let last = median(&stretch[stretch.len() - quarter..]);
    last as i64 - first as i64
}

fn median(readings: &[ReadingEvidence]) -> u64 {
    let mut bytes: Vec<_> = readings.iter().map(|reading| reading.live_heap_bytes).collect();
    bytes.sort_unstable();
    bytes.get(bytes.len() / 2).copied().unwrap_or(0)
}

/// Whether memory was flat in a stretch.
pub fn is_flat(stretch: &[ReadingEvidence]) -> bool {
    drift_bytes(stretch).unsigned_abs() < FLAT_BYTES
}

/// The parts of a stretch without a pause.
pub fn busy(stretch: &[ReadingEvidence]) -> Vec<&[ReadingEvidence]> {
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
pub fn last_seconds(stretch: &[ReadingEvidence], seconds: f64) -> &[ReadingEvidence] {
    let Some(end) = stretch.last() else { return stretch };
    &stretch[stretch.partition_point(|reading| reading.seconds < end.seconds - seconds)..]
}

/// The loads in a stretch: parts in which requests came at about one rate.
pub fn loads(stretch: &[ReadingEvidence]) -> Vec<&[ReadingEvidence]> {
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
pub fn idle(stretch: &[ReadingEvidence], least_seconds: f64) -> Vec<&[ReadingEvidence]> {
    let still = |before: &ReadingEvidence, after: &ReadingEvidence| before.requests == after.requests;
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
pub fn told(stretch: &[ReadingEvidence]) -> String {
    let live =
        |reading: Option<&ReadingEvidence>| reading.map_or(0.0, |reading| reading.live_heap_bytes as f64);
    format!(
        "live heap {} -> {} over {} requests in {:.0} s",
        mib(live(stretch.first())),
        mib(live(stretch.last())),
        requests(stretch),
        seconds(stretch)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings at these seconds, with these requests and bytes of live heap.
    fn readings(of: &[(f64, u64, u64)]) -> Vec<ReadingEvidence> {
        let reading = |(seconds, requests, live_heap_bytes): &(f64, u64, u64)| ReadingEvidence {
            seconds: *seconds,
            requests: *requests,
            live_heap_bytes: *live_heap_bytes,
            ..ReadingEvidence::default()
        };
        of.iter().map(reading).collect()
    }

    /// A reading every two seconds, with so many requests between each and the next.
    fn traffic(steps: &[u64]) -> Vec<ReadingEvidence> {
        let mut all = vec![(0.0, 0, 0)];
        for (at, step) in steps.iter().enumerate() {
            all.push((2.0 * (at + 1) as f64, all[at].1 + step, 0));
        }
        readings(&all)
    }

    #[test]
    fn loads_are_told_apart_by_rate_and_their_ragged_ends_are_cut() {
        let stretch = traffic(&[0, 3, 40, 41, 38, 0, 0, 120, 200, 190, 210, 10]);
        let told: Vec<_> = loads(&stretch).into_iter().map(requests).collect();
        assert_eq!(told, [3, 119, 120, 600, 10]);
    }

    #[test]
    fn readings_close_to_each_other_split_no_load() {
        // An event wrote one down in the middle of a step, and one request fell between.
        let mut stretch = traffic(&[100, 100, 100]);
        let between = ReadingEvidence { seconds: 2.01, requests: 101, ..stretch[1].clone() };
        stretch.insert(2, between);
        assert_eq!(loads(&stretch).len(), 1);
    }

    #[test]
    fn a_stall_is_no_pause_and_a_pause_ends_a_load() {
        let stretch = traffic(&[0, 100, 0, 0, 200, 100, 0, 0, 0, 100, 0]);
        let told: Vec<_> =
            busy(&stretch).into_iter().map(|it| (it[0].seconds, requests(it), seconds(it))).collect();
        assert_eq!(told, [(2.0, 400, 10.0), (18.0, 100, 2.0)]);
        assert_eq!(idle(&stretch, 6.0).len(), 1);
        assert!(busy(&traffic(&[0, 0, 0])).is_empty() && busy(&[]).is_empty() && loads(&[]).is_empty());
    }

    #[test]
    fn a_peak_is_no_growth_and_growth_is() {
        let at = |n: u64, bytes: u64| (n as f64, n, (10 << 20) + bytes);
        let mut flat: Vec<_> = (0..12).map(|n| at(n, 1000 * (n % 3))).collect();
        flat[11].2 += 30 << 20;
        assert!(is_flat(&readings(&flat)));
        let grows: Vec<_> = (0..12).map(|n| at(n, n * (300 << 10))).collect();
        assert!(!is_flat(&readings(&grows)));
        assert_eq!(bytes_per_request(&readings(&grows)), f64::from(300 << 10));
    }

    #[test]
    fn the_end_of_a_load_is_its_last_seconds() {
        let stretch = traffic(&[100; 40]);
        assert_eq!((seconds(last_seconds(&stretch, 60.0)), rate(last_seconds(&stretch, 60.0))), (60.0, 50.0));
        assert_eq!(seconds(last_seconds(&stretch, 600.0)), 80.0);
    }
}
