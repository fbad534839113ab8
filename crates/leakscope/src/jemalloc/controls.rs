//! The few of jemalloc's controls that the profiler needs, by name and type. Knows nothing of profiles.

use std::{
    ffi::{CStr, CString},
    hint::black_box,
    ptr::null_mut,
};

use tikv_jemalloc_ctl::raw;

use super::unwind::Hook;

/// Why the allocator can't profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// The program allocates with something else.
    NotTheAllocator,
    /// `opt.prof` is false, or jemalloc was built without its profiler.
    ProfilingOff,
    /// `prof.active` is false: nothing is sampled.
    Inactive,
}

/// Mean bytes between two samples, or why there are none.
pub(super) fn sample_interval_bytes() -> Result<u64, Unfit> {
    if !moves_with(|| drop(black_box(Vec::<u8>::with_capacity(black_box(1024))))) {
        return Err(Unfit::NotTheAllocator);
    }
    // SAFETY: jemalloc's manual gives the types: opt.prof and prof.active bool, prof.lg_sample size_t.
    unsafe {
        if !raw::read::<bool>(b"opt.prof\0").unwrap_or(false) {
            return Err(Unfit::ProfilingOff);
        }
        if !raw::read::<bool>(b"prof.active\0").unwrap_or(false) {
            return Err(Unfit::Inactive);
        }
        let lg_sample = raw::read::<usize>(b"prof.lg_sample\0").map_err(|_| Unfit::ProfilingOff)?;
        Ok(1u64.checked_shl(lg_sample as u32).unwrap_or(u64::MAX))
    }
}

/// Whether jemalloc has replaced the C library's `malloc` too (`unprefixed_malloc_on_supported_platforms`).
pub(super) fn serves_malloc() -> bool {
    moves_with(|| {
        // SAFETY: a fresh allocation is freed at once; free(NULL) does nothing.
        unsafe { libc::free(black_box(libc::malloc(black_box(1024)))) }
    })
}

/// Whether jemalloc's count of what this thread allocated moves. It answers even where nobody allocates with it.
fn moves_with(allocate: impl FnOnce()) -> bool {
    // SAFETY: jemalloc's manual: thread.allocated is uint64_t.
    let allocated = || unsafe { raw::read::<u64>(b"thread.allocated\0") }.unwrap_or(0);
    let before = allocated();
    allocate();
    allocated() > before
}

/// Installs an unwinder and returns the one before it.
pub(super) fn replace_unwinder(hook: Hook) -> Result<Hook, String> {
    // SAFETY: include/jemalloc/internal/prof_hook.h of 5.3 gives the signature, `Hook` has it; a hook is never null.
    unsafe { raw::update(b"experimental.hooks.prof_backtrace\0", hook) }.map_err(|error| error.to_string())
}

/// Writes the profile to the file of this name, which ends in NUL.
#[cfg(target_os = "linux")]
pub(super) fn dump(path: &CStr) -> Result<(), String> {
    // SAFETY: jemalloc's manual: prof.dump takes a `const char *`, read before the call returns.
    unsafe { raw::write(b"prof.dump\0", path.as_ptr()) }.map_err(|error| error.to_string())
}

/// While it lives, nothing that this thread allocates is sampled: a reader must not show in what it reads, and its
/// allocations must not enter the unwinder in the middle of a dump.
pub(super) struct UnsampledThread {
    was_sampled: bool,
}

impl UnsampledThread {
    pub(super) fn new() -> Self {
        // SAFETY: jemalloc's manual: thread.prof.active is bool.
        let was_sampled = unsafe { raw::update(b"thread.prof.active\0", false) }.unwrap_or(false);
        Self { was_sampled }
    }
}

impl Drop for UnsampledThread {
    fn drop(&mut self) {
        if self.was_sampled {
            // SAFETY: as in `new`. It fails only where `new` had failed.
            let _ = unsafe { raw::write(b"thread.prof.active\0", true) };
        }
    }
}

/// Returns the free pages of this thread's arena, and what its cache holds, to the system.
pub(crate) fn purge_thread() {
    run(c"thread.tcache.flush");
    // SAFETY: jemalloc's manual: thread.arena is unsigned.
    if let Ok(arena) = unsafe { raw::read::<libc::c_uint>(b"thread.arena\0") }
        && let Ok(purge) = CString::new(format!("arena.{arena}.purge"))
    {
        run(&purge);
    }
}

/// Runs a control that takes and returns nothing; jemalloc wants null pointers for it, which `raw` can't pass.
fn run(name: &CStr) {
    // SAFETY: the name ends in NUL, and null pointers are what jemalloc's manual asks for where nothing is exchanged.
    // A control that does not exist is an error code, and then there is nothing to run.
    unsafe { tikv_jemalloc_sys::mallctl(name.as_ptr(), null_mut(), null_mut(), null_mut(), 0) };
}
