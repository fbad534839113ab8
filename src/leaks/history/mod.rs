//! An audit trail: what was asked can be read back by the request's id. The bug: every record is kept for ever.

use super::{Facts, Implementations, Record};

mod fixed;
mod leaky;
#[path = "../../../exercises/history.rs"]
#[allow(missing_docs, dead_code, clippy::all)] // the learner's, half finished at times
mod mine;

/// Payload kept for one record: its text.
pub const PAYLOAD_BYTES: usize = 8 * 1024;

pub(super) const FACTS: Facts = Facts {
    description: "Audit trail kept for ever: the full record of each request stays readable, and none is ever dropped",
    count_field: "entries",
    removed_field: "records_removed",
    removed_of_all_field: "history_records_removed",
    records_requests: true,
};

pub(super) fn implementations() -> Implementations {
    [
        Box::<leaky::AuditTrail>::default(),
        Box::<fixed::AuditTrail>::default(),
        Box::<mine::AuditTrail>::default(),
    ]
}

/// The text of a record, as it is read back.
fn read_back(request_id: &str, text: &[u8]) -> Record {
    Record { request_id: request_id.to_owned(), text: String::from_utf8_lossy(text).into_owned() }
}
