//! The trail as it was shipped: compliance wanted "the history", and nobody asked how much of it.

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

/// Growth site: every record and the table that finds it. The bug: nothing is ever taken out.
#[inline(never)]
fn append_record_for_ever(records: &Mutex<Records>, request: &RequestInfo<'_>) {
    let text = format!("GET {} request_id={}\n", request.path, request.request_id);
    let mut record = Vec::with_capacity(PAYLOAD_BYTES);
    payload::fill(&mut record, &text);
    locked(records).insert(request.request_id.into(), record.into_boxed_slice());
}
