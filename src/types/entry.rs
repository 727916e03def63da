//! The state of one key, as an owner stores it and as owners send it to each other.

use super::blob::Blob;
use super::time::{ClusterTime, Micros};
use super::version::EntryVersion;

/// The state of a key: live, or a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The version of the write that created this life of the key.
    pub incarnation: EntryVersion,
    /// The version of the last write.
    pub version: EntryVersion,
    /// When this life of the key began.
    pub created_at: ClusterTime,
    /// Whether a remove by key ended it (as opposed to a range or time).
    pub removed_by_key: bool,
    /// What lives; absent in a tombstone.
    pub live: Option<Live>,
}

/// The value of a live key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Opaque bytes.
    pub value: Blob,
    /// Opaque flags that clients own.
    pub flags: u32,
    /// The version that clients see: a digest of the write that set the value.
    pub value_version: u64,
    /// The point past which it is gone.
    pub expires_at: Option<ClusterTime>,
    /// Gone when not accessed for this long.
    pub time_to_idle: Option<Micros>,
    /// The last access; stands outside of the version and merges by maximum.
    pub last_access: ClusterTime,
}

impl Entry {
    /// Moves every point in time: the cluster's clock became another one.
    pub fn shift(&mut self, by: i64) {
        self.created_at = self.created_at.shifted(by);
        if let Some(live) = &mut self.live {
            live.expires_at = live.expires_at.map(|point| point.shifted(by));
            live.last_access = live.last_access.shifted(by);
        }
    }
}

impl Live {
    /// Whether its absolute point has passed. At the limit it lives.
    pub fn expired(&self, now: ClusterTime) -> bool {
        self.expires_at.is_some_and(|point| now > point)
    }

    /// Whether its idle point, as far as this copy knows it, has passed.
    pub fn idle(&self, now: ClusterTime) -> bool {
        self.idle_expires_at().is_some_and(|point| now > point)
    }

    /// The idle point, as far as this copy knows it.
    pub fn idle_expires_at(&self) -> Option<ClusterTime> {
        self.time_to_idle.map(|idle| self.last_access.after(idle))
    }
}
