//! Memory that a write will need.
//!
//! There are a thousand partitions, and a write finds what it touches of one in no cache of the
//! processor: some fifteen places. Looked at together before anything is decided they come together;
//! one after the other, each would be waited for.

use super::Partition;
use super::lead::Lead;
use crate::types::Operation;
use std::hint::black_box;

/// What a write looks at of a primary.
fn of_lead(lead: &Lead) -> (u64, usize, bool, bool, usize) {
    (
        lead.inherited,
        lead.acked.len(),
        lead.grants.any(),
        lead.locks.any(),
        lead.subscribers.len(),
    )
}

impl Partition {
    /// Looks at what a write of a key will touch.
    pub(super) fn reach(&self, operation: &Operation) {
        let Operation::Key { key, operation } = operation else {
            return;
        };
        let Some(lead) = self.lead.as_deref().filter(|_| !operation.is_read()) else {
            return;
        };
        black_box((
            of_lead(lead),
            self.store.requests.reach(),
            self.log.applied,
            self.place.topology.number,
            self.feed.next(),
            self.agreed.counter,
            self.near_copies(),
        ));
        if let Some(entry) = self.store.get(key) {
            let value = entry.live.as_ref().map(|live| live.value.reach());
            black_box((entry.version.counter, value));
        }
    }
}
