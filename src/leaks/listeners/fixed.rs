//! The bus repaired: subscribing returns a guard, and a listener lives as long as its guard.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    super::{Feature, Held, RequestInfo, locked, payload},
    BUFFER_BYTES, Event, PAYLOAD_BYTES, react,
};

type Listener<'bus> = Box<dyn FnMut(&Event<'_>) + Send + 'bus>;

/// Hears nothing and holds nothing between requests.
#[derive(Default)]
pub(super) struct Completions {
    bus: Bus<'static>,
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
}

#[derive(Default)]
struct Bus<'bus> {
    listeners: Mutex<BTreeMap<u64, Listener<'bus>>>,
    next_id: AtomicU64,
}

impl<'bus> Bus<'bus> {
    /// The listener hears every event until the guard is dropped.
    fn subscribe(&self, listener: Listener<'bus>) -> Subscription<'_, 'bus> {
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
struct Subscription<'a, 'bus> {
    bus: &'a Bus<'bus>,
    id: u64,
}

impl Drop for Subscription<'_, '_> {
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
    use super::*;

    #[test]
    fn a_live_subscriber_gets_every_event_and_a_dropped_one_none() {
        let (stays, leaves) = (AtomicU64::new(0), AtomicU64::new(0));
        let bus = Bus::default();
        let _staying = bus.subscribe(Box::new(|_| {
            stays.fetch_add(1, Relaxed);
        }));
        let leaving = bus.subscribe(Box::new(|_| {
            leaves.fetch_add(1, Relaxed);
        }));
        bus.publish(&Event { request_id: "first" });
        drop(leaving);
        bus.publish(&Event { request_id: "second" });
        assert_eq!((stays.load(Relaxed), leaves.load(Relaxed)), (2, 1));
    }

    #[test]
    fn events_from_many_threads_all_arrive() {
        const THREADS: u64 = 4;
        const EVENTS: u64 = 500;
        let heard = AtomicU64::new(0);
        let bus = Bus::default();
        let _subscription = bus.subscribe(Box::new(|_| {
            heard.fetch_add(1, Relaxed);
        }));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..EVENTS).for_each(|_| bus.publish(&Event { request_id: "x" })));
            }
        });
        assert_eq!(heard.load(Relaxed), THREADS * EVENTS);
    }
}
