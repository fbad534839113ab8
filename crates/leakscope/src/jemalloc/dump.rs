//! jemalloc's profile of this process, through memory instead of a file: it works on a read-only file system too.

use crate::heap::RawProfile;

/// Takes the profile.
#[cfg(target_os = "linux")]
pub(super) fn dump() -> Result<RawProfile, String> {
    use std::{
        ffi::CString,
        fs::File,
        io::{BufReader, Seek},
        os::fd::{AsRawFd, FromRawFd, OwnedFd},
    };

    // SAFETY: the name ends in NUL.
    let descriptor = unsafe { libc::memfd_create(c"leakscope-heap-profile".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(format!("memfd_create: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: the descriptor is fresh and nobody else's.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let name = CString::new(path.as_str()).map_err(|error| error.to_string())?;
    super::controls::dump(&name)
        .map_err(|error| format!("jemalloc could not write its profile to {path}: {error}"))?;
    file.rewind().map_err(|error| format!("{path}: {error}"))?;
    crate::heap::parse(BufReader::with_capacity(64 << 10, file))
}

/// Takes the profile: not here.
#[cfg(not(target_os = "linux"))]
pub(super) fn dump() -> Result<RawProfile, String> {
    Err("heap profiles are taken on Linux only".to_owned())
}
