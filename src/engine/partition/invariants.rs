//! What holds of a partition after every call, whatever came before. Debug builds and the simulator
//! look each time.

use super::Partition;
use crate::types::{Entry, KeyOperation, Operation};

impl Partition {
    /// Panics if the machine contradicts itself.
    pub fn check_invariants(&self) {
        assert!(
            self.log.committed.counter <= self.log.applied,
            "committed before it was held"
        );
        let first = self.primary() == Some(self.me);
        assert_eq!(self.first, first, "the first owner was not noted");
        if let Some(lead) = &self.lead {
            lead.locks.check_invariants();
        }
        assert_eq!(
            self.log.applied - self.log.committed.counter,
            self.log.len() as u64,
            "the tail has a gap"
        );
        let tombstones = self
            .store
            .entries()
            .filter(|(_, entry)| entry.live.is_none())
            .count();
        assert_eq!(
            tombstones,
            self.store.tombstones(),
            "tombstones are miscounted"
        );
        assert_eq!(
            self.store.summed(),
            self.store.sum(),
            "the sum over the states is wrong"
        );
        assert_eq!(
            self.store.bytes(),
            self.store.count_bytes(),
            "memory is miscounted"
        );
        self.store.check_tickets();
        self.check_lent();
        if self.lead.is_some() {
            assert!(self.is_primary(), "leads without being primary");
        }
        assert!(
            self.kept.is_none() || self.complete.is_none(),
            "a copy lies aside beside one that is complete"
        );
    }

    /// What is stored or waits keeps no network buffer.
    fn check_lent(&self) {
        let lent = |entry: &Entry| entry.live.as_ref().is_some_and(|live| live.value.is_lent());
        let stored = self.store.entries().map(|(_, entry)| entry);
        assert!(
            !stored.chain(self.log.waiting()).any(lent),
            "stored, but lent"
        );
        let parked = self.parked.iter().any(|parked| {
            matches!(&parked.ask.operation, Operation::Key {
                operation: KeyOperation::Put { value, .. }, ..
            } if value.is_lent())
        });
        assert!(!parked, "parked, but lent");
    }
}
