//! What an owner keeps of transactions: those that are prepared, with the keys that they lock,
//! those that have ended here, and the decisions that are recorded here.
//!
//! All of it changes by the stream alone (see `steps.rs`), so every owner has the same, and a new
//! primary goes on where the old one was. Only forgetting goes by time, at each owner for itself:
//! what is forgotten can no longer be asked for.

use crate::engine::planted::{self, Fault};
use crate::types::message::Update;
use crate::types::transaction::{PartitionId, Prepared, Status, TransactionStates};
use crate::types::{Blob, ClusterTime, Decision, Micros, Monotonic, Reply, TransactionId};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// The most transactions that are prepared in one partition at a time.
pub const PREPARED_MAX: usize = 1024;
/// The most bytes of keys and values that they hold there: a transfer carries them in one message.
pub const PREPARED_BYTES_MAX: usize = 8 << 20;
/// The most transactions that are remembered as ended, and the most records of decisions, in one
/// partition: more are refused as overloaded, none is forgotten early.
pub const ENDED_MAX: usize = 16_384;
/// How long after its deadline a transaction is remembered: longer than anything that was sent
/// before the deadline can be under way, and than clocks are apart.
pub const REMEMBERED_FOR: Micros = 5 * crate::types::time::SECOND;

/// Who prepared something and must be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inquiry {
    pub id: TransactionId,
    pub status: PartitionId,
    pub deadline: ClusterTime,
}

/// What an owner keeps of transactions.
#[derive(Default)]
pub struct Held {
    prepared: BTreeMap<TransactionId, Prepared>,
    /// How many of them lock a key: one, unless histories were merged. Never walked through.
    locks: HashMap<Blob, u32, FixedState>,
    finished: BTreeMap<TransactionId, ClusterTime>,
    statuses: BTreeMap<TransactionId, Status>,
    /// When the primary asks for the decision of what is prepared.
    ask_at: BTreeMap<TransactionId, ClusterTime>,
    /// When something is to be asked or forgotten, or earlier.
    due: Option<ClusterTime>,
    /// What the prepared ones weigh.
    bytes: usize,
    pub inquiries: Vec<Inquiry>,
}

/// About how much a prepared transaction weighs.
pub fn weight(prepared: &Prepared) -> usize {
    let writes = prepared
        .operations
        .writes
        .iter()
        .chain(&prepared.otherwise.writes);
    let values = writes.map(|(key, entry)| {
        key.len() + entry.live.as_ref().map_or(0, |live| live.value.len()) + 128
    });
    let replies = [&prepared.operations.replies, &prepared.otherwise.replies];
    let replies = replies.into_iter().flatten().flatten();
    let told = replies.map(|reply| match reply {
        Reply::Got { entry: told }
        | Reply::Put { previous: told, .. }
        | Reply::Removed { previous: told, .. } => told
            .as_ref()
            .map_or(0, |told| told.key.len() + told.value.len()),
        Reply::Modified { value, .. } => value.len(),
        _ => 0,
    });
    let keys = prepared.keys.iter().map(|key| key.len() + 32);
    values.sum::<usize>() + told.sum::<usize>() + keys.sum::<usize>()
}

impl Held {
    pub fn is_empty(&self) -> bool {
        self.prepared.is_empty()
            && self.finished.is_empty()
            && self.statuses.is_empty()
            && self.inquiries.is_empty()
    }

    pub fn has_prepared(&self) -> bool {
        !self.prepared.is_empty()
    }

    pub fn is_locked(&self, key: &[u8]) -> bool {
        self.locks.contains_key(key)
    }

    /// Whether a key under a prefix is locked.
    pub fn locks_under(&self, prefix: &[u8]) -> bool {
        let mut keys = self.prepared.values().flat_map(|prepared| &prepared.keys);
        keys.any(|key| key.starts_with(prefix))
    }

    /// Who locks a key.
    pub fn holders(&self, key: &Blob) -> impl Iterator<Item = TransactionId> {
        let holds = |prepared: &&Prepared| prepared.keys.binary_search(key).is_ok();
        self.prepared
            .values()
            .filter(holds)
            .map(|prepared| prepared.id)
    }

    pub fn prepared(&self, id: TransactionId) -> Option<&Prepared> {
        self.prepared.get(&id)
    }

