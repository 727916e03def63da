//! Locks that transactions of several calls take at access: at the primary only, and gone with it.
//!
//! Such a lock keeps others from writing what a PESSIMISTIC transaction has seen, so that it can
//! commit; that it *has* not been written is found out at commit, by the versions that it saw (see
//! [`crate::engine::transaction::session`]). So a lock that is lost with its primary costs a
//! transaction its commit at worst, and nothing of this is streamed.
//!
//! Reads of a locked key outside of transactions go on: nothing of the transaction is here yet.
//!
//! # Messages
//!
//! | message | lost | doubled | late |
//! |---|---|---|---|
//! | `Lock` | sent again until its call ends | takes what is its own | behind the end of its transaction: refused, for as long as any message can be under way |
//! | `Unlock` | sent again for as long as one operation may take; then the locks end with their deadline, or when their initiator is out of the view | nothing changes | the same |

use super::held::REMEMBERED_FOR;
use super::steps::{ended, step_reply};
use super::{Ask, Caller, Cx, Partition, Submitted};
use crate::error::{Error, ErrorKind};
use crate::types::transaction::Age;
use crate::types::{
    Blob, ClusterTime, Micros, Monotonic, Now, Operation, Step, StepReply, TransactionId,
};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// The most keys of one partition that are locked at a time: more are refused as overloaded.
pub const LOCKED_MAX: usize = 65_536;
/// The most transactions that are remembered as ended; of more, those that end first are forgotten.
const ENDED_MAX: usize = 65_536;
/// How long it is remembered that a transaction has ended: longer than a message may be under way.
const ENDED_FOR: Micros = 4 * REMEMBERED_FOR;

/// Who holds a key, and until when at most.
#[derive(Clone, Copy, Debug)]
struct Lock {
    id: TransactionId,
    until: ClusterTime,
}

/// The locks of one partition.
#[derive(Default)]
#[repr(C)]
pub struct Locks {
    /// When the first of them ends, or earlier.
    due: Option<ClusterTime>,
    by_key: HashMap<Blob, Lock, FixedState>,
    keys: BTreeMap<Age, Vec<Blob>>,
    ended: BTreeMap<Age, ClusterTime>,
}

impl Locks {
    /// Whether any key is held.
    pub fn any(&self) -> bool {
        !self.by_key.is_empty()
    }

    /// Who holds a key.
    pub fn holder(&self, key: &[u8]) -> Option<TransactionId> {
        // Mostly there is none, and then the key need not be hashed.
        let any = self.any().then_some(&self.by_key)?;
        any.get(key).map(|lock| lock.id)
    }

    /// Whether a transaction has given up its locks for good.
    pub fn has_ended(&self, id: TransactionId) -> bool {
        self.ended.contains_key(&id.age())
    }

    /// Whether so many more find room.
    pub fn has_room(&self, keys: usize) -> bool {
        self.by_key.len() + keys <= LOCKED_MAX
    }

    /// Takes a key, also from whoever holds it.
    pub fn take(&mut self, key: &Blob, id: TransactionId, until: ClusterTime) {
        let before = self.by_key.insert(key.clone(), Lock { id, until });
        match before {
            Some(lock) if lock.id.age() == id.age() => {}
            Some(lock) => {
                self.forget_key(lock.id.age(), key);
                self.keys.entry(id.age()).or_default().push(key.clone());
            }
            None => self.keys.entry(id.age()).or_default().push(key.clone()),
        }
        self.note(until);
    }

    fn forget_key(&mut self, age: Age, key: &Blob) {
        if let Some(keys) = self.keys.get_mut(&age) {
            keys.retain(|own| own != key);
            if keys.is_empty() {
                self.keys.remove(&age);
            }
        }
    }

    /// A transaction has ended: its keys are free. Returns whether it held any.
    pub fn end(&mut self, id: TransactionId, now: ClusterTime) -> bool {
        let until = now.after(ENDED_FOR);
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_first();
        }
        self.ended.insert(id.age(), until);
        self.note(until);
        self.release(id.age())
    }

    /// Its keys are free. Returns whether it held any.
    pub fn release(&mut self, age: Age) -> bool {
        let keys = self.keys.remove(&age).unwrap_or_default();
        for key in &keys {
            self.by_key.remove(key);
        }
        !keys.is_empty()
    }

    /// Frees what initiators held that are gone. Returns whether there was anything.
    pub fn initiators_gone(&mut self, gone: impl Fn(crate::types::Member) -> bool) -> bool {
        let lost = self.keys.keys().filter(|(.., initiator)| gone(*initiator));
        let lost: Vec<Age> = lost.copied().collect();
        lost.iter().for_each(|age| {
            self.release(*age);
        });
        !lost.is_empty()
    }

    /// The cluster's clock became another one.
    pub fn shift(&mut self, by: i64) {
        let locks = self.by_key.values_mut().map(|lock| &mut lock.until);
        let points = locks.chain(self.ended.values_mut()).chain(&mut self.due);
        points.for_each(|at| *at = at.shifted(by));
    }

    fn note(&mut self, at: ClusterTime) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When `on_due` wants to be called.
    pub fn next(&self, now: Now) -> Option<Monotonic> {
        let due = self.due?;
        Some(now.mono.after(due.since(now.cluster) + 1))
    }

    /// Frees what is held for too long. Returns whether anything was.
    pub fn on_due(&mut self, now: ClusterTime) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        self.ended.retain(|_, until| *until > now);
        let over = self.by_key.iter().filter(|(_, lock)| lock.until <= now);
        let over: std::collections::BTreeSet<Age> = over.map(|(_, lock)| lock.id.age()).collect();
        for age in &over {
            self.release(*age);
        }
        let locks = self.by_key.values().map(|lock| lock.until);
        self.due = locks.chain(self.ended.values().copied()).min();
        !over.is_empty()
    }

    /// Panics where it contradicts itself.
    pub fn check_invariants(&self) {
        let keys: usize = self.keys.values().map(Vec::len).sum();
        assert_eq!(keys, self.by_key.len(), "locks and their holders differ");
    }
}

