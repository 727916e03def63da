//! How long the tombstone of a remove certainly stands: what promises 2 and 3 say of caches where
//! removes are final holds "with a tombstone that lives". It is kept until every server that may
//! return with older data has it or has surely ended. So it certainly stands until a node that may
//! hold it has, for some seconds, been in a view which waits for nobody. A cluster that formed apart, by servers that
//! began anew where they were cut off, is not waited for: nobody could know of it.

use crate::clock::{SECOND, Time};
use crate::history::Call;
use crate::record::{Record, same_view};
use embergrid::types::{Member, TopologyVersion, View};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// No tombstone is dropped earlier, though nobody is waited for: owners look at them twice, five
/// seconds apart by clocks that do not run equally fast.
const LEAST: Time = 4 * SECOND;

/// Whether the tombstone of a remove certainly stood when it met what a write left. A write that was
/// tried again and again may be one of its last attempts.
pub fn stood(record: &Record, remove: &Call, write: &Call) -> bool {
    met_within(record, remove, write, LEAST)
}

/// Whether somebody was out from a remove on, until it met what a write left.
pub fn was_kept(record: &Record, remove: &Call, write: &Call) -> bool {
    met_within(record, remove, write, 0)
}

fn met_within(record: &Record, remove: &Call, write: &Call, least: Time) -> bool {
    if write.responded == Time::MAX {
        return false;
    }
    let until = remove.responded.max(write.responded);
    let met = if record.undivided(remove.cache) || same_view(remove, write) {
        Some(until)
    } else {
        let next = record.whole.partition_point(|at| *at < until);
        record.whole.get(next).copied()
    };
    let Some(met) = met else { return false };
    nobody_is_out(record, remove).is_none_or(|since| met < since.saturating_add(least))
}

/// From when on a node that may hold the tombstone of a remove waits for nobody; never, as far as
/// is known: none.
fn nobody_is_out(record: &Record, remove: &Call) -> Option<Time> {
    let from = remove.responded;
    if record.views.is_empty() {
        // Only what clients saw is known: nodes are restarted when nobody is cut off.
        let next = record.whole.partition_point(|at| *at < from);
        return record.whole.get(next).copied();
    }
    let version = remove.views.1;
    let mut present: BTreeMap<usize, &Arc<View>> = BTreeMap::new();
    let earlier = record.views.partition_point(|(at, ..)| *at <= from);
    for (_, node, view) in &record.views[..earlier] {
        present.insert(*node, view);
    }
    let mut holders = holders_at(record, from, version, &present);
    let of_holders = |view: &View, holders: &BTreeSet<Member>| {
        let mut servers = view.servers();
        view.version >= version && servers.any(|node| holders.contains(&node.member))
    };
    let free = |view: &Arc<View>| of_holders(view, &holders) && view.departed.is_empty();
    let living = present
        .iter()
        .filter(|(node, view)| lives(record, **node, from, view));
    // Where it is not known who holds it, any view may have been one of theirs.
    if holders.is_empty() || living.map(|(_, view)| *view).any(free) {
        return Some(from);
    }
    for (at, _, view) in &record.views[earlier..] {
        if of_holders(view, &holders) {
            if view.departed.is_empty() {
                return Some(*at);
            }
            holders.extend(view.servers().map(|node| node.member));
        }
    }
    None
}

/// Whether the life of a node in which it installed a view goes on at a moment.
fn lives(record: &Record, node: usize, at: Time, view: &View) -> bool {
    let mut lives = record.lives.iter().filter(|life| life.node == node);
    lives.any(|life| {
        let runs = life.from <= at && life.until.is_none_or(|until| until > at);
        runs && view.contains(life.member)
    })
}