    pub fn has_finished(&self, id: TransactionId) -> bool {
        self.finished.contains_key(&id)
    }

    pub fn status(&self, id: TransactionId) -> Option<Status> {
        self.statuses.get(&id).copied()
    }

    /// Whether one more transaction of this weight finds room.
    pub fn has_room(&self, weight: usize) -> bool {
        let bytes = self.bytes;
        let first = self.prepared.is_empty();
        self.prepared.len() < PREPARED_MAX
            && (first || bytes + weight <= PREPARED_BYTES_MAX)
            && self.finished.len() < ENDED_MAX
    }

    pub fn is_full_of_statuses(&self) -> bool {
        self.statuses.len() >= ENDED_MAX
    }

    /// Keeps what is prepared; the second time changes nothing.
    pub fn hold(&mut self, prepared: Prepared) {
        let id = prepared.id;
        if self.prepared.contains_key(&id) {
            return;
        }
        for key in &prepared.keys {
            *self.locks.entry(key.clone()).or_default() += 1;
        }
        if prepared.status.is_some() {
            self.ask_at.insert(id, prepared.deadline);
            self.note(prepared.deadline);
        }
        self.bytes += weight(&prepared);
        self.prepared.insert(id, prepared);
    }

    /// It has ended here: its keys are free, and it does not begin once more.
    pub fn finish(&mut self, id: TransactionId, until: ClusterTime) {
        self.let_go(id);
        self.finished.insert(id, until);
        self.note(until);
    }

    /// Nothing is prepared here for it, and its keys are free.
    pub fn let_go(&mut self, id: TransactionId) {
        if let Some(prepared) = self.prepared.remove(&id) {
            self.bytes = self.bytes.saturating_sub(weight(&prepared));
            for key in &prepared.keys {
                if let Some(count) = self.locks.get_mut(key) {
                    *count -= 1;
                    if *count == 0 {
                        self.locks.remove(key);
                    }
                }
            }
        }
        self.ask_at.remove(&id);
    }

    /// What was loaded beside this, by the same history as it went on. What is prepared here is still
    /// asked about: its writes may not have been among what was loaded.
    pub fn take_in(&mut self, other: Self) {
        let states = other.states();
        for (id, until) in states.finished {
            if !self.prepared.contains_key(&id) {
                self.finish(id, until);
            }
        }
        for prepared in states.prepared {
            if !self.has_finished(prepared.id) {
                self.hold(prepared);
            }
        }
        states
            .statuses
            .into_iter()
            .for_each(|status| self.record(status));
    }

    /// Records a decision: "committed" beats "rolled back"; of two that say the same, the later
    /// one says until when it is kept.
    pub fn record(&mut self, status: Status) {
        let known = self.statuses.get(&status.id);
        if known.is_some_and(|known| known.decision > status.decision) {
            return;
        }
        self.statuses.insert(status.id, status);
        self.note(status.until);
    }

    /// A record that was never confirmed is taken back.
    pub fn take_back(&mut self, id: TransactionId) {
        self.statuses.remove(&id);
    }

    fn note(&mut self, at: ClusterTime) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// The initiators of these are gone: they are asked about at once.
    pub fn initiators_gone(
        &mut self,
        gone: impl Fn(crate::types::Member) -> bool,
        now: ClusterTime,
    ) {
        for (id, at) in &mut self.ask_at {
            if gone(id.initiator) {
                *at = (*at).min(now);
            }
        }
        if !self.ask_at.is_empty() {
            self.note(now);
        }
    }

    /// When `on_due` wants to be called.
    pub fn next(&self, now: crate::types::Now) -> Option<Monotonic> {
        let due = self.due?;
        Some(now.mono.after(due.since(now.cluster) + 1))
    }

