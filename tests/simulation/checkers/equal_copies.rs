//! Promise 10: once faults stop, all copies are byte-equal, last access apart, within ten seconds.
//! Applies to all caches but LOCAL ones, in all profiles, tombstones included.

use super::Findings;
use crate::record::{Copy, Record};
use embergrid::types::{Blob, CacheId, ClusterTime, Entry};
use std::collections::BTreeMap;

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let mut groups: BTreeMap<(CacheId, u32), Vec<&Copy>> = BTreeMap::new();
    for copy in &record.copies {
        groups
            .entry((copy.cache, copy.partition))
            .or_default()
            .push(copy);
    }
    for ((cache, partition), copies) in groups {
        let name = record
            .settings_of(cache)
            .map_or("?", |settings| &settings.name);
        for other in &copies[1..] {
            let difference = first_difference(copies[0], other);
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

fn first_difference(one: &Copy, other: &Copy) -> Option<String> {
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
        if here != there {
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
