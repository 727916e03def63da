//! Promise 9: what PRIMARY_SYNC and FULL_ASYNC leave behind is bounded, and what was lost is
//! reported. Applies to those caches in all profiles: a key that was put once and is missing at
//! the end was put shortly before a fault; under PRIMARY_SYNC, where survivors know the counters,
//! no more are missing of a partition than were reported.

use super::Findings;
use crate::caches::Use;
use crate::clock::{SECOND, Time};
use crate::record::Record;
use embergrid::engine::Notice;
use embergrid::types::{Blob, KeyOperation, Reply, WriteSynchronizationMode};
use std::collections::{BTreeMap, BTreeSet};

/// A write that does not wait may be lost to a fault this much later: heartbeats carry counters
/// far more often, and a primary that cannot reach its backups is out of the view by then.
const WINDOW: Time = 8 * SECOND;

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let mut held: BTreeSet<(usize, &Blob)> = BTreeSet::new();
    let mut read: BTreeSet<(usize, &Blob)> = BTreeSet::new();
    for (_, call) in record
        .history
        .on(Use::Weak)
        .filter(|(_, call)| call.invoked >= record.compared_at)
    {
        let (Some(key), Some(Reply::Got { entry })) = (call.key(), call.reply()) else {
            continue;
        };
        read.insert((call.cache, key));
        if entry.is_some() {
            held.insert((call.cache, key));
        }
    }
    let mut missing: BTreeMap<(usize, u32), u64> = BTreeMap::new();
    for (_, call) in record
        .history
        .on(Use::Weak)
        .filter(|(_, call)| call.was_applied())
    {
        let Some(key) = call.key().filter(|key| key.starts_with(b"w")) else {
            continue;
        };
        let put = matches!(call.key_operation(), Some(KeyOperation::Put { .. }));
        let place = (call.cache, key);
        if !put || !read.contains(&place) || record.excused.contains_key(&call.cache) {
            continue;
        }
        findings.judged += 1;
        if held.contains(&place) {
            continue;
        }
        *missing
            .entry((call.cache, call.request.partition))
            .or_default() += 1;
        let near = record
            .faults
            .iter()
            .any(|(at, _, _)| *at + WINDOW >= call.invoked && *at <= call.responded + WINDOW);
        let near = near
            || record.pauses.iter().any(|(from, until, _)| {
                *from <= call.responded + WINDOW && *until + WINDOW >= call.invoked
            });
        findings.judge(near, || {
            format!(
                "cache {} key {key:?}: put at {} µs, far from any fault, and lost",
                call.cache, call.responded
            )
        });
    }
    for ((cache, partition), lost) in missing {
        let settings = &record.settings[cache];
        if settings.write_synchronization != WriteSynchronizationMode::PrimarySync {
            continue;
        }
        let told = reported(record, cache, partition);
        findings.judge(lost <= told, || {
            format!(
                "cache {cache} partition {partition}: {lost} writes are lost, {told} were reported"
            )
        });
    }
    findings
}

fn reported(record: &Record, place: usize, wanted: u32) -> u64 {
    let id = record.history.cache_ids[place];
    record
        .notices
        .iter()
        .map(|(_, _, notice)| match notice {
            Notice::WritesLost {
                cache,
                partition,
                at_most,
            } if *cache == id && *partition == wanted => *at_most,
            Notice::Lost {
                cache, partition, ..
            } if *cache == id && *partition == wanted => u64::MAX / 1024,
            _ => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;
    use crate::faults::FaultKind;

    #[test]
    fn a_silent_loss_is_found() {
        let end = 1_000_000_001;
        let mut record = record();
        record.faults.push((20 * SECOND, FaultKind::Crash, 0));
        record.call(2, "w1", (19 * SECOND, 20 * SECOND), put("a"), stored());
        record.call(2, "w1", (end, end + 1), GET, MISS);
        assert_eq!(check(&record).violations.len(), 1);
        let cache = record.history.cache_ids[2];
        record.notices.push((
            21 * SECOND,
            1,
            Notice::WritesLost {
                cache,
                partition: 0,
                at_most: 1,
            },
        ));
        assert!(check(&record).violations.is_empty());
        record.call(3, "w2", (90 * SECOND, 91 * SECOND), put("b"), stored());
        record.call(3, "w2", (end, end + 1), GET, MISS);
        assert_eq!(check(&record).violations.len(), 1);
    }
}
