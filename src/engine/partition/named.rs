//! Named locks, at the primary. A lock that is held is an entry like any other, under a key that no
//! caller may have (see [`crate::types::ticket::note`]): its value is the token of who holds it, its
//! expiry the end of the lease. So replication, fail-over, transfer, merge and expiry need nothing
//! of their own for locks, and what is said of writes holds of grants.
//!
//! A token is made of the version of the granting write, so it rises whatever is still known of
//! earlier holders: their entries may have expired, been released, and left no tombstone.
//!
//! Who waits is parked with whatever else waits in the partition, in order of arrival, and looked
//! at again when something commits, when the lease ends and when the wait does. That line is kept
//! by the primary alone: whoever takes over forms a new one from those who ask again.
//!
//! An entry outlives its lease by `clock_error_max`, so that a primary whose clock is ahead of that
//! of the one before grants nothing early.
//!
//! # Messages
//!
//! | message | lost | doubled | late |
//! |---|---|---|---|
//! | `Take` | with a request id it is sent again; else nobody knows, and the lease runs out | with a request id: the same grant, or the same place in line; without one, and from the same node: dropped | behind its deadline: granted to nobody |
//! | `Renew` | the same | with a request id: the same answer; else the lease begins anew once more | refused where the lock is another's by now |
//! | `Release` | the same | with a request id: the same answer; else nothing to release | the same |

use super::{Ask, Asker, Caller, Cx, PARKED_MAX, Partition, Submitted};
use crate::engine::planted::{self, Fault};
use crate::error::{Error, ErrorKind, Result};
use crate::types::lock::{check_name, token};
use crate::types::message::UpdateEffect;
use crate::types::ticket::note;
use crate::types::{
    Blob, ClusterTime, Entry, Live, LockOperation, Micros, Monotonic, Operation, Reply,
};

/// The most that wait for one lock; more are refused as overloaded.
const WAITERS_MAX: usize = 128;
/// The most operations that wait in a partition where one more may wait for a lock: there is always
/// room for those that wait for something else.
const PARKED_WITH_WAITERS_MAX: usize = PARKED_MAX / 2;

/// The reason where a cache cannot keep locks.
const NOT_FOR_LOCKS: &str = "NOT_FOR_LOCKS";

/// Whether an operation may wait for a lock: for as long as its deadline says.
pub(super) fn takes_lock(operation: &Operation) -> bool {
    taken_by(operation).is_some()
}

fn taken_by(operation: &Operation) -> Option<&Blob> {
    match operation {
        Operation::Lock {
            name,
            operation: LockOperation::Take { .. },
        } => Some(name),
        _ => None,
    }
}

/// The token in the entry of a lock.
fn token_of(live: &Live) -> Option<u64> {
    Some(u64::from_be_bytes(live.value.as_ref().try_into().ok()?))
}

/// The answer to who does not hold the lock.
const NOT_HELD: Reply = Reply::Locked {
    token: 0,
    expires_at: ClusterTime(0),
};

impl Partition {
    /// Decides about a lock at the serving primary.
    pub(super) fn decide_lock(
        &mut self,
        ask: Ask,
        caller: &mut Caller<'_>,
        cx: &Cx<'_>,
    ) -> Submitted {
        let Operation::Lock { name, operation } = &ask.operation else {
            return Submitted::Done(Err(Error::new(ErrorKind::Internal, "no lock")));
        };
        if let Err(error) = self.may_lock(name, cx) {
            return Submitted::Done(Err(error));
        }
        let (key, operation) = (note::lock(name), *operation);
        match operation {
            LockOperation::Take { lease, spare } => {
                self.take_lock(ask, &key, (lease, spare), caller, cx)
            }
            // No answer rests on a pending value.
            _ if self.log.is_pending(&key) => self.park(ask, caller, cx),
            LockOperation::Renew { token, lease } => {
                let renewed = self.held_under(&key, token, cx.now.cluster).cloned();
                let written = renewed.map(|entry| self.lent(Some(entry), token, lease, cx));
                self.write_lock(&ask, &key, written, NOT_HELD, caller, cx)
            }
            LockOperation::Release { token } => {
                let version = self.next_version();
                let held = self.held_under(&key, token, cx.now.cluster);
                let written = held.map(|entry| {
                    let free = Entry {
                        version,
                        removed_by_key: true,
                        live: None,
                        ..entry.clone()
                    };
                    (free, released(true))
                });
                self.write_lock(&ask, &key, written, released(false), caller, cx)
            }
        }
    }

