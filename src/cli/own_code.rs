//! Keeps the program's own code in memory, so that the memory limit ends it.
//!
//! Near its limit a cgroup first gives back the pages of files, and where the container was the first to read the program,
//! its code is such pages. They are needed again at once, read from the disk, given back, and so on: the service hangs at
//! its limit, and the kernel never kills it, since it always finds something to give back. A locked page can't be given back.

use std::{env, fs, io};

/// Locks the program's code, each page from when it is first used on (mlock2(2)): some megabytes of address space.
///
/// # Errors
/// It may not lock so much (`ulimit -l`).
pub fn keep_resident() -> io::Result<()> {
    let program = env::current_exe()?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    let own = maps.lines().filter(|line| program.to_str().is_some_and(|program| line.ends_with(program)));
    own.filter_map(code).try_for_each(|(start, bytes)| lock(start, bytes))
}

/// Where a mapping of code begins, and how long it is, by a line of `/proc/self/maps` (proc_pid_maps(5)):
/// `start-end rights offset device inode path`.
fn code(line: &str) -> Option<(usize, usize)> {
    let (addresses, rest) = line.split_once(' ')?;
    let (start, end) = addresses.split_once('-')?;
    let [start, end] = [start, end].map(|address| usize::from_str_radix(address, 16));
    let (start, end) = (start.ok()?, end.ok()?);
    rest.starts_with("r-x").then_some((start, end - start))
}

fn lock(start: usize, bytes: usize) -> io::Result<()> {
    // SAFETY: it changes no content, and nobody unmaps the program's code.
    let failed = unsafe { libc::mlock2(start as *const _, bytes, libc::MLOCK_ONFAULT) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
