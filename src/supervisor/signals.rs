//! Signals: those that the lab sends to other processes, and those that ask it to stop.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Stop signals that come within this time are one request to stop.
const ONE_REQUEST: Duration = Duration::from_millis(300);

/// Sends a signal; that the process may have ended already is no error.
pub fn send(pid: u32, signal: libc::c_int) {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return };
    // SAFETY: kill(2) takes plain numbers; at worst there is no such process.
    unsafe { libc::kill(pid, signal) };
}

/// What asks the lab to stop: Ctrl-C, `kill`, and a terminal that was closed.
pub struct StopSignals([Signal; 3]);

impl StopSignals {
    /// Takes these signals over from the system's default, which is to end the process.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new() -> io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }

    /// The user's second request, which means "at once". What comes with the first one is still the first: `timeout` and
    /// process managers signal a process and then its group.
    pub async fn again(&mut self) {
        let first = Instant::now();
        loop {
            self.next().await;
            if first.elapsed() >= ONE_REQUEST {
                return;
            }
        }
    }
}
