//! jemalloc's allocation counters of the current thread, read at the edges of a scope.
//!
//! A scope is a stretch of synchronous code (one poll, one drop) that is charged to one tally. Scopes nest: code of an
//! inner scope is charged to the outer ones too. Nothing here knows of HTTP.

use std::cell::Cell;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Unavailable;
use crate::jemalloc::{Counters, counters_move};

/// Bytes allocated and freed, in jemalloc's size classes.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    allocated: u64,
    freed: u64,
}

impl Flow {
    // Wrapping: a scope's correction may be negative.
    fn plus(self, other: Flow) -> Flow {
        Flow {
            allocated: self.allocated.wrapping_add(other.allocated),
            freed: self.freed.wrapping_add(other.freed),
        }
    }

    fn minus(self, other: Flow) -> Flow {
        Flow {
            allocated: self.allocated.wrapping_sub(other.allocated),
            freed: self.freed.wrapping_sub(other.freed),
        }
    }
}

/// What the innermost scope of a thread must count differently from the thread's counters.
struct Frame {
    correction: Cell<Flow>,
    outer: *const Frame,
}

thread_local! {
    // Neither has a destructor, so both can still be read while the thread's other locals are being dropped.
    static COUNTERS: Cell<Option<Counters>> = const { Cell::new(None) };
    static INNERMOST: Cell<*const Frame> = const { Cell::new(ptr::null()) };
}

/// This thread's counters now. Zero, always, where there are none: then every difference is zero.
fn now() -> Flow {
    let counters = COUNTERS.get().or_else(|| {
        let found = Counters::of_this_thread();
        COUNTERS.set(found);
        found
    });
    let [allocated, freed] = counters.map(Counters::read).unwrap_or_default();
    Flow { allocated, freed }
}

/// Whether the counters exist, and count what this program allocates. Tried once.
///
/// # Errors
///
/// Says why request accounting can't work in this program.
pub fn available() -> Result<(), Unavailable> {
    static ANSWER: OnceLock<Result<(), Unavailable>> = OnceLock::new();
    ANSWER.get_or_init(counters_move).clone()
}

/// What has been counted for one owner, on whatever threads.
#[derive(Debug, Default)]
pub(super) struct Tally {
    allocated: AtomicU64,
    freed: AtomicU64,
}

impl Tally {
    /// Runs `f` and adds what it allocates and frees on this thread, also if it panics.
    pub(super) fn measure<R>(&self, f: impl FnOnce() -> R) -> R {
        let scope = Scope {
            tally: self,
            frame: Frame { correction: Cell::default(), outer: INNERMOST.get() },
            start: now(),
        };
        INNERMOST.set(&scope.frame);
        f()
    }

    /// Bytes allocated so far.
    pub(super) fn allocated_bytes(&self) -> u64 {
        self.allocated.load(Relaxed)
    }

    /// Bytes freed so far.
    pub(super) fn freed_bytes(&self) -> u64 {
        self.freed.load(Relaxed)
    }
}

struct Scope<'a> {
    tally: &'a Tally,
    frame: Frame,
    start: Flow,
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        INNERMOST.set(self.frame.outer);
        let flow = now().minus(self.start).plus(self.frame.correction.get());
        self.tally.allocated.fetch_add(flow.allocated, Relaxed);
        self.tally.freed.fetch_add(flow.freed, Relaxed);
    }
}

/// Runs `f` outside the innermost scope: it is charged to the scopes around that one only.
pub(super) fn outside<R>(f: impl FnOnce() -> R) -> R {
    let innermost = INNERMOST.get();
    match frame(&innermost) {
        Some(frame) => uncharged(innermost, frame.outer, f),
        None => f(),
    }
}

/// Runs `f` outside every scope of this thread: it is charged to nobody.
pub(super) fn unmeasured<R>(f: impl FnOnce() -> R) -> R {
    let innermost = INNERMOST.get();
    if innermost.is_null() { f() } else { uncharged(innermost, ptr::null(), f) }
}

/// Runs `f` without charging it to the scopes from `innermost` up to `end`, which is not one of them.
fn uncharged<R>(innermost: *const Frame, end: *const Frame, f: impl FnOnce() -> R) -> R {
    let _uncharged = Uncharged { innermost, end, start: now() };
    INNERMOST.set(end);
    f()
}

struct Uncharged {
    innermost: *const Frame,
    end: *const Frame,
    start: Flow,
}

impl Drop for Uncharged {
    fn drop(&mut self) {
        let flow = now().minus(self.start);
        let mut next = self.innermost;
        while next != self.end
            && let Some(frame) = frame(&next)
        {
            frame.correction.set(frame.correction.get().minus(flow));
            next = frame.outer;
        }
        INNERMOST.set(self.innermost);
    }
}

/// The frame that one of the pointers of the chain, which starts at `INNERMOST`, points at.
fn frame(pointer: &*const Frame) -> Option<&Frame> {
    // SAFETY: a pointer of the chain is null or points at the frame of a `Scope` in a `measure` call on this thread's
    // stack that has not returned: only `measure` makes one, of a local that does not move and whose drop takes it back
    // out of the chain, and what runs in between (`uncharged`) puts the chain back before it returns, or unwinds.
    unsafe { pointer.as_ref() }
}

/// Counts `bytes` as allocated by the innermost scope, as though it had allocated them itself.
pub(super) fn count_allocated(bytes: usize) {
    count(Flow { allocated: bytes as u64, freed: 0 });
}

/// Counts `bytes` as freed by the innermost scope, as though it had freed them itself.
pub(super) fn count_freed(bytes: usize) {
    count(Flow { allocated: 0, freed: bytes as u64 });
}

fn count(flow: Flow) {
    if let Some(frame) = frame(&INNERMOST.get()) {
        frame.correction.set(frame.correction.get().plus(flow));
    }
}
