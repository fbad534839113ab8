//! What the kernel says of this process, from `/proc/self`. Only reading and parsing: what the figures mean together is
//! [`super::reconcile`]'s.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
};

use super::{
    Missing, Process,
    mappings::{Backing, Mapping},
};

/// One reading of `/proc/self`.
pub(super) struct Reading {
    pub process: Process,
    /// Empty where `smaps` can't be read.
    pub mappings: Vec<Mapping>,
    /// An address in the descriptor of each thread but the first.
    pub thread_descriptors: Vec<usize>,
    pub missing: Vec<Missing>,
}

/// Reads everything. RSS and all that is derived from it come from one pass over `smaps`.
pub(super) fn read() -> Reading {
    let mut process = Process { pid: std::process::id(), ..Process::default() };
    let mut missing = Vec::new();
    if let Some(statm) = Statm::read() {
        process.virtual_bytes = statm.virtual_bytes;
        process.rss_bytes = statm.rss_bytes;
        process.file_bytes = Some(statm.file_bytes);
        process.anonymous_bytes = Some(statm.rss_bytes.saturating_sub(statm.file_bytes));
    } else {
        missing.push(Missing {
            source: "/proc/self/statm",
            reason: "there is no Linux /proc here: no RSS, no parts; only the allocator's own figures".into(),
        });
        return Reading { process, mappings: Vec::new(), thread_descriptors: Vec::new(), missing };
    }
    let mappings = match File::open("/proc/self/smaps").and_then(|file| Smaps::parse(BufReader::new(file))) {
        Ok(smaps) => {
            process.rss_bytes = smaps.rss_bytes;
            process.pss_bytes = Some(smaps.pss_bytes);
            process.anonymous_bytes = Some(smaps.anonymous_bytes);
            process.file_bytes = Some(smaps.rss_bytes - smaps.anonymous_bytes.min(smaps.rss_bytes));
            process.swap_bytes = Some(smaps.swap_bytes);
            smaps.mappings
        }
        Err(error) => {
            missing.push(Missing {
                source: "/proc/self/smaps",
                reason: format!(
                    "{error}: RSS is from statm; stacks and untouched memory are not told apart from unaccounted"
                ),
            });
            Vec::new()
        }
    };
    // The listing itself is an open file too.
    process.open_files =
        fs::read_dir("/proc/self/fd").ok().map(|entries| (entries.count() as u64).saturating_sub(1));
    let threads = thread_ids();
    process.threads = (!threads.is_empty()).then_some(threads.len() as u64);
    let thread_descriptors =
        threads.into_iter().filter(|id| *id != process.pid).filter_map(thread_descriptor).collect();
    Reading { process, mappings, thread_descriptors, missing }
}

/// Sizes from `/proc/self/statm`: cheap, and on kernels since 6.2 off by up to some pages for each CPU.
pub(crate) struct Statm {
    pub virtual_bytes: u64,
    pub rss_bytes: u64,
    pub file_bytes: u64,
}

impl Statm {
    pub fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/statm").ok()?;
        // SAFETY: sysconf(3) only reads a constant.
        let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
        let mut pages = text.split_ascii_whitespace().map(|pages| pages.parse::<u64>().ok());
        let mut next = || Some(pages.next()?? * page);
        Some(Self { virtual_bytes: next()?, rss_bytes: next()?, file_bytes: next()? })
    }
}

/// What was read of `smaps`.
#[derive(Default)]
struct Smaps {
    mappings: Vec<Mapping>,
    rss_bytes: u64,
    pss_bytes: u64,
    anonymous_bytes: u64,
    swap_bytes: u64,
}

impl Smaps {
    fn parse(mut source: impl BufRead) -> io::Result<Self> {
        let mut smaps = Self::default();
        let mut line = String::new();
        while source.read_line(&mut line)? > 0 {
            match line.split_once(':') {
                Some((key, value)) if !key.contains(' ') => smaps.field(key, value),
                _ => smaps.mappings.extend(parse_header(&line)),
            }
            line.clear();
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

fn thread_ids() -> Vec<u32> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The head of a thread's list of robust locks: it lies in the descriptor that glibc keeps at the top of its stack.
#[cfg(target_os = "linux")]
fn thread_descriptor(thread: u32) -> Option<usize> {
    let mut head = 0usize;
    let mut len = 0usize;
    // SAFETY: get_robust_list(2) of a thread of this process writes the two values that it is given.
    let status = unsafe { libc::syscall(libc::SYS_get_robust_list, thread, &raw mut head, &raw mut len) };
    (status == 0 && head != 0).then_some(head)
}

#[cfg(not(target_os = "linux"))]
fn thread_descriptor(_thread: u32) -> Option<usize> {
    None
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
    fn lines_of_another_kind_are_passed_over() {
        for text in ["", "\n", "x", "Rss: 5 kB\n", "7f-zz rw-p\n", ": \n", "Rss:\nRss: many kB\n"] {
            let smaps = Smaps::parse(text.as_bytes()).expect("text can be read");
            assert!(smaps.mappings.is_empty(), "{text:?}");
        }
    }
}
