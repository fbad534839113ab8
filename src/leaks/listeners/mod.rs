//! An event bus: each request subscribes to hear of its own completion. The bug: nobody unsubscribes.
//!
//! Besides the bytes, each event reaches every listener, so that a request takes longer the more of them there are: about
//! 0.2 to 0.7 ms per 1,000.

use super::{Event, Facts, Implementations};

mod fixed;
mod leaky;
#[path = "../../../exercises/listeners.rs"]
#[allow(missing_docs, dead_code, clippy::all)] // the learner's, half finished at times
mod mine;

/// Payload that one listener's closure owns: a copy of its request, and a journal of the events that it saw.
pub const PAYLOAD_BYTES: usize = 2 * BUFFER_BYTES;

const BUFFER_BYTES: usize = 8 * 1024;

/// How much of its request a listener looks at for each event.
const MATCHED_BYTES: usize = 256;

pub(super) const FACTS: Facts = Facts {
    description: "Event bus whose subscribers never leave: each request adds a listener that owns buffers and hears every later event",
    count_field: "count",
    removed_field: "callbacks_removed",
    removed_of_all_field: "listeners_removed",
    records_requests: false,
};

pub(super) fn implementations() -> Implementations {
    [
        Box::<leaky::Completions>::default(),
        Box::<fixed::Completions>::default(),
        Box::<mine::Completions>::default(),
    ]
}

/// What a listener does with an event: compares it with its own request, and notes the outcome in its journal.
fn react(request: &[u8], journal: &mut [u8], event: &Event<'_>) {
    let outcome =
        request[..MATCHED_BYTES].iter().copied().chain(event.request_id.bytes()).fold(FNV_OFFSET, fnv1a);
    let slot = outcome as usize % journal.len();
    journal[slot] = b'!' + (outcome % 90) as u8;
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv1a(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}
