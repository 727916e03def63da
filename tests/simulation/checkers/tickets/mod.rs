//! Promises 2, 3 and 6 on tickets, and cascades. Promises 4 and 5 on them are in `ends.rs`, events in
//! `events.rs`, look-ups in `look_ups.rs`.
//!
//! - A ticket is used as often as it may be, and not once more, while undivided.
//! - A ticket that was deleted, by itself, with what it descends from, or with its principal, is
//!   seen by nobody afterwards: through whatever faults, and over a split by what surely comes
//!   later.
//! - Once faults stop, no ticket is left whose parent is gone.

pub mod ends;
pub mod events;
pub mod look_ups;

use super::Findings;
use super::tombstones::was_kept;
use crate::caches::Use;
use crate::clock::{MS, SECOND, Time};
use crate::history::{Call, Outcome};
use crate::record::{Copy, Record};
use embergrid::types::ticket::{TicketErrand, TicketOperation, TicketRecord};
use embergrid::types::{Blob, KeyOperation, Operation, Reply};
use std::collections::BTreeMap;

/// Two nodes' clocks may be apart by so much.
const APART: Time = 200 * MS;
/// How long after the end of a ticket what descends from it may be left.
const CASCADE: Time = 3 * SECOND;
/// The longest that a client waits, and with it the touch behind a use.
const PATIENCE_MAX: Time = 6 * SECOND;

/// A ticket that somebody asked to add.
struct Added<'a> {
    call: &'a Call,
    parent: Option<&'a Blob>,
    ticket: &'a TicketRecord,
}

/// What the clients asked of tickets, sorted.
struct Facts<'a> {
    record: &'a Record,
    calls: Vec<&'a Call>,
    added: BTreeMap<&'a Blob, Added<'a>>,
    uses: BTreeMap<&'a Blob, Vec<&'a Call>>,
    /// By the session at the root of what was used: the touch comes behind the answer.
    uses_below: BTreeMap<&'a Blob, Vec<&'a Call>>,
    updates: BTreeMap<&'a Blob, Vec<&'a Call>>,
    deletes: BTreeMap<&'a Blob, Vec<&'a Call>>,
    /// By principal.
    ends: BTreeMap<&'a Blob, Vec<&'a Call>>,
}

/// Whether a call saw a ticket that lives.
fn sees(call: &Call) -> bool {
    match call.reply() {
        Some(Reply::Got { entry: Some(entry) }) => {
            TicketRecord::decode(&entry.value).is_some_and(|record| !record.ending)
        }
        _ => false,
    }
}

fn errand(call: &Call) -> Option<&TicketErrand> {
    match &call.request.operation {
        Operation::Errand(errand) => Some(errand),
        _ => None,
    }
}

/// The operation of a call on one ticket that is there.
fn on_one(call: &Call) -> Option<&TicketOperation> {
    match (&call.request.operation, errand(call)) {
        (
            Operation::Key {
                operation: KeyOperation::Ticket(operation),
                ..
            },
            _,
        )
        | (_, Some(TicketErrand::One { operation, .. })) => Some(operation),
        _ => None,
    }
}

/// What a call adds: the ticket and its parent.
fn adds(call: &Call) -> Option<(Option<&Blob>, &TicketRecord)> {
    let (add, parent) = match &call.request.operation {
        Operation::Key {
            operation: KeyOperation::Ticket(add),
            ..
        } => (add, None),
        Operation::Errand(errand) => match &**errand {
            TicketErrand::AddChild { add, parent, .. } => (add, Some(parent)),
            _ => return None,
        },
        _ => return None,
    };
    match add {
        TicketOperation::Add { record, .. } => Some((parent, record)),
        _ => None,
    }
}

fn to_live(ticket: &TicketRecord) -> Option<Time> {
    ticket.time_to_live
}

fn to_idle(ticket: &TicketRecord) -> Option<Time> {
    ticket.time_to_idle
}

/// Whether it may have done something.
fn perhaps(call: &Call) -> bool {
    !matches!(call.outcome, Outcome::Failed(_))
}

impl<'a> Facts<'a> {
    fn of(record: &'a Record) -> Self {
        let calls = record.history.on(Use::Tickets).map(|(_, call)| call);
        let calls = calls.filter(|call| !record.excused.contains_key(&call.cache));
        let mut facts = Self {
            record,
            calls: calls.collect(),
            added: BTreeMap::new(),
            uses: BTreeMap::new(),
            uses_below: BTreeMap::new(),
            updates: BTreeMap::new(),
            deletes: BTreeMap::new(),
            ends: BTreeMap::new(),
        };
        for call in &facts.calls {
            let Some(key) = call.key() else {
                if let Some(TicketErrand::DeleteForPrincipal { principal, .. }) = errand(call) {
                    facts.ends.entry(principal).or_default().push(call);
                }
                continue;
            };
            if let Some((parent, ticket)) = adds(call) {
                let one = Added {
                    call,
                    parent,
                    ticket,
                };
                facts.added.insert(key, one);
            }
            let sorted = match (on_one(call), errand(call)) {
                (Some(TicketOperation::Use { .. }), _) => &mut facts.uses,
                (Some(TicketOperation::Update { .. }), _) => &mut facts.updates,
                (_, Some(TicketErrand::Delete { .. })) => &mut facts.deletes,
                _ => continue,
            };
            sorted.entry(key).or_default().push(call);
        }
        let mut uses_below: BTreeMap<&Blob, Vec<&Call>> = BTreeMap::new();
        for (used, calls) in &facts.uses {
            let line = facts.line(used);
            if let [_, .., root] = line[..] {
                uses_below.entry(root).or_default().extend(calls);
            }
        }
        facts.uses_below = uses_below;
        facts
    }

