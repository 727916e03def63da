//! Promise 25: what committed under REPEATABLE_READ or SERIALIZABLE has a serial order; under
//! READ_COMMITTED nobody reads what was not committed, what was written over before the commit, or in
//! a circle, and writes have one order. Promise 26: once faults have stopped, every node can look at
//! all keys. Applies while undivided.
//!
//! Lists grow by unique elements, so the longest one seen gives the order of the writes of a key, and
//! each read its place in it. That makes a graph of transactions: *b* behind *a* where it wrote over
//! what *a* wrote (ww) or read it (wr), and *a* before *b* where *a* read what *b* then wrote over
//! (rw). A cycle is an anomaly, named by its edges: see `serial/graph.rs`. Where reads of one list
//! contradict each other an update was lost, and nothing says what was read before what: then each
//! read tells the order of the elements that are in it, and no "rw" is taken from that list.

mod graph;

use super::Findings;
use crate::record::Record;
use crate::session::{End, STRICT, Session};
use graph::{Edge, Graph};
use std::collections::{BTreeMap, BTreeSet};

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
    /// What was given up was seen.
    DirtyRead {
        list: usize,
        element: u64,
    },
    /// A part of what one transaction appended was seen.
    Intermediate {
        list: usize,
        element: u64,
    },
    Cycle(&'static str, Vec<usize>),
}

impl Anomaly {
    pub fn name(&self) -> &'static str {
        match self {
            // Seen and gone, or written over before anybody saw it.
            Self::LostUpdate { .. } | Self::Missing { .. } => "lost update",
            Self::DirtyRead { .. } => "G1a: dirty read",
            Self::Intermediate { .. } => "G1b: intermediate read",
            Self::Cycle(name, _) => name,
        }
    }

    /// Whether READ_COMMITTED excludes it: G0 and all of G1.
    pub fn is_never_allowed(&self) -> bool {
        ["G0", "G1"]
            .iter()
            .any(|kind| self.name().starts_with(kind))
    }
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
    let strict = anomalies(&record.sessions, |list| list < STRICT);
    let loose = anomalies(&record.sessions, |list| list >= STRICT);
    let loose = loose.into_iter().filter(Anomaly::is_never_allowed);
    for anomaly in strict.into_iter().chain(loose) {
        let told = match &anomaly {
            Anomaly::Cycle(name, path) => {
                let path = path.iter().map(|place| &record.sessions[*place]);
                format!("{name}: {:?}", path.collect::<Vec<_>>())
            }
            other => format!("{}: {other:?}", other.name()),
        };
        findings.violations.push(told);
    }
    findings
}

/// What was seen of transactions that were given up, or not whole.
fn dirty(sessions: &[Session], of: &impl Fn(usize) -> bool, found: &mut Vec<Anomaly>) {
    let mut aborted = BTreeSet::new();
    let mut appended: BTreeMap<(usize, usize), Vec<u64>> = BTreeMap::new();
    for (place, session) in sessions.iter().enumerate() {
        for (list, element) in &session.appends {
            if session.end == End::Aborted {
                aborted.insert(*element);
            }
            appended.entry((place, *list)).or_default().push(*element);
        }
    }
    let several = appended.into_iter().filter(|(_, all)| all.len() > 1);
    let several: Vec<_> = several.map(|((_, list), all)| (list, all)).collect();
    for session in sessions {
        for (list, seen) in session.reads.iter().filter(|(list, _)| of(*list)) {
            let list = *list;
            let given_up = seen.iter().filter(|element| aborted.contains(*element));
            found.extend(given_up.map(|element| Anomaly::DirtyRead {
                list,
                element: *element,
            }));
            for (_, all) in several.iter().filter(|(other, _)| *other == list) {
                let there = all.iter().filter(|element| seen.contains(*element));
                let there: Vec<u64> = there.copied().collect();
                if !there.len().is_multiple_of(all.len()) {
                    let element = there[0];
                    found.push(Anomaly::Intermediate { list, element });
                }
            }
        }
    }
}

