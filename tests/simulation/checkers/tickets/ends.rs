//! Promises 4 and 5 on tickets: none is served past its time to live, nor past the idle time of
//! itself or of what it ends with; none ends early. That a ticket granted lives on when it is spent
//! is a part of the latter. "Early" is judged while undivided; a ticket that somebody may have ended
//! by a call is not.

use super::{Facts, Findings, on_one, perhaps, sees, to_idle, to_live};
use crate::caches::CLOCK_ERROR;
use crate::clock::{MS, SECOND, Time};
use crate::history::Call;
use crate::record::Record;
use embergrid::types::ticket::TicketOperation;
use embergrid::types::{Blob, Reply};

/// Two owners may be apart, and clocks drift a little over a life.
const SLACK: Time = CLOCK_ERROR + 5 * MS;

/// Reads and uses of tickets with their ids.
fn reads<'a>(facts: &Facts<'a>) -> impl Iterator<Item = (&'a Blob, &'a Call)> {
    let asked = |call: &&Call| {
        let read = |operation: &TicketOperation| {
            matches!(
                operation,
                TicketOperation::Get { .. } | TicketOperation::Use { .. }
            )
        };
        on_one(call).is_some_and(read)
    };
    let calls = facts.calls.clone().into_iter().filter(asked);
    calls.filter_map(|call| Some((call.key()?, call)))
}

/// Promise 4: the time to live, and no early end by whatever time.
pub fn expiry(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let facts = Facts::of(record);
    for (key, read) in reads(&facts) {
        if sees(read) {
            for of in holders(&facts, key) {
                let one = &facts.added[of];
                let live = facts.most(of, to_live, read);
                let Some(live) = live.filter(|_| one.call.was_applied()) else {
                    continue;
                };
                let until = one.call.responded + live + SLACK;
                findings.judge(read.invoked <= until, || {
                    late(key, read, of, one.call.responded)
                });
            }
        } else if matches!(read.reply(), Some(Reply::Got { entry: None }))
            && let Some(bound) = earliest_end(&facts, key, read)
        {
            findings.judge(read.responded + SLACK >= bound, || {
                format!(
                    "{key:?} was gone at {} µs at n{}, and should live until {bound} µs",
                    read.responded, read.node
                )
            });
        }
    }
    findings
}

/// Promise 5: the idle time.
pub fn idle(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let facts = Facts::of(record);
    for (key, read) in reads(&facts).filter(|(_, read)| sees(read)) {
        for of in holders(&facts, key) {
            let one = &facts.added[of];
            let idle = facts.most(of, to_idle, read);
            let Some(idle) = idle.filter(|_| one.call.was_applied()) else {
                continue;
            };
            let last = facts.latest_access(of, read.responded);
            let batch = (idle / 20).min(SECOND);
            let views = changes(record, last.saturating_sub(idle), read.responded);
            let until = last + idle + batch * (1 + views) + SLACK;
            findings.judge(read.invoked <= until, || late(key, read, of, last));
        }
    }
    findings
}

fn late(key: &Blob, read: &Call, of: &Blob, since: Time) -> String {
    format!(
        "{key:?} was served at {} µs by n{}, though {of:?} was last added or used at {since} µs",
        read.responded, read.node
    )
}

/// The ticket itself, and those that it ends with whether they are spent or not.
fn holders<'a>(facts: &Facts<'a>, key: &'a Blob) -> Vec<&'a Blob> {
    let line = facts.line(key).into_iter().enumerate();
    let holds = |(place, of): (usize, &'a Blob)| {
        let one = facts.added.get(of)?;
        (place == 0 || one.ticket.max_uses.is_none()).then_some(of)
    };
    line.filter_map(holds).collect()
}

