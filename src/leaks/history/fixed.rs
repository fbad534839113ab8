//! The trail repaired: a ring that keeps the last records and reads each of them back.

use std::{collections::VecDeque, sync::Mutex};

use super::{
    super::{Feature, Held, Record, RequestInfo, locked, payload},
    PAYLOAD_BYTES, read_back,
};

/// Records kept: 1 MiB. What must be kept for longer belongs on a disk.
const CAPACITY: usize = 128;

struct Entry {
    request_id: Box<str>,
    text: Box<[u8]>,
}

#[derive(Default)]
pub(super) struct AuditTrail {
    /// Oldest first.
    records: Mutex<VecDeque<Entry>>,
}

impl Feature for AuditTrail {
    fn serve(&self, request: &RequestInfo<'_>) {
        let text = format!("GET {} request_id={}\n", request.path, request.request_id);
        let mut record = Vec::with_capacity(PAYLOAD_BYTES);
        payload::fill(&mut record, &text);
        let entry = Entry { request_id: request.request_id.into(), text: record.into_boxed_slice() };
        let mut records = locked(&self.records);
        if records.len() == CAPACITY {
            records.pop_front();
        }
        records.push_back(entry);
    }

    fn held(&self) -> Held {
        Held::of(locked(&self.records).len(), PAYLOAD_BYTES)
    }

    fn clear(&self) -> u64 {
        let removed = std::mem::take(&mut *locked(&self.records));
        removed.len() as u64
    }

    fn record(&self, request_id: &str) -> Option<Record> {
        let records = locked(&self.records);
        let entry = records.iter().rev().find(|entry| *entry.request_id == *request_id)?;
        Some(read_back(request_id, &entry.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_records_are_read_back_and_older_ones_are_gone() {
        let trail = AuditTrail::default();
        let ids: Vec<String> = (0..CAPACITY + 10).map(|n| format!("request-{n}")).collect();
        for id in &ids {
            trail.serve(&RequestInfo { request_id: id, path: "/api/data" });
        }
        let (gone, kept) = ids.split_at(10);
        assert!(gone.iter().all(|id| trail.record(id).is_none()));
        for id in kept {
            let record = trail.record(id).expect("one of the last");
            assert_eq!(record.text.len(), PAYLOAD_BYTES);
            assert!(record.text.starts_with(&format!("GET /api/data request_id={id}\n")), "{}", record.text);
        }
        assert_eq!(trail.held(), Held::of(CAPACITY, PAYLOAD_BYTES));
    }
}
