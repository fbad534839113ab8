//! The sizes of a process, from `/proc/PID/statm`.

use std::io;

/// Sizes that are cheap to read. On kernels since 6.2 they are off by up to some pages for each CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statm {
    /// Virtual size.
    pub virtual_bytes: u64,
    /// Resident set size.
    pub rss_bytes: u64,
    /// Resident pages of files, shared memory included.
    pub file_bytes: u64,
}

impl Statm {
    pub(super) fn parse(text: &str) -> io::Result<Self> {
        let page_bytes = page_bytes()?;
        let mut pages = text.split_ascii_whitespace().map(|pages| pages.parse::<u64>().ok());
        let mut next = || Some(pages.next()?? * page_bytes);
        let mut read = || Some(Self { virtual_bytes: next()?, rss_bytes: next()?, file_bytes: next()? });
        read().ok_or_else(|| io::Error::other("statm is not understood"))
    }
}

fn page_bytes() -> io::Result<u64> {
    // SAFETY: sysconf(3) only reads a constant.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_become_bytes() {
        let page_bytes = page_bytes().expect("a constant");
        let statm = Statm::parse("300 20 7 4 0 90 0\n").expect("seven numbers");
        assert_eq!(
            (statm.virtual_bytes, statm.rss_bytes, statm.file_bytes),
            (300 * page_bytes, 20 * page_bytes, 7 * page_bytes)
        );
        for garbage in ["", "300 20", "300 x 7"] {
            assert!(Statm::parse(garbage).is_err(), "{garbage:?}");
        }
    }
}
