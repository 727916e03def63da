//! Promise 10: once faults stop, all copies are byte-equal, last access apart, within ten seconds.
//! Applies to all caches but LOCAL ones, in all profiles, tombstones included. Where clusters with
//! clocks of their own met in the run, each node has moved its stored points by the difference that
//! it measured: such points may be apart by as much as clocks may.

use super::Findings;
use crate::caches::CLOCK_ERROR;
use crate::record::{Copy, Record};
use embergrid::types::{Blob, CacheId, ClusterTime, Entry};
use std::collections::{BTreeMap, BTreeSet};

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let mut groups: BTreeMap<(CacheId, u32), Vec<&Copy>> = BTreeMap::new();
    for copy in &record.copies {
        groups
            .entry((copy.cache, copy.partition))
            .or_default()
            .push(copy);
    }
    let bases = record.views.iter().map(|(_, _, view)| view.time_base);
    let slack = if bases.collect::<BTreeSet<_>>().len() > 1 {
        CLOCK_ERROR
    } else {
        0
    };
    for ((cache, partition), copies) in groups {
        let name = record
            .settings_of(cache)
            .map_or("?", |settings| &settings.name);
        for other in &copies[1..] {
            let difference = first_difference(copies[0], other, slack);
            findings.judge(difference.is_none(), || {
                format!(
                    "cache {name} partition {partition}: n{} and n{} differ: {}",
                    copies[0].node,
                    other.node,
                    difference.unwrap_or_default()
                )
            });
        }
    }
    findings
}

fn bare(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    if let Some(live) = &mut entry.live {
        live.last_access = ClusterTime(0);
    }
    entry
}

/// Whether two states are equal but for points in time that are at most `slack` apart.
fn alike(one: Option<&Entry>, other: Option<&Entry>, slack: u64) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return one == other;
    };
    let near = |a: ClusterTime, b: ClusterTime| a.0.abs_diff(b.0) <= slack;
    let mut moved = one.clone();
    if near(one.created_at, other.created_at) {
        moved.created_at = other.created_at;
    }
    if let (Some(live), Some(theirs)) = (&mut moved.live, &other.live)
        && let (Some(mine), Some(point)) = (live.expires_at, theirs.expires_at)
        && near(mine, point)
    {
        live.expires_at = Some(point);
    }
    moved == *other
}

fn first_difference(one: &Copy, other: &Copy, slack: u64) -> Option<String> {
    let ours: BTreeMap<&Blob, Entry> = one
        .entries
        .iter()
        .map(|(key, entry)| (key, bare(entry)))
        .collect();
    let theirs: BTreeMap<&Blob, Entry> = other
        .entries
        .iter()
        .map(|(key, entry)| (key, bare(entry)))
        .collect();
    for key in ours.keys().chain(theirs.keys()) {
        let (here, there) = (ours.get(key), theirs.get(key));
        if !alike(here, there, slack) {
            return Some(format!("{key:?} is {here:?} there and {there:?} here"));
        }
    }
    None
}

/// Whether the copies are equal now; the world asks until they are or time is up.
pub fn equal(record: &Record) -> bool {
    check(record).violations.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up;
    use embergrid::types::{EntryVersion, Live};

    #[test]
    fn a_byte_of_difference_is_found() {
        let mut record = made_up::record();
        let cache = record.history.cache_ids[0];
        let entry = |value: &str, access| Entry {
            incarnation: EntryVersion::default(),
            version: EntryVersion::default(),
            created_at: ClusterTime(1),
            removed_by_key: false,
            live: Some(Live {
                value: Blob::from(value),
                flags: 0,
                value_version: 1,
                expires_at: None,
                time_to_idle: None,
                last_access: ClusterTime(access),
            }),
        };
        let mut hold = |node, value, access| {
            let entries = vec![(Blob::from("k"), entry(value, access))];
            record.copies.push(Copy {
                cache,
                partition: 0,
                node,
                entries,
            });
            check(&record).violations.len()
        };
        assert_eq!(hold(0, "a", 1), 0);
        assert_eq!(hold(1, "a", 2), 0);
        assert_eq!(hold(2, "b", 1), 1);
    }
}
