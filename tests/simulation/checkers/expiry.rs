//! Promise 4: no expired entry is served, none expires early, within `clock-error-max`, whatever
//! wall clocks do. Applies to all caches and profiles: keys of the ttl cache are put once, so that
//! every read of one tells. Serving nodes of one view must agree about cluster time as well.

use super::Findings;
use crate::caches::{CLOCK_ERROR, TTL, Use};
use crate::clock::{MS, SECOND};
use crate::faults::Profile;
use crate::history::Call;
use crate::record::{ClockSample, Record};
use embergrid::types::{Blob, KeyOperation, Reply};
use std::collections::BTreeMap;

/// Two owners may be apart, and clocks drift a little over a ttl.
const SLACK: u64 = CLOCK_ERROR + 5 * MS;

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    for (place, reads, put) in put_once(record, Use::Ttl) {
        for read in reads {
            let Some(Reply::Got { entry }) = read.reply() else {
                continue;
            };
            if entry.is_some() && put.was_applied() {
                findings.judge(read.invoked <= put.responded + TTL + SLACK, || {
                    format!(
                        "key {place:?} was put at {} µs and served at {} µs by n{}",
                        put.responded, read.responded, read.node
                    )
                });
            }
            // Of a run that divided without a cut it is not known which half a call reached: in
            // the other one the key was never there, and did not expire.
            let whole = record.profile == Profile::Split || !record.was_divided();
            let sure = put.was_applied()
                && whole
                && !record.excused.contains_key(&put.cache)
                && (record.surely_before(put, read)
                    || (record.undivided(put.cache) && put.responded < read.invoked));
            if entry.is_none() && sure {
                findings.judge(read.responded + SLACK >= put.invoked + TTL, || {
                    format!(
                        "key {place:?} was put at {} µs and gone at {} µs at n{}",
                        put.invoked, read.responded, read.node
                    )
                });
            }
        }
    }
    agree(record, &mut findings);
    findings
}

/// Every key of such a cache with its only put and its reads.
pub fn put_once(record: &Record, wanted: Use) -> Vec<(Blob, Vec<&Call>, &Call)> {
    let mut puts = BTreeMap::new();
    let mut reads: BTreeMap<(usize, Blob), Vec<&Call>> = BTreeMap::new();
    for (_, call) in record.history.on(wanted) {
        let Some(key) = call.key() else { continue };
        let place = (call.cache, key.clone());
        match call.key_operation() {
            Some(KeyOperation::Put { .. }) => {
                puts.insert(place, call);
            }
            _ => reads.entry(place).or_default().push(call),
        }
    }
    let once = puts.into_iter().map(|(place, put)| {
        (
            place.1.clone(),
            reads.remove(&place).unwrap_or_default(),
            put,
        )
    });
    once.collect()
}

/// Serving nodes of one view at one moment are within the error of each other.
fn agree(record: &Record, findings: &mut Findings) {
    let mut moment: Vec<&ClockSample> = Vec::new();
    let mut judge = |moment: &[&ClockSample]| {
        for (place, one) in moment.iter().enumerate() {
            for other in &moment[place + 1..] {
                if one.view != other.view || one.view.number == 0 {
                    continue;
                }
                let apart = one.cluster.0.abs_diff(other.cluster.0);
                findings.judge(apart <= CLOCK_ERROR, || {
                    format!(
                        "at {} s the clocks of n{} and n{} are {apart} µs apart in one view",
                        one.at as f64 / SECOND as f64,
                        one.node,
                        other.node
                    )
                });
            }
        }
    };
    for sample in record.clocks.iter().filter(|sample| sample.serving) {
        if moment.first().is_some_and(|first| first.at != sample.at) {
            judge(&moment);
            moment.clear();
        }
        moment.push(sample);
    }
    judge(&moment);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;
    use embergrid::types::{ClusterTime, TopologyVersion};

    #[test]
    fn late_and_early_are_found() {
        let mut record = record();
        record.call(5, "k1", (0, 10), put("a"), stored());
        record.call(5, "k1", (TTL, TTL + 1), GET, got("k1", "a", 5));
        record.call(5, "k1", (TTL + 200 * MS, TTL + 201 * MS), GET, MISS);
        assert!(check(&record).violations.is_empty());
        record.call(
            5,
            "k1",
            (TTL + 200 * MS, TTL + 201 * MS),
            GET,
            got("k1", "a", 5),
        );
        record.call(5, "k1", (TTL - 200 * MS, TTL - 199 * MS), GET, MISS);
        assert_eq!(check(&record).violations.len(), 2);
    }

    #[test]
    fn clocks_apart_are_found() {
        let mut record = record();
        let view = TopologyVersion {
            number: 1,
            ..TopologyVersion::default()
        };
        for (node, cluster) in [(0, 1_000_000), (1, 1_060_000)] {
            let cluster = ClusterTime(cluster);
            record.clocks.push(ClockSample {
                at: 5,
                node,
                cluster,
                serving: true,
                view,
            });
        }
        assert_eq!(check(&record).violations.len(), 1);
    }
}
