//! The verdict on a run: the checkers of the simulator, on what clients of real processes saw.

use crate::checkers::{self, Findings, linear, request_ids, take};
use crate::clock::Time;
use crate::history::Outcome;
use crate::record::{Copy, Record};
use embergrid::types::{Blob, CacheId, Entry, EntryVersion, Live, Reply};
use std::collections::{BTreeMap, BTreeSet};

/// Those that need nothing but what clients see. The others look into engines.
const BY_CLIENTS: &[&str] = &[
    "1 acknowledged",
    "2 removed",
    "3 remove wins",
    "6 take",
    "7 linear",
    "8 request ids",
    "10 equal copies",
    "24 bank",
    "26 locks",
];

/// A time during which nothing was done to the cluster and it was whole at both ends.
pub type Stretch = (Time, Time);

/// The stretches between moments at which the cluster was whole in the same situation.
pub fn stretches(whole: &[Time], numbers: &[u64]) -> Vec<Stretch> {
    let mut found: BTreeMap<u64, Stretch> = BTreeMap::new();
    for (at, number) in whole.iter().zip(numbers) {
        let stretch = found.entry(*number).or_insert((*at, *at));
        stretch.1 = *at;
    }
    found.into_values().collect()
}

pub fn judge(record: &Record, stretches: &[Stretch]) -> Vec<(&'static str, Findings)> {
    let all = checkers::ALL.iter();
    let mut findings: Vec<_> = all
        .filter(|(name, _)| BY_CLIENTS.contains(name))
        .map(|(name, check)| (*name, check(record)))
        .collect();
    // What held to its end is judged as a whole already.
    if (0..record.settings.len()).any(|cache| !record.undivided(cache)) {
        for stretch in stretches {
            let part = within(record, *stretch);
            for (name, check) in [
                ("7 linear", linear::check as fn(&Record) -> Findings),
                ("6 take", take::check),
                ("8 request ids", request_ids::check),
            ] {
                findings.push((name, check(&part)));
            }
        }
    }
    findings
}

/// The keys that were called in this stretch and at no other time, as an undivided run of its own.
fn within(record: &Record, (from, until): Stretch) -> Record {
    let inside = |invoked: Time, responded: Time| invoked >= from && responded <= until;
    let mut outside: BTreeSet<(usize, Blob)> = BTreeSet::new();
    for call in &record.history.calls {
        // The last reads come when all is over and tell of the last state only.
        if call.invoked < record.compared_at && !inside(call.invoked, call.responded) {
            outside.extend(call.key().map(|key| (call.cache, key.clone())));
        }
    }
    let mut part = Record {
        nodes: record.nodes,
        settings: record.settings.clone(),
        history: record.history.clone(),
        compared_at: record.compared_at,
        excused: record.excused.clone(),
        ..Record::default()
    };
    part.history.echoes.clear();
    part.history.calls.retain(|call| {
        if record.undivided(call.cache) {
            return false;
        }
        let place = call.key().map(|key| (call.cache, key.clone()));
        inside(call.invoked, call.responded) && place.is_some_and(|place| !outside.contains(&place))
    });
    part
}

/// What nodes answered when every key was read at each of them, as copies.
pub fn copies(record: &Record, read: &[(usize, usize, Blob, Outcome)]) -> (Vec<Copy>, Vec<String>) {
    let mut copies: BTreeMap<(usize, usize), Vec<(Blob, Entry)>> = BTreeMap::new();
    let mut unread = Vec::new();
    for (cache, node, key, outcome) in read {
        let entries = copies.entry((*cache, *node)).or_default();
        match outcome {
            Outcome::Ok(Reply::Got { entry: None }) => {}
            Outcome::Ok(Reply::Got { entry: Some(entry) }) => {
                let live = Live {
                    value: entry.value.clone(),
                    flags: entry.flags,
                    value_version: entry.version,
                    expires_at: entry.expires_at,
                    time_to_idle: None,
                    last_access: entry.last_access_at,
                };
                let state = Entry {
                    incarnation: EntryVersion::default(),
                    version: EntryVersion::default(),
                    created_at: entry.created_at,
                    removed_by_key: false,
                    live: Some(live),
                };
                entries.push((key.clone(), state));
            }
            other => unread.push(format!("n{node} cannot read {key:?}: {other:?}")),
        }
    }
    let id = |cache: usize| -> CacheId { record.history.cache_ids[cache] };
    let copies = copies.into_iter().map(|((cache, node), mut entries)| {
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        Copy {
            cache: id(cache),
            partition: 0,
            node,
            entries,
        }
    });
    (copies.collect(), unread)
}
