//! The frame-pointer unwinder that jemalloc calls for each sampled allocation.
//!
//! It runs inside the allocator, so it allocates nothing of its own, takes no lock and never faults: it reads only
//! within the limits of the thread's own stack, whatever the frame pointers say. Whether they can be trusted is for
//! the profiler to find out.

use std::{
    cell::Cell,
    ffi::{c_uint, c_void},
    mem::MaybeUninit,
    ops::Range,
    slice,
};

use super::tally;

/// jemalloc's `prof_backtrace_hook_t`: fills `vec` with at most `max_len` return addresses, innermost first.
pub(super) type Hook = unsafe extern "C" fn(vec: *mut *mut c_void, len: *mut c_uint, max_len: c_uint);

thread_local! {
    /// Lowest and past-the-highest address of this thread's stack; (0, 0) before the first look, (1, 1) where there
    /// is no answer. Const and without a destructor: reading it neither allocates nor registers anything.
    static STACK: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// The unwinder, in the form that jemalloc takes.
///
/// # Safety
/// `vec` has room for `max_len` pointers and `len` can be written, as jemalloc grants.
pub(super) unsafe extern "C" fn backtrace(vec: *mut *mut c_void, len: *mut c_uint, max_len: c_uint) {
    let stack = stack_limits();
    let here = (&raw const stack).addr();
    let depth = if stack.contains(&here) {
        // SAFETY: the caller's promise. It does not say that anything was written there before.
        let room = unsafe { slice::from_raw_parts_mut(vec.cast::<MaybeUninit<_>>(), max_len as usize) };
        // SAFETY: the thread is running on this stack, so it is mapped from here to its end.
        let depth = unsafe { walk(frame_pointer(), here..stack.end, room) };
        // SAFETY: `walk` has just written `depth` of them.
        let addresses = unsafe { slice::from_raw_parts(vec, depth) };
        tally::count(addresses.iter().map(|address| address.addr() as u64));
        depth
    } else {
        0 // on a stack of its own making (a fiber, a signal stack), whose end nobody knows
    };
    // SAFETY: the caller's promise.
    unsafe { *len = depth as c_uint };
}

/// Follows the chain of frame pointers upwards and returns how many return addresses it has written at the front of `room`.
///
/// # Safety
/// `stack` is readable and stays so.
unsafe fn walk(mut frame: usize, stack: Range<usize>, room: &mut [MaybeUninit<*mut c_void>]) -> usize {
    const RECORD_BYTES: usize = 2 * size_of::<usize>();
    let mut depth = 0;
    for slot in room {
        let inside = frame >= stack.start && frame <= stack.end.saturating_sub(RECORD_BYTES);
        if !inside || !frame.is_multiple_of(align_of::<usize>()) {
            break;
        }
        // SAFETY: aligned and within the stack, which the caller vouches for. On x86_64 and aarch64 a frame record is
        // the caller's frame pointer, then the return address (System V ABI 3.2.2; AAPCS64 6.4.6).
        let [caller_frame, return_address] =
            unsafe { *std::ptr::with_exposed_provenance::<[usize; 2]>(frame) };
        let return_address = without_signature(return_address);
        if return_address == 0 {
            break;
        }
        slot.write(std::ptr::without_provenance_mut(return_address));
        depth += 1;
        if caller_frame <= frame {
            break; // the stack grows downwards: an older frame lies above
        }
        frame = caller_frame;
    }
    depth
}

/// The current frame pointer.
#[inline(always)]
fn frame_pointer() -> usize {
    let frame: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: copies a register.
    unsafe {
        std::arch::asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: copies a register.
    unsafe {
        std::arch::asm!("mov {}, x29", out(reg) frame, options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        frame = 0; // no known frame record: the walk ends before it begins, and the check at the start notices
    }
    frame
}

/// Return addresses on aarch64 may carry a pointer authentication code above the 48 bits of the address.
fn without_signature(return_address: usize) -> usize {
    if cfg!(target_arch = "aarch64") { return_address & ((1 << 48) - 1) } else { return_address }
}

/// Limits of this thread's stack, asked for once.
fn stack_limits() -> Range<usize> {
    let (mut low, mut high) = STACK.get();
    if high == 0 {
        (low, high) = ask_stack_limits().unwrap_or((1, 1));
        STACK.set((low, high));
    }
    low..high
}

/// glibc keeps the limits of the threads it made, and reads /proc/self/maps for the main thread, with its own malloc:
/// that is jemalloc only where jemalloc replaces it, and there this unwinder is not installed.
#[cfg(target_os = "linux")]
fn ask_stack_limits() -> Option<(usize, usize)> {
    // SAFETY: attributes are initialised by pthread_getattr_np before they are read, and destroyed once.
    unsafe {
        let mut attributes = std::mem::zeroed::<libc::pthread_attr_t>();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
            return None;
        }
        let (mut low, mut bytes) = (std::ptr::null_mut(), 0);
        let failed = libc::pthread_attr_getstack(&attributes, &mut low, &mut bytes) != 0;
        libc::pthread_attr_destroy(&mut attributes);
        (!failed).then(|| (low.addr(), low.addr() + bytes))
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_stack_limits() -> Option<(usize, usize)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes frame records into a make-believe stack: (slot of the record, slot it points to, return address).
    fn stack_with(records: &[(usize, usize, usize)]) -> Vec<usize> {
        let mut stack = vec![0; 64];
        let base = stack.as_ptr().expose_provenance();
        for &(slot, caller, address) in records {
            stack[slot] = base + caller * size_of::<usize>();
            stack[slot + 1] = address;
        }
        stack
    }

    fn walked(stack: &[usize], first_slot: usize) -> Vec<usize> {
        let base = stack.as_ptr().expose_provenance();
        let mut room = [MaybeUninit::uninit(); 16];
        let range = base..base + size_of_val(stack);
        // SAFETY: the range is that of a live slice.
        let depth = unsafe { walk(base + first_slot * size_of::<usize>(), range, &mut room) };
        // SAFETY: `walk` has just written `depth` of them.
        room[..depth].iter().map(|address| unsafe { address.assume_init() }.addr()).collect()
    }

    #[test]
    fn follows_the_chain_to_its_end() {
        let stack = stack_with(&[(2, 10, 0xa), (10, 20, 0xb), (20, 0, 0xc)]);
        assert_eq!(walked(&stack, 2), [0xa, 0xb, 0xc]);
    }

    #[test]
    fn stops_at_a_zero_return_address() {
        let stack = stack_with(&[(2, 10, 0xa), (10, 20, 0), (20, 0, 0xc)]);
        assert_eq!(walked(&stack, 2), [0xa]);
    }

    #[test]
    fn never_reads_outside_the_stack() {
        let mut stack = stack_with(&[(2, 63, 0xa)]);
        assert_eq!(walked(&stack, 2), [0xa], "a record may not straddle the end");
        for wild in [0, 1, 8, usize::MAX, usize::MAX - 7, 1 << 63] {
            stack[2] = wild;
            assert_eq!(walked(&stack, 2), [0xa], "{wild:#x}");
        }
    }

    #[test]
    fn never_turns_back() {
        let stack = stack_with(&[(2, 10, 0xa), (10, 2, 0xb)]);
        assert_eq!(walked(&stack, 2), [0xa, 0xb]);
        let stack = stack_with(&[(2, 2, 0xa)]);
        assert_eq!(walked(&stack, 2), [0xa]);
    }

    #[test]
    fn refuses_a_crooked_frame_pointer() {
        let mut stack = stack_with(&[(2, 10, 0xa), (10, 20, 0xb)]);
        stack[2] += 1;
        assert_eq!(walked(&stack, 2), [0xa]);
    }

    #[test]
    fn fills_no_more_than_there_is_room_for() {
        let records: Vec<_> = (0..31).map(|i| (i * 2, i * 2 + 2, 0xa + i)).collect();
        assert_eq!(walked(&stack_with(&records), 0).len(), 16);
    }

    #[test]
    fn knows_the_limits_of_main_and_other_threads() {
        let here = || {
            let limits = stack_limits();
            assert!(limits.contains(&(&raw const limits).addr()), "{limits:x?}");
            assert!(limits.len() >= 64 << 10, "{limits:x?}");
        };
        here();
        std::thread::spawn(here).join().unwrap();
    }
}
