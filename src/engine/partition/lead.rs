//! What only a primary keeps: who holds how much of its stream, and what it waits for.

use super::repair::Round;
use super::resend::Repeat;
use super::transfer::{Incoming, Outgoing};
use crate::types::message::Tail;
use crate::types::{Blob, ClusterTime, EntryVersion, Member, Monotonic, TopologyVersion};
use std::collections::{BTreeMap, BTreeSet};

/// How far a primary is.
pub enum Phase {
    /// It asks the other owners what they have.
    Asking {
        missing: BTreeSet<Member>,
        tails: BTreeMap<Member, Tail>,
    },
    /// It takes in other histories.
    Merging {
        incoming: BTreeMap<Member, Incoming>,
    },
    /// It serves.
    Active,
}

/// A key past its idle point, as far as the primary knows: the other owners are asked.
pub struct IdleAsk {
    pub incarnation: EntryVersion,
    pub missing: BTreeSet<Member>,
    pub latest: ClusterTime,
}

/// What only a primary keeps; in this order what every write looks at stands together.
#[repr(C)]
pub struct Lead {
    pub phase: Phase,
    /// Updates up to this counter came from an earlier primary and may have been visible there:
    /// their keys are not served before they are committed again.
    pub inherited: u64,
    pub resend_at: Option<Monotonic>,
    /// When the copies are compared next.
    pub compare_at: Option<Monotonic>,
    /// Names the stream: the topology in which this primary took over.
    pub stream: TopologyVersion,
    /// The members of the stream, and up to which counter they hold it.
    pub acked: BTreeMap<Member, u64>,
    /// Those of them that have acknowledged its beginning.
    pub joined: BTreeSet<Member>,
    /// Near copies at other nodes.
    pub grants: super::near::Grants,
    /// Keys that transactions of several calls hold.
    pub locks: super::locks::Locks,
    /// Nodes that serve watchers, and up to which counter they were sent events.
    pub subscribers: BTreeMap<Member, u64>,
    /// Owners that serve watchers on their own, and when each was last told that all know.
    pub watching: BTreeMap<Member, Monotonic>,
    pub idle_asks: BTreeMap<Blob, IdleAsk>,
    pub loads: BTreeMap<Member, Outgoing>,
    /// What is sent again to members of the stream that are behind.
    pub repeats: BTreeMap<Member, Repeat>,
    /// Sources that are taken in.
    pub merged: BTreeSet<Member>,
    /// Owners whose copies differ, and how far that has been looked into.
    pub rounds: BTreeMap<Member, Round>,
}

impl Lead {
    pub fn new(stream: TopologyVersion, phase: Phase) -> Self {
        Self {
            stream,
            phase,
            inherited: 0,
            acked: BTreeMap::new(),
            joined: BTreeSet::new(),
            loads: BTreeMap::new(),
            merged: BTreeSet::new(),
            subscribers: BTreeMap::new(),
            watching: BTreeMap::new(),
            repeats: BTreeMap::new(),
            idle_asks: BTreeMap::new(),
            locks: super::locks::Locks::default(),
            grants: super::near::Grants::default(),
            resend_at: None,
            compare_at: None,
            rounds: BTreeMap::new(),
        }
    }

    /// Whether it serves.
    pub fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Active)
    }

    /// The counter that every member of the stream holds; `end` without other members.
    pub fn held_by_all(&self, end: u64) -> u64 {
        self.acked.values().copied().min().unwrap_or(end)
    }

    /// Whether something is out that may have to be sent again.
    pub fn waits(&self, end: u64) -> bool {
        !self.is_active()
            || !self.idle_asks.is_empty()
            || self.acked.values().any(|acked| *acked < end)
            || self
                .acked
                .keys()
                .any(|member| !self.joined.contains(member))
            || self.loads.values().any(|load| !load.is_finished())
    }
}
