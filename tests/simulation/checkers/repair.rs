//! Part of promise 10: owners at the same place of their stream hold the same at any time, so that
//! the comparison of copies finds nothing where no fault of ours made them differ. Applies to all
//! caches, in all profiles.

use super::Findings;
use crate::record::Record;
use embergrid::engine::Notice;
use embergrid::types::Reply;

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings {
        judged: record.compared,
        ..Findings::default()
    };
    for (at, node, notice) in &record.notices {
        if let Notice::CopiesDiffered {
            cache,
            partition,
            owner,
            keys,
            repaired,
        } = notice
        {
            let name = record
                .settings_of(*cache)
                .map_or("?", |settings| &settings.name);
            findings.violations.push(format!(
                "cache {name} partition {partition}: {keys} keys of n{node} and {owner} differ at \
                 {at} µs, {repaired} are repaired"
            ));
        }
    }
    findings
}

/// Who asks for a comparison of all copies is told that they are equal, once faults have stopped.
pub fn verified(record: &Record) -> Findings {
    let mut findings = Findings::default();
    for call in &record.history.calls {
        if let Some(Reply::Verified(verified)) = call.reply() {
            findings.judge(verified.keys == 0, || {
                let cache = &record.settings[call.cache].name;
                let partition = call.request.partition;
                format!("cache {cache} partition {partition}: {verified:?}")
            });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up;

    #[test]
    fn a_difference_is_told() {
        let mut record = made_up::record();
        assert!(check(&record).violations.is_empty());
        let cache = record.history.cache_ids[0];
        let notice = Notice::CopiesDiffered {
            cache,
            partition: 0,
            owner: Default::default(),
            keys: 1,
            repaired: 1,
        };
        record.notices.push((5, 0, notice));
        assert_eq!(check(&record).violations.len(), 1);
    }
}
