//! Promise 2: a removed entry never comes back: through a stale node's return, rebalance, restart;
//! and through a split, on each side at once, everywhere once healed. Applies to FULL_SYNC caches
//! in all profiles: a read that surely came after a remove does not show the life that it ended,
//! nor a value that was surely written before it.

use super::Findings;
use super::acknowledged::{Story, stories};
use crate::caches::Use;
use crate::clock::{SECOND, Time};
use crate::history::Call;
use crate::record::Record;
use embergrid::types::{ClusterTime, EntryView, Reply};

/// No tombstone is dropped earlier.
const TOMBSTONE_LEAST: Time = 4 * SECOND;

/// The beginning of the life that a remove says it ended.
pub fn ended_life(remove: &Call) -> Option<ClusterTime> {
    match remove.reply()? {
        Reply::Removed {
            applied: true,
            previous: Some(previous),
        } => Some(previous.created_at),
        _ => None,
    }
}

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    for wanted in [Use::Registers, Use::Final] {
        for ((cache, key), story) in stories(record, wanted) {
            if record.excused.contains_key(&cache) {
                continue;
            }
            for read in &story.reads {
                let Some(Reply::Got { entry: Some(entry) }) = read.reply() else {
                    continue;
                };
                let back = story.removes.iter().find(|remove| {
                    remove.was_applied()
                        && record.surely_before(remove, read)
                        && returned(record, &story, remove, entry, wanted)
                });
                findings.judge(back.is_none(), || {
                    let at = back.map(|remove| remove.responded);
                    format!("cache {cache} key {key:?}: removed at {at:?} µs, read again as {:?} at n{} at {} µs", entry.value, read.node, read.responded)
                });
            }
        }
    }
    findings
}

fn returned(
    record: &Record,
    story: &Story<'_>,
    remove: &Call,
    entry: &EntryView,
    wanted: Use,
) -> bool {
    let same_life = ended_life(remove) == Some(entry.created_at);
    let writers = story
        .writes
        .iter()
        .filter(|write| write.value_put() == Some(&entry.value));
    let written_before = writers
        .clone()
        .any(|write| record.surely_before(write, remove));
    let by_name = wanted == Use::Final && remove.key().is_some();
    same_life
        || written_before
        || (by_name
            && writers
                .clone()
                .any(|write| stays_removed(record, remove, write)))
}

/// Whether a write was answered while the tombstone of a final remove certainly stood: it goes
/// only when all servers hold it, or those that are out have begun a new life without data, and
/// after some seconds. A write that was tried again and again may be one of its last attempts.
pub fn stays_removed(record: &Record, remove: &Call, write: &Call) -> bool {
    let (from, until) = (remove.responded, write.responded);
    until < from.saturating_add(TOMBSTONE_LEAST)
        || (until < Time::MAX
            && !record.whole_between(from, until)
            && !record.begun_between(from, until))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;

    #[test]
    fn a_ghost_is_found() {
        let mut record = record();
        record.whole = vec![15, 35];
        record.call(0, "r1", (0, 10), put("a"), stored());
        record.call(0, "r1", (20, 30), TAKE, taken("r1", "a", 5));
        record.call(0, "r1", (40, 50), GET, MISS);
        assert!(check(&record).violations.is_empty());
        record.call(0, "r1", (40, 50), GET, got("r1", "a", 5));
        assert_eq!(check(&record).violations.len(), 1);
    }

    #[test]
    fn a_new_life_is_no_ghost_unless_removes_are_final() {
        for (cache, ghosts) in [(0, 0), (7, 1)] {
            let mut record = record();
            record.whole = vec![15, 35];
            record.call(cache, "f1", (20, 30), TAKE, taken("f1", "a", 5));
            record.call(cache, "f1", (36, 37), put("b"), stored());
            record.call(cache, "f1", (40, 50), GET, got("f1", "b", 36));
            assert_eq!(check(&record).violations.len(), ghosts);
        }
    }
}
