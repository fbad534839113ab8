//! Copies of a message's headers that share no buffer with the original.

use http::{HeaderMap, HeaderValue};

/// A copy of headers with as much room, in which each value has a buffer of its own. (A clone would share the buffers, and
/// have no room: whoever adds a header to it pays for moving all.)
pub(super) fn copy_of(headers: &HeaderMap) -> HeaderMap {
    let mut copies = HeaderMap::with_capacity(headers.capacity());
    for (name, value) in headers {
        let copy = HeaderValue::from_bytes(value.as_bytes()).map(|mut copy| {
            copy.set_sensitive(value.is_sensitive());
            copy
        });
        // A value that some unsafe code made from bytes that are not allowed in one stays shared.
        copies.append(name, copy.unwrap_or_else(|_| value.clone()));
    }
    copies
}
