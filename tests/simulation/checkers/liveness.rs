//! Liveness: every request is answered soon after its deadline while its node runs, a request
//! after all faults succeeds at every node, and a cache made or dropped is so everywhere. Applies
//! always; the last two once the faults have stopped for ten seconds.

use super::Findings;
use super::linear::line;
use crate::clock::SECOND;
use crate::history::Outcome;
use crate::record::Record;
use embergrid::error::ErrorKind;
use embergrid::types::{CacheId, Operation};

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    for (call, node, deadline) in &record.unanswered {
        findings.judge(false, || {
            format!(
                "n{node} did not answer by {deadline} µs: {}",
                line(&record.history.calls[*call])
            )
        });
    }
    findings.judged += record.history.calls.len() as u64;
    for call in record
        .history
        .calls
        .iter()
        .filter(|call| call.invoked >= record.compared_at)
    {
        if record.excuses(call.cache) {
            continue;
        }
        // What an older protocol does not know is refused, and not waited for until the deadline.
        let too_new = record.two_versions
            && matches!(call.request.operation, Operation::Verify { .. })
            && call.outcome == Outcome::Failed(ErrorKind::Unimplemented)
            && call.responded < call.invoked + SECOND;
        findings.judge(too_new || matches!(call.outcome, Outcome::Ok(_)), || {
            format!("ten seconds after the last fault: {}", line(call))
        });
    }
    for act in &record.cache_acts {
        let dropped = record
            .cache_acts
            .iter()
            .any(|other| !other.create && other.name == act.name);
        if !matches!(act.answered, Some((_, Ok(())))) || (act.create && dropped) {
            continue;
        }
        for (node, view) in &record.final_views {
            let known = view.caches.contains_key(&CacheId::of(&act.name));
            // Who loses all nodes loses the catalogue.
            findings.judge(known == act.create || !record.excused.is_empty(), || {
                let (made, name, asked) = (act.create, &act.name, act.asked);
                format!("cache {name} (made: {made}, at {asked} µs) is known to n{node}: {known}")
            });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;

    #[test]
    fn a_cluster_that_stays_silent_is_found() {
        let end = 1_000_000_001;
        let mut record = record();
        record.call(
            0,
            "r1",
            (10, 20),
            GET,
            Outcome::Failed(ErrorKind::Unavailable),
        );
        assert!(check(&record).violations.is_empty());
        record.call(
            0,
            "r1",
            (end, end + 9),
            GET,
            Outcome::Failed(ErrorKind::Unavailable),
        );
        record.unanswered.push((0, 1, 20));
        assert_eq!(check(&record).violations.len(), 2);
    }
}
