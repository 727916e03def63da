//! Promise 1: no acknowledged write is lost while one owner that acknowledged it survives, unless
//! a later or concurrent write, remove or expiry of the key prevails. Applies to FULL_SYNC caches
//! in all profiles; which of two calls came first over a split is `Record::surely_before`.

use super::Findings;
use crate::caches::Use;
use crate::history::Call;
use crate::record::Record;
use embergrid::types::{Blob, KeyOperation, Operation, Reply};
use std::collections::BTreeMap;

/// The calls on one key that may have changed it, and its last reads.
#[derive(Default)]
pub struct Story<'a> {
    pub writes: Vec<&'a Call>,
    pub removes: Vec<&'a Call>,
    pub reads: Vec<&'a Call>,
}

/// By (cache, key), for caches of one use; calls on whole partitions count as removes.
pub fn stories(record: &Record, wanted: Use) -> BTreeMap<(usize, Blob), Story<'_>> {
    let mut stories: BTreeMap<(usize, Blob), Story<'_>> = BTreeMap::new();
    let mut places: BTreeMap<(usize, u32), Vec<Blob>> = BTreeMap::new();
    for (_, call) in record.history.on(wanted) {
        let Some(key) = call.key() else { continue };
        let story = stories.entry((call.cache, key.clone())).or_default();
        match call.key_operation() {
            Some(KeyOperation::Get { .. }) => story.reads.push(call),
            Some(KeyOperation::Remove { .. }) if call.may_be_applied() => story.removes.push(call),
            Some(KeyOperation::Put { .. } | KeyOperation::Modify { .. })
                if call.may_be_applied() =>
            {
                story.writes.push(call)
            }
            _ => {}
        }
        let keys = places
            .entry((call.cache, call.request.partition))
            .or_default();
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    for (_, call) in record.history.on(wanted) {
        if call.request.operation == Operation::Clear && call.may_be_applied() {
            for key in places
                .get(&(call.cache, call.request.partition))
                .into_iter()
                .flatten()
            {
                stories
                    .entry((call.cache, key.clone()))
                    .or_default()
                    .removes
                    .push(call);
            }
        }
    }
    stories
}

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    for wanted in [Use::Registers, Use::Final] {
        for ((cache, key), story) in stories(record, wanted) {
            if record.excused.contains_key(&cache) || key.starts_with(b"c") || key.starts_with(b"z")
            {
                continue;
            }
            for read in story
                .reads
                .iter()
                .filter(|read| read.invoked >= record.compared_at)
            {
                let Some(Reply::Got { entry }) = read.reply() else {
                    continue;
                };
                let lost = match entry {
                    Some(entry) => superseded(record, &story, &entry.value),
                    None => vanished(record, &story, wanted),
                };
                findings.judge(lost.is_none(), || {
                    format!(
                        "cache {cache} key {key:?}: at the end n{} reads {:?}, but {}",
                        read.node,
                        entry.as_ref().map(|entry| &entry.value),
                        lost.unwrap_or_default()
                    )
                });
            }
        }
    }
    findings
}

/// Why this value should not be the last one.
fn superseded(record: &Record, story: &Story<'_>, value: &Blob) -> Option<String> {
    let Some(writer) = story
        .writes
        .iter()
        .find(|write| write.value_put() == Some(value))
    else {
        return Some("nobody wrote that".to_owned());
    };
    let later = story
        .writes
        .iter()
        .chain(&story.removes)
        .find(|later| later.was_applied() && record.surely_before(writer, later));
    later.map(|later| {
        format!(
            "{:?} was acknowledged at {} µs after the write of that at {} µs",
            later.request.operation, later.responded, writer.responded
        )
    })
}

/// Why the key should not be absent.
fn vanished(record: &Record, story: &Story<'_>, wanted: Use) -> Option<String> {
    let last = story
        .writes
        .iter()
        .filter(|write| write.was_applied())
        .find(|write| {
            let gone = story
                .removes
                .iter()
                .any(|remove| wanted == Use::Final || !record.surely_before(remove, write));
            !gone
        });
    last.map(|write| {
        format!(
            "{:?} was acknowledged at {} µs and nothing removed it",
            write.value_put(),
            write.responded
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;
    use embergrid::types::{Incarnation, Member, NodeId, TopologyVersion};

    const END: u64 = 1_000_000_001;

    #[test]
    fn a_lost_write_is_found() {
        let mut record = record();
        record.whole = vec![15, 35];
        record.call(0, "r1", (0, 10), put("a"), stored());
        record.call(0, "r1", (20, 30), put("b"), stored());
        record.call(0, "r1", (END, END + 1), GET, got("r1", "b", 5));
        assert!(check(&record).violations.is_empty());
        record.call(0, "r1", (END, END + 1), GET, got("r1", "a", 5));
        record.call(0, "r1", (END, END + 1), GET, MISS);
        assert_eq!(check(&record).violations.len(), 2);
    }

    #[test]
    fn a_write_in_a_cluster_that_formed_apart_is_not_a_later_one() {
        let mut record = record();
        let formed = |id| {
            let incarnation = Incarnation(1);
            let coordinator = Member {
                id: NodeId(id),
                incarnation,
            };
            let version = TopologyVersion {
                number: id,
                coordinator,
            };
            (version, coordinator)
        };
        let ((own, founder), apart) = (formed(1), formed(2));
        record.formed_by = [(own, founder), apart].into();
        (record.whole, record.whole_of) = (vec![15], vec![founder]);
        record.call(0, "r1", (0, 10), put("a"), stored()).views = (own, own);
        record.call(0, "r1", (20, 30), put("b"), stored()).views = (apart.0, apart.0);
        record.call(0, "r1", (END, END + 1), GET, got("r1", "a", 5));
        assert!(check(&record).violations.is_empty());
        record.history.calls[1].views = (own, own);
        assert_eq!(check(&record).violations.len(), 1);
    }

    #[test]
    fn a_concurrent_remove_may_prevail() {
        let mut record = record();
        record.call(0, "r1", (0, 10), put("a"), stored());
        record.call(0, "r1", (20, 30), TAKE, taken("r1", "a", 5));
        record.call(0, "r1", (END, END + 1), GET, MISS);
        assert!(check(&record).violations.is_empty());
    }
}
