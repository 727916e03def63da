//! Versions: of the topology, totally ordered over all halves of a split, and of entries.

use super::node::Member;
use xxhash_rust::xxh3::xxh3_64;

/// The version of a view. Totally ordered; two halves of a split never own the same one, because
/// the coordinator that published it is a part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopologyVersion {
    /// Rises by at least one with each view; a merge takes the greater number plus one.
    pub number: u64,
    /// The coordinator that published the view.
    pub coordinator: Member,
}

/// The version of one write: greater than that of every earlier write of its partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryVersion {
    /// The topology in which the primary gave it.
    pub topology: TopologyVersion,
    /// The update counter of the partition.
    pub counter: u64,
}

impl EntryVersion {
    /// The 64-bit form that clients compare for equality. Never zero.
    pub fn digest(&self) -> u64 {
        let mut bytes = [0u8; 32];
        bytes[..8].copy_from_slice(&self.topology.number.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.topology.coordinator.id.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.topology.coordinator.incarnation.0.to_le_bytes());
        bytes[24..].copy_from_slice(&self.counter.to_le_bytes());
        xxh3_64(&bytes).max(1)
    }
}
