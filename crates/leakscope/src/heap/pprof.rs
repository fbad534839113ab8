//! Snapshots in the format of pprof: protobuf, gzipped, for `go tool pprof`, Pyroscope, Parca and others.
//!
//! The messages are those of profile.proto (github.com/google/pprof/blob/main/proto/profile.proto); field numbers stand
//! beside their use. Everything is symbolized already, inlined frames included, so that no reader needs the binary.

use std::{
    collections::{BTreeSet, HashMap},
    io::Write,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use flate2::{Compression, write::GzEncoder};

use super::{
    Snapshot, debug_info,
    frame::{Frame, Owner},
    protobuf::Message,
    symbolize::Trace,
};
use crate::proc::CodeMapping;

/// The label of each sample that names its place, as our own reports do: `go tool pprof -tags` sums by it.
pub(super) const SITE_LABEL: &str = "allocated_at";

/// `file:line`, or the function where the file is unknown.
pub(super) fn site_name(site: &Frame) -> String {
    site.position().unwrap_or_else(|| site.function.to_string())
}

impl Snapshot {
    /// The snapshot as a pprof profile: `inuse_objects` and `inuse_space`, un-biased, whole stacks.
    pub fn to_pprof(&self) -> Vec<u8> {
        let samples = self.stacks.iter().map(|stack| (&*stack.trace, stack.live.count, stack.live.bytes));
        Encoder::new(self).encode(samples, Duration::ZERO)
    }

    /// What changed since `base`, as a pprof profile: shrinking stacks have negative values.
    pub fn growth_to_pprof(&self, base: &Self) -> Vec<u8> {
        let mut changes: HashMap<&[u64], (&Trace, f64, f64)> = HashMap::new();
        for (snapshot, sign) in [(base, -1.0), (self, 1.0)] {
            for stack in &snapshot.stacks {
                let change = changes.entry(&stack.trace.addresses).or_insert((&stack.trace, 0.0, 0.0));
                change.1 += sign * stack.live.count;
                change.2 += sign * stack.live.bytes;
            }
        }
        let between = self.taken_at.duration_since(base.taken_at).unwrap_or_default();
        Encoder::new(self).encode(changes.into_values(), between)
    }
}

/// Builds one profile. Tables refer to each other by ids, which start at 1; strings by index, where 0 is the empty one.
struct Encoder<'a> {
    snapshot: &'a Snapshot,
    profile: Message,
    strings: HashMap<String, u64>,
    functions: HashMap<(Arc<str>, Arc<str>), u64>,
    locations: HashMap<u64, u64>,
}

