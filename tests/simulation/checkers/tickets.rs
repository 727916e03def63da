//! Promises 2, 3 and 6 on tickets, cascades and indexes.
//!
//! - The last use of a ticket succeeds once, while undivided.
//! - A ticket that was deleted, by itself, with what it descends from, or with its principal, is
//!   seen by nobody afterwards: through whatever faults, and over a split by what surely comes
//!   later.
//! - Once faults stop, no ticket is left whose parent is gone, and every node counts as many sessions
//!   in each partition as a scan finds.

use super::Findings;
use crate::caches::Use;
use crate::clock::{MS, Time};
use crate::history::Call;
use crate::record::Record;
use embergrid::types::ticket::{TicketErrand, TicketOperation, TicketRecord, TicketsOperation};
use embergrid::types::{Blob, KeyOperation, Operation, Reply};
use std::collections::{BTreeMap, BTreeSet};

/// Two nodes' clocks may be apart by so much.
const APART: Time = 200 * MS;

/// A ticket that was added for certain, before `by`.
struct Added<'a> {
    call: &'a Call,
    parent: Option<&'a Blob>,
    principal: Blob,
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

/// What a call adds: the ticket, its parent and principal.
fn adds(call: &Call) -> Option<(Option<&Blob>, Blob)> {
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
        TicketOperation::Add { record, .. } => Some((parent, record.principal.clone())),
        _ => None,
    }
}

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let calls: Vec<&Call> = record
        .history
        .on(Use::Tickets)
        .map(|(_, call)| call)
        .filter(|call| !record.excused.contains_key(&call.cache))
        .collect();
    let mut added: BTreeMap<&Blob, Added<'_>> = BTreeMap::new();
    for call in &calls {
        if let (Some((parent, principal)), Some(key)) = (adds(call), call.key()) {
            let one = Added {
                call,
                parent,
                principal,
            };
            added.insert(key, one);
        }
    }
    spent_once(record, &calls, &mut findings);
    gone_for_good(record, &calls, &added, &mut findings);
    no_orphans(record, &mut findings);
    counts(record, &calls, &mut findings);
    findings
}

fn spent_once(record: &Record, calls: &[&Call], findings: &mut Findings) {
    let mut uses: BTreeMap<&Blob, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        if let (Some(TicketErrand::Use { key, .. }), true) = (errand(call), sees(call)) {
            uses.entry(key).or_default().push(call);
        }
    }
    for (key, calls) in uses {
        if record.undivided(calls[0].cache) {
            findings.judge(calls.len() == 1, || {
                let at: Vec<Time> = calls.iter().map(|call| call.responded).collect();
                format!("{key:?} was used up more than once, at {at:?} µs")
            });
        }
    }
}

/// Whether an end counts over a split: a delete that found nothing on its side removed nothing,
/// while the end of a principal reaches what only the other side knows.
fn took(end: &Call) -> bool {
    let by_id = matches!(errand(end), Some(TicketErrand::Delete { .. }));
    !by_id || matches!(end.reply(), Some(Reply::Cleared { removed: 1.. }))
}

/// The ticket and all that it descends from.
fn line<'a>(added: &BTreeMap<&'a Blob, Added<'a>>, key: &'a Blob) -> Vec<&'a Blob> {
    let mut line = vec![key];
    while let Some(parent) = added.get(line[line.len() - 1]).and_then(|one| one.parent) {
        line.push(parent);
    }
    line
}

