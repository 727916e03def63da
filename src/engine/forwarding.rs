//! Requests on their way to a primary on another node, and what became of them.
//!
//! A read, or a write with a request id, is sent again when its way was lost: it changes nothing
//! the second time. A write without an id is sent once; when its way is lost its outcome is
//! unknown.
//!
//! Each sending has an id of its own. A write that arrives twice is recognised by that and left out,
//! also where it has a request id: nobody remembers a refusal under one, and what was refused must
//! not be done by a second copy.

use super::partition::{Ask, Asker};
use crate::types::time::MILLISECOND;
use crate::types::{CacheId, Member, Micros, Monotonic};
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The most requests under way to other nodes.
const FORWARDS_MAX: usize = 65_536;
/// How many ids of forwarded writes are remembered for each peer.
const ARRIVED_MAX: usize = 4096;
/// When a request that may be repeated is sent again.
const REPEAT: Micros = 500 * MILLISECOND;

/// A request under way.
pub struct Forwarded {
    pub asker: Asker,
    pub ask: Ask,
    pub cache: CacheId,
    pub partition: u32,
    pub to: Member,
    /// When it is looked at again: repeated, routed anew, or given up.
    pub due: Monotonic,
    /// It was sent and not answered.
    pub unanswered: bool,
}

impl Forwarded {
    /// Whether it may be sent twice.
    pub fn repeatable(&self) -> bool {
        self.ask.operation.is_idempotent() || self.ask.request_id.is_some()
    }

    /// Who asks, from now on: what comes of the next attempt may not be all that was done.
    pub fn asker(&self) -> Asker {
        match self.asker {
            Asker::Local { token, tried } => Asker::Local {
                token,
                tried: tried || (self.unanswered && !self.ask.operation.is_read()),
            },
            other => other,
        }
    }
}

/// The ids that came from a peer, and their order.
type Arrived = (HashSet<u64, FixedState>, VecDeque<u64>);

/// All requests under way from this node, and the ids of those that arrived.
#[derive(Default)]
pub struct Forwards {
    last: u64,
    under_way: BTreeMap<u64, Forwarded>,
    due: BTreeSet<(Monotonic, u64)>,
    arrived: BTreeMap<Member, Arrived>,
}

impl Forwards {
    pub fn is_full(&self) -> bool {
        self.under_way.len() >= FORWARDS_MAX
    }

    /// The next id.
    pub fn id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub fn begin(&mut self, id: u64, mut forwarded: Forwarded, mono: Monotonic) {
        forwarded.due = forwarded.ask.deadline;
        if forwarded.repeatable() {
            forwarded.due = forwarded.due.min(mono.after(REPEAT));
        }
        self.insert(id, forwarded);
    }

    fn insert(&mut self, id: u64, forwarded: Forwarded) {
        self.due.insert((forwarded.due, id));
        self.under_way.insert(id, forwarded);
    }

    /// Looks at a request again after a pause.
    pub fn pause(&mut self, id: u64, mut forwarded: Forwarded, until: Monotonic) {
        forwarded.asker = forwarded.asker();
        forwarded.unanswered = false;
        forwarded.due = until.min(forwarded.ask.deadline);
        self.insert(id, forwarded);
    }

    pub fn take(&mut self, id: u64) -> Option<Forwarded> {
        let forwarded = self.under_way.remove(&id)?;
        self.due.remove(&(forwarded.due, id));
        Some(forwarded)
    }

    /// Requests that must be looked at now.
    pub fn take_due(&mut self, mono: Monotonic) -> Vec<(u64, Forwarded)> {
        let mut due = Vec::new();
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= mono) {
            self.due.remove(&(at, id));
            due.extend(self.under_way.remove(&id).map(|forwarded| (id, forwarded)));
        }
        due
    }

    /// Requests whose way is lost: their node is not among these any more.
    pub fn take_lost(&mut self, lost: impl Fn(Member) -> bool) -> Vec<(u64, Forwarded)> {
        let ids: Vec<u64> = self
            .under_way
            .iter()
            .filter(|(_, forwarded)| lost(forwarded.to))
            .map(|(id, _)| *id)
            .collect();
        ids.into_iter()
            .filter_map(|id| Some((id, self.take(id)?)))
            .collect()
    }

    /// Whether a write arrives for the first time.
    pub fn arrives(&mut self, from: Member, id: u64) -> bool {
        let (known, order) = self.arrived.entry(from).or_default();
        if !known.insert(id) {
            return false;
        }
        order.push_back(id);
        if order.len() > ARRIVED_MAX
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        true
    }

    /// Forgets the ids of peers that are gone.
    pub fn keep_peers(&mut self, stays: impl Fn(Member) -> bool) {
        self.arrived.retain(|peer, _| stays(*peer));
    }

    /// When `take_due` wants to be called.
    pub fn next(&self) -> Option<Monotonic> {
        self.due.first().map(|(at, _)| *at)
    }
}