    /// The ticket and all that it descends from.
    fn line(&self, key: &'a Blob) -> Vec<&'a Blob> {
        let mut line = vec![key];
        while let Some(parent) = self
            .added
            .get(line[line.len() - 1])
            .and_then(|one| one.parent)
        {
            line.push(parent);
        }
        line
    }

    /// The update of a ticket that may have changed its end, and what it says; a client makes one at
    /// most for each ticket.
    fn limited(&self, key: &Blob) -> Option<(&'a Call, &'a TicketRecord)> {
        Self::calls_on(&self.updates, key).find_map(|call| match on_one(call) {
            Some(TicketOperation::Update {
                record,
                keep_expiration: false,
                ..
            }) if perhaps(call) => Some((call, &**record)),
            _ => None,
        })
    }

    /// The longest that a limit of a ticket may be for a call; absent: there is none.
    fn most(&self, key: &Blob, of: fn(&TicketRecord) -> Option<Time>, call: &Call) -> Option<Time> {
        let old = of(self.added.get(key)?.ticket);
        match self.limited(key) {
            None => old,
            // Another half may not know of it.
            Some((update, new))
                if update.was_applied()
                    && update.responded < call.invoked
                    && self.record.undivided(call.cache) =>
            {
                of(new)
            }
            Some((_, new)) => Some(old?.max(of(new)?)),
        }
    }

    /// The shortest that it may be up to a moment.
    fn least(
        &self,
        key: &Blob,
        of: fn(&TicketRecord) -> Option<Time>,
        until: Time,
    ) -> Option<Time> {
        let old = self.added.get(key).and_then(|one| of(one.ticket));
        let new = self.limited(key);
        let new = new.filter(|(update, _)| update.invoked <= until);
        let new = new.and_then(|(_, new)| of(new));
        [old, new].into_iter().flatten().min()
    }

    fn calls_on<'s>(
        sorted: &'s BTreeMap<&'a Blob, Vec<&'a Call>>,
        key: &Blob,
    ) -> impl Iterator<Item = &'a Call> + use<'s, 'a> {
        sorted.get(key).into_iter().flatten().copied()
    }

    /// The latest moment up to `until` at which a ticket may have been used or updated, also by
    /// the use of what descends from it.
    fn latest_access(&self, key: &Blob, until: Time) -> Time {
        let own = Self::calls_on(&self.uses, key).chain(Self::calls_on(&self.updates, key));
        let own = own.filter(|call| perhaps(call) && call.invoked <= until);
        let below = Self::calls_on(&self.uses_below, key);
        let below = below.filter(|call| perhaps(call) && call.invoked <= until);
        let added = self.added.get(key).map_or(0, |one| one.call.responded);
        own.map(|call| call.responded)
            .chain(below.map(|call| call.responded.saturating_add(PATIENCE_MAX)))
            .map(|at| at.min(until))
            .max()
            .unwrap_or(0)
            .max(added.min(until))
    }
}

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let facts = Facts::of(record);
    spent_once(&facts, &mut findings);
    gone_for_good(&facts, &mut findings);
    no_orphans(&facts, &mut findings);
    findings
}

fn spent_once(facts: &Facts<'_>, findings: &mut Findings) {
    for (key, calls) in &facts.uses {
        let most = facts.added.get(key).and_then(|one| one.ticket.max_uses);
        let Some(most) = most.filter(|_| facts.record.undivided(calls[0].cache)) else {
            continue;
        };
        let at: Vec<Time> = calls
            .iter()
            .filter(|call| sees(call))
            .map(|call| call.responded)
            .collect();
        findings.judge(at.len() <= most as usize, || {
            format!("{key:?} was used more than {most} times, at {at:?} µs")
        });
    }
}

/// Whether a delete found something.
fn took(end: &Call) -> bool {
    matches!(end.reply(), Some(Reply::Cleared { removed: 1.. }))
}

/// Whether an end reaches a ticket over a split: surely where the ticket was there. Otherwise a
/// delete that found nothing on its side removed nothing, while the end of a principal reaches what
/// only the other side knows, as long as a server is out for which it is remembered.
fn reaches(record: &Record, end: &Call, one: &Added<'_>) -> bool {
    record.surely_before(one.call, end)
        || match errand(end) {
            Some(TicketErrand::Delete { .. }) => took(end),
            _ => was_kept(record, end, one.call),
        }
}

