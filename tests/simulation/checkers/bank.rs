//! Promise 24: a transaction is applied whole or not at all, and seen so by who looks at all keys at
//! once: the sum of the accounts never changes, and the count is that of the transactions that were
//! carried out, each once. Applies while undivided. Promise 26: once faults have stopped, nothing
//! stays locked: the last looks are answered.

use super::Findings;
use crate::deal::Deal;
use crate::history::Outcome;
use crate::record::Record;

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let whole = record.bank.iter().all(|cache| record.undivided(*cache));
    if !whole {
        findings.undecided += record.deals.len() as u64;
        return findings;
    }
    let counted: Vec<&Deal> = record.deals.iter().filter(|deal| deal.counted()).collect();
    for look in &record.deals {
        if look.last {
            findings.judge(matches!(look.outcome, Outcome::Ok(_)), || {
                let at = look.invoked;
                format!("keys cannot be read at {at} µs: {:?}", look.outcome)
            });
        }
        let Some((numbers, count)) = look.seen() else {
            continue;
        };
        let sum: i64 = numbers.iter().sum();
        findings.judge(sum == 0, || {
            let (from, to) = (look.invoked, look.responded);
            format!("the accounts sum up to {sum} between {from} and {to} µs: {numbers:?}")
        });
        let done =
            |deal: &&&Deal| matches!(deal.outcome, Outcome::Ok(_)) && deal.responded < look.invoked;
        let begun = |deal: &&&Deal| {
            !matches!(deal.outcome, Outcome::Failed(_)) && deal.invoked < look.responded
        };
        let least = counted.iter().filter(done).count() as i64;
        let most = counted.iter().filter(begun).count() as i64;
        findings.judge((least..=most).contains(&count), || {
            let at = look.invoked;
            format!("{count} transactions are counted at {at} µs, {least} to {most} were made")
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::record;
    use crate::deal::Errand;
    use embergrid::types::{ClusterTime, EntryView, Reply};

    fn look(numbers: &[i64]) -> Deal {
        let got = |number: &i64| Reply::Got {
            entry: Some(EntryView {
                key: "a".into(),
                value: number.to_string().as_str().into(),
                flags: 0,
                version: 1,
                created_at: ClusterTime(1),
                last_access_at: ClusterTime(1),
                expires_at: None,
                idle_expires_at: None,
            }),
        };
        Deal {
            errand: Errand::Look,
            invoked: 10,
            responded: 20,
            outcome: Outcome::Ok(Reply::Executed {
                held: true,
                replies: numbers.iter().map(got).collect(),
            }),
            attempts: 1,
            last: true,
            gone: false,
        }
    }

    #[test]
    fn a_half_a_double_and_a_lock_that_stays_are_found() {
        let mut sound = record();
        sound.deals = vec![look(&[5, -5, 0])];
        assert!(check(&sound).violations.is_empty());
        for numbers in [[5, -4, 0], [5, -5, 1]] {
            let mut broken = record();
            broken.deals = vec![look(&numbers)];
            assert_eq!(check(&broken).violations.len(), 1, "{numbers:?}");
        }
        let mut locked = record();
        locked.deals = vec![Deal {
            outcome: Outcome::Unknown,
            ..look(&[])
        }];
        assert_eq!(check(&locked).violations.len(), 1);
    }
}
