//! The journal: records in a file that is only appended to, and survives its writer's death at any byte.
//!
//! A segment is a header, then records: length, CRC32, payload, each written by one `write(2)` at the end of the file. What
//! a reader finds after the last whole record is a torn one, and dropped. A full segment becomes the old one in place of
//! the one before, so that two segments bound the journal. This file knows bytes, not what they mean.
//!
//! It holds against the death of the process, not of the machine: nothing is synced.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use super::files::{self, read_if_there};

const MAGIC: &[u8; 12] = b"leakscope-j\n";
const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 16;
/// Length and CRC.
const FRAME_BYTES: usize = 8;
/// A longer payload is refused; a longer length can only be garbage.
pub(super) const LONGEST_PAYLOAD_BYTES: usize = 32 << 10;

const NEWER: &str = "journal";
const OLDER: &str = "journal.old";

/// An open journal.
pub(super) struct Journal {
    folder: PathBuf,
    file: File,
    length: u64,
    segment_bytes: u64,
}

/// What a journal holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Payloads of whole records, oldest first.
    pub payloads: Vec<Vec<u8>>,
    /// What was found and could not be read, for the user.
    pub problems: Vec<String>,
}

/// The payload in its frame.
pub(super) fn framed(payload: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(FRAME_BYTES + payload.len());
    record.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    record.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    record.extend_from_slice(payload);
    record
}

fn header() -> Vec<u8> {
    [&MAGIC[..], &VERSION.to_le_bytes()].concat()
}

/// What the first bytes of a segment say.
enum Head {
    /// Ours.
    Known,
    /// Its writer died before the header was whole: nothing was lost.
    Torn,
    /// Of a format that this build does not know.
    Newer(u32),
    /// Something else.
    Foreign,
}

fn head(segment: &[u8]) -> Head {
    let Some(version) = segment.get(MAGIC.len()..HEADER_BYTES) else {
        return if header().starts_with(segment) { Head::Torn } else { Head::Foreign };
    };
    match version.try_into().map(u32::from_le_bytes) {
        _ if !segment.starts_with(MAGIC) => Head::Foreign,
        Ok(VERSION) => Head::Known,
        Ok(newer) => Head::Newer(newer),
        Err(_) => Head::Foreign,
    }
}

/// The payloads of a segment's whole records, and where the last of them ends.
pub(super) fn whole_records(segment: &[u8]) -> (Vec<&[u8]>, usize) {
    let mut payloads = Vec::new();
    let mut end = HEADER_BYTES.min(segment.len());
    while let Some(payload) = record_at(&segment[end..]) {
        payloads.push(payload);
        end += FRAME_BYTES + payload.len();
    }
    (payloads, end)
}

fn record_at(rest: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(rest.get(at..at + 4)?.try_into().ok()?));
    let (length, crc) = (word(0)? as usize, word(4)?);
    if length > LONGEST_PAYLOAD_BYTES {
        return None;
    }
    let payload = rest.get(FRAME_BYTES..FRAME_BYTES + length)?;
    (crc32fast::hash(payload) == crc).then_some(payload)
}

impl Contents {
    /// Reads the journal in `folder` and changes nothing. Its writer may be at work meanwhile.
    pub fn read(folder: &Path) -> Self {
        let mut contents = Self::default();
        for name in [OLDER, NEWER] {
            let path = folder.join(name);
            let segment = match read_if_there(&path) {
                Ok(segment) => segment.unwrap_or_default(),
                Err(error) => {
                    contents.problems.push(format!("{} can't be read: {error}", path.display()));
                    continue;
                }
            };
            match head(&segment) {
                Head::Known => {
                    contents.payloads.extend(whole_records(&segment).0.into_iter().map(<[u8]>::to_vec));
                }
                Head::Torn => {}
                Head::Newer(version) => contents.problems.push(format!(
                    "{} is of format {version}, written by a newer build; this one reads format {VERSION}",
                    path.display()
                )),
                Head::Foreign => contents.problems.push(format!("{} is no journal", path.display())),
            }
        }
        contents
    }
}

