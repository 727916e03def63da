//! What a partition keeps while nothing is under way in it: as little as it can.

use super::Partition;
use std::collections::BTreeMap;

impl Partition {
    /// What is empty gives back what it took: a table or a leaf of a tree that stays in each of a
    /// thousand partitions keeps the page of memory around it as well.
    pub(super) fn give_back(&mut self) {
        self.log.give_back();
        self.expiry.give_back();
        self.waiters.give_back();
        if self.chores_since.is_empty() {
            self.chores_since = BTreeMap::new();
        }
    }
}
