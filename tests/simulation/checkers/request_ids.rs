//! Promise 8: the same request id applies once within its window; "unknown" is said where the
//! outcome is unknown, "failed" means not applied. Applies while undivided, to FULL_SYNC caches: a
//! number that only increments change counts the acknowledged ones and no failed one, and a
//! request sent again answers as it did.

use super::Findings;
use super::acknowledged::stories;
use crate::caches::Use;
use crate::history::Call;
use crate::record::Record;
use embergrid::types::{KeyOperation, Reply};

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    for echo in &record.history.echoes {
        let call = &record.history.calls[echo.call];
        if !record.undivided(call.cache) || record.history.uses[call.cache] != Use::Registers {
            continue;
        }
        findings.judge(call.reply() == Some(&echo.reply), || {
            format!(
                "cache {} {:?} answered {:?}, and sent again at {} µs {:?}",
                call.cache, call.request.operation, call.outcome, echo.at, echo.reply
            )
        });
    }
    for ((cache, key), story) in stories(record, Use::Registers) {
        if !record.undivided(cache) || !key.starts_with(b"c") || !story.removes.is_empty() {
            continue;
        }
        let adds = story
            .writes
            .iter()
            .filter(|write| matches!(write.key_operation(), Some(KeyOperation::Modify { .. })));
        let (sure, perhaps): (Vec<&Call>, Vec<&Call>) = adds.partition(|write| write.was_applied());
        for read in story
            .reads
            .iter()
            .filter(|read| read.invoked >= record.compared_at)
        {
            let Some(Reply::Got { entry }) = read.reply() else {
                continue;
            };
            let text = entry
                .as_ref()
                .and_then(|entry| std::str::from_utf8(&entry.value).ok());
            let sum = text.and_then(|text| text.parse().ok()).unwrap_or(0);
            findings.judge((sure.len()..=sure.len() + perhaps.len()).contains(&sum), || {
                format!("cache {cache} key {key:?} ends at {sum}; {} increments were acknowledged, {} are unknown", sure.len(), perhaps.len())
            });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;
    use crate::history::{Echo, Outcome};
    use embergrid::types::{Blob, Change, Condition, Expiry};

    #[test]
    fn a_double_application_is_found() {
        let end = 1_000_000_001;
        let change = Change::Increment {
            delta: 1,
            initial: Some(1),
            at_least_zero: false,
            wrap: false,
        };
        let add = KeyOperation::Modify {
            change,
            expiry: Expiry::Keep,
            condition: Condition::Any,
        };
        let answer = |value: &str| Reply::Modified {
            applied: true,
            version: 1,
            value: Blob::from(value),
        };
        let mut record = record();
        record.call(0, "c1", (0, 10), add.clone(), Outcome::Ok(answer("1")));
        record.call(0, "c1", (20, u64::MAX), add, Outcome::Unknown);
        record.call(0, "c1", (end, end + 1), GET, got("c1", "2", 5));
        record.history.echoes.push(Echo {
            call: 0,
            at: 15,
            reply: answer("1"),
        });
        assert!(check(&record).violations.is_empty());
        record.call(0, "c1", (end, end + 1), GET, got("c1", "3", 5));
        record.history.echoes.push(Echo {
            call: 0,
            at: 15,
            reply: answer("2"),
        });
        assert_eq!(check(&record).violations.len(), 2);
    }
}
