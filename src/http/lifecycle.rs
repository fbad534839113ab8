//! Where the service is in its life, for those who wait for a change.

use tokio::sync::watch;

/// Where the service is in its life. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    phase: watch::Sender<Phase>,
}

/// One phase of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It does not listen yet.
    Starting,
    /// It answers.
    Ready,
    /// It finishes what is under way, and stops.
    Draining,
}

impl Lifecycle {
    /// It starts.
    pub fn new() -> Self {
        Self { phase: watch::Sender::new(Phase::Starting) }
    }

    /// Where it is now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Goes on to that phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Returns once the service is about to stop: for requests that take their time.
    pub async fn draining(&self) {
        let mut phase = self.phase.subscribe();
        let _ = phase.wait_for(|phase| *phase == Phase::Draining).await; // the sender lives as long as `self`
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}
