//! Indexes: once faults stop, every node counts and lists in each partition what a scan of its copies
//! finds. A ticket whose time may be over between the scan and the look-up may be in one of them.

use super::{Facts, Findings, tickets};
use crate::record::{Copy, Record};
use embergrid::types::ticket::{TicketFilter, TicketRecord, TicketsOperation};
use embergrid::types::{Blob, Entry, Operation, Reply};
use std::collections::BTreeSet;

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    for call in Facts::of(record).calls {
        let Operation::Tickets(operation) = &call.request.operation else {
            continue;
        };
        if call.invoked < record.compared_at {
            continue;
        }
        let place = (call.request.cache, call.request.partition);
        let copies = record.copies.iter();
        for copy in copies.filter(|copy| (copy.cache, copy.partition) == place) {
            let (holds, found) = match (operation, call.reply()) {
                (TicketsOperation::Count { filter }, Some(Reply::Size { live })) => {
                    let (sure, all) = scan(copy, filter);
                    let live = *live as usize;
                    ((sure.len()..=all.len()).contains(&live), format!("{live}"))
                }
                (TicketsOperation::List { filter, .. }, Some(Reply::Scanned { entries, .. })) => {
                    let (sure, all) = scan(copy, filter);
                    let listed: BTreeSet<&Blob> = entries.iter().map(|entry| &entry.key).collect();
                    let whole = listed.len() == entries.len();
                    let holds = whole && sure.is_subset(&listed) && listed.is_subset(&all);
                    (holds, format!("{listed:?}"))
                }
                _ => continue,
            };
            findings.judge(holds, || {
                format!(
                    "n{} finds {found} by {operation:?} in partition {}, and a scan at n{} does not",
                    call.node, copy.partition, copy.node
                )
            });
        }
    }
    findings
}

fn is_limited(entry: &Entry) -> bool {
    let live = entry.live.as_ref();
    live.is_some_and(|live| live.expires_at.is_some() || live.time_to_idle.is_some())
}

/// Whether a ticket is meant, by what the filter says and not as the engine finds it.
fn matches(filter: &TicketFilter, record: &TicketRecord) -> bool {
    let is = |wanted: &Blob, own: &Blob| wanted.is_empty() || wanted == own;
    let has = |(name, values): &(Blob, Vec<Blob>)| {
        let own = record.attributes.get(name);
        own.is_some_and(|own| own.iter().any(|value| values.contains(value)))
    };
    is(&filter.kind, &record.kind)
        && is(&filter.principal, &record.principal)
        && is(&filter.service, &record.service)
        && (filter.attributes.is_empty() || filter.attributes.iter().any(has))
}

/// The tickets of a copy that match: those that have no limit of time, and all.
fn scan<'a>(copy: &'a Copy, filter: &TicketFilter) -> (BTreeSet<&'a Blob>, BTreeSet<&'a Blob>) {
    let all = tickets(copy).into_iter();
    let all = all.filter(|(_, record)| matches(filter, record));
    let all: BTreeSet<&Blob> = all.map(|(key, _)| key).collect();
    let sure = copy.entries.iter();
    let sure = sure.filter(|(key, entry)| all.contains(key) && !is_limited(entry));
    (sure.map(|(key, _)| key).collect(), all)
}