/// When a ticket may end by time at the earliest; none where it may have ended otherwise, or where
/// it is not known to have been there.
fn earliest_end(facts: &Facts<'_>, key: &Blob, read: &Call) -> Option<Time> {
    let own = facts.added.get(key)?;
    let record = facts.record;
    let sure = own.call.was_applied() && own.call.responded < read.invoked;
    if !sure || !record.undivided(read.cache) {
        return None;
    }
    let so_far = |call: &&Call| perhaps(call) && call.invoked <= read.responded;
    if own.ticket.max_uses.is_some() && Facts::calls_on(&facts.uses, key).any(|call| so_far(&call))
    {
        return None;
    }
    let mut bound = Time::MAX;
    for of in facts.line(own.call.key()?) {
        let one = facts.added.get(of)?;
        let deletes = Facts::calls_on(&facts.deletes, of);
        let ends = Facts::calls_on(&facts.ends, &one.ticket.principal);
        if deletes.chain(ends).any(|call| so_far(&call)) {
            return None;
        }
        if let Some(live) = facts.least(of, to_live, read.responded) {
            bound = bound.min(one.call.invoked + live);
        }
        if let Some(idle) = facts.least(of, to_idle, read.responded) {
            let used = Facts::calls_on(&facts.uses, of).filter(|call| sees(call));
            let updated = Facts::calls_on(&facts.updates, of).filter(|call| call.was_applied());
            let below = Facts::calls_on(&facts.uses_below, of).filter(|call| sees(call));
            let accesses = used.chain(updated).chain(below);
            let before = accesses.filter(|call| call.responded < read.invoked);
            let last = before.map(|call| call.invoked).max().unwrap_or(0);
            bound = bound.min(last.max(one.call.invoked) + idle);
        }
    }
    Some(bound)
}

fn changes(record: &Record, from: Time, until: Time) -> u64 {
    let views = record.views.iter();
    let mut versions: Vec<_> = views
        .filter(|(at, _, _)| (from..=until).contains(at))
        .map(|(_, _, view)| view.version)
        .collect();
    versions.sort_unstable();
    versions.dedup();
    versions.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;
    use embergrid::types::ticket::TicketRecord;

    const LIVES: Time = 4 * SECOND;

    #[test]
    fn late_and_early_are_found() {
        let mut record = record();
        let ticket = TicketRecord {
            time_to_live: Some(LIVES),
            ..TicketRecord::default()
        };
        record.ticket("TGT-1", (0, 10), added(ticket.clone()), stored());
        record.ticket("TGT-1", (LIVES, LIVES + 1), look(), seen(&ticket, "TGT-1"));
        let after = (LIVES + 200 * MS, LIVES + 201 * MS);
        record.ticket("TGT-1", after, look(), MISS);
        assert!(expiry(&record).violations.is_empty());
        record.ticket("TGT-1", after, look(), seen(&ticket, "TGT-1"));
        let before = (LIVES - 200 * MS, LIVES - 199 * MS);
        record.ticket("TGT-1", before, look(), MISS);
        assert_eq!(expiry(&record).violations.len(), 2);
    }

    #[test]
    fn a_session_that_ends_though_its_ticket_was_used_is_found() {
        let mut record = record();
        let session = TicketRecord {
            time_to_idle: Some(LIVES),
            ..TicketRecord::default()
        };
        let child = TicketRecord::default();
        let using = TicketOperation::Use {
            kind: Blob::default(),
            vouched: false,
        };
        record.ticket("TGT-1", (0, 10), added(session), stored());
        record.ticket_child("ST-1", "TGT-1", (20, 30), child.clone());
        record.ticket("ST-1", (SECOND, SECOND + 9), using, seen(&child, "ST-1"));
        let end = LIVES + SECOND;
        record.ticket("TGT-1", (end, end + 1), look(), MISS);
        assert!(expiry(&record).violations.is_empty());
        record.ticket("TGT-1", (LIVES, LIVES + SECOND / 2), look(), MISS);
        assert_eq!(expiry(&record).violations.len(), 1);
    }

    #[test]
    fn a_child_that_outlives_its_idle_session_is_found() {
        let mut record = record();
        let session = TicketRecord {
            time_to_idle: Some(LIVES),
            ..TicketRecord::default()
        };
        let child = TicketRecord::default();
        record.ticket("TGT-1", (0, 10), added(session), stored());
        record.ticket_child("ST-1", "TGT-1", (20, 30), child.clone());
        let end = LIVES + LIVES / 20;
        record.ticket("ST-1", (end, end + 1), look(), seen(&child, "ST-1"));
        assert!(idle(&record).violations.is_empty());
        let late = (end + 200 * MS, end + 201 * MS);
        record.ticket("ST-1", late, look(), MISS);
        assert!(expiry(&record).violations.is_empty());
        record.ticket("ST-1", late, look(), seen(&child, "ST-1"));
        assert_eq!(idle(&record).violations.len(), 1);
    }
}