    /// Whether this partition keeps locks, and this one among them.
    fn may_lock(&self, name: &Blob, cx: &Cx<'_>) -> Result<()> {
        let settings = &self.settings;
        if self.local() || !settings.full_sync() || settings.removes_are_final {
            let context = format!(
                "cache {:?} cannot keep locks: it must not be LOCAL, must wait for every owner \
                 (FULL_SYNC), and what was removed in it must be able to come again",
                settings.name
            );
            let error = Error::new(ErrorKind::FailedPrecondition, context);
            return Err(error.because(NOT_FOR_LOCKS));
        }
        check_name(name)?;
        if !cx.transactions {
            return Err(super::steps::older_protocol());
        }
        Ok(())
    }

    /// The entry of a lock, if it is held under a token. What has outlived its lease and was given
    /// to nobody counts.
    fn held_under(&self, key: &Blob, token: u64, now: ClusterTime) -> Option<&Entry> {
        let entry = self.store.get(key)?;
        let live = entry.live.as_ref().filter(|live| !live.expired(now))?;
        (token_of(live) == Some(token)).then_some(entry)
    }

    /// The state of a lock that is held from now on, and the answer to who holds it.
    fn lent(&self, held: Option<Entry>, token: u64, lease: Micros, cx: &Cx<'_>) -> (Entry, Reply) {
        let (now, version) = (cx.now.cluster, self.next_version());
        let expires_at = now.after(lease);
        let live = Live {
            value: Blob::from(&token.to_be_bytes()[..]),
            flags: 0,
            value_version: version.digest(),
            expires_at: Some(expires_at.after(cx.clock_error_max)),
            time_to_idle: None,
            last_access: now,
        };
        // Nothing created after a range tombstone falls under it.
        let cleared = self.store.cleared_at.map(|at| at.after(1));
        let fresh = cleared.map_or(now, |after| now.max(after));
        let entry = Entry {
            incarnation: held.as_ref().map_or(version, |held| held.incarnation),
            version,
            created_at: held.map_or(fresh, |held| held.created_at),
            removed_by_key: false,
            live: Some(live),
        };
        (entry, Reply::Locked { token, expires_at })
    }

    fn take_lock(
        &mut self,
        ask: Ask,
        key: &Blob,
        (lease, spare): (Micros, Micros),
        caller: &mut Caller<'_>,
        cx: &Cx<'_>,
    ) -> Submitted {
        if self.stands_in_line(&ask, caller) {
            return Submitted::Pending;
        }
        let now = cx.now.mono;
        if now >= ask.deadline {
            return Submitted::Done(Ok(NOT_HELD));
        }
        if self.log.is_pending(key) {
            return self.park(ask, caller, cx);
        }
        let live = self.store.get(key).and_then(|entry| entry.live.as_ref());
        let held = live.filter(|live| !live.expired(cx.now.cluster));
        let held = held.filter(|_| !planted::is(Fault::LendTwice));
        let waiters = self.waiters_for(&ask.operation);
        if held.is_none() && waiters == 0 {
            let Some(token) = self.next_token(live) else {
                let context = "the numbers of which rising tokens are made are used up";
                return Submitted::Done(Err(Error::overloaded(context).because("NO_TOKEN")));
            };
            let lent = self.lent(None, token, lease, cx);
            return self.write_lock(&ask, key, Some(lent), NOT_HELD, caller, cx);
        }
        // Whoever is first in line where it is free is looked at at once.
        let end = held.and_then(|live| live.expires_at);
        let end = end.map_or(0, |end| end.since(cx.now.cluster) + 1);
        let (free, wait_end) = (
            now.after(end),
            Monotonic(ask.deadline.0.saturating_sub(spare)),
        );
        if now >= wait_end {
            return Submitted::Done(Ok(NOT_HELD));
        }
        if cx.leaving {
            return Submitted::Done(Err(super::left(&ask)));
        }
        if waiters >= WAITERS_MAX || self.parked.len() >= PARKED_WITH_WAITERS_MAX {
            let context = "as many wait for the lock, or for others beside it, as may";
            return Submitted::Done(Err(Error::overloaded(context)));
        }
        self.keep(ask, wait_end.min(free), caller);
        Submitted::Pending
    }

