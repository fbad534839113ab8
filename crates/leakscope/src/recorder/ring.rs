//! The ring of samples: slots of one size in a file that never grows, written over and over, each with its CRC. A slot that
//! was torn by the writer's death is one sample less, and nothing else.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use super::journal::read_if_there;

const MAGIC: &[u8; 12] = b"leakscope-r\n";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const SLOT_BYTES: usize = 80;
/// Ten minutes at four a second: 192 KB.
pub(super) const SLOTS: u64 = 2_400;

const NAME: &str = "samples";

/// One sample as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Sample {
    /// Counts over all samples of a folder.
    pub sequence: u64,
    /// Which run of the program.
    pub run: u64,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Seconds since the run's start (monotonic clock).
    pub seconds: f64,
    pub rss_bytes: u64,
    pub live_heap_bytes: u64,
    pub usage_bytes: u64,
    pub unaccounted_bytes: i64,
    pub requests: u64,
}

impl Sample {
    fn to_slot(self) -> [u8; SLOT_BYTES] {
        let words = [
            self.sequence,
            self.run,
            self.unix_ms,
            self.seconds.to_bits(),
            self.rss_bytes,
            self.live_heap_bytes,
            self.usage_bytes,
            self.unaccounted_bytes as u64,
            self.requests,
        ];
        let mut slot = [0; SLOT_BYTES];
        for (field, word) in slot.chunks_exact_mut(8).zip(words) {
            field.copy_from_slice(&word.to_le_bytes());
        }
        let crc = crc32fast::hash(&slot[..SLOT_BYTES - 8]);
        slot[SLOT_BYTES - 8..SLOT_BYTES - 4].copy_from_slice(&crc.to_le_bytes());
        slot
    }

    /// `None`: never written, or torn.
    fn from_slot(slot: &[u8]) -> Option<Self> {
        let (fields, rest) = slot.split_at(SLOT_BYTES - 8);
        if rest[..4] != crc32fast::hash(fields).to_le_bytes() {
            return None;
        }
        let mut words =
            fields.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
        let mut next = || words.next().expect("as many fields as were written");
        Some(Self {
            sequence: next(),
            run: next(),
            unix_ms: next(),
            seconds: f64::from_bits(next()),
            rss_bytes: next(),
            live_heap_bytes: next(),
            usage_bytes: next(),
            unaccounted_bytes: next() as i64,
            requests: next(),
        })
    }
}

/// An open ring.
pub(super) struct Ring {
    file: File,
    next: u64,
}

impl Ring {
    /// Opens the ring in `folder`, or makes it in its full size, so that a disk that fills up later can't stop it. A file
    /// that is no ring of this format is begun anew; `moved` is told.
    ///
    /// # Errors
    /// The folder can't be written, or has no room.
    pub fn open(folder: &Path, moved: &mut dyn FnMut(String)) -> io::Result<Self> {
        let path = folder.join(NAME);
        let header = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        let found = read_if_there(&path)?.unwrap_or_default();
        if found.len() >= HEADER_BYTES && !found.starts_with(&header) {
            let aside = folder.join("samples.foreign");
            std::fs::rename(&path, &aside)?;
            moved(format!(
                "{} holds no samples of format {VERSION}; moved aside to {}",
                path.display(),
                aside.display()
            ));
        }
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
        let bytes = HEADER_BYTES + SLOTS as usize * SLOT_BYTES;
        if file.metadata()?.len() != bytes as u64 {
            file.set_len(0)?;
            file.write_all_at(&[header, vec![0; bytes - HEADER_BYTES]].concat(), 0)?;
        }
        let next = slots(&found).map(|sample| sample.sequence + 1).max().unwrap_or(0);
        Ok(Self { file, next })
    }

    /// Writes the sample over the oldest one; its sequence number is given here.
    ///
    /// # Errors
    /// It can't be written.
    pub fn push(&mut self, sample: Sample) -> io::Result<()> {
        let at = HEADER_BYTES as u64 + self.next % SLOTS * SLOT_BYTES as u64;
        self.file.write_all_at(&Sample { sequence: self.next, ..sample }.to_slot(), at)?;
        self.next += 1;
        Ok(())
    }
}

fn slots(ring: &[u8]) -> impl Iterator<Item = Sample> {
    let known =
        ring.starts_with(MAGIC) && ring.get(MAGIC.len()..HEADER_BYTES) == Some(&VERSION.to_le_bytes()[..]);
    let slots = ring.get(HEADER_BYTES..).filter(|_| known).unwrap_or_default();
    slots.chunks_exact(SLOT_BYTES).filter_map(Sample::from_slot)
}

/// The samples in `folder`, oldest first; none where there is no ring.
pub(super) fn read(folder: &Path) -> Vec<Sample> {
    let ring = read_if_there(&folder.join(NAME)).ok().flatten().unwrap_or_default();
    let mut samples: Vec<_> = slots(&ring).collect();
    samples.sort_unstable_by_key(|sample| sample.sequence);
    samples
}
