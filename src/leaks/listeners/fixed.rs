//! The bus repaired: subscribing returns a guard, and a listener lives as long as its guard.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    super::{Event, Feature, Held, Listener, RequestInfo, locked, payload},
    BUFFER_BYTES, PAYLOAD_BYTES, react,
};

/// Hears nothing and holds nothing between requests.
#[derive(Default)]
pub(super) struct Completions {
    bus: Bus,
}

impl Feature for Completions {
    fn serve(&self, request: &RequestInfo<'_>) {
        let copy = listener_buffer(&format!("GET {} {}\n", request.path, request.request_id));
        let mut journal = listener_buffer("no event yet\n");
        let _subscription = self.bus.subscribe(Box::new(move |event| react(&copy, &mut journal, event)));
        self.bus.publish(&Event { request_id: request.request_id });
    }

    fn held(&self) -> Held {
        Held::of(locked(&self.bus.listeners).len(), PAYLOAD_BYTES)
    }

    fn clear(&self) -> u64 {
        let removed = std::mem::take(&mut *locked(&self.bus.listeners));
        removed.len() as u64
    }

    fn listen(&self, listener: Listener, during: &mut dyn FnMut()) {
        let _subscription = self.bus.subscribe(listener);
        during();
    }
}

#[derive(Default)]
struct Bus {
    listeners: Mutex<BTreeMap<u64, Listener>>,
    next_id: AtomicU64,
}

impl Bus {
    /// The listener hears every event until the guard is dropped.
    fn subscribe(&self, listener: Listener) -> Subscription<'_> {
        let id = self.next_id.fetch_add(1, Relaxed);
        locked(&self.listeners).insert(id, listener);
        Subscription { bus: self, id }
    }

    fn publish(&self, event: &Event<'_>) {
        for listener in locked(&self.listeners).values_mut() {
            listener(event);
        }
    }
}

/// Unsubscribes when dropped.
#[must_use = "the listener hears nothing once this is dropped"]
struct Subscription<'a> {
    bus: &'a Bus,
    id: u64,
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        // The listener is dropped after the lock is given back.
        let _removed = locked(&self.bus.listeners).remove(&self.id);
    }
}

fn listener_buffer(text: &str) -> Box<[u8]> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    payload::fill(&mut buffer, text);
    buffer.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A listener that counts what it hears.
    fn counter() -> (Arc<AtomicU64>, Listener) {
        let heard = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&heard);
        let listener = Box::new(move |_: &Event<'_>| {
            counted.fetch_add(1, Relaxed);
        });
        (heard, listener)
    }

    #[test]
    fn a_live_subscriber_gets_every_event_and_a_dropped_one_none() {
        let bus = Bus::default();
        let ((stays, staying), (leaves, leaving)) = (counter(), counter());
        let _staying = bus.subscribe(staying);
        let leaving = bus.subscribe(leaving);
        bus.publish(&Event { request_id: "first" });
        drop(leaving);
        bus.publish(&Event { request_id: "second" });
        assert_eq!((stays.load(Relaxed), leaves.load(Relaxed)), (2, 1));
    }

    #[test]
    fn events_from_many_threads_all_arrive() {
        const THREADS: u64 = 4;
        const EVENTS: u64 = 500;
        let bus = Bus::default();
        let (heard, listener) = counter();
        let _subscription = bus.subscribe(listener);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..EVENTS).for_each(|_| bus.publish(&Event { request_id: "x" })));
            }
        });
        assert_eq!(heard.load(Relaxed), THREADS * EVENTS);
    }
}
