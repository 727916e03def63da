//! Promise 13: nodes that start at the same time form one cluster (2 to 16 nodes, any order and
//! delay). Applies to the profile of starts; that none gives up applies always, since every server
//! finds its own address in the list. A client node gives up where there is no server.

use super::Findings;
use crate::clock::{SECOND, Time};
use crate::faults::Profile;
use crate::record::Record;
use embergrid::engine::Notice;

/// From the last start until all are in one view with everything loaded.
const WITHIN: Time = 10 * SECOND;

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    for (at, node, notice) in &record.notices {
        let server = node + record.client_nodes < record.nodes;
        if let Notice::CannotForm(error) = notice
            && server
        {
            findings.judge(false, || format!("n{node} gave up at {at} µs: {error}"));
        }
    }
    if record.profile == Profile::Start {
        let starts = record.lives.iter().map(|life| life.from);
        let heals = record
            .faults
            .iter()
            .map(|(at, _, _)| *at)
            .filter(|at| *at < WITHIN / 2);
        let last = starts.chain(heals).max().unwrap_or(0);
        findings.judge(record.whole_between(last, last + WITHIN), || {
            format!(
                "{} nodes were not one cluster {} s after the last start",
                record.nodes,
                WITHIN / SECOND
            )
        });
    }
    findings
}

#[test]
fn a_cluster_that_stays_apart_is_found() {
    let mut record = super::made_up::record();
    record.profile = Profile::Start;
    assert_eq!(check(&record).violations.len(), 1);
    record.whole.push(SECOND);
    assert!(check(&record).violations.is_empty());
}
