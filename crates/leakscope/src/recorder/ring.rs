//! The ring of samples: slots of one size in a file that never grows, written over and over, each with its CRC. A slot that
//! was torn by the writer's death is one sample less, and nothing else.
//!
//! The file describes itself. It begins with a magic text, the format's version, and the length and CRC of a list in JSON of
//! the quantities that each slot has values of; slots are read by these names, so that a build with more quantities, or
//! fewer, reads them too. Version 1 had no list, and always the same four quantities. All numbers are little-endian.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use serde::{Deserialize, Serialize};

use super::files::{self, read_if_there};
use crate::{
    memory::{LIVE_HEAP, RSS, UNACCOUNTED, USAGE},
    quantity::{Observation, QUANTITIES},
    trend::Unit,
};

const MAGIC: &[u8; 12] = b"leakscope-r\n";
const VERSION: u32 = 2;
/// Magic and version, in every format.
const PREAMBLE_BYTES: usize = 16;
/// Those, and the length and the CRC of the list.
const FIXED_BYTES: usize = PREAMBLE_BYTES + 8;
/// Ten minutes at four a second.
pub(super) const SLOTS: u64 = 2_400;
/// Stands for a value that could not be read.
const UNKNOWN: i64 = i64::MIN;

const NAME: &str = "samples";

/// One sample as it is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Recorded {
    /// Counts over all samples of a folder.
    pub sequence: u64,
    /// Which run of the program.
    pub run: u64,
    /// What was read.
    pub observation: Observation,
}

/// One quantity of the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Column {
    name: String,
    unit: Unit,
}

/// How a file is laid out.
#[derive(Debug, Clone, PartialEq)]
struct Layout {
    header: Vec<u8>,
    columns: Vec<Column>,
    /// Version 1 has the requests behind the values, version 2 before them.
    requests_last: bool,
}

/// Why a file is not read.
enum Unreadable {
    /// There is not even a whole header: it was never finished.
    Unfinished,
    /// Another program's, or a later format.
    Foreign(String),
}

impl Layout {
    /// As this build writes it.
    fn ours() -> Self {
        let column = |name: &str, unit| Column { name: name.to_owned(), unit };
        let columns: Vec<_> = QUANTITIES.iter().map(|of| column(of.name, of.unit)).collect();
        let list = serde_json::to_vec(&columns).unwrap_or_default();
        let (length, crc) = (list.len() as u32, crc32fast::hash(&list));
        let header =
            [&MAGIC[..], &VERSION.to_le_bytes(), &length.to_le_bytes(), &crc.to_le_bytes(), &list].concat();
        Self { header, columns, requests_last: false }
    }

    fn of(file: &[u8]) -> Result<Self, Unreadable> {
        let Some(preamble) = file.get(..PREAMBLE_BYTES) else { return Err(Unreadable::Unfinished) };
        if !preamble.starts_with(MAGIC) {
            return Err(Unreadable::Foreign("holds no samples of leakscope's".to_owned()));
        }
        match number(file, MAGIC.len()) {
            Some(1) => {
                let column = |name: &str| Column { name: name.to_owned(), unit: Unit::Bytes };
                let columns = [RSS, LIVE_HEAP, USAGE, UNACCOUNTED].map(column).to_vec();
                Ok(Self { header: preamble.to_vec(), columns, requests_last: true })
            }
            Some(VERSION) => {
                let end = number(file, PREAMBLE_BYTES).map(|length| FIXED_BYTES + length as usize);
                let list = end.and_then(|end| file.get(FIXED_BYTES..end)).ok_or(Unreadable::Unfinished)?;
                if number(file, PREAMBLE_BYTES + 4) != Some(crc32fast::hash(list)) {
                    return Err(Unreadable::Foreign("has a damaged header".to_owned()));
                }
                let columns = serde_json::from_slice(list)
                    .map_err(|error| Unreadable::Foreign(format!("has a damaged header ({error})")))?;
                let header = file[..FIXED_BYTES + list.len()].to_vec();
                Ok(Self { header, columns, requests_last: false })
            }
            version => Err(Unreadable::Foreign(format!(
                "has samples of format {}, and this build reads formats 1 to {VERSION}",
                version.unwrap_or_default()
            ))),
        }
    }

    /// Sequence, run, two times, requests, the values, and the CRC with four bytes that are not used.
    fn slot_bytes(&self) -> usize {
        8 * (5 + self.columns.len() + 1)
    }

    fn file_bytes(&self) -> usize {
        self.header.len() + SLOTS as usize * self.slot_bytes()
    }