fn gone_for_good(facts: &Facts<'_>, findings: &mut Findings) {
    let record = facts.record;
    let before = |one: &Added<'_>, end: &Call| {
        one.call.reply().is_some() && one.call.responded.saturating_add(APART) < end.invoked
    };
    for read in facts.calls.iter().filter(|call| sees(call)) {
        let Some(key) = read.key() else { continue };
        for of in facts.line(key) {
            let Some(one) = facts.added.get(of) else {
                continue;
            };
            // What a ticket granted goes on when that is spent, whoever deletes it then.
            let spent = Facts::calls_on(&facts.uses, of).any(perhaps);
            let by_id = Facts::calls_on(&facts.deletes, of);
            let by_id = by_id.filter(|end| of == key || !spent || took(end));
            let by_name = Facts::calls_on(&facts.ends, &one.ticket.principal);
            let ends = by_id.chain(by_name).filter(|end| end.reply().is_some());
            let mut ends = ends.filter(|end| {
                before(one, end)
                    && if record.undivided(read.cache) {
                        end.responded < read.invoked
                    } else {
                        // Over a split only the ticket itself: descendants follow in a while.
                        of == key && reaches(record, end, one) && record.surely_before(end, read)
                    }
            });
            let end = ends.next();
            findings.judge(end.is_none(), || {
                let at = end.map(|end| end.responded);
                format!(
                    "{key:?} was seen at n{} at {} µs, though {of:?} was deleted at {at:?} µs",
                    read.node, read.responded
                )
            });
        }
    }
}

/// The tickets in a copy, by key: those that live for somebody.
fn tickets(copy: &Copy) -> BTreeMap<&Blob, TicketRecord> {
    let records = copy.entries.iter().filter_map(|(key, entry)| {
        let record = TicketRecord::of(entry)?;
        (!record.ending).then_some((key, record))
    });
    records.collect()
}

/// The copies of the caches of tickets.
fn copies(record: &Record) -> impl Iterator<Item = &Copy> {
    record.copies.iter().filter(|copy| {
        let uses = record.history.uses.iter().zip(&record.history.cache_ids);
        let mut of_tickets = uses.filter(|(one, _)| **one == Use::Tickets);
        of_tickets.any(|(_, id)| *id == copy.cache)
    })
}

fn no_orphans(facts: &Facts<'_>, findings: &mut Findings) {
    let record = facts.record;
    // A ticket that was lost with its partition was not deleted, and its links were lost with it.
    let of_tickets = |cache: &usize| record.history.uses[*cache] == Use::Tickets;
    if record.excused.keys().any(of_tickets) {
        return;
    }
    let mut by_node: BTreeMap<usize, BTreeMap<&Blob, TicketRecord>> = BTreeMap::new();
    for copy in copies(record) {
        by_node.entry(copy.node).or_default().extend(tickets(copy));
    }
    // What ended by its time a moment ago may be about to take its descendants with it.
    let a_while_ago = |key: &Blob| {
        let Some(one) = facts.added.get(key) else {
            return true;
        };
        let lately = record.compared_at.saturating_sub(CASCADE);
        let live = facts.least(key, to_live, record.compared_at);
        let live = live.map(|ttl| one.call.responded.saturating_add(ttl));
        let idle = facts.least(key, to_idle, record.compared_at);
        let idle = idle.map(|idle| facts.latest_access(key, record.compared_at) + idle);
        [live, idle]
            .into_iter()
            .flatten()
            .min()
            .is_none_or(|end| end < lately)
    };
    for (node, all) in &by_node {
        for (key, ticket) in all {
            // A ticket that was granted by one that is spent goes on with the session of both.
            let Some(above) = ticket.above() else {
                continue;
            };
            let line = facts.line(key);
            if !line.iter().all(|of| a_while_ago(of)) {
                continue;
            }
            findings.judge(all.contains_key(&above.key), || {
                format!("{key:?} is left at n{node}, and {:?} is gone", above.key)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;

    #[test]
    fn a_ticket_that_is_seen_after_its_delete_is_found() {
        let mut record = record();
        let ticket = TicketRecord::default();
        record.ticket("TGT-1", (0, 10), added(ticket.clone()), stored());
        let late = 10 + APART;
        record.ticket("TGT-1", (late, late + 9), look(), MISS);
        let at = (late + 10, late + 20);
        record.ticket_deleted("TGT-1", at);
        assert!(check(&record).violations.is_empty());
        let at = (late + 30, late + 40);
        record.ticket("TGT-1", at, look(), seen(&ticket, "TGT-1"));
        assert_eq!(check(&record).violations.len(), 1);
    }

    #[test]
    fn a_use_too_many_is_found() {
        let mut record = record();
        let ticket = TicketRecord {
            max_uses: Some(1),
            ..TicketRecord::default()
        };
        let using = TicketOperation::Use {
            kind: Blob::default(),
            vouched: false,
        };
        record.ticket("ST-1", (0, 10), added(ticket.clone()), stored());
        record.ticket("ST-1", (20, 30), using.clone(), seen(&ticket, "ST-1"));
        assert!(check(&record).violations.is_empty());
        record.ticket("ST-1", (40, 50), using, seen(&ticket, "ST-1"));
        assert_eq!(check(&record).violations.len(), 1);
    }
}
