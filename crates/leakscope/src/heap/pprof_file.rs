//! Reads the pprof profiles that [`Snapshot::to_pprof`] writes back into snapshots, so that two saved ones can be compared.
//!
//! A saved profile may come from another process, where the same code lies at other addresses: here what a frame says
//! stands for its address.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    io::Read,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use flate2::read::GzDecoder;

use super::{
    Error, Snapshot,
    estimate::Estimate,
    frame::{self, Frame, Owner},
    pprof::{SITE_LABEL, site_name},
    protobuf::{Value, fields, packed},
    snapshot::Stack,
    symbolize::Trace,
};

/// A profile of 26,000 stacks, more than any program here had, takes a tenth of it.
const LARGEST_BYTES: u64 = 256 << 20;

/// Reads a profile as `GET /debug/pprof/heap` gives it. Errors of the figures are worked out anew from the sampling
/// interval that it names.
///
/// # Errors
/// [`Error::Failed`]: not gzip, not pprof, or not one of leakscope's profiles of what is held; says which.
pub fn read_pprof(profile: &[u8]) -> Result<Snapshot, Error> {
    let mut bytes = Vec::new();
    GzDecoder::new(profile)
        .take(LARGEST_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::Failed(format!("not a gzipped profile: {error}")))?;
    let tables =
        Tables::read(&bytes).map_err(|problem| Error::Failed(format!("not a pprof profile: {problem}")))?;
    tables.snapshot().map_err(Error::Failed)
}

type Message<'a> = Vec<(u64, Value<'a>)>;

/// The profile's tables as they stand, which refer to each other by id and index.
struct Tables<'a> {
    strings: Vec<&'a str>,
    sample_types: Vec<Message<'a>>,
    samples: Vec<Message<'a>>,
    locations: HashMap<u64, Message<'a>>,
    functions: HashMap<u64, Message<'a>>,
    time_nanos: u64,
    duration_nanos: u64,
    period: u64,
}

impl<'a> Tables<'a> {
    fn read(profile: &'a [u8]) -> Result<Self, &'static str> {
        let profile = fields(profile)?;
        let tables = |field| messages(&profile, field);
        let by_id =
            |tables: Vec<Message<'a>>| tables.into_iter().map(|table| (number(&table, 1), table)).collect();
        let strings =
            all(&profile, 6).map(|string| std::str::from_utf8(string).map_err(|_| "a string is not UTF-8"));
        Ok(Self {
            strings: strings.collect::<Result<_, _>>()?,
            sample_types: tables(1)?,
            samples: tables(2)?,
            locations: by_id(tables(4)?),
            functions: by_id(tables(5)?),
            time_nanos: number(&profile, 9),
            duration_nanos: number(&profile, 10),
            period: number(&profile, 12),
        })
    }

    fn string(&self, index: u64) -> &'a str {
        usize::try_from(index).ok().and_then(|index| self.strings.get(index)).copied().unwrap_or_default()
    }

    fn snapshot(&self) -> Result<Snapshot, String> {
        let column =
            |kind| self.sample_types.iter().position(|value_type| self.string(number(value_type, 1)) == kind);
        let (Some(count), Some(bytes)) = (column("inuse_objects"), column("inuse_space")) else {
            return Err("not a profile of what is held: it has no inuse_objects and inuse_space".to_owned());
        };
        if self.duration_nanos != 0 {
            return Err("a profile of growth (`?seconds=`), not of what is held".to_owned());
        }
        let mut held: HashMap<Arc<[u64]>, (Trace, u64, u64)> = HashMap::new();
        for sample in &self.samples {
            let trace = self.trace(sample)?;
            let values = numbers(sample, 2)?;
            let value = |column: usize| {
                let value = values.get(column).copied().unwrap_or(0);
                i64::try_from(value).map(|_| value).map_err(|_| "a sample holds less than nothing") // two's complement
            };
            let (count, bytes) = (value(count)?, value(bytes)?);
            let sum = held.entry(Arc::clone(&trace.addresses)).or_insert((trace, 0, 0));
            sum.1 = sum.1.saturating_add(count);
            sum.2 = sum.2.saturating_add(bytes);
        }
        let stack = |(trace, count, bytes)| Stack {
            trace: Arc::new(trace),
            live: Estimate::of_unbiased(count, bytes, self.period),
            taken: None,
        };
        let taken_at = UNIX_EPOCH + Duration::from_nanos(self.time_nanos);
        Ok(Snapshot::new(taken_at, self.period, held.into_values().map(stack).collect(), Vec::new()))
    }

