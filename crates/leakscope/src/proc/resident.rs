//! The resident size of one process, for those who read it many times a second.

use std::io;
#[cfg(target_os = "linux")]
use std::{fs::File, os::unix::fs::FileExt};

/// Resident memory of one process, cheap to read again and again.
#[derive(Debug)]
pub struct ResidentMemory {
    #[cfg(target_os = "linux")]
    statm: File,
    #[cfg(target_os = "macos")]
    pid: libc::c_int,
}

#[cfg(target_os = "linux")]
impl ResidentMemory {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let folder = super::folder::of(std::path::Path::new("/"), pid);
        Ok(Self { statm: File::open(folder.join("statm"))? })
    }

    /// Resident set size in bytes. The file stays open: it belongs to the process, not to its number, so that a later process
    /// with that number can't be read by mistake. A zombie has 0 bytes.
    ///
    /// # Errors
    /// The process has ended and was waited for.
    pub fn bytes(&self) -> io::Result<u64> {
        let mut buffer = [0; 128];
        let length = self.statm.read_at(&mut buffer, 0)?;
        let text = std::str::from_utf8(&buffer[..length]).unwrap_or_default();
        super::statm::Statm::parse(text).map(|statm| statm.rss_bytes)
    }
}

#[cfg(target_os = "macos")]
impl ResidentMemory {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { pid: libc::c_int::try_from(pid).map_err(io::Error::other)? })
    }

    /// Resident set size in bytes.
    ///
    /// # Errors
    /// The process has ended, or belongs to another user.
    pub fn bytes(&self) -> io::Result<u64> {
        // SAFETY: all-zero bytes are a valid `proc_taskinfo`: it has integer fields only.
        let mut info: libc::proc_taskinfo = unsafe { std::mem::zeroed() };
        let size = libc::c_int::try_from(size_of_val(&info)).map_err(io::Error::other)?;
        // SAFETY: the buffer is a `proc_taskinfo` of `size` bytes, as PROC_PIDTASKINFO wants it.
        let written =
            unsafe { libc::proc_pidinfo(self.pid, libc::PROC_PIDTASKINFO, 0, (&raw mut info).cast(), size) };
        if written == size { Ok(info.pti_resident_size) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
impl ResidentMemory {
    pub(super) fn of(_pid: u32) -> io::Result<Self> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the memory of another process can be read on Linux and macOS only",
        ))
    }

    /// Resident set size in bytes.
    ///
    /// # Errors
    /// Always: this system does not tell.
    pub fn bytes(&self) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
