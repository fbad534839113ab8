//! Keeps the program's own code in memory, so that the memory limit ends it.
//!
//! Near its limit a cgroup first gives back the pages of files, and where the container was the first to read the program,
//! its code is such pages. They are needed again at once, read from the disk, given back, and so on: the service hangs at
//! its limit, and the kernel never kills it, since it always finds something to give back. A locked page can't be given back.

use std::{env, io};

use crate::proc::Process;

/// Locks the program's code in memory, each page from when it is first used on (mlock2(2)), so that at its memory limit the
/// program is killed, where it could hang for hours reading its code again and again. Call it once, at the start.
///
/// # Errors
/// It may not lock so much: the code's length (some megabytes) counts against `ulimit -l`.
pub fn lock_own_code() -> io::Result<()> {
    let program = env::current_exe()?;
    for code in Process::this().code_mappings()?.iter().filter(|code| code.path == program) {
        // SAFETY: it changes no content, and nobody unmaps the program's code.
        let failed = unsafe {
            libc::mlock2(code.start as *const _, (code.end - code.start) as usize, libc::MLOCK_ONFAULT)
        };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