impl<'a> Encoder<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        let mut encoder = Self {
            snapshot,
            profile: Message::default(),
            strings: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
        };
        encoder.string("");
        encoder
    }

    fn encode(mut self, samples: impl Iterator<Item = (&'a Trace, f64, f64)>, duration: Duration) -> Vec<u8> {
        for (kind, unit) in [("inuse_objects", "count"), ("inuse_space", "bytes")] {
            let value_type = self.value_type(kind, unit);
            self.profile.message(1, &value_type); // sample_type
        }
        for (index, mapping) in self.snapshot.mappings.iter().enumerate() {
            self.mapping(index as u64 + 1, mapping);
        }
        let mut inner = BTreeSet::new();
        let mut outer = BTreeSet::new();
        for (trace, count, bytes) in samples {
            let (count, bytes) = (count.round() as i64, bytes.round() as i64);
            if (count, bytes) == (0, 0) {
                continue;
            }
            let locations: Vec<u64> = trace
                .addresses
                .iter()
                .zip(&trace.frames)
                .map(|(address, frames)| self.location(*address, frames))
                .collect();
            let mut sample = Message::default();
            sample.packed(1, locations); // location_id
            sample.packed(2, [count as u64, bytes as u64]); // value
            let mut label = Message::default();
            label.number(1, self.string(SITE_LABEL)); // key
            label.number(2, self.string(&site_name(&trace.site))); // str
            sample.message(3, &label); // label
            self.profile.message(2, &sample);
            let frames: Vec<&Frame> = trace.frames().collect();
            if let Some(asking) = frames.iter().position(|frame| frame.owner != Owner::Runtime) {
                inner.extend(frames[..asking].iter().map(|frame| &*frame.function));
                outer.extend(frames[asking..].iter().map(|frame| &*frame.function));
            }
        }
        let drop_frames = self.string(&drop_frames(inner.difference(&outer).copied()));
        self.profile.number(7, drop_frames);
        let taken_at = self.snapshot.taken_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.profile.number(9, taken_at.as_nanos() as u64); // time_nanos
        self.profile.number(10, duration.as_nanos() as u64); // duration_nanos
        let period_type = self.value_type("space", "bytes");
        self.profile.message(11, &period_type);
        self.profile.number(12, self.snapshot.interval_bytes); // period
        let default_sample_type = self.string("inuse_space");
        self.profile.number(14, default_sample_type);

        let mut strings: Vec<_> = self.strings.into_iter().collect();
        strings.sort_unstable_by_key(|(_, index)| *index);
        for (string, _) in strings {
            self.profile.bytes(6, string.as_bytes()); // string_table
        }
        gzip(&self.profile.into_bytes())
    }

    fn string(&mut self, string: &str) -> u64 {
        if let Some(&index) = self.strings.get(string) {
            return index;
        }
        let index = self.strings.len() as u64;
        self.strings.insert(string.to_owned(), index);
        index
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> Message {
        let mut value_type = Message::default();
        value_type.number(1, self.string(kind));
        value_type.number(2, self.string(unit));
        value_type
    }

    fn mapping(&mut self, id: u64, mapping: &CodeMapping) {
        let mut message = Message::default();
        message.number(1, id);
        message.number(2, mapping.start);
        message.number(3, mapping.end);
        message.number(4, mapping.file_offset);
        message.number(5, self.string(&mapping.path.to_string_lossy()));
        let build_id = debug_info::build_id(&mapping.path).unwrap_or_default();
        message.number(6, self.string(&build_id));
        for has in 7..=10 {
            message.number(has, 1); // has_functions, has_filenames, has_line_numbers, has_inline_frames
        }
        self.profile.message(3, &message);
    }

    fn location(&mut self, address: u64, frames: &[Frame]) -> u64 {
        if let Some(&id) = self.locations.get(&address) {
            return id;
        }
        let id = self.locations.len() as u64 + 1;
        self.locations.insert(address, id);
        let mut location = Message::default();
        location.number(1, id);
        let mapping = self.snapshot.mappings.iter().position(|mapping| mapping.contains(address));
        location.number(2, mapping.map_or(0, |index| index as u64 + 1));
        location.number(3, address.saturating_sub(1)); // within the call, not after it
        for frame in frames {
            let mut line = Message::default();
            line.number(1, self.function(frame));
            line.number(2, u64::from(frame.line));
            location.message(4, &line);
        }
        self.profile.message(4, &location);
        id
    }

    fn function(&mut self, frame: &Frame) -> u64 {
        let key = (Arc::clone(&frame.function), Arc::clone(&frame.file));
        if let Some(&id) = self.functions.get(&key) {
            return id;
        }
        let id = self.functions.len() as u64 + 1;
        self.functions.insert(key, id);
        let mut function = Message::default();
        function.number(1, id);
        function.number(2, self.string(&frame.function));
        // No system_name (3): pprof would take the name for C++ and cut its type parameters.
        function.number(4, self.string(&frame.file));
        self.profile.message(5, &function);
        id
    }
}

/// A regular expression of the functions that allocate for everyone, at the inner end of the stacks, so that `-top`
/// shows who asked. It lists them by name: a pattern such as `std::.*` would match what runs the program as well, and
/// pprof drops a match with all that it calls.
fn drop_frames<'a>(functions: impl Iterator<Item = &'a str>) -> String {
    // pprof matches a name without its argument list: up to the first parenthesis.
    let names: BTreeSet<String> =
        functions.map(|name| escaped(name.split('(').next().unwrap_or(name))).collect();
    let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
    names.join("|")
}

/// For RE2, where any ASCII punctuation may be escaped.
fn escaped(name: &str) -> String {
    let escape = |c: char| c.is_ascii_punctuation() && c != '_';
    name.chars().flat_map(|c| escape(c).then_some('\\').into_iter().chain([c])).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail")
}

#[cfg(test)]
mod tests {
    use std::{io::Read, path::PathBuf};

    use flate2::read::GzDecoder;

    use super::*;
    use crate::heap::{
        estimate::Estimate,
        frame::growth_site,
        protobuf::{Value, fields, packed},
        snapshot::Stack,
    };

    /// A decoded message.
    struct Decoded(Vec<u8>);

    impl Decoded {
        fn gunzip(profile: &[u8]) -> Self {
            let mut bytes = Vec::new();
            GzDecoder::new(profile).read_to_end(&mut bytes).unwrap();
            Self(bytes)
        }

        fn number(&self, field: u64) -> u64 {
            let found = fields(&self.0).unwrap().into_iter().find(|(number, _)| *number == field);
            found.map_or(
                0,
                |(_, value)| if let Value::Number(number) = value { number } else { panic!("{field}") },
            )
        }

        fn all(&self, field: u64) -> Vec<Vec<u8>> {
            let bytes = |(number, value)| match value {
                Value::Bytes(bytes) if number == field => Some(bytes.to_vec()),
                _ => None,
            };
            fields(&self.0).unwrap().into_iter().filter_map(bytes).collect()
        }

