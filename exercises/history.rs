//! Fix it yourself: the audit trail.
//!
//! It must go on remembering: the records of the last 100 requests can be read back by the request's id.
//! What is wrong: every request leaves 8 KiB behind, however old it is.
//!
//! Edit this file until `cargo test --test mine history` passes: at most 8 MiB held, and the last 100 readable. Then start
//! the service again and switch it on: `"variant": "mine"`.

use std::{collections::HashMap, sync::Mutex};

use super::{
    super::{Feature, Held, Record, RequestInfo, locked, payload},
    PAYLOAD_BYTES, read_back,
};

type Records = HashMap<Box<str>, Box<[u8]>>;

#[derive(Default)]
pub(super) struct AuditTrail {
    /// By the request's id: reading back stays quick however long the trail is.
    records: Mutex<Records>,
}

impl Feature for AuditTrail {
    fn serve(&self, request: &RequestInfo<'_>) {
        append_record_for_ever(&self.records, request);
    }

    fn held(&self) -> Held {
        Held::of(locked(&self.records).len(), PAYLOAD_BYTES)
    }

    fn clear(&self) -> u64 {
        // Taking the map gives back its table too. The records are freed outside the lock.
        let removed = std::mem::take(&mut *locked(&self.records));
        removed.len() as u64
    }

    fn record(&self, request_id: &str) -> Option<Record> {
        locked(&self.records).get(request_id).map(|text| read_back(request_id, text))
    }
}

/// Keeps the record of a request.
fn append_record_for_ever(records: &Mutex<Records>, request: &RequestInfo<'_>) {
    let text = format!("GET {} request_id={}\n", request.path, request.request_id);
    let mut record = Vec::with_capacity(PAYLOAD_BYTES);
    payload::fill(&mut record, &text);
    locked(records).insert(request.request_id.into(), record.into_boxed_slice());
}
