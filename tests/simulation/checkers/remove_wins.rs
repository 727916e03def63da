//! Promise 3: a remove beats a concurrent update of the same incarnation made on the other side of
//! a split; where removes are final, of any incarnation. Applies to caches that allow reads and
//! writes, in all profiles, to what is read once all was healed: an acknowledged remove's life is
//! not there, in whatever order its updates were made.

use super::Findings;
use super::acknowledged::stories;
use super::removed::ended_life;
use super::tombstones::stood;
use crate::caches::Use;
use crate::record::Record;
use embergrid::types::Reply;

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
                let beaten = story.removes.iter().find(|remove| {
                    let by_name = wanted == Use::Final && remove.key().is_some();
                    let mut writers = story.writes.iter();
                    let stays = by_name
                        && writers.any(|write| {
                            write.value_put() == Some(&entry.value) && stood(record, remove, write)
                        });
                    remove.was_applied()
                        && record.whole_before(remove.responded, read)
                        && (stays || ended_life(remove) == Some(entry.created_at))
                });
                findings.judge(beaten.is_none(), || {
                    let at = beaten.map(|remove| remove.responded);
                    format!("cache {cache} key {key:?}: its life was removed at {at:?} µs, n{} still holds {:?} at the end", read.node, entry.value)
                });
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;

    #[test]
    fn an_update_that_outlives_its_life_is_found() {
        let end = 1_000_000_001;
        let mut record = record();
        record.whole.push(50);
        record.call(0, "r1", (0, 10), put("a"), stored());
        record.call(0, "r1", (20, 30), TAKE, taken("r1", "a", 5));
        record.call(0, "r1", (21, 40), put("b"), stored());
        record.call(0, "r1", (end, end + 1), GET, got("r1", "b", 21));
        assert!(check(&record).violations.is_empty());
        record.call(0, "r1", (end, end + 1), GET, got("r1", "b", 5));
        assert_eq!(check(&record).violations.len(), 1);
    }
}