fn gone_for_good<'a>(
    record: &Record,
    calls: &[&'a Call],
    added: &BTreeMap<&'a Blob, Added<'a>>,
    findings: &mut Findings,
) {
    let mut deletes: BTreeMap<&Blob, Vec<&Call>> = BTreeMap::new();
    let mut ends: BTreeMap<&Blob, Vec<&Call>> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.reply().is_some()) {
        match errand(call) {
            Some(TicketErrand::Delete { key, .. }) => deletes.entry(key).or_default().push(call),
            Some(TicketErrand::DeleteForPrincipal { principal, .. }) => {
                ends.entry(principal).or_default().push(call);
            }
            _ => {}
        }
    }
    let before = |one: &Added<'_>, end: &Call| {
        one.call.reply().is_some() && one.call.responded.saturating_add(APART) < end.invoked
    };
    for read in calls.iter().filter(|call| sees(call)) {
        let Some(key) = read.key() else { continue };
        for of in line(added, key) {
            let Some(one) = added.get(of) else { continue };
            let by_id = deletes.get(of).into_iter().flatten();
            let by_name = ends.get(&one.principal).into_iter().flatten();
            let end = by_id.chain(by_name).find(|end| {
                before(one, end)
                    && if record.undivided(read.cache) {
                        end.responded < read.invoked
                    } else {
                        // Over a split only the ticket itself: descendants follow in a while.
                        of == key && took(end) && record.surely_before(end, read)
                    }
            });
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
fn tickets(copy: &crate::record::Copy) -> BTreeMap<&Blob, TicketRecord> {
    let records = copy.entries.iter().filter_map(|(key, entry)| {
        let record = TicketRecord::of(entry)?;
        (!record.ending).then_some((key, record))
    });
    records.collect()
}

fn no_orphans(record: &Record, findings: &mut Findings) {
    let ids: BTreeSet<_> = record
        .history
        .uses
        .iter()
        .zip(&record.history.cache_ids)
        .filter(|(one, _)| **one == Use::Tickets)
        .map(|(_, id)| *id)
        .collect();
    let copies = record
        .copies
        .iter()
        .filter(|copy| ids.contains(&copy.cache));
    let mut by_node: BTreeMap<usize, BTreeMap<&Blob, TicketRecord>> = BTreeMap::new();
    for copy in copies {
        by_node.entry(copy.node).or_default().extend(tickets(copy));
    }
    for (node, all) in &by_node {
        for (key, ticket) in all {
            // A ticket that was granted by one that is spent goes on with the session of both.
            let above = ticket.anchor.as_ref().or(ticket.parent.as_ref());
            let Some(above) = above else { continue };
            findings.judge(all.contains_key(&above.key), || {
                format!("{key:?} is left at n{node}, and {:?} is gone", above.key)
            });
        }
    }
}

fn counts(record: &Record, calls: &[&Call], findings: &mut Findings) {
    for call in calls {
        let Operation::Tickets(TicketsOperation::Count { filter }) = &call.request.operation else {
            continue;
        };
        let Some(Reply::Size { live }) = call.reply() else {
            continue;
        };
        if call.invoked < record.compared_at {
            continue;
        }
        let same = |copy: &&crate::record::Copy| {
            copy.cache == call.request.cache && copy.partition == call.request.partition
        };
        for copy in record.copies.iter().filter(same) {
            let found = tickets(copy);
            let found = found
                .values()
                .filter(|ticket| filter.matches(ticket))
                .count() as u64;
            findings.judge(found == *live, || {
                format!(
                    "n{} counts {live} tickets in partition {}, and a scan finds {found} at n{}",
                    call.node, copy.partition, copy.node
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;
    use crate::history::Outcome;

    const TICKETS: usize = 9;

    fn seen(record: TicketRecord, key: &str) -> Outcome {
        let mut outcome = got(key, "", 0);
        if let Outcome::Ok(Reply::Got { entry: Some(entry) }) = &mut outcome {
            entry.value = record.encode();
        }
        outcome
    }

    #[test]
    fn a_ticket_that_is_seen_after_its_delete_is_found() {
        let mut record = record();
        let ticket = TicketRecord::default();
        let add = KeyOperation::Ticket(TicketOperation::Add {
            record: Box::new(ticket.clone()),
            created_at: None,
            hard_expire_at: None,
            expires_by: None,
            not_after: None,
        });
        let read = KeyOperation::Ticket(TicketOperation::Get {
            kind: Blob::default(),
        });
        record.call(TICKETS, "TGT-1", (0, 10), add, stored());
        let late = 10 + APART;
        record.call(TICKETS, "TGT-1", (late, late + 9), read.clone(), MISS);
        let cache = record.history.calls[0].request.cache;
        let errand = TicketErrand::Delete {
            key: Blob::from("TGT-1"),
            caches: vec![cache],
        };
        let mut delete = record.history.calls[1].clone();
        delete.request.operation = Operation::Errand(Box::new(errand));
        delete.invoked = late + 10;
        delete.responded = late + 20;
        delete.outcome = Outcome::Ok(Reply::Cleared { removed: 1 });
        record.history.calls.push(delete);
        assert!(check(&record).violations.is_empty());
        let at = (late + 30, late + 40);
        record.call(TICKETS, "TGT-1", at, read, seen(ticket, "TGT-1"));
        assert_eq!(check(&record).violations.len(), 1);
    }
}
