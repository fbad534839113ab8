//! The one clock: a thread that observes the process at a steady pace and shows each observation to all who want one.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    lock::lock,
    quantity::{Observation, Observer},
    recorder::Lookout,
};

/// Time between two readings of the slow quantities.
const SLOW: Duration = Duration::from_secs(5);

/// Somebody who wants to see an observation each `pace`, the first at once.
pub(super) struct Subscriber {
    pub pace: Duration,
    pub see: Box<dyn FnMut(&Observation) + Send>,
}

/// Runs until it is stopped or dropped.
pub(super) struct Clock {
    stop: Arc<Stop>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Clock {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system can't start one.
    pub fn start(
        observer: Arc<Observer>,
        subscribers: Vec<Subscriber>,
        lookout: Option<Arc<Mutex<Lookout>>>,
    ) -> io::Result<Self> {
        let stop = Arc::<Stop>::default();
        let thread = thread::Builder::new().name("leakscope-clock".into()).spawn({
            let stop = Arc::clone(&stop);
            move || run(&stop, &observer, subscribers, lookout)
        })?;
        Ok(Self { stop, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread, and waits for it.
    pub fn stop(&self) {
        *lock(&self.stop.stopped) = true;
        self.stop.changed.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            // A panic there was in one of the program's own closures, and has been printed.
            let _ = thread.join();
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(stop: &Stop, observer: &Observer, subscribers: Vec<Subscriber>, lookout: Option<Arc<Mutex<Lookout>>>) {
    let start = Instant::now();
    let mut look_due = start;
    let mut slow_due = start + SLOW;
    let mut subscribers: Vec<_> = subscribers.into_iter().map(|subscriber| (start, subscriber)).collect();
    loop {
        let now = Instant::now();
        if let Some(lookout) = lookout.as_ref().filter(|_| look_due <= now) {
            look_due = now + lock(lookout).look(observer.usage_bytes());
        }
        if slow_due <= now {
            observer.read_slow();
            slow_due = later(slow_due, SLOW, now);
        }
        if subscribers.iter().any(|(due, _)| *due <= now) {
            let observation = observer.now();
            for (due, subscriber) in subscribers.iter_mut().filter(|(due, _)| *due <= now) {
                (subscriber.see)(&observation);
                *due = later(*due, subscriber.pace, now);
            }
        }
        let looks = lookout.is_some().then_some(look_due);
        let next = subscribers.iter().map(|(due, _)| *due).chain([slow_due]).chain(looks).min();
        if stop.comes_before(next.unwrap_or(slow_due)) {
            return;
        }
    }
}

/// After a pause of the whole machine it goes on from now instead of catching up.
fn later(due: Instant, pace: Duration, now: Instant) -> Instant {
    (due + pace).max(now)
}

impl Stop {
    /// Waits until `due`, or for the stop; tells whether that has come.
    fn comes_before(&self, due: Instant) -> bool {
        let wait = due.saturating_duration_since(Instant::now());
        let stopped = lock(&self.stopped);
        let waited = self.changed.wait_timeout_while(stopped, wait, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
