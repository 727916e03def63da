//! Promise 12: nodes that can all reach each other come to one view; none stays isolated after a
//! heal. Applies always, once faults have stopped: within ten seconds, and still at the end.

use super::Findings;
use crate::record::Record;
use embergrid::types::{PartitionOwners, View};

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let versions: Vec<_> = record
        .final_views
        .iter()
        .map(|(node, view)| (*node, view.version.number, view.nodes.len()))
        .collect();
    let first = record.final_views.first().map(|(_, view)| view);
    let one = record
        .final_views
        .iter()
        .all(|(_, view)| Some(view.version) == first.map(|first| first.version));
    let all = record.final_views.len() == record.nodes
        && first.is_some_and(|view| view.nodes.len() == record.nodes);
    findings.judge(one && all, || {
        format!(
            "{} nodes end in the views (node, number, members) {versions:?}",
            record.nodes
        )
    });
    findings.judge(
        record.whole_between(record.faults_end, record.compared_at),
        || {
            format!(
                "not once whole between {} and {} µs, after all faults; still on the move: {:?}",
                record.faults_end,
                record.compared_at,
                first.map(|view| unsettled(view))
            )
        },
    );
    findings
}

/// Partitions that load or merge, by cache.
fn unsettled(view: &View) -> Vec<(&str, usize, &PartitionOwners)> {
    let caches = view.caches.values();
    let tables = caches.flat_map(|cache| {
        let name = cache.settings.name.as_str();
        cache
            .table
            .iter()
            .enumerate()
            .map(move |(place, owners)| (name, place, owners))
    });
    let moving = |(_, _, owners): &(_, _, &PartitionOwners)| {
        !owners.sources.is_empty() || !owners.loading.is_empty()
    };
    tables.filter(moving).take(4).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up;
    use embergrid::types::NodeInfo;
    use std::sync::Arc;

    #[test]
    fn an_isolated_node_is_found() {
        let mut record = made_up::record();
        record.whole.push(2_000);
        let view = |count| {
            Arc::new(View {
                nodes: vec![NodeInfo::default(); count],
                ..View::default()
            })
        };
        record.final_views = vec![(0, view(3)), (1, view(3)), (2, view(3))];
        assert!(check(&record).violations.is_empty());
        let mut alone = View {
            nodes: vec![NodeInfo::default()],
            ..View::default()
        };
        alone.version.number = 9;
        record.final_views[2] = (2, Arc::new(alone));
        assert_eq!(check(&record).violations.len(), 1);
        record.whole.clear();
        assert_eq!(check(&record).violations.len(), 2);
    }
}
