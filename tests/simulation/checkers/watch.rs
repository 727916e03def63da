//! Promise 17: watch has no gap and no double across fail-over; where it cannot go on it says so.
//! Applies to FULL_SYNC caches while undivided: deliveries join without gaps, counters rise, and a
//! value put and acknowledged while a watcher stood is seen by it exactly once.

use super::Findings;
use crate::clock::Time;
use crate::faults::Profile;
use crate::record::{Record, Seen};
use crate::shell::Delivery;
use embergrid::types::message::EventKind;
use embergrid::types::{Blob, CacheId, CacheMode};
use std::collections::BTreeMap;

/// One watcher of one partition, from its beginning to its loss.
#[derive(Default)]
struct Stand {
    since: Option<Time>,
    until: Option<Time>,
    counter: u64,
    values: BTreeMap<(Blob, Blob), u32>,
}

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let split = record.profile == Profile::Split;
    let judged = |cache: CacheId| {
        let stops = record
            .settings_of(cache)
            .is_some_and(|settings| settings.stops());
        !split || stops
    };
    for ((node, member), seen) in &record.watched {
        let alive = record
            .lives
            .iter()
            .any(|life| life.member == *member && life.until.is_none());
        let mut stands: BTreeMap<(CacheId, u32), Vec<Stand>> = BTreeMap::new();
        for (at, what) in seen {
            match what {
                Seen::Began => {}
                Seen::Events(delivery) => {
                    let place = stands
                        .entry((delivery.cache, delivery.partition))
                        .or_default();
                    if place.last().is_none_or(|stand| stand.until.is_some()) {
                        place.push(Stand {
                            since: Some(*at),
                            counter: delivery.after,
                            ..Stand::default()
                        });
                    }
                    if let Some(stand) = place.last_mut().filter(|_| judged(delivery.cache)) {
                        join(stand, (*at, delivery), *node, &mut findings);
                    }
                }
                Seen::Lost(cache, partition) => {
                    if let Some(stand) = stands.entry((*cache, *partition)).or_default().last_mut()
                    {
                        stand.until = Some(*at);
                    }
                }
            }
        }
        if alive {
            complete(record, *node, &stands, &mut findings);
        }
    }
    findings
}

fn join(
    stand: &mut Stand,
    (at, delivery): (Time, &Delivery),
    node: usize,
    findings: &mut Findings,
) {
    let place = (delivery.cache, delivery.partition);
    findings.judge(delivery.after == stand.counter, || {
        format!(
            "n{node} {place:?} at {at} µs: events after {} follow events up to {}",
            delivery.after, stand.counter
        )
    });
    let mut last = delivery.after;
    for event in &delivery.events {
        findings.judge(
            event.counter >= last
                && event.counter <= delivery.upto.counter
                && event.counter > delivery.after,
            || {
                format!(
                    "n{node} {place:?}: event {} between {last} and {}",
                    event.counter, delivery.upto.counter
                )
            },
        );
        last = event.counter;
        // A touch updates the entry and leaves its value as it was.
        let same = event
            .previous
            .as_ref()
            .is_some_and(|old| old.version == event.entry.version);
        if matches!(event.kind, EventKind::Created | EventKind::Updated) && !same {
            *stand
                .values
                .entry((event.entry.key.clone(), event.entry.value.clone()))
                .or_default() += 1;
        }
    }
    stand.counter = delivery.upto.counter;
}

/// Every value that was put and acknowledged while the watcher stood to the end was seen once.
fn complete(
    record: &Record,
    node: usize,
    stands: &BTreeMap<(CacheId, u32), Vec<Stand>>,
    findings: &mut Findings,
) {
    for call in record
        .history
        .calls
        .iter()
        .filter(|call| call.was_applied() && call.invoked < record.faults_end)
    {
        let Some(stands) = stands.get(&(call.request.cache, call.request.partition)) else {
            continue;
        };
        let (Some(key), Some(value)) = (call.key(), call.value_put()) else {
            continue;
        };
        let judged =
            record.undivided(call.cache) && record.settings[call.cache].mode != CacheMode::Local;
        let Some(stand) = stands
            .last()
            .filter(|stand| judged && stand.until.is_none())
        else {
            continue;
        };
        if stand.since.is_none_or(|since| since >= call.invoked) {
            continue;
        }
        let times = stand
            .values
            .get(&(key.clone(), value.clone()))
            .copied()
            .unwrap_or(0);
        findings.judge(times == 1, || {
            format!(
                "n{node} cache {} key {key:?}: {value:?}, put at {} µs, was seen {times} times",
                call.cache, call.responded
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;
    use crate::record::Life;
    use embergrid::types::Member;
    use embergrid::types::message::{Event, WatchPosition};

    fn delivery(cache: CacheId, after: u64, upto: u64, events: &[(u64, &str)]) -> Seen {
        let event = |&(counter, value): &(u64, &str)| Event {
            kind: EventKind::Created,
            counter,
            entry: entry("r1", value, 1),
            previous: None,
        };
        let upto = WatchPosition {
            counter: upto,
            ..WatchPosition::default()
        };
        Seen::Events(Delivery {
            cache,
            partition: 0,
            after,
            upto,
            events: events.iter().map(event).collect(),
        })
    }

    fn violations(deliveries: Vec<(u64, u64, Vec<(u64, &str)>)>) -> usize {
        let mut record = record();
        let member = Member::default();
        record.lives.push(Life {
            node: 0,
            member,
            from: 0,
            until: None,
        });
        record.call(0, "r1", (10, 20), put("a"), stored());
        record.call(0, "r1", (30, 40), put("b"), stored());
        let cache = record.history.cache_ids[0];
        let seen = deliveries
            .iter()
            .map(|(after, upto, events)| (5, delivery(cache, *after, *upto, events)));
        record.watched.insert((0, member), seen.collect());
        check(&record).violations.len()
    }

    #[test]
    fn gaps_and_doubles_are_found() {
        assert_eq!(
            violations(vec![
                (0, 0, vec![]),
                (0, 1, vec![(1, "a")]),
                (1, 2, vec![(2, "b")])
            ]),
            0
        );
        assert_eq!(violations(vec![(0, 0, vec![]), (0, 2, vec![(2, "b")])]), 1);
        assert_eq!(
            violations(vec![(0, 1, vec![(1, "a")]), (2, 3, vec![(3, "b")])]),
            1
        );
        assert_eq!(
            violations(vec![
                (0, 1, vec![(1, "a")]),
                (1, 3, vec![(2, "b"), (3, "b")])
            ]),
            1
        );
    }
}