    fn trace(&self, sample: &Message<'a>) -> Result<Trace, String> {
        let frames: Box<[Arc<[Frame]>]> = numbers(sample, 1)?
            .into_iter()
            .map(|location| self.frames(location))
            .collect::<Result<_, _>>()?;
        let labels = messages(sample, 3)?;
        let label = labels.iter().find(|label| self.string(number(label, 1)) == SITE_LABEL);
        let name = label.map(|label| self.string(number(label, 2)));
        let name = name.ok_or_else(|| {
            format!("not one of leakscope's profiles: a sample has no label `{SITE_LABEL}`")
        })?;
        let site =
            frames.iter().flat_map(|frames| frames.iter()).find(|frame| site_name(frame) == name).cloned();
        let site = site.unwrap_or_else(|| Frame {
            function: name.into(),
            file: "".into(),
            line: 0,
            owner: Owner::Runtime,
        });
        let addresses = frames.iter().map(stand_in).collect();
        Ok(Trace { addresses, frames, site })
    }

    fn frames(&self, location: u64) -> Result<Arc<[Frame]>, &'static str> {
        let location = self.locations.get(&location).ok_or("a location that it does not describe")?;
        messages(location, 4)?.iter().map(|line| self.frame(line)).collect()
    }

    fn frame(&self, line: &Message<'a>) -> Result<Frame, &'static str> {
        let function = self.functions.get(&number(line, 1)).ok_or("a function that it does not describe")?;
        let (name, file) = (self.string(number(function, 2)), self.string(number(function, 4)));
        let line = u32::try_from(number(line, 2)).unwrap_or(0);
        // Whose code it is was seen by its full path, which is not written down; the growth site is.
        Ok(Frame { function: name.into(), file: file.into(), line, owner: frame::owner(name, None) })
    }
}

/// What identifies frames in place of their address.
fn stand_in(frames: &Arc<[Frame]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for frame in frames.iter() {
        (&frame.function, &frame.file, frame.line).hash(&mut hasher);
    }
    hasher.finish()
}

/// A number field; 0, the default, where it is not there.
fn number(message: &Message<'_>, field: u64) -> u64 {
    let found = message.iter().rev().find(|(number, _)| *number == field); // the last one counts
    found.map_or(0, |(_, value)| if let Value::Number(number) = value { *number } else { 0 })
}

/// A repeated number field, packed or not.
fn numbers(message: &Message<'_>, field: u64) -> Result<Vec<u64>, &'static str> {
    let mut numbers = Vec::new();
    for (_, value) in message.iter().filter(|(number, _)| *number == field) {
        match value {
            Value::Number(number) => numbers.push(*number),
            Value::Bytes(bytes) => numbers.extend(packed(bytes)?),
        }
    }
    Ok(numbers)
}

fn all<'a>(message: &Message<'a>, field: u64) -> impl Iterator<Item = &'a [u8]> {
    message.iter().filter_map(move |(number, value)| match value {
        Value::Bytes(bytes) if *number == field => Some(*bytes),
        _ => None,
    })
}