/// Who may hold the tombstone when the remove is answered: the servers of the view in which that
/// was, and those of the views in which these are by then.
fn holders_at(
    record: &Record,
    from: Time,
    version: TopologyVersion,
    present: &BTreeMap<usize, &Arc<View>>,
) -> BTreeSet<Member> {
    let mut views = record.views.iter().map(|(.., view)| view);
    let first = views.find(|view| view.version == version);
    let servers =
        |view: &Arc<View>| -> Vec<Member> { view.servers().map(|node| node.member).collect() };
    let mut holders: BTreeSet<Member> = first.map(servers).into_iter().flatten().collect();
    let lives_of = |holders: &BTreeSet<Member>| -> Vec<Member> {
        let lives = record
            .lives
            .iter()
            .filter(|life| holders.contains(&life.member));
        let views = lives.filter_map(|life| {
            let view = present.get(&life.node)?;
            (life.from <= from && view.contains(life.member)).then(|| servers(view))
        });
        views.flatten().collect()
    };
    loop {
        let before = holders.len();
        holders.extend(lives_of(&holders));
        if holders.len() == before {
            return holders;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;
    use crate::record::{Life, Profile};
    use embergrid::types::view::Departed;
    use embergrid::types::{ClusterTime, Incarnation, NodeId, NodeInfo};

    const FINAL: usize = 7;

    fn member(node: usize) -> Member {
        Member {
            id: NodeId(node as u64),
            incarnation: Incarnation(1),
        }
    }

    /// A node installs a view of these servers, while those are out.
    fn installs(
        record: &mut Record,
        at: Time,
        node: usize,
        number: u64,
        of: &[usize],
        out: &[usize],
    ) {
        let version = TopologyVersion {
            number,
            coordinator: member(of[0]),
        };
        let info = |node: &usize| NodeInfo {
            member: member(*node),
            ..NodeInfo::default()
        };
        let departed = |node: &usize| Departed {
            member: member(*node),
            at: ClusterTime(at),
        };
        let view = View {
            version,
            nodes: of.iter().map(info).collect(),
            departed: out.iter().map(departed).collect(),
            ..View::default()
        };
        record.views.push((at, node, Arc::new(view)));
    }

    /// Three nodes in one view, then the last one is cut off: a remove there and a write here, at
    /// ten seconds. Whole again at 60 s.
    fn split() -> Record {
        let mut record = record();
        record.profile = Profile::Split;
        for node in 0..3 {
            record.lives.push(Life {
                node,
                member: member(node),
                from: 0,
                until: None,
            });
            installs(&mut record, 1, node, 1, &[0, 1, 2], &[]);
        }
        record.whole = vec![2, 60 * SECOND];
        record
    }

    fn ends(record: &mut Record) -> bool {
        let at = 10 * SECOND;
        let version = |node: usize| {
            let mut views = record.views.iter().rev();
            let view = views.find(|(when, of, _)| *of == node && *when <= at);
            view.map(|(.., view)| view.version).unwrap_or_default()
        };
        let (there, here) = (version(2), version(0));
        let remove = record.call(FINAL, "f1", (at - 5, at), TAKE, taken("f1", "a", 5));
        remove.views = (there, there);
        let write = record.call(FINAL, "f1", (at - 5, at), put("b"), stored());
        write.views = (here, here);
        let calls = &record.history.calls;
        stood(record, &calls[0], &calls[1])
    }

    #[test]
    fn it_stands_while_somebody_is_out() {
        let mut record = split();
        installs(&mut record, 5 * SECOND, 2, 2, &[2], &[0, 1]);
        installs(&mut record, 5 * SECOND, 0, 2, &[0, 1], &[2]);
        assert!(ends(&mut record));
    }

    #[test]
    fn it_stands_where_the_view_that_waits_for_nobody_is_that_of_both() {
        let mut record = split();
        record.whole = vec![2, 31 * SECOND];
        installs(&mut record, 5 * SECOND, 2, 2, &[2], &[0, 1]);
        installs(&mut record, 5 * SECOND, 0, 2, &[0, 1], &[2]);
        for node in 0..3 {
            installs(&mut record, 30 * SECOND, node, 3, &[0, 1, 2], &[]);
        }
        assert!(ends(&mut record));
    }

    #[test]
    fn it_may_go_in_a_cluster_that_formed_apart_or_that_waits_for_nobody_any_more() {
        let mut apart = split();
        installs(&mut apart, 5 * SECOND, 2, 2, &[2], &[]);
        installs(&mut apart, 5 * SECOND, 0, 2, &[0, 1], &[2]);
        assert!(!ends(&mut apart));
        let mut later = split();
        installs(&mut later, 5 * SECOND, 2, 2, &[2], &[0, 1]);
        installs(&mut later, 5 * SECOND, 0, 2, &[0, 1], &[2]);
        installs(&mut later, 20 * SECOND, 2, 3, &[2, 3], &[]);
        assert!(!ends(&mut later));
    }

    #[test]
    fn it_stands_for_some_seconds_in_any_case() {
        let mut record = split();
        record.profile = Profile::Undivided;
        let at = 10 * SECOND;
        let version = record.views[0].2.version;
        let mut late = |responded| {
            record.history.calls.clear();
            record
                .call(FINAL, "f1", (at - 5, at), TAKE, taken("f1", "a", 5))
                .views = (version, version);
            record
                .call(FINAL, "f1", (at, responded), put("b"), stored())
                .views = (version, version);
            let calls = &record.history.calls;
            stood(&record, &calls[0], &calls[1])
        };
        assert!(late(at + LEAST - 1));
        assert!(!late(at + LEAST));
        assert!(!late(Time::MAX));
    }
}
