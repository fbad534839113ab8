//! The one clock: a thread that observes the process at a steady pace and shows each observation to all who want one.

use std::{
    io,
    panic::{self, AssertUnwindSafe},
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

/// Somebody who wants to see an observation each `pace`.
pub(super) struct Subscriber {
    /// Time from the start to the first one.
    pub first: Duration,
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

    /// Ends the thread, and waits for it, unless this is that thread: one of the program's own closures may call it.
    pub fn stop(&self) {
        *lock(&self.stop.stopped) = true;
        self.stop.changed.notify_all();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            let _ = thread.join(); // what panics there is caught there
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
    let mut looks = Looks { lookout, due: start };
    let mut slow_due = start + SLOW;
    let mut subscribers: Vec<_> =
        subscribers.into_iter().map(|subscriber| (start + subscriber.first, subscriber)).collect();
    loop {
        looks.if_due(observer);
        let now = Instant::now();
        if slow_due <= now {
            observer.read_slow();
            slow_due = later(slow_due, SLOW, now);
            looks.if_due(observer);
        }
        if subscribers.iter().any(|(due, _)| *due <= now) {
            let observation = observer.now();
            for (due, subscriber) in subscribers.iter_mut().filter(|(due, _)| *due <= now) {
                // A panic there is in one of the program's own closures, and has been printed. The others go on.
                let _ = panic::catch_unwind(AssertUnwindSafe(|| (subscriber.see)(&observation)));
                *due = later(*due, subscriber.pace, now);
                looks.if_due(observer);
            }
        }
        let next = subscribers.iter().map(|(due, _)| *due).chain([slow_due]).chain(looks.next()).min();
        if stop.comes_before(next.unwrap_or(slow_due)) {
            return;
        }
    }
}

/// The looks at usage, which go on between everything else that the clock does.
struct Looks {
    lookout: Option<Arc<Mutex<Lookout>>>,
    due: Instant,
}

impl Looks {
    fn if_due(&mut self, observer: &Observer) {
        let now = Instant::now();
        if let Some(lookout) = self.lookout.as_ref().filter(|_| self.due <= now) {
            let look = || lock(lookout).look(observer.usage_bytes());
            let pause = panic::catch_unwind(AssertUnwindSafe(look)).unwrap_or(SLOW);
            self.due = now + pause;
        }
    }

    fn next(&self) -> Option<Instant> {
        self.lookout.is_some().then_some(self.due)
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
