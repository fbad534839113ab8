//! Writes down an end that nobody announced: a signal handler appends a record, made beforehand, to the journal's open file,
//! and lets the signal do what it would have done; and so does an exit handler, where the process exits by itself.
//!
//! All that the signal handler does is async-signal-safe: it loads atomics, calls write(2), sigaction(2) and raise(3).

use std::{
    io, mem,
    os::fd::{OwnedFd, RawFd},
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

/// The signals that end a process for what it did itself.
pub(super) const SIGNALS: [libc::c_int; COUNT] =
    [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];
/// How many they are.
const COUNT: usize = 6;

/// What the handler needs. Never freed: a handler may run at any time.
struct Installed {
    /// The journal: [`retire`] keeps it open, so that the number can't come to mean another file.
    journal: RawFd,
    /// The process that records: a child that it forks has the handlers too, and nothing to write down.
    pid: libc::pid_t,
    /// For each signal the record to write and the action that was there before.
    signals: [(Vec<u8>, libc::sigaction); COUNT],
    /// The record of an exit.
    exit: Vec<u8>,
}

static INSTALLED: OnceLock<Installed> = OnceLock::new();
/// Whether the journal is still that of a running recorder.
static RECORDING: AtomicBool = AtomicBool::new(false);
static RETIRED: OnceLock<OwnedFd> = OnceLock::new();

/// Installs the handlers, once in a process. `records` are written whole, for the signals in the order of [`SIGNALS`], and so
/// is `exit`.
///
/// # Errors
/// There is one already, or the system refuses.
pub(super) fn install(journal: RawFd, records: [Vec<u8>; COUNT], exit: Vec<u8>) -> io::Result<()> {
    let mut signals = records.map(|record| (record, default_action()));
    for ((_, previous), signal) in signals.iter_mut().zip(SIGNALS) {
        // SAFETY: sigaction(2) with a null new action only reads the old one into a valid struct.
        if unsafe { libc::sigaction(signal, ptr::null(), previous) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // All is in place before the first signal can come.
    INSTALLED
        .set(Installed { journal, pid: this_process(), signals, exit })
        .map_err(|_| io::Error::from(io::ErrorKind::AlreadyExists))?;
    let installed = set_handlers();
    RECORDING.store(installed.is_ok(), SeqCst);
    installed
}

fn set_handlers() -> io::Result<()> {
    let mut action = default_action();
    action.sa_sigaction = handle as *const () as libc::sighandler_t;
    // On the thread's alternate stack: the ordinary one may be what overflowed.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    for signal in SIGNALS {
        // SAFETY: the handler has the signature that SA_SIGINFO asks for and is async-signal-safe.
        if unsafe { libc::sigaction(signal, &action, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: the handler neither unwinds nor needs anything that is gone at the exit.
    if unsafe { libc::atexit(handle_exit) } != 0 {
        return Err(io::Error::from(io::ErrorKind::OutOfMemory)); // the only reason that atexit(3) has
    }
    Ok(())
}

/// After this, crashes and exits are not recorded. Takes the journal that was installed: a handler may be about to write.
pub(super) fn retire(journal: OwnedFd) {
    RECORDING.store(false, SeqCst);
    keep_open(journal);
}

/// Keeps the journal that was installed, so that a crash or an exit that comes later is still written down.
pub(super) fn keep_open(journal: OwnedFd) {
    let _ = RETIRED.set(journal); // installed once, so given here once
}

fn this_process() -> libc::pid_t {
    // SAFETY: getpid(2) is async-signal-safe and always succeeds.
    unsafe { libc::getpid() }
}

fn default_action() -> libc::sigaction {
    // SAFETY: all-zero bytes are a valid sigaction: SIG_DFL, no flags, an empty mask on the systems there are.
    unsafe { mem::zeroed() }
}

fn write(installed: &Installed, record: &[u8]) {
    if RECORDING.load(SeqCst) && installed.pid == this_process() {
        // SAFETY: write(2) is async-signal-safe; the buffer is valid and is not changed any more.
        unsafe { libc::write(installed.journal, record.as_ptr().cast(), record.len()) };
    }
}

extern "C" fn handle_exit() {
    if let Some(installed) = INSTALLED.get() {
        write(installed, &installed.exit);
    }
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let place = SIGNALS.iter().position(|known| *known == signal);
    let Some((installed, (record, previous))) =
        INSTALLED.get().zip(place).map(|(installed, place)| (installed, &installed.signals[place]))
    else {
        return;
    };
    write(installed, record);
    let chained = previous.sa_sigaction != libc::SIG_DFL && previous.sa_sigaction != libc::SIG_IGN;
    if chained {
        // std's handler tells a stack overflow by it, then aborts; for any other fault it restores the default action.
        // SAFETY: the kernel's arguments go on as they came to a handler that was installed for them.
        unsafe {
            if previous.sa_flags & libc::SA_SIGINFO != 0 {
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                    mem::transmute(previous.sa_sigaction);
                handler(signal, info, context);
            } else {
                let handler: extern "C" fn(libc::c_int) = mem::transmute(previous.sa_sigaction);
                handler(signal);
            }
        }
        // SAFETY: the kernel's siginfo is valid, or null where it gave none.
        let is_fault = unsafe { info.as_ref() }.is_some_and(|info| info.si_code > 0);
        if is_fault {
            return; // the instruction is tried again: repaired by that handler, or now with the default action
        }
    }
    // SAFETY: sigaction(2) and raise(3) are async-signal-safe. The signal is blocked here, and is delivered on return.
    unsafe {
        libc::sigaction(signal, &default_action(), ptr::null_mut());
        libc::raise(signal);
    }
}
