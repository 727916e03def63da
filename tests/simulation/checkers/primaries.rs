//! Promise 11: each partition has at most one primary per topology version; owners are distinct
//! nodes; none is unowned while servers live, unless it was said to be lost. Applies always: to the tables of the views, and to who sends what
//! only a primary sends.

use super::Findings;
use crate::record::Record;
use embergrid::engine::Notice;
use embergrid::types::{CacheMode, PartitionOwners, View};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let mut known: BTreeMap<_, &Arc<View>> = BTreeMap::new();
    let lost: BTreeSet<_> = record
        .notices
        .iter()
        .filter_map(|(_, _, notice)| match notice {
            Notice::Lost {
                cache, partition, ..
            } => Some((*cache, *partition)),
            _ => None,
        })
        .collect();
    for (at, node, view) in &record.views {
        let first = known.entry(view.version).or_insert(view);
        let same = Arc::ptr_eq(first, view) || *first == view;
        findings.judge(same, || {
            format!(
                "n{node} installed another view {:?} at {at} µs than somebody before it",
                view.version
            )
        });
        for (id, cache) in &view.caches {
            if cache.settings.mode == CacheMode::Local {
                continue;
            }
            for (partition, owners) in cache.table.iter().enumerate() {
                let rests = cache.settings.stops() && !view.primary;
                let lost = rests || lost.contains(&(*id, partition as u32));
                let wrong = wrong(view, owners, lost);
                findings.judge(wrong.is_none(), || {
                    format!(
                        "view {:?}, cache {} partition {partition}: {}",
                        view.version,
                        cache.settings.name,
                        wrong.unwrap_or_default()
                    )
                });
            }
        }
    }
    for (cache, partition, version, one, other) in &record.rivals {
        findings.judge(false, || {
            format!("n{one} and n{other} both led {cache:?} partition {partition} in {version:?}")
        });
    }
    findings.judged += record.leaders.len() as u64;
    for (at, one, other) in &record.two_majorities {
        findings.judge(false, || {
            format!("n{one} and n{other} both served what stops in a minority, one of them left out of the view of the other, at {at} µs")
        });
    }
    findings
}

fn wrong(view: &View, owners: &PartitionOwners, lost: bool) -> Option<String> {
    let all: Vec<u16> = owners
        .owners
        .iter()
        .chain(&owners.loading)
        .copied()
        .collect();
    let distinct: BTreeSet<u16> = all.iter().copied().collect();
    if distinct.len() != all.len() {
        return Some(format!("doubled owners {owners:?}"));
    }
    if all.iter().any(|owner| view.member(*owner).is_none()) {
        return Some(format!("an owner beyond the list {owners:?}"));
    }
    let unowned = owners.owners.is_empty() && view.servers().next().is_some();
    (unowned && !lost).then(|| "no owner, and not said to be lost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up;
    use embergrid::types::view::ViewCache;
    use embergrid::types::{ClusterTime, NodeInfo};

    fn view(owners: Vec<u16>) -> Arc<View> {
        let settings = made_up::record().settings[0].clone();
        let table = vec![PartitionOwners {
            owners,
            ..PartitionOwners::default()
        }];
        let cache = ViewCache {
            settings: settings.clone(),
            created_at: ClusterTime(0),
            table,
            founded: true,
        };
        let nodes = vec![NodeInfo::default(), NodeInfo::default()];
        Arc::new(View {
            nodes,
            caches: [(settings.id(), cache)].into(),
            ..View::default()
        })
    }

    #[test]
    fn two_tables_of_one_version_are_found() {
        let mut record = made_up::record();
        record.views.push((1, 0, view(vec![0, 1])));
        record.views.push((2, 1, view(vec![0, 1])));
        assert!(check(&record).violations.is_empty());
        record.views.push((3, 1, view(vec![1, 0])));
        assert_eq!(check(&record).violations.len(), 1);
    }

    #[test]
    fn holes_and_doubles_are_found() {
        for owners in [vec![], vec![0, 0], vec![5]] {
            let mut record = made_up::record();
            record.views.push((1, 0, view(owners)));
            assert_eq!(check(&record).violations.len(), 1);
        }
    }
}