    fn slots<'a>(&'a self, file: &'a [u8]) -> impl Iterator<Item = Recorded> + 'a {
        let slots = file.get(self.header.len()..).unwrap_or_default();
        slots.chunks_exact(self.slot_bytes()).filter_map(|slot| self.read(slot))
    }

    fn write(&self, sample: &Recorded) -> Vec<u8> {
        let Recorded { sequence, run, observation: of } = sample;
        let before = [*sequence, *run, of.unix_ms, of.seconds.to_bits(), of.requests];
        let values = self.columns.iter().map(|column| of.value(&column.name).unwrap_or(UNKNOWN) as u64);
        let mut slot: Vec<u8> = before.into_iter().chain(values).flat_map(u64::to_le_bytes).collect();
        slot.extend(u64::from(crc32fast::hash(&slot)).to_le_bytes());
        slot
    }

    /// `None`: never written, or torn.
    fn read(&self, slot: &[u8]) -> Option<Recorded> {
        let (fields, crc) = slot.split_at(slot.len() - 8);
        if number(crc, 0) != Some(crc32fast::hash(fields)) {
            return None;
        }
        let words = fields.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
        let words: Vec<u64> = words.collect();
        let [sequence, run, unix_ms, seconds, rest @ ..] = &words[..] else { return None };
        let (requests, values) = match self.requests_last {
            true => rest.split_last(),
            false => rest.split_first(),
        }?;
        let value_of = |name: &str| {
            let index = self.columns.iter().position(|column| column.name == name)?;
            values.get(index).map(|value| *value as i64).filter(|value| *value != UNKNOWN)
        };
        let observation = Observation::new(f64::from_bits(*seconds), *unix_ms, *requests, |quantity| {
            value_of(quantity.name)
        });
        Some(Recorded { sequence: *sequence, run: *run, observation })
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// An open ring.
pub(super) struct Ring {
    file: File,
    layout: Layout,
    next: u64,
}

impl Ring {
    /// Opens the ring in `folder`, or makes it in its full size, so that a disk that fills up later can't stop it. A file of
    /// other quantities or of an earlier format is begun anew: what it says of earlier runs has been judged by now. One that
    /// can't be read is moved aside; `moved` is told.
    ///
    /// # Errors
    /// The folder can't be written, or has no room.
    pub fn open(folder: &Path, moved: &mut dyn FnMut(String)) -> io::Result<Self> {
        let path = folder.join(NAME);
        let layout = Layout::ours();
        let found = read_if_there(&path)?.unwrap_or_default();
        let (next, goes_on) = match Layout::of(&found) {
            Ok(theirs) => {
                let next = theirs.slots(&found).map(|sample| sample.sequence + 1).max().unwrap_or(0);
                (next, theirs == layout && found.len() == layout.file_bytes())
            }
            Err(Unreadable::Unfinished) => (0, false),
            Err(Unreadable::Foreign(why)) => {
                let aside = folder.join("samples.foreign");
                std::fs::rename(&path, &aside)?;
                moved(format!("{} {why}; moved aside to {}", path.display(), aside.display()));
                (0, false)
            }
        };
        let file = files::private().truncate(false).read(true).write(true).open(&path)?;
        if !goes_on {
            file.set_len(0)?;
            let mut empty = layout.header.clone();
            empty.resize(layout.file_bytes(), 0);
            file.write_all_at(&empty, 0)?;
        }
        Ok(Self { file, layout, next })
    }

    /// Writes what was read in `run` over the oldest sample.
    ///
    /// # Errors
    /// It can't be written.
    pub fn push(&mut self, run: u64, observation: Observation) -> io::Result<()> {
        let at = self.layout.header.len() + (self.next % SLOTS) as usize * self.layout.slot_bytes();
        let sample = Recorded { sequence: self.next, run, observation };
        self.file.write_all_at(&self.layout.write(&sample), at as u64)?;
        self.next += 1;
        Ok(())
    }
}

/// The samples in `folder`, oldest first; none where there is no ring. An error says why they can't be read.
pub(super) fn read(folder: &Path) -> Result<Vec<Recorded>, String> {
    let path = folder.join(NAME);
    let file = read_if_there(&path).ok().flatten().unwrap_or_default();
    let mut samples: Vec<_> = match Layout::of(&file) {
        Ok(layout) => layout.slots(&file).collect(),
        Err(Unreadable::Unfinished) => Vec::new(),
        Err(Unreadable::Foreign(why)) => return Err(format!("{} {why}", path.display())),
    };
    samples.sort_unstable_by_key(|sample| sample.sequence);
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::recorder::tests::{NO_MOVE, observation};

    #[test]
    fn the_ring_keeps_the_newest_samples_and_a_torn_slot_is_one_less() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(folder.path(), &mut { NO_MOVE }).unwrap();
        let length = fs::metadata(folder.path().join("samples")).unwrap().len();
        for number in 0..SLOTS + 10 {
            ring.push(1, observation(number as f64, number)).unwrap();
        }
        drop(ring);
        let mut ring = Ring::open(folder.path(), &mut { NO_MOVE }).unwrap();
        let negative = Observation::new(0.5, 7, 9, |quantity| (quantity.name == UNACCOUNTED).then_some(-5));
        ring.push(2, negative).unwrap();
        let path = folder.path().join("samples");
        assert_eq!(fs::metadata(&path).unwrap().len(), length, "it does not grow");
        let samples = read(folder.path()).unwrap();
        let sequences: Vec<_> = samples.iter().map(|sample| sample.sequence).collect();
        assert_eq!(sequences, (11..SLOTS + 11).collect::<Vec<_>>());
        let last = *samples.last().unwrap();
        assert_eq!(last, Recorded { sequence: SLOTS + 10, run: 2, observation: negative });

        let bytes = fs::read(&path).unwrap();
        let header_bytes = bytes.len() % SLOTS as usize;
        let slot_bytes = bytes.len() / SLOTS as usize;
        for at in 0..header_bytes + 4 * slot_bytes {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            fs::write(&path, broken).unwrap();
            let read = read(folder.path());
            if at < header_bytes {
                assert!(read.map_or(true, |samples| samples.is_empty()), "flipped at {at}");
                continue;
            }
            // The last four bytes of a slot are not used.
            let lost = usize::from((at - header_bytes) % slot_bytes < slot_bytes - 4);
            assert_eq!(read.unwrap().len(), SLOTS as usize - lost, "flipped at {at}");
        }
        for cut in [0, 3, 15, 16, 50, header_bytes - 1, header_bytes + slot_bytes, bytes.len() - 1] {
            fs::write(&path, &bytes[..cut]).unwrap();
            let _ = read(folder.path());
            Ring::open(folder.path(), &mut { NO_MOVE }).unwrap().push(3, observation(0.0, 1)).unwrap();
            assert_eq!(read(folder.path()).unwrap().last().map(|last| last.run), Some(3), "cut at {cut}");
        }
    }

    /// A slot as the first format had it: its nine numbers and their CRC.
    fn slot_of_format_1(words: [i64; 9]) -> Vec<u8> {
        let mut slot: Vec<u8> = words.into_iter().flat_map(i64::to_le_bytes).collect();
        slot.extend(u64::from(crc32fast::hash(&slot)).to_le_bytes());
        slot
    }

    #[test]
    fn samples_of_the_first_format_are_read_and_then_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples");
        // Sequence, run, milliseconds, seconds, RSS, live heap, usage, unaccounted, requests.
        let words = [41, 5, 1_000, 2.5_f64.to_bits() as i64, 400, 100, 300, -7, 12];
        let file =
            [b"leakscope-r\n".to_vec(), 1_u32.to_le_bytes().to_vec(), slot_of_format_1(words)].concat();
        fs::write(&path, file).unwrap();
        let samples = read(folder.path()).unwrap();
        let [Recorded { sequence: 41, run: 5, observation }] = samples[..] else { panic!("{samples:?}") };
        assert_eq!((observation.seconds, observation.unix_ms, observation.requests), (2.5, 1_000, 12));
        let values =
            [RSS, LIVE_HEAP, USAGE, UNACCOUNTED, "open_descriptors"].map(|name| observation.value(name));
        assert_eq!(values, [Some(400), Some(100), Some(300), Some(-7), None]);

        Ring::open(folder.path(), &mut { NO_MOVE }).unwrap().push(6, observation).unwrap();
        let sequences: Vec<_> = read(folder.path()).unwrap().iter().map(|sample| sample.sequence).collect();
        assert_eq!(sequences, [42]);
    }

    #[test]
    fn samples_of_a_later_format_are_refused_and_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples");
        let later = [b"leakscope-r\n".to_vec(), 3_u32.to_le_bytes().to_vec(), vec![1; 500]].concat();
        fs::write(&path, &later).unwrap();
        let refused = read(folder.path()).unwrap_err();
        assert!(refused.contains("format 3, and this build reads formats 1 to 2"), "{refused}");
        let mut said = Vec::new();
        Ring::open(folder.path(), &mut |message| said.push(message)).unwrap();
        assert!(said.len() == 1 && said[0].contains("samples.foreign"), "{said:?}");
        assert_eq!(fs::read(folder.path().join("samples.foreign")).unwrap(), later, "nothing is lost");
    }
}
