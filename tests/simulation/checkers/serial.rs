//! Promise 25: what committed under REPEATABLE_READ or SERIALIZABLE has a serial order, and nobody
//! ever reads what was not committed. Promise 26: once faults have stopped, every node can look at all
//! keys. Applies while undivided.
//!
//! Lists grow by unique elements, so the longest one seen gives the order of the writes of a key, and
//! each read its place in it. That makes a graph of transactions: *b* behind *a* where it wrote over
//! what *a* wrote (ww) or read it (wr), and *a* before *b* where *a* read what *b* then wrote over
//! (rw). A cycle is an anomaly, named by its edges (after Adya, and Elle by Kingsbury and Alvaro).

use super::Findings;
use crate::record::Record;
use crate::session::{End, STRICT, Session};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    Wrote,
    Read,
    Overwrote,
}

/// What is wrong with a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// Two reads of one list contradict each other: an element was lost.
    LostUpdate {
        list: usize,
    },
    /// A committed element is not in what is read later.
    Missing {
        element: u64,
    },
    Cycle(&'static str, Vec<usize>),
}

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let whole = record.bank.iter().all(|cache| record.undivided(*cache));
    if !whole {
        findings.undecided += record.sessions.len() as u64;
        return findings;
    }
    findings.judged += record.sessions.len() as u64;
    let mut lasts = record
        .sessions
        .iter()
        .filter(|session| session.last)
        .peekable();
    if lasts.peek().is_some() {
        findings.judge(lasts.any(|last| last.end == End::Committed), || {
            "nobody can look at all lists at the end".to_owned()
        });
    }
    for anomaly in anomalies(&record.sessions, |list| list < STRICT) {
        let told = match &anomaly {
            Anomaly::Cycle(name, path) => {
                let path = path.iter().map(|place| &record.sessions[*place]);
                format!("{name}: {:?}", path.collect::<Vec<_>>())
            }
            other => format!("{other:?}"),
        };
        findings.violations.push(told);
    }
    for session in &record.sessions {
        for (list, element) in dirty(&record.sessions, session) {
            let (at, kind) = (session.invoked, (session.concurrency, session.isolation));
            findings.violations.push(format!(
                "the {kind:?} transaction of {at} µs saw {element} of list {list}, which was not committed"
            ));
        }
    }
    findings
}

/// Elements that a transaction saw and whose own was given up.
fn dirty(all: &[Session], session: &Session) -> Vec<(usize, u64)> {
    let aborted: BTreeSet<u64> = all
        .iter()
        .filter(|session| session.end == End::Aborted)
        .flat_map(|session| session.appends.iter().map(|(_, element)| *element))
        .collect();
    let seen = session.reads.iter();
    seen.flat_map(|(list, seen)| seen.iter().map(|element| (*list, *element)))
        .filter(|(_, element)| aborted.contains(element))
        .collect()
}

/// Everything that is wrong with what transactions did to some lists.
pub fn anomalies(sessions: &[Session], of: impl Fn(usize) -> bool) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let orders = orders(sessions, &of, &mut found);
    let mut writers = BTreeMap::new();
    for (place, session) in sessions.iter().enumerate() {
        for (_, element) in &session.appends {
            writers.insert(*element, place);
        }
    }
    let committed = |place: &usize| sessions[*place].end == End::Committed;
    missing(sessions, &orders, &of, &mut found);
    let mut edges: BTreeMap<usize, BTreeMap<usize, Edge>> = BTreeMap::new();
    let mut edge = |from: usize, to: usize, kind: Edge| {
        if from != to {
            let known = edges.entry(from).or_default().entry(to).or_insert(kind);
            *known = kind.min(*known);
        }
    };
    for order in orders.values() {
        for pair in order.windows(2) {
            if let (Some(one), Some(two)) = (writers.get(&pair[0]), writers.get(&pair[1])) {
                edge(*one, *two, Edge::Wrote);
            }
        }
    }
    for place in (0..sessions.len()).filter(committed) {
        for (list, seen) in sessions[place].reads.iter().filter(|(list, _)| of(*list)) {
            if let Some(writer) = seen.last().and_then(|last| writers.get(last)) {
                edge(*writer, place, Edge::Read);
            }
            // What comes behind in the order wrote over what was read; its own does not count.
            let next = orders.get(list).into_iter().flatten().skip(seen.len());
            let next = next.filter_map(|element| writers.get(element)).next();
            if let Some(next) = next {
                edge(place, *next, Edge::Overwrote);
            }
        }
    }
    found.extend(cycle(&edges));
    found
}

/// For each list its longest form; two that contradict each other are an anomaly.
fn orders(
    sessions: &[Session],
    of: &impl Fn(usize) -> bool,
    found: &mut Vec<Anomaly>,
) -> BTreeMap<usize, Vec<u64>> {
    let mut orders: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for session in sessions {
        for (list, seen) in session.reads.iter().filter(|(list, _)| of(*list)) {
            let order = orders.entry(*list).or_default();
            let (short, long) = if seen.len() <= order.len() {
                (seen, &*order)
            } else {
                (&*order, seen)
            };
            if !long.starts_with(short) {
                found.push(Anomaly::LostUpdate { list: *list });
                continue;
            }
            *order = long.clone();
        }
    }
    found.dedup();
    orders
}

