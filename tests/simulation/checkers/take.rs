//! Promise 6: take succeeds exactly once. Applies to FULL_SYNC caches while undivided; over a
//! split only to takes of which one surely came after the other.

use super::Findings;
use crate::caches::Use;
use crate::history::Call;
use crate::record::Record;
use embergrid::types::{Blob, Reply};
use std::collections::BTreeMap;

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let mut takes: BTreeMap<(usize, &Blob, &Blob), Vec<&Call>> = BTreeMap::new();
    for wanted in [Use::Registers, Use::Final] {
        for (_, call) in record.history.on(wanted) {
            let Some(Reply::Removed {
                applied: true,
                previous: Some(previous),
            }) = call.reply()
            else {
                continue;
            };
            // Numbers repeat; only text that one put wrote tells.
            if previous.value.starts_with(b"v") && !record.excused.contains_key(&call.cache) {
                takes
                    .entry((call.cache, &previous.key, &previous.value))
                    .or_default()
                    .push(call);
            }
        }
    }
    for ((cache, key, value), calls) in takes {
        // Over a split, a put of unknown outcome may have stored its value on each side.
        let doubtful = record.history.calls.iter().any(|put| {
            put.cache == cache && put.value_put() == Some(value) && put.reply().is_none()
        });
        if doubtful && !record.undivided(cache) {
            continue;
        }
        let twice = calls.iter().enumerate().find_map(|(place, first)| {
            let second = calls[place + 1..]
                .iter()
                .find(|second| record.undivided(cache) || record.surely_before(first, second))?;
            Some((first.responded, second.responded))
        });
        findings.judge(twice.is_none(), || {
            format!("cache {cache} key {key:?}: {value:?} was taken twice, at {twice:?} µs")
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;

    #[test]
    fn a_second_take_is_found() {
        let mut record = record();
        record.call(0, "r1", (20, 30), TAKE, taken("r1", "v1", 5));
        record.call(0, "r1", (20, 30), TAKE, taken("r1", "v2", 25));
        assert!(check(&record).violations.is_empty());
        record.call(0, "r1", (20, 30), TAKE, taken("r1", "v1", 5));
        assert_eq!(check(&record).violations.len(), 1);
    }
}
