//! Promise 5: idle time survives fail-over: never shorter than set, longer by one touch batch at
//! most (and by one more for each change of owners), and never past its maximum. Applies to
//! FULL_SYNC caches; "never shorter" is judged while undivided, "longer" always.

use super::Findings;
use super::expiry::put_once;
use crate::caches::{CLOCK_ERROR, IDLE, TOUCH_BATCH, Use};
use crate::clock::{MS, Time};
use crate::history::Call;
use crate::record::Record;
use embergrid::types::Reply;

const SLACK: Time = CLOCK_ERROR + 5 * MS;

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    for (key, reads, put) in put_once(record, Use::Idle) {
        if !put.was_applied() || may_return(record, put) {
            continue;
        }
        for read in &reads {
            let Some(Reply::Got { entry }) = read.reply() else {
                continue;
            };
            if entry.is_some() {
                let last = latest_access(record, read, put, &reads);
                let until =
                    last + IDLE + TOUCH_BATCH * (1 + changes(record, last, read.responded)) + SLACK;
                findings.judge(read.invoked <= until, || {
                    format!(
                        "key {key:?}: last accessed at {last} µs, served at {} µs by n{}",
                        read.responded, read.node
                    )
                });
            } else if record.undivided(put.cache) && put.responded < read.invoked {
                let last = sure_access(read, put, &reads);
                findings.judge(read.responded + SLACK >= last + IDLE, || {
                    format!(
                        "key {key:?}: accessed at {last} µs, gone at {} µs at n{}",
                        read.responded, read.node
                    )
                });
            }
        }
    }
    findings
}

/// Whether an earlier attempt may be applied after the one that was answered: it waits at a node
/// that stands still, and all who knew its request id are gone when it is read.
fn may_return(record: &Record, put: &Call) -> bool {
    put.attempts > 1 && record.excused.contains_key(&put.cache)
}

/// The latest moment at which another call can have accessed the key before this read ended.
fn latest_access(record: &Record, read: &Call, put: &Call, reads: &[&Call]) -> Time {
    let before = reads
        .iter()
        .filter(|other| !std::ptr::eq(**other, read) && other.invoked <= read.responded);
    // A read that found nothing touched nothing; one without an answer may have, and one that was
    // answered in another view than that in which it was asked first.
    let moved = |other: &Call| {
        let mut views = record.views.iter();
        views.any(|(at, _, _)| (other.invoked..=other.responded).contains(at))
    };
    let missed = |other: &Call| matches!(other.reply(), Some(Reply::Got { entry: None }));
    let touching = before.filter(|other| !missed(other) || moved(other));
    touching
        .map(|other| other.responded.min(read.responded))
        .max()
        .unwrap_or(0)
        .max(put.responded)
}

/// The latest moment at which the key was accessed for sure and answered before this read began.
fn sure_access(read: &Call, put: &Call, reads: &[&Call]) -> Time {
    let hits = reads
        .iter()
        .filter(|other| matches!(other.reply(), Some(Reply::Got { entry: Some(_) })));
    let before = hits.filter(|other| other.responded < read.invoked);
    before
        .map(|other| other.invoked)
        .max()
        .unwrap_or(0)
        .max(put.invoked)
}

fn changes(record: &Record, from: Time, until: Time) -> u64 {
    let mut versions: Vec<_> = record
        .views
        .iter()
        .filter(|(at, _, _)| *at + IDLE >= from && *at <= until)
        .map(|(_, _, view)| view.version)
        .collect();
    versions.sort_unstable();
    versions.dedup();
    versions.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;

    #[test]
    fn too_short_and_too_long_are_found() {
        let mut record = record();
        record.call(6, "k1", (0, 10), put("a"), stored());
        record.call(6, "k1", (IDLE - 20, IDLE - 10), GET, got("k1", "a", 5));
        record.call(6, "k1", (IDLE + 20, IDLE + 30), GET, got("k1", "a", 5));
        assert!(check(&record).violations.is_empty());
        record.call(
            6,
            "k1",
            (2 * IDLE - SLACK - 2_000, 2 * IDLE - SLACK - 1_000),
            GET,
            MISS,
        );
        record.call(6, "k1", (3 * IDLE, 3 * IDLE + 10), GET, got("k1", "a", 5));
        assert_eq!(check(&record).violations.len(), 2);
    }
}