/// Everything that is wrong with what transactions did to some lists.
pub fn anomalies(sessions: &[Session], of: impl Fn(usize) -> bool) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let orders = orders(sessions, &of, &mut found);
    let contradicted: BTreeSet<usize> = found
        .iter()
        .filter_map(|anomaly| match anomaly {
            Anomaly::LostUpdate { list } => Some(*list),
            _ => None,
        })
        .collect();
    missing(sessions, &orders, &of, &mut found);
    dirty(sessions, &of, &mut found);
    let mut writers = BTreeMap::new();
    for (place, session) in sessions.iter().enumerate() {
        for (_, element) in &session.appends {
            writers.insert(*element, place);
        }
    }
    let reads = sessions.iter().flat_map(|session| &session.reads);
    let alone = reads.filter(|(list, _)| contradicted.contains(list));
    let alone = alone.map(|(_, seen)| seen);
    let agreed = orders
        .iter()
        .filter(|(list, _)| !contradicted.contains(list));
    let mut graph = Graph::default();
    // Who appended the second of two had read the first, or locked it.
    for pair in agreed
        .map(|(_, order)| order)
        .chain(alone)
        .flat_map(|seen| seen.windows(2))
    {
        if let (Some(one), Some(two)) = (writers.get(&pair[0]), writers.get(&pair[1])) {
            graph.add(*one, *two, Edge::Wrote);
        }
    }
    let committed = |place: &usize| sessions[*place].end == End::Committed;
    for place in (0..sessions.len()).filter(committed) {
        for (list, seen) in sessions[place].reads.iter().filter(|(list, _)| of(*list)) {
            if let Some(writer) = seen.last().and_then(|last| writers.get(last)) {
                graph.add(*writer, place, Edge::Read);
            }
            // What comes behind in the order wrote over what was read; its own does not count.
            let order = orders.get(list).filter(|_| !contradicted.contains(list));
            let next = order.into_iter().flatten().skip(seen.len());
            let next = next.filter_map(|element| writers.get(element)).next();
            if let Some(next) = next {
                graph.add(place, *next, Edge::Overwrote);
            }
        }
    }
    let cycles = graph.cycles().into_iter();
    found.extend(cycles.map(|(name, path)| Anomaly::Cycle(name, path)));
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
    fn where_updates_are_lost_the_rest_is_still_judged() {
        // Of list 0 an element is lost; the two are in a circle all the same.
        let all = [
            session(&[(0, &[]), (1, &[2])], &[(0, 1)]),
            session(&[(1, &[]), (0, &[1])], &[(1, 2)]),
            session(&[(0, &[])], &[(0, 3)]),
            session(&[(0, &[3])], &[]),
        ];
        let found = names(&all);
        assert_eq!(found, ["LostUpdate { list: 0 }", "G1c: circular reads"]);
    }

    #[test]
    fn what_was_given_up_is_not_seen_and_what_was_committed_is() {
        let mut aborted = session(&[], &[(0, 1)]);
        aborted.end = End::Aborted;
        let seen = [aborted, session(&[(0, &[1])], &[])];
        assert_eq!(names(&seen), ["DirtyRead { list: 0, element: 1 }"]);
        let half = [
            session(&[(0, &[])], &[(0, 1), (0, 2)]),
            session(&[(0, &[1])], &[]),
            session(&[(0, &[1, 2])], &[]),
        ];
        let found = names(&half);
        assert_eq!(found[0], "Intermediate { list: 0, element: 1 }");
        assert!(anomalies(&half, |_| true)[0].is_never_allowed());
        let mut last = session(&[(0, &[])], &[]);
        (last.invoked, last.last) = (30, true);
        let all = [session(&[], &[(0, 1)]), last];
        assert_eq!(names(&all), ["Missing { element: 1 }"]);
    }
}
