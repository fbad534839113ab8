//! The code that a process has mapped, from `/proc/PID/maps`. A heap profile ends with lines of the same form.

use std::path::PathBuf;

/// An executable mapping of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeMapping {
    /// The address of its first byte.
    pub start: u64,
    /// The address after its last byte.
    pub end: u64,
    /// Where `start` is in the file, in bytes.
    pub file_offset: u64,
    /// The file, or a name such as `[vdso]`.
    pub path: PathBuf,
}

impl CodeMapping {
    /// Parses a line of `maps`; `None` if it maps no file's code:
    /// `55d0c6a00000-55d0c6c00000 r-xp 00100000 08:01 131 /usr/bin/service`
    pub fn parse(line: &str) -> Option<Self> {
        let mut rest = line;
        let mut field = || {
            let (field, tail) = rest.trim_start().split_once(' ')?;
            rest = tail;
            Some(field)
        };
        let (start, end) = field()?.split_once('-')?;
        let executable = field()?.as_bytes().get(2) == Some(&b'x');
        let file_offset = field()?;
        field()?; // device
        field()?; // inode
        let path = rest.trim_start();
        let hexadecimal = |text| u64::from_str_radix(text, 16).ok();
        let mapping = Self {
            start: hexadecimal(start)?,
            end: hexadecimal(end)?,
            file_offset: hexadecimal(file_offset)?,
            path: PathBuf::from(path),
        };
        (executable && !path.is_empty()).then_some(mapping)
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }
}