/// Elements that were committed before a later read began, and are not there.
fn missing(
    sessions: &[Session],
    orders: &BTreeMap<usize, Vec<u64>>,
    of: &impl Fn(usize) -> bool,
    found: &mut Vec<Anomaly>,
) {
    let ended = |session: &&Session| session.last && session.end == End::Committed;
    let Some(last) = sessions.iter().find(ended) else {
        return;
    };
    let done = sessions
        .iter()
        .filter(|session| session.end == End::Committed && session.responded < last.invoked);
    for (list, element) in done.flat_map(|session| &session.appends) {
        let there = orders
            .get(list)
            .is_some_and(|order| order.contains(element));
        if of(*list) && !there {
            found.push(Anomaly::Missing { element: *element });
        }
    }
}

/// The shortest cycle through the first transaction that is on one.
fn cycle(edges: &BTreeMap<usize, BTreeMap<usize, Edge>>) -> Option<Anomaly> {
    for start in edges.keys() {
        let mut from: BTreeMap<usize, usize> = BTreeMap::new();
        let mut queue = VecDeque::from([*start]);
        while let Some(at) = queue.pop_front() {
            for next in edges.get(&at).into_iter().flatten().map(|(next, _)| *next) {
                if next == *start {
                    let mut path = vec![at];
                    while let Some(before) = from.get(path.last()?) {
                        path.push(*before);
                    }
                    path.reverse();
                    return Some(Anomaly::Cycle(name(edges, &path), path));
                }
                if next != *start && !from.contains_key(&next) {
                    from.insert(next, at);
                    queue.push_back(next);
                }
            }
        }
    }
    None
}

/// What a cycle is called.
fn name(edges: &BTreeMap<usize, BTreeMap<usize, Edge>>, path: &[usize]) -> &'static str {
    let next = path.iter().cycle().skip(1);
    let kinds: Vec<Edge> = path
        .iter()
        .zip(next)
        .filter_map(|(from, to)| edges.get(from)?.get(to).copied())
        .collect();
    let count = |kind| kinds.iter().filter(|one| **one == kind).count();
    match (count(Edge::Overwrote), count(Edge::Read)) {
        (0, 0) => "G0: dirty write",
        (0, _) => "G1c: circular reads",
        (1, _) => "G-single: read skew",
        _ => "G2: write skew",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embergrid::types::transaction::{Concurrency, Isolation};

    fn session(reads: &[(usize, &[u64])], appends: &[(usize, u64)]) -> Session {
        Session {
            concurrency: Concurrency::Optimistic,
            isolation: Isolation::Serializable,
            reads: reads
                .iter()
                .map(|(list, seen)| (*list, seen.to_vec()))
                .collect(),
            appends: appends.to_vec(),
            end: End::Committed,
            invoked: 10,
            responded: 20,
            last: false,
        }
    }

    fn names(sessions: &[Session]) -> Vec<String> {
        let found = anomalies(sessions, |_| true).into_iter();
        found
            .map(|anomaly| match anomaly {
                Anomaly::Cycle(name, _) => name.to_owned(),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn what_can_be_ordered_is_sound() {
        let all = [
            session(&[(0, &[]), (1, &[])], &[(0, 1), (1, 2)]),
            session(&[(0, &[1])], &[(0, 3)]),
            session(&[(0, &[1, 3]), (1, &[2])], &[]),
        ];
        assert_eq!(names(&all), [""; 0]);
    }

    #[test]
    fn each_anomaly_has_its_name() {
        let lost = [
            session(&[(0, &[])], &[(0, 1)]),
            session(&[(0, &[])], &[(0, 2)]),
            session(&[(0, &[1])], &[]),
            session(&[(0, &[2])], &[]),
        ];
        assert_eq!(names(&lost), ["LostUpdate { list: 0 }"]);
        let skewed = [
            session(&[(0, &[]), (1, &[])], &[(0, 1), (1, 2)]),
            session(&[(0, &[1]), (1, &[])], &[]),
            session(&[(1, &[2])], &[]),
        ];
        assert_eq!(names(&skewed), ["G-single: read skew"]);
        let write_skew = [
            session(&[(0, &[]), (1, &[])], &[(0, 1)]),
            session(&[(0, &[]), (1, &[])], &[(1, 2)]),
            session(&[(0, &[1]), (1, &[2])], &[]),
        ];
        assert_eq!(names(&write_skew), ["G2: write skew"]);
        let circular = [
            session(&[(0, &[]), (1, &[2])], &[(0, 1)]),
            session(&[(1, &[]), (0, &[1])], &[(1, 2)]),
        ];
        assert_eq!(names(&circular), ["G1c: circular reads"]);
        let dirty_write = [
            session(&[], &[(0, 1), (1, 4)]),
            session(&[], &[(0, 2), (1, 3)]),
            session(&[(0, &[1, 2]), (1, &[3, 4])], &[]),
        ];
        assert_eq!(names(&dirty_write), ["G0: dirty write"]);
    }

    #[test]
    fn what_was_given_up_is_not_seen_and_what_was_committed_is() {
        let mut aborted = session(&[], &[(0, 1)]);
        aborted.end = End::Aborted;
        let reader = session(&[(0, &[1])], &[]);
        assert_eq!(dirty(&[aborted, reader.clone()], &reader), [(0, 1)]);
        let mut last = session(&[(0, &[])], &[]);
        (last.invoked, last.last) = (30, true);
        let all = [session(&[], &[(0, 1)]), last];
        assert_eq!(names(&all), ["Missing { element: 1 }"]);
    }
}