    /// Forgets what is over, and, at a serving primary, finds out whom to ask.
    pub fn on_due(&mut self, serves: bool, now: ClusterTime, again: Micros) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.finished.retain(|_, until| *until > now);
        self.statuses.retain(|_, status| status.until > now);
        for (id, at) in self.ask_at.iter_mut().filter(|(_, at)| **at <= now) {
            *at = now.after(again);
            if let Some(prepared) = self.prepared.get(id).filter(|_| serves)
                && let Some(status) = prepared.status
            {
                self.inquiries.push(Inquiry {
                    id: *id,
                    status,
                    deadline: prepared.deadline,
                });
            }
        }
        let finished = self.finished.values().copied();
        let statuses = self.statuses.values().map(|status| status.until);
        let asks = self.ask_at.values().copied();
        self.due = finished.chain(statuses).chain(asks).min();
    }

    /// All of it, for a transfer.
    pub fn states(&self) -> TransactionStates {
        TransactionStates {
            prepared: self.prepared.values().cloned().collect(),
            statuses: self.statuses.values().copied().collect(),
            finished: self.finished.iter().map(|(id, at)| (*id, *at)).collect(),
        }
    }

    /// What a transfer brought, to a copy that has nothing yet.
    pub fn of(states: TransactionStates) -> Self {
        let mut held = Self::default();
        states
            .prepared
            .into_iter()
            .for_each(|prepared| held.hold(prepared));
        states
            .statuses
            .into_iter()
            .for_each(|status| held.record(status));
        for (id, until) in states.finished {
            held.finish(id, until);
        }
        held
    }

    /// The cluster's clock became another one.
    pub fn shift(&mut self, by: i64) {
        self.prepared
            .values_mut()
            .for_each(|prepared| shift_prepared(prepared, by));
        let points = self.finished.values_mut().chain(self.ask_at.values_mut());
        points.for_each(|at| *at = at.shifted(by));
        for status in self.statuses.values_mut() {
            status.until = status.until.shifted(by);
        }
        self.due = self.due.map(|due| due.shifted(by));
    }
}

/// Moves the points in time of all that a transfer tells of transactions.
pub fn shift_states(states: &mut TransactionStates, by: i64) {
    let prepared = states.prepared.iter_mut();
    prepared.for_each(|prepared| shift_prepared(prepared, by));
    let statuses = states.statuses.iter_mut().map(|status| &mut status.until);
    let finished = states.finished.iter_mut().map(|(_, until)| until);
    statuses
        .chain(finished)
        .for_each(|until| *until = until.shifted(by));
}

/// Moves the points in time of what is prepared.
pub fn shift_prepared(prepared: &mut Prepared, by: i64) {
    prepared.deadline = prepared.deadline.shifted(by);
    let writes = prepared.operations.writes.iter_mut();
    for (_, entry) in writes.chain(&mut prepared.otherwise.writes) {
        entry.shift(by);
    }
}

/// The states that a decision leaves.
pub fn writes_of(prepared: &Prepared, decision: Decision) -> Vec<(Blob, crate::types::Entry)> {
    match decision {
        Decision::RolledBack if planted::is(Fault::ApplyRolledBack) => {
            prepared.operations.writes.clone()
        }
        Decision::RolledBack => Vec::new(),
        Decision::Committed { held: true } => prepared.operations.writes.clone(),
        Decision::Committed { held: false } => prepared.otherwise.writes.clone(),
    }
}

/// What kind of step an update of this transaction belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Prepare,
    Finish,
    Status,
}