impl Journal {
    /// Opens the journal in `folder` for appending, each of its two segments at most `segment_bytes` long. A torn tail is
    /// cut off. A file that this build can't read is moved aside; `moved` is told.
    ///
    /// # Errors
    /// The folder can't be written.
    pub fn open(folder: &Path, segment_bytes: u64, moved: &mut dyn FnMut(String)) -> io::Result<Self> {
        for name in [OLDER, NEWER] {
            let path = folder.join(name);
            let (suffix, what) = match head(&read_if_there(&path)?.unwrap_or_default()) {
                Head::Known | Head::Torn => continue,
                Head::Newer(version) => (format!("format-{version}"), "of a newer format"),
                Head::Foreign => ("foreign".to_owned(), "no journal"),
            };
            let aside = folder.join(format!("{name}.{suffix}"));
            fs::rename(&path, &aside)?;
            moved(format!("{} is {what}; moved aside to {}", path.display(), aside.display()));
        }
        let path = folder.join(NEWER);
        let segment = read_if_there(&path)?.unwrap_or_default();
        let mut file = files::private().append(true).open(&path)?;
        let mut length = match head(&segment) {
            Head::Known => whole_records(&segment).1,
            _ => 0,
        };
        if length < segment.len() {
            file.set_len(length as u64)?;
        }
        if length == 0 {
            file.write_all(&header())?;
            length = HEADER_BYTES;
        }
        Ok(Self { folder: folder.to_owned(), file, length: length as u64, segment_bytes })
    }

    /// Appends a payload of at most [`LONGEST_PAYLOAD_BYTES`].
    ///
    /// # Errors
    /// It can't be written; then it is not in the journal.
    pub fn append(&mut self, payload: &[u8]) -> io::Result<()> {
        self.write(&framed(payload))
    }

    /// Whether `payload_bytes` more would pass the segment's bound: then [`Self::turn_over`] first.
    pub fn is_full(&self, payload_bytes: usize) -> bool {
        self.length + (FRAME_BYTES + payload_bytes) as u64 > self.segment_bytes
    }

    /// Begins a new segment with `payloads`, in place of the oldest one. The file's descriptor stays the same.
    ///
    /// # Errors
    /// It can't be written; then the journal goes on as it was.
    pub fn turn_over(&mut self, payloads: &[Vec<u8>]) -> io::Result<()> {
        let draft = self.folder.join("journal.draft");
        let begun = payloads.iter().fold(header(), |mut begun, payload| {
            begun.extend(framed(payload));
            begun
        });
        files::write(&draft, &begun)?;
        let fresh = File::options().append(true).open(&draft)?;
        fs::rename(self.folder.join(NEWER), self.folder.join(OLDER))?;
        fs::rename(&draft, self.folder.join(NEWER))?;
        // SAFETY: dup2(2) and fcntl(2) on two descriptors that are ours and open: whoever writes to ours, a signal handler
        // too, writes to the old file or to the new one.
        let done = unsafe {
            let descriptor = libc::dup2(fresh.as_raw_fd(), self.file.as_raw_fd());
            descriptor >= 0 && libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) == 0
        };
        if !done {
            return Err(io::Error::last_os_error());
        }
        self.length = begun.len() as u64;
        Ok(())
    }

    /// The descriptor, which stays valid as long as the journal lives.
    pub fn descriptor(&self) -> i32 {
        self.file.as_raw_fd()
    }

    /// Gives the descriptor away.
    pub fn into_descriptor(self) -> OwnedFd {
        self.file.into()
    }

    fn write(&mut self, record: &[u8]) -> io::Result<()> {
        let written = self.file.write(record);
        match written {
            Ok(all) if all == record.len() => {
                self.length += all as u64;
                Ok(())
            }
            partly => {
                // Half a record, on a full disk, would hide what comes after it.
                self.file.set_len(self.length)?;
                partly.and(Err(io::Error::from_raw_os_error(libc::ENOSPC)))
            }
        }
    }
}