fn messages<'a>(message: &Message<'a>, field: u64) -> Result<Vec<Message<'a>>, &'static str> {
    all(message, field).map(fields).collect()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::heap::{By, diff};

    const INTERVAL: u64 = 1 << 16;
    const SIZE: u64 = 12_288;

    fn frame(function: &str, line: u32, owner: Owner) -> Frame {
        Frame { function: function.into(), file: "src/shop.rs".into(), line, owner }
    }

    /// One stack for each line, of so many samples, in code that was loaded at `load_address`.
    fn snapshot(load_address: u64, lines: &[(u32, u64)]) -> Snapshot {
        let stack = |&(line, samples): &(u32, u64)| {
            let frames: [Arc<[Frame]>; 2] = [
                [frame("alloc::vec::Vec<T>::push", 1, Owner::Runtime)].into(),
                [frame("shop::store", line, Owner::Application), frame("shop::main", 9, Owner::Application)]
                    .into(),
            ];
            let site = frames[1][0].clone();
            let addresses = [load_address, load_address + u64::from(line)].into();
            let trace = Trace { addresses, frames: frames.into(), site };
            Stack {
                trace: Arc::new(trace),
                live: Estimate::new(samples, samples * SIZE, INTERVAL),
                taken: None,
            }
        };
        Snapshot::new(SystemTime::now(), INTERVAL, lines.iter().map(stack).collect(), Vec::new())
    }

    #[track_caller]
    fn refused(profile: &[u8], says: &str) {
        let error = read_pprof(profile).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn reads_what_was_written() {
        let written = snapshot(0x1000, &[(7, 40), (8, 3)]);
        let read = read_pprof(&written.to_pprof()).unwrap();
        assert_eq!(read.taken_at, written.taken_at);
        for by in [By::Line, By::Function, By::File, By::Stack] {
            let sites = |snapshot: &Snapshot| serde_json::to_value(snapshot.sites(by)).unwrap();
            // Figures are written as whole numbers, from which the errors are worked out anew.
            let (was, is) = (sites(&written), sites(&read));
            for (was, is) in was.as_array().unwrap().iter().zip(is.as_array().unwrap()) {
                for (field, was) in was.as_object().unwrap() {
                    let close = match (was.as_u64(), is[field].as_u64()) {
                        (Some(was), Some(is)) => was.abs_diff(is) <= 1 + was / 50,
                        _ => *was == is[field],
                    };
                    assert!(close, "{by:?} {field}: {was} {}", is[field]);
                }
            }
        }
    }

    #[test]
    fn profiles_of_two_processes_can_be_compared() {
        let base = read_pprof(&snapshot(0x1000, &[(7, 40), (8, 10)]).to_pprof()).unwrap();
        let now = read_pprof(&snapshot(0x9000, &[(7, 90), (8, 10)]).to_pprof()).unwrap();
        let growth = diff(&base, &now, By::Line);
        assert_eq!(growth.len(), 1, "line 8 did not change: {growth:?}");
        assert_eq!(growth[0].site.location, "src/shop.rs:7");
        let sampled = Estimate::new(50, 50 * SIZE, INTERVAL);
        assert!((growth[0].bytes_diff as f64 / sampled.bytes - 1.0).abs() < 1e-3, "{growth:?} {sampled:?}");
    }

    #[test]
    fn what_is_no_such_profile_is_refused() {
        let base = snapshot(0x1000, &[(7, 40)]);
        let now = snapshot(0x1000, &[(7, 4)]); // a moment later
        refused(b"heap_v2/65536", "not a gzipped profile");
        refused(&now.growth_to_pprof(&base), "a profile of growth");
        let whole = now.to_pprof();
        refused(&whole[..whole.len() / 2], "not a gzipped profile");
        let gzipped = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, bytes).unwrap();
            encoder.finish().unwrap()
        };
        refused(&gzipped(b"hello"), "not a pprof profile");
        refused(&gzipped(b""), "no inuse_objects");
    }

    #[test]
    fn any_broken_byte_is_an_error_or_a_profile_but_no_panic() {
        let mut bytes = Vec::new();
        GzDecoder::new(snapshot(0x1000, &[(7, 40)]).to_pprof().as_slice()).read_to_end(&mut bytes).unwrap();
        for at in 0..bytes.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut broken = bytes.clone();
                broken[at] = byte;
                let _ = Tables::read(&broken).map(|tables| tables.snapshot());
            }
        }
    }
}
