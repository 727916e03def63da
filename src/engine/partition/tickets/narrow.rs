//! A ticket whose end came nearer by an update: what descends from it was told a later one, and ends
//! with it all the same. Whoever changed it goes down from ticket to ticket (`engine/errand.rs`), and is
//! answered when all of them know.
//!
//! A child that is on its way from the registration at its parent to its own partition is not there
//! to be told. It finds a state there that is dead and younger than its registration, and registers
//! again. Doubled and late steps change nothing: bounds only come nearer.

use super::super::{Ask, Caller, Cx, Partition, Submitted};
use super::decide::STEP_MAX;
use super::evaluate::not_found;
use crate::types::message::UpdateEffect;
use crate::types::ticket::operation::Bounds;
use crate::types::ticket::record::between;
use crate::types::ticket::{Stored, TicketRecord, TicketsOperation};
use crate::types::{Blob, ClusterTime, Entry, Live, Operation, Reply};

/// The earlier of two ends, where none is never.
fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    [one, other].into_iter().flatten().min()
}

/// Until when a ticket lives, as what descends from it is told.
pub fn bounds_of(key: &Blob, entry: &Entry, sure_until: Option<i64>, at: ClusterTime) -> Bounds {
    let live = entry.live.as_ref();
    let above = sure_until.map(|sure| entry.created_at.shifted(sure));
    Bounds {
        of: key.clone(),
        end: live.and_then(|live| live.expires_at),
        sure_until: earlier(live.and_then(Live::idle_expires_at), above),
        at,
    }
}

/// The same ticket within bounds; its version for clients, and its last access, stay.
fn narrowed(entry: &Entry, record: &TicketRecord, within: &Bounds) -> Option<Entry> {
    let from_there = |point: Option<ClusterTime>| point.map(|at| between(entry.created_at, at));
    let horizon = earlier(record.horizon, from_there(within.end));
    let sure_until = earlier(record.sure_until, from_there(within.sure_until));
    if (horizon, sure_until) == (record.horizon, record.sure_until) {
        return None;
    }
    let record = TicketRecord {
        horizon,
        sure_until,
        ..record.clone()
    };
    let mut narrowed = entry.clone();
    let live = narrowed.live.as_mut()?;
    live.value = record.encode();
    live.expires_at = record.end(entry.created_at);
    Some(narrowed)
}

impl Partition {
    pub(super) fn decide_narrow(
        &mut self,
        ask: Ask,
        caller: &mut Caller<'_>,
        cx: &Cx<'_>,
    ) -> Submitted {
        let Operation::Tickets(TicketsOperation::Narrow { key, after, within }) = &ask.operation
        else {
            return Submitted::Done(Err(not_found()));
        };
        let (effects, reply) =
            self.narrow_step(key, after.as_ref(), within.as_ref(), cx.now.cluster);
        self.write_all(effects, &ask, reply, caller, cx)
    }

    /// Where nothing lives, a child may be on its way, with bounds that are out of date.
    fn barrier(&self, known: Option<&Entry>, within: &Bounds) -> Option<Entry> {
        let free = known.is_none_or(|entry| entry.live.is_none() && !entry.removed_by_key);
        let version = self.version_behind(0);
        free.then_some(Entry {
            incarnation: version,
            version,
            created_at: within.at,
            removed_by_key: false,
            live: None,
        })
    }

    fn narrow_step(
        &self,
        key: &Blob,
        after: Option<&Blob>,
        within: Option<&Bounds>,
        now: ClusterTime,
    ) -> (Vec<UpdateEffect>, Reply) {
        let set = |entry| UpdateEffect::Set {
            key: key.clone(),
            entry,
        };
        let links = self.store.tickets.links(key);
        let links = links.filter(|link| after.is_none_or(|after| *link > after));
        let mut left: Vec<Blob> = links.take(STEP_MAX + 1).cloned().collect();
        let more = left.len() > STEP_MAX;
        left.truncate(STEP_MAX);
        let known = self.store.get(key);
        let ticket = known.and_then(|entry| Some((entry, TicketRecord::of(entry)?)));
        let Some((entry, record)) = ticket.filter(|(_, record)| !record.ending) else {
            let barrier = within.and_then(|within| self.barrier(known, within));
            // It is over, perhaps by what has changed, and what ends with it may not know.
            let bounds = Bounds {
                of: key.clone(),
                end: Some(now),
                sure_until: None,
                at: now,
            };
            let reply = Reply::Narrowed {
                bounds: Some(bounds),
                left,
                more,
            };
            return (barrier.map(set).into_iter().collect(), reply);
        };
        // What the other children of the one above were told of its end was no bound of theirs.
        let ends_with = |within: &Bounds| {
            let above = record.anchor.as_ref();
            above.is_some_and(|above| above.key == within.of)
        };
        if !within.is_none_or(ends_with) {
            let reply = Reply::Narrowed {
                bounds: None,
                left: Vec::new(),
                more: false,
            };
            return (Vec::new(), reply);
        }
        let changed = within.and_then(|within| narrowed(entry, &record, within));
        let changed = changed.map(|mut entry| {
            entry.version = self.version_behind(0);
            entry
        });
        let entry = changed.as_ref().unwrap_or(entry);
        let sure_until = Stored::of(entry).and_then(|ticket| ticket.sure_until);
        let bounds = Some(bounds_of(key, entry, sure_until, now));
        let reply = Reply::Narrowed { bounds, left, more };
        (changed.map(set).into_iter().collect(), reply)
    }
}
