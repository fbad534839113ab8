//! The mappings of a process, from `/proc/PID/smaps`: what backs each, and how much of it is resident.

use std::io::{self, BufRead};

/// What backs a mapping, as its path in `smaps` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// Nothing but memory.
    Anonymous,
    /// A file on a disk.
    File,
    /// Shared memory.
    SharedMemory,
    /// The C heap that grows by `brk`.
    Heap,
    /// The stack of the first thread.
    MainStack,
    /// `[vdso]` and its like.
    Kernel,
}

/// One mapping: where it is, what backs it, and how much of it is resident.
#[derive(Debug, Clone, Copy)]
pub struct Mapping {
    /// The address of its first byte.
    pub start: usize,
    /// The address after its last byte.
    pub end: usize,
    /// What backs it.
    pub backing: Backing,
    /// The process may write to it.
    pub writable: bool,
    /// Neither readable, writable nor executable: a guard, or address space kept for later.
    pub inaccessible: bool,
    /// Made with `MAP_NORESERVE`.
    pub noreserve: bool,
    /// How much of it is resident.
    pub rss_bytes: u64,
}

impl Mapping {
    /// Its length in bytes, resident or not.
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }
}

/// All mappings of a process, and the sums over them, from one pass.
#[derive(Debug, Clone, Default)]
pub struct Smaps {
    /// In the order of their addresses.
    pub mappings: Vec<Mapping>,
    /// Resident set size.
    pub rss_bytes: u64,
    /// Proportional set size: each shared page counts by its share.
    pub pss_bytes: u64,
    /// Resident anonymous pages.
    pub anonymous_bytes: u64,
    /// Pages swapped out.
    pub swap_bytes: u64,
}

impl Smaps {
    /// Parses the text of `smaps`. Lines of another kind are passed over.
    pub(super) fn parse(mut source: impl BufRead) -> io::Result<Self> {
        let mut smaps = Self::default();
        let mut bytes = Vec::new();
        while source.read_until(b'\n', &mut bytes)? > 0 {
            // The name of a file may be any bytes.
            let line = String::from_utf8_lossy(&bytes);
            match line.split_once(':') {
                Some((key, value)) if !key.contains(' ') => smaps.field(key, value),
                _ => smaps.mappings.extend(parse_header(&line)),
            }
            bytes.clear();
        }
        Ok(smaps)
    }

    fn field(&mut self, key: &str, value: &str) {
        match key {
            "Pss" => self.pss_bytes += kilobytes(value),
            "Anonymous" => self.anonymous_bytes += kilobytes(value),
            "Swap" => self.swap_bytes += kilobytes(value),
            "Rss" => {
                self.rss_bytes += kilobytes(value);
                if let Some(mapping) = self.mappings.last_mut() {
                    mapping.rss_bytes = kilobytes(value);
                }
            }
            "VmFlags" => {
                if let Some(mapping) = self.mappings.last_mut() {
                    mapping.noreserve = value.split_ascii_whitespace().any(|flag| flag == "nr");
                }
            }
            _ => {}
        }
    }
}

/// Bytes of a value such as `   12 kB`.
fn kilobytes(value: &str) -> u64 {
    value.split_ascii_whitespace().next().and_then(|value| value.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Parses `7f00-7f10 rw-p 00000000 00:00 0    [stack]`.
fn parse_header(line: &str) -> Option<Mapping> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let inode = fields.nth(2)?;
    let path = fields.next().unwrap_or("");
    let shared = permissions.ends_with('s');
    Some(Mapping {
        start: usize::from_str_radix(start, 16).ok()?,
        end: usize::from_str_radix(end, 16).ok()?,
        backing: match path {
            "[heap]" => Backing::Heap,
            "[stack]" => Backing::MainStack,
            _ if ["/dev/shm/", "/memfd:", "/SYSV", "/dev/zero"].iter().any(|shm| path.starts_with(shm))
                || path.starts_with("[anon_shmem:") =>
            {
                Backing::SharedMemory
            }
            _ if path.starts_with("[anon:") => Backing::Anonymous,
            _ if path.starts_with('[') => Backing::Kernel,
            _ if inode != "0" => Backing::File,
            _ if shared => Backing::SharedMemory,
            _ => Backing::Anonymous,
        },
        writable: permissions.as_bytes().get(1) == Some(&b'w'),
        inaccessible: permissions.starts_with("---"),
        noreserve: false,
        rss_bytes: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaps_gives_each_mapping_its_pages_and_flags() {
        let text = "\
55d0c0000000-55d0c0002000 r-xp 00001000 fe:00 24702                      /opt/a: b (deleted)
Size:                  8 kB
Rss:                   8 kB
Pss:                   4 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
7f0000000000-7f0000001000 ---p 00000000 00:00 0
Rss:                   0 kB
VmFlags: mr mw me ac
7f0000001000-7f0000800000 rw-p 00000000 00:00 0                          [anon:some name]
Rss:                 100 kB
Pss:                 100 kB
Anonymous:           100 kB
Swap:                 12 kB
VmFlags: rd wr mr mw me nr sd
7f0000800000-7f0000900000 rw-s 00000000 00:01 9                          /memfd:x (deleted)
Rss:                  16 kB
Pss:                   8 kB
7f0000900000-7f0000a00000 rw-s 00000000 00:01 10                         /dev/zero (deleted)
Rss:                   4 kB
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
Rss:                  20 kB
";
        let smaps = Smaps::parse(text.as_bytes()).expect("text can be read");
        let backing: Vec<_> = smaps.mappings.iter().map(|mapping| mapping.backing).collect();
        assert_eq!(
            backing,
            [
                Backing::File,
                Backing::Anonymous,
                Backing::Anonymous,
                Backing::SharedMemory,
                Backing::SharedMemory,
                Backing::MainStack
            ]
        );
        let kilobytes = |bytes: u64| bytes / 1024;
        assert_eq!(
            smaps.mappings.iter().map(|mapping| kilobytes(mapping.rss_bytes)).collect::<Vec<_>>(),
            [8, 0, 100, 16, 4, 20]
        );
        assert_eq!(kilobytes(smaps.rss_bytes), 148);
        assert_eq!(kilobytes(smaps.pss_bytes), 112);
        assert_eq!(kilobytes(smaps.anonymous_bytes), 100);
        assert_eq!(kilobytes(smaps.swap_bytes), 12);
        let [code, guard, heap, ..] = &smaps.mappings[..] else { panic!("too few") };
        assert!(!code.writable && !code.inaccessible && !code.noreserve);
        assert!(guard.inaccessible && !guard.noreserve);
        assert!(heap.writable && heap.noreserve && heap.len() == 0x7ff000);
    }

    #[test]
    fn a_file_name_that_is_no_text_costs_nothing() {
        let text = b"7f0000000000-7f0000001000 r--p 00000000 fe:00 7  /opt/caf\xe9\nRss:  4 kB\n";
        let smaps = Smaps::parse(&text[..]).expect("any bytes");
        assert_eq!((smaps.mappings.len(), smaps.mappings[0].backing), (1, Backing::File));
        assert_eq!(smaps.rss_bytes, 4096);
    }

    #[test]
    fn lines_of_another_kind_are_passed_over() {
        for text in ["", "\n", "x", "Rss: 5 kB\n", "7f-zz rw-p\n", ": \n", "Rss:\nRss: many kB\n"] {
            let smaps = Smaps::parse(text.as_bytes()).expect("text can be read");
            assert!(smaps.mappings.is_empty(), "{text:?}");
        }
    }
}
