//! Fills the buffers that features keep. The caller allocates them, so that a profile names the caller's line.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// Fills `buffer` to its capacity with repetitions of `text`, without allocating.
pub(super) fn fill(buffer: &mut Vec<u8>, text: &str) {
    while buffer.len() < buffer.capacity() && !text.is_empty() {
        let room = buffer.capacity() - buffer.len();
        buffer.extend_from_slice(&text.as_bytes()[..text.len().min(room)]);
    }
}

/// A checksum of `bytes`; the same in every run.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(bytes)
}
