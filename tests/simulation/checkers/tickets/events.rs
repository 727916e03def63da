//! Promise 17 on tickets: whoever watches is told of every ticket that is added, and of every one
//! that ends, by a call or by time, once; over a split at least once. Judged for watchers that stand
//! to the end, from where they began or were told of a gap for the last time.

use super::{Facts, Findings, copies, tickets};
use crate::clock::Time;
use crate::record::{Record, Seen};
use crate::shell::Delivery;
use embergrid::types::message::{Event, EventKind};
use embergrid::types::ticket::TicketRecord;
use embergrid::types::{Blob, CacheId};
use std::collections::{BTreeMap, BTreeSet};

/// How often a life of a ticket was told to begin and to end.
#[derive(Default)]
struct Told {
    begun: u32,
    ended: u32,
}

/// A watcher of one partition since it last had a gap.
#[derive(Default)]
struct Stand {
    since: Option<Time>,
    /// By id and incarnation.
    told: BTreeMap<(Blob, u64), Told>,
}

impl Stand {
    fn take(&mut self, at: Time, delivery: &Delivery) {
        self.since.get_or_insert(at);
        for event in &delivery.events {
            self.note(event);
        }
    }

    fn note(&mut self, event: &Event) {
        let Some(record) = TicketRecord::decode(&event.entry.value) else {
            return;
        };
        let key = &event.entry.key;
        let life = (key.clone(), record.incarnation);
        let known = self.told.get(&life).is_some_and(|told| told.begun > 0);
        if event.kind == EventKind::Updated && !known {
            // Two halves added it: one life takes the place of the other. Or it began before.
            let lives = (key.clone(), 0)..=(key.clone(), u64::MAX);
            for (_, other) in self.told.range_mut(lives) {
                other.ended = other.ended.max(other.begun);
            }
            self.told.entry(life.clone()).or_default().begun = 1;
        }
        let told = self.told.entry(life).or_default();
        match event.kind {
            EventKind::Created => told.begun += 1,
            EventKind::Updated => {}
            EventKind::Removed | EventKind::Expired | EventKind::Evicted => told.ended += 1,
        }
    }
}

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let facts = Facts::of(record);
    let mut held: BTreeSet<(CacheId, &Blob)> = BTreeSet::new();
    for copy in copies(record) {
        held.extend(tickets(copy).into_keys().map(|key| (copy.cache, key)));
    }
    for ((node, member), seen) in &record.watched {
        let alive = |life: &crate::record::Life| life.member == *member && life.until.is_none();
        if !record.lives.iter().any(alive) {
            continue;
        }
        let mut stands: BTreeMap<(CacheId, u32), Stand> = BTreeMap::new();
        for (at, what) in seen {
            match what {
                Seen::Began => {}
                Seen::Events(delivery) => {
                    let place = (delivery.cache, delivery.partition);
                    stands.entry(place).or_default().take(*at, delivery);
                }
                Seen::Lost(cache, partition) => {
                    stands.remove(&(*cache, *partition));
                }
            }
        }
        for ((cache, _), stand) in &stands {
            judge_lives(&facts, *node, *cache, stand, &held, &mut findings);
        }
        judge_added(&facts, *node, &stands, &mut findings);
    }
    findings
}

/// Whether what is told must be told once.
fn once(facts: &Facts<'_>, cache: CacheId) -> bool {
    let place = facts
        .record
        .history
        .cache_ids
        .iter()
        .position(|id| *id == cache);
    place.is_some_and(|place| facts.record.undivided(place))
}

fn judge_lives(
    facts: &Facts<'_>,
    node: usize,
    cache: CacheId,
    stand: &Stand,
    held: &BTreeSet<(CacheId, &Blob)>,
    findings: &mut Findings,
) {
    let once = once(facts, cache);
    for ((key, incarnation), told) in &stand.told {
        if once {
            findings.judge(told.begun <= 1 && told.ended <= 1, || {
                let (begun, ended) = (told.begun, told.ended);
                format!(
                    "n{node}: {key:?} of {incarnation} was told {begun} times to begin and {ended} \
                     times to end"
                )
            });
        }
        // One that is there by another life is left out.
        if told.begun > 0 && !held.contains(&(cache, key)) {
            findings.judge(told.ended > 0, || {
                format!("n{node}: {key:?} of {incarnation} is gone, and nobody was told")
            });
        }
    }
}

/// Tickets that were added for certain while the watcher stood were told.
fn judge_added(
    facts: &Facts<'_>,
    node: usize,
    stands: &BTreeMap<(CacheId, u32), Stand>,
    findings: &mut Findings,
) {
    for (key, one) in &facts.added {
        let request = &one.call.request;
        let Some(stand) = stands.get(&(request.cache, request.partition)) else {
            continue;
        };
        let stood = stand.since.is_some_and(|since| since < one.call.invoked);
        if !stood || !one.call.was_applied() || !once(facts, request.cache) {
            continue;
        }
        let of_key = ((*key).clone(), 0)..=((*key).clone(), u64::MAX);
        let begun: u32 = stand.told.range(of_key).map(|(_, told)| told.begun).sum();
        findings.judge(begun == 1, || {
            format!("n{node}: {key:?} was added, and told {begun} times")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;
    use crate::record::Life;
    use embergrid::types::Member;
    use embergrid::types::message::WatchPosition;

    fn violations(events: &[EventKind]) -> usize {
        let mut record = record();
        let member = Member::default();
        record.lives.push(Life {
            node: 0,
            member,
            from: 0,
            until: None,
        });
        let ticket = TicketRecord::default();
        record.ticket("TGT-1", (10, 20), added(ticket.clone()), stored());
        let cache = record.history.calls[0].request.cache;
        let delivery = |after: u64, kinds: &[EventKind]| {
            let event = |(counter, kind): (u64, &EventKind)| {
                let mut entry = entry("TGT-1", "", 1);
                entry.value = ticket.encode();
                Event {
                    kind: *kind,
                    counter,
                    entry,
                    previous: None,
                }
            };
            Seen::Events(Delivery {
                cache,
                partition: 0,
                after,
                upto: WatchPosition {
                    counter: after + kinds.len() as u64,
                    ..WatchPosition::default()
                },
                events: (after + 1..).zip(kinds).map(event).collect(),
            })
        };
        let seen = vec![(5, delivery(0, &[])), (15, delivery(0, events))];
        record.watched.insert((0, member), seen);
        check(&record).violations.len()
    }

    #[test]
    fn silence_and_doubles_are_found() {
        use EventKind::{Created, Expired, Removed, Updated};
        assert_eq!(violations(&[Created, Updated, Removed]), 0);
        assert_eq!(violations(&[Created, Expired]), 0);
        assert_eq!(violations(&[Created]), 1);
        assert_eq!(violations(&[Created, Removed, Expired]), 1);
        assert_eq!(violations(&[Removed]), 1);
    }
}