    fn next_token(&self, before: Option<&Live>) -> Option<u64> {
        if planted::is(Fault::CountTokens) {
            return Some(before.and_then(token_of).unwrap_or_default() + 1);
        }
        token(self.next_version())
    }

    /// How many wait for the same lock.
    fn waiters_for(&self, operation: &Operation) -> usize {
        let name = taken_by(operation);
        let waits = |parked: &&super::Parked| taken_by(&parked.ask.operation) == name;
        self.parked.iter().filter(waits).count()
    }

    /// Whether a request waits already that a peer sent again: it keeps its place.
    fn stands_in_line(&mut self, ask: &Ask, caller: &Caller<'_>) -> bool {
        let (Some(id), Caller::Known(Asker::Remote { node, id: way })) = (ask.request_id, caller)
        else {
            return false;
        };
        let same = |parked: &&mut super::Parked| {
            let from = matches!(parked.asker, Asker::Remote { node: of, .. } if of == *node);
            from && parked.ask.request_id == Some(id) && takes_lock(&parked.ask.operation)
        };
        let Some(parked) = self.parked.iter_mut().find(same) else {
            return false;
        };
        // The peer waits for the answer to what it sent last.
        parked.asker = Asker::Remote {
            node: *node,
            id: *way,
        };
        true
    }

    /// Streams what becomes of a lock; where that is nothing, the answer is `otherwise`.
    fn write_lock(
        &mut self,
        ask: &Ask,
        key: &Blob,
        written: Option<(Entry, Reply)>,
        otherwise: Reply,
        caller: &mut Caller<'_>,
        cx: &Cx<'_>,
    ) -> Submitted {
        let (effect, reply) = match written {
            Some((entry, reply)) => {
                let key = key.clone();
                (UpdateEffect::Set { key, entry }, reply)
            }
            None if ask.request_id.is_some() => (UpdateEffect::Nothing, otherwise),
            None => return Submitted::Done(Ok(otherwise)),
        };
        let request = (ask.request_id, ask.deadline);
        let submitted = self.write(effect, request, reply, caller, cx);
        if !self.parked.is_empty() && !self.log.is_pending(key) {
            // It is committed already, so no commit comes that those who wait would be told of.
            self.wake_parked(cx.now.mono);
        }
        submitted
    }
}

fn released(applied: bool) -> Reply {
    Reply::Removed {
        applied,
        previous: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::partition::near::NearBytes;
    use crate::types::{CacheId, Incarnation, Member, NodeId, RequestId};
    use std::sync::Arc;

    fn ask(name: &str, request_id: Option<RequestId>) -> Ask {
        let operation = LockOperation::Take { lease: 1, spare: 0 };
        Ask {
            operation: Operation::Lock {
                name: Blob::from(name),
                operation,
            },
            request_id,
            deadline: Monotonic(9),
            forwarded: true,
            topology: Default::default(),
        }
    }

    fn from(node: u64, id: u64) -> Caller<'static> {
        let node = Member {
            id: NodeId(node),
            incarnation: Incarnation(1),
        };
        Caller::Known(Asker::Remote { node, id })
    }

    #[test]
    fn who_asks_again_keeps_one_place_in_line() {
        let settings = crate::types::lock::cache(None);
        let me = Member::default();
        let near = NearBytes::default();
        let mut partition = Partition::new(CacheId(1), 0, Arc::new(settings), me, near);
        let (mine, nobodys) = (ask("a", Some([1; 16])), ask("a", None));
        for (place, waits) in (1..).zip([&nobodys, &mine, &ask("b", None)]) {
            partition.keep(waits.clone(), Monotonic(9), &mut from(1, place));
        }
        assert_eq!(partition.waiters_for(&mine.operation), 2);
        assert!(partition.stands_in_line(&mine, &from(1, 7)));
        assert!(!partition.stands_in_line(&mine, &from(2, 8)), "of another");
        assert!(
            !partition.stands_in_line(&nobodys, &from(1, 9)),
            "not known"
        );
        let way = |parked: &super::super::Parked| match parked.asker {
            Asker::Remote { id, .. } => id,
            Asker::Local { .. } => 0,
        };
        let ways: Vec<u64> = partition.parked.iter().map(way).collect();
        assert_eq!(ways, [1, 7, 3]);
    }
}