impl Partition {
    /// Which transaction of several calls keeps others from writing a key.
    pub(super) fn reserved_by(&self, key: &[u8]) -> Option<TransactionId> {
        self.lead.as_ref()?.locks.holder(key)
    }

    pub(super) fn is_reserved(&self, key: &[u8]) -> bool {
        self.reserved_by(key).is_some()
    }

    /// Whether any key is.
    pub(super) fn has_reserved(&self) -> bool {
        self.lead.as_ref().is_some_and(|lead| lead.locks.any())
    }

    /// Reads keys and keeps others from writing them: older ones take them from younger ones, which
    /// wait for older ones; all wait for what is prepared or pending.
    pub(super) fn lock(
        &mut self,
        id: TransactionId,
        ask: Ask,
        caller: &mut Caller<'_>,
        cx: &Cx<'_>,
    ) -> Submitted {
        let Operation::Transaction {
            step: Step::Lock { keys, deadline },
            ..
        } = &ask.operation
        else {
            return Submitted::Done(Err(Error::new(ErrorKind::Internal, "no lock")));
        };
        let Some(lead) = &self.lead else {
            // In a LOCAL cache, what was read is looked at by the commit alone.
            let keys = keys.clone();
            return match self.look_at(&keys, false, cx) {
                Some(looked) => Submitted::Done(Ok(step_reply(StepReply::Looked(looked)))),
                None => self.park(ask, caller, cx),
            };
        };
        if lead.locks.has_ended(id) || cx.now.cluster > *deadline {
            return Submitted::Done(Err(ended()));
        }
        if !lead.locks.has_room(keys.len()) {
            let context = "as many keys of the partition are locked as may be";
            return Submitted::Done(Err(Error::overloaded(context)));
        }
        let (keys, deadline) = (keys.clone(), *deadline);
        let waits = |key: &Blob| {
            let older = |holder: TransactionId| holder.age() < id.age();
            lead.locks.holder(key).is_some_and(older)
                || (self.settings.full_sync() && self.log.is_pending(key))
        };
        if keys.iter().any(waits) {
            return self.park(ask, caller, cx);
        }
        let Some(looked) = self.look_at(&keys, false, cx) else {
            return self.park(ask, caller, cx);
        };
        if let Some(lead) = &mut self.lead {
            for key in &keys {
                lead.locks.take(key, id, deadline);
            }
        }
        Submitted::Done(Ok(step_reply(StepReply::Looked(looked))))
    }

    /// Frees what a transaction holds here.
    pub(super) fn unlock(&mut self, id: TransactionId, cx: &Cx<'_>) {
        let now = cx.now.cluster;
        if self
            .lead
            .as_mut()
            .is_some_and(|lead| lead.locks.end(id, now))
        {
            self.unpark(cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::time::SECOND;
    use crate::types::{Incarnation, Member, NodeId};

    fn id(sequence: u64, node: u64) -> TransactionId {
        TransactionId {
            sequence,
            initiator: Member {
                id: NodeId(node),
                incarnation: Incarnation(1),
            },
            ..TransactionId::default()
        }
    }

    fn later(id: TransactionId) -> TransactionId {
        TransactionId { attempt: 7, ..id }
    }

    fn is_held(locks: &Locks, key: &[u8]) -> bool {
        locks.holder(key).is_some()
    }

    #[test]
    fn a_lock_is_of_all_attempts_and_ends_with_its_transaction() {
        let mut locks = Locks::default();
        let (one, two) = (id(1, 1), id(2, 1));
        let until = ClusterTime(SECOND);
        locks.take(&"a".into(), one, until);
        locks.take(&"a".into(), later(one), until);
        locks.take(&"b".into(), two, until);
        locks.check_invariants();
        assert!(is_held(&locks, b"a") && !is_held(&locks, b"c") && locks.any());
        assert!(locks.end(later(one), ClusterTime(0)));
        assert!(!locks.end(one, ClusterTime(0)), "doubled");
        assert!(!is_held(&locks, b"a") && is_held(&locks, b"b"));
        assert!(locks.has_ended(one) && !locks.has_ended(two));
        // Taken by an older one, it is no longer the younger one's to give up.
        locks.take(&"b".into(), one, until);
        assert!(!locks.end(two, ClusterTime(0)));
        assert_eq!(locks.holder(b"b"), Some(one));
        locks.check_invariants();
    }

    #[test]
    fn locks_end_by_their_deadline_and_with_their_initiator() {
        let mut locks = Locks::default();
        locks.take(&"a".into(), id(1, 1), ClusterTime(SECOND));
        locks.take(&"b".into(), id(1, 2), ClusterTime(2 * SECOND));
        assert!(!locks.on_due(ClusterTime(SECOND - 1)));
        assert!(locks.on_due(ClusterTime(SECOND)));
        assert!(!is_held(&locks, b"a") && is_held(&locks, b"b"));
        locks.initiators_gone(|member| member.id == NodeId(2));
        assert!(!locks.any());
        locks.check_invariants();
        let end = ClusterTime(SECOND + ENDED_FOR);
        locks.end(id(3, 1), ClusterTime(SECOND));
        assert!(locks.has_ended(id(3, 1)));
        locks.on_due(end);
        assert!(!locks.has_ended(id(3, 1)));
    }
}