        fn messages(&self, field: u64) -> Vec<Self> {
            self.all(field).into_iter().map(Self).collect()
        }

        fn numbers(&self, field: u64) -> Vec<u64> {
            packed(&self.all(field).concat()).unwrap()
        }

        fn string(&self, index: u64) -> String {
            String::from_utf8(self.all(6)[index as usize].clone()).unwrap()
        }

        /// Each sample as its functions, innermost first, and its two values.
        fn samples(&self) -> Vec<(Vec<String>, Vec<i64>)> {
            let function =
                |id| self.messages(5).iter().find(|f| f.number(1) == id).map(|f| self.string(f.number(2)));
            let functions = |id| {
                let location =
                    self.messages(4).into_iter().find(|location| location.number(1) == id).unwrap();
                location.messages(4).iter().map(|line| function(line.number(1)).unwrap()).collect::<Vec<_>>()
            };
            let sample = |sample: &Self| {
                let values = sample.numbers(2).iter().map(|value| *value as i64).collect();
                (sample.numbers(1).into_iter().flat_map(functions).collect(), values)
            };
            self.messages(2).iter().map(sample).collect()
        }
    }

    fn frame(function: &str, owner: Owner) -> Frame {
        Frame { function: function.into(), file: "src/shop.rs".into(), line: 7, owner }
    }

    /// Live: `samples` of 1 MiB, which are all sampled, each standing for itself.
    fn snapshot(at_seconds: u64, samples: u64) -> Snapshot {
        let frames: [Arc<[Frame]>; 3] = [
            [frame("<alloc::vec::Vec<T>>::push(T)", Owner::Runtime)].into(),
            [frame("clone", Owner::Runtime), frame("shop::store", Owner::Application)].into(),
            [frame("std::rt::run", Owner::Runtime), frame("clone", Owner::Runtime)].into(),
        ];
        let site = growth_site(frames.iter().flat_map(|frames| frames.iter())).unwrap().clone();
        let addresses = [0x1001, 0x1002, 0x9003].into();
        let trace = Arc::new(Trace { addresses, frames: frames.into(), site });
        let live = Estimate::new(samples, samples << 20, 1 << 16);
        let path = PathBuf::from("/srv/shop");
        let mapping = CodeMapping { start: 0x1000, end: 0x2000, file_offset: 0x40, path };
        let taken_at = UNIX_EPOCH + Duration::from_secs(at_seconds);
        Snapshot::new(taken_at, 1 << 16, vec![Stack { trace, live, taken: None }], vec![mapping])
    }

    #[test]
    fn holds_whole_stacks_and_both_values() {
        let profile = Decoded::gunzip(&snapshot(1_000, 3).to_pprof());
        assert_eq!(profile.string(0), "");
        let stack = ["<alloc::vec::Vec<T>>::push(T)", "clone", "shop::store", "std::rt::run", "clone"];
        assert_eq!(profile.samples(), [(stack.map(String::from).to_vec(), vec![3, 3 << 20])]);
        let types = profile.messages(1).iter().map(|t| profile.string(t.number(1))).collect::<Vec<_>>();
        assert_eq!(types, ["inuse_objects", "inuse_space"]);
        assert_eq!(profile.string(profile.number(14)), "inuse_space");
        assert_eq!(profile.number(12), 1 << 16);
        assert_eq!(profile.number(9), 1_000_000_000_000);
        let location =
            |address| profile.messages(4).into_iter().find(|location| location.number(3) == address).unwrap();
        assert_eq!(location(0x1000).number(2), 1, "in the first mapping, at the call");
        assert_eq!(location(0x9002).number(2), 0, "in no mapping");
        let mapping = &profile.messages(3)[0];
        assert_eq!((mapping.number(2), mapping.number(3), mapping.number(4)), (0x1000, 0x2000, 0x40));
    }

    #[test]
    fn drops_what_only_allocates() {
        let profile = Decoded::gunzip(&snapshot(1_000, 3).to_pprof());
        // Not `clone`, which also stands outside of the application's frames, nor the arguments, which pprof cuts off.
        assert_eq!(profile.string(profile.number(7)), r"\<alloc\:\:vec\:\:Vec\<T\>\>\:\:push");
    }

    #[test]
    fn growth_has_a_sign_and_a_duration() {
        let (base, now) = (snapshot(1_000, 5), snapshot(1_030, 3));
        let profile = Decoded::gunzip(&now.growth_to_pprof(&base));
        assert_eq!(profile.samples()[0].1, [-2, -2 << 20]);
        assert_eq!(profile.number(10), 30_000_000_000);
        assert!(Decoded::gunzip(&now.growth_to_pprof(&now)).samples().is_empty());
    }
}
