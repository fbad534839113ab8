//! Gives back to the system what the allocator keeps for later.

use std::{ffi::CStr, ptr::null_mut, thread, time::Duration};

use super::books;

/// Returns the unused pages of every arena to the system, and what this thread's cache holds to its arena. A few
/// milliseconds and more after much was freed, 200 at most where other threads keep freeing: call it off the async runtime.
/// Does nothing where the program's allocator is not jemalloc. Caches of other threads stay: jemalloc lets only their owners
/// empty them.
pub fn purge() {
    for _ in 0..TRIES {
        run(c"thread.tcache.flush");
        run(ALL_ARENAS_PURGE);
        if books::read().map_or(0, |books| books.dirty_bytes) <= LEFT_BYTES {
            return;
        }
        thread::sleep(PAUSE);
    }
}

/// An arena that jemalloc's background thread is just purging, a part of it, is passed over without a word: ask again.
const TRIES: u32 = 10;
/// Time for the background thread to finish.
const PAUSE: Duration = Duration::from_millis(20);
/// Unused pages not worth another try: other threads free all the time.
const LEFT_BYTES: u64 = 1 << 20;

/// 4096 is jemalloc's `MALLCTL_ARENAS_ALL`.
const ALL_ARENAS_PURGE: &CStr = c"arena.4096.purge";

fn run(control: &CStr) {
    // SAFETY: jemalloc(3): both controls take and return nothing, for which all pointers are null; the name ends in NUL.
    // A control that does not exist is an error code, and there is nothing to undo.
    unsafe { tikv_jemalloc_sys::mallctl(control.as_ptr(), null_mut(), null_mut(), null_mut(), 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jemalloc_knows_the_control_for_all_arenas() {
        // SAFETY: as in `run`.
        let answer = unsafe {
            tikv_jemalloc_sys::mallctl(ALL_ARENAS_PURGE.as_ptr(), null_mut(), null_mut(), null_mut(), 0)
        };
        assert_eq!(answer, 0);
    }
}