/// Whether an update is that step of that transaction.
pub fn is_step(update: &Update, id: TransactionId, kind: Kind) -> bool {
    use crate::types::message::UpdateEffect;
    match &update.effect {
        UpdateEffect::Prepare(prepared) => kind == Kind::Prepare && prepared.id == id,
        UpdateEffect::Finish { id: other, .. } => kind == Kind::Finish && *other == id,
        UpdateEffect::Status(status) => kind == Kind::Status && status.id == id,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::time::SECOND;
    use crate::types::transaction::Branch;
    use crate::types::{CacheId, Incarnation, Member, NodeId, Now};

    fn id(sequence: u64) -> TransactionId {
        TransactionId {
            sequence,
            initiator: Member {
                id: NodeId(1),
                incarnation: Incarnation(1),
            },
            ..TransactionId::default()
        }
    }

    fn prepared(sequence: u64, keys: &[&str]) -> Prepared {
        let nothing = || Branch {
            writes: Vec::new(),
            replies: Ok(Vec::new()),
        };
        Prepared {
            id: id(sequence),
            status: Some((CacheId(1), 0)),
            deadline: ClusterTime(30 * SECOND),
            keys: keys.iter().map(|key| Blob::from(*key)).collect(),
            held: true,
            operations: nothing(),
            otherwise: nothing(),
        }
    }

    #[test]
    fn a_key_is_free_when_all_that_hold_it_have_ended() {
        let mut held = Held::default();
        held.hold(prepared(1, &["a", "b"]));
        held.hold(prepared(1, &["a", "b"]));
        held.hold(prepared(2, &["b"]));
        assert!(held.is_locked(b"a") && held.locks_under(b"b") && !held.locks_under(b"c"));
        assert_eq!(held.holders(&"b".into()).count(), 2);
        let until = ClusterTime(40 * SECOND);
        held.finish(id(1), until);
        held.finish(id(1), until);
        assert!(!held.is_locked(b"a") && held.is_locked(b"b"));
        held.finish(id(2), until);
        assert!(!held.is_locked(b"b") && !held.has_prepared() && held.has_finished(id(2)));
        held.on_due(true, ClusterTime(41 * SECOND), SECOND);
        assert!(held.is_empty() && held.next(Now::default()).is_none());
    }

    #[test]
    fn committed_beats_rolled_back_whichever_comes_first() {
        let status = |decision, until| Status {
            id: id(1),
            decision,
            until: ClusterTime(until),
        };
        let committed = Decision::Committed { held: false };
        let mut held = Held::default();
        for decision in [Decision::RolledBack, committed, Decision::RolledBack] {
            held.record(status(decision, 9));
        }
        assert_eq!(held.status(id(1)), Some(status(committed, 9)));
        // The same again says until when it is kept.
        held.record(status(committed, 3));
        held.on_due(false, ClusterTime(3), SECOND);
        assert_eq!(held.status(id(1)), None);
    }

    #[test]
    fn a_serving_primary_asks_at_the_deadline_or_when_the_initiator_is_gone() {
        let mut held = Held::default();
        held.hold(prepared(1, &["a"]));
        held.on_due(true, ClusterTime(29 * SECOND), SECOND);
        assert!(held.inquiries.is_empty());
        held.initiators_gone(|member| member.id == NodeId(2), ClusterTime(SECOND));
        held.on_due(true, ClusterTime(2 * SECOND), SECOND);
        assert!(held.inquiries.is_empty());
        held.initiators_gone(|member| member.id == NodeId(1), ClusterTime(2 * SECOND));
        held.on_due(true, ClusterTime(2 * SECOND), SECOND);
        assert_eq!(held.inquiries.len(), 1);
        // Again after a while, and not by who does not serve.
        held.on_due(true, ClusterTime(2 * SECOND), SECOND);
        assert_eq!(held.inquiries.len(), 1);
        held.on_due(false, ClusterTime(3 * SECOND), SECOND);
        assert_eq!(held.inquiries.len(), 1);
        held.on_due(true, ClusterTime(4 * SECOND), SECOND);
        assert_eq!(held.inquiries.len(), 2);
    }

    #[test]
    fn a_transfer_brings_all_of_it_and_a_shift_moves_its_points() {
        let mut held = Held::default();
        held.hold(prepared(1, &["a"]));
        held.finish(id(2), ClusterTime(40 * SECOND));
        held.record(Status {
            id: id(3),
            decision: Decision::RolledBack,
            until: ClusterTime(50 * SECOND),
        });
        let mut copy = Held::of(held.states());
        assert_eq!(copy.states(), held.states());
        assert!(copy.is_locked(b"a"));
        copy.shift(1_000_000);
        let states = copy.states();
        assert_eq!(states.prepared[0].deadline, ClusterTime(31 * SECOND));
        assert_eq!(states.finished[0].1, ClusterTime(41 * SECOND));
        assert_eq!(states.statuses[0].until, ClusterTime(51 * SECOND));
    }

    #[test]
    fn there_is_a_bound() {
        let mut held = Held::default();
        assert!(
            held.has_room(PREPARED_BYTES_MAX + 1),
            "one always finds room"
        );
        held.hold(prepared(1, &["a"]));
        assert!(!held.has_room(PREPARED_BYTES_MAX));
        for sequence in 2..=PREPARED_MAX as u64 {
            held.hold(prepared(sequence, &["a"]));
        }
        assert!(!held.has_room(1));
        held.finish(id(1), ClusterTime(SECOND));
        assert!(held.has_room(1));
    }
}
