//! Promise 26: a lock is held by one at a time while its lease runs, the tokens of its holders rise in
//! the order of its grants, and what nobody holds any more can be taken: a named lock behind its lease,
//! keys of a transaction whose initiator is gone behind its timeout. Applies while undivided; the last
//! once the faults have stopped for ten seconds.

use super::Findings;
use crate::caches::Use;
use crate::clock::{MS, Time};
use crate::history::Outcome;
use crate::loan::Loan;
use crate::record::Record;
use embergrid::types::{KeyOperation, LockOperation, Operation};
use std::collections::BTreeMap;

/// Clocks of two machines may drift apart by so much while a lease runs.
const DRIFT: Time = MS;

/// One holder of a lock.
#[derive(Debug)]
struct Holder {
    token: u64,
    /// When its take was asked for and answered.
    invoked: Time,
    responded: Time,
    /// It surely held the lock from the answer up to here, if that is later.
    until: Time,
    /// The last moment at which it was asked for something that found the lock held.
    found_at: Option<Time>,
}

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let mut names: BTreeMap<(usize, usize), Vec<&Loan>> = BTreeMap::new();
    for loan in &record.loans {
        if record.excused.contains_key(&loan.cache) {
            findings.undecided += 1;
            continue;
        }
        names.entry((loan.cache, loan.name)).or_default().push(loan);
        if loan.last {
            findings.judge(loan.granted().is_some(), || {
                let (name, at) = (loan.name, loan.invoked);
                format!("lock {name} cannot be taken at {at} µs: {:?}", loan.outcome)
            });
        }
    }
    for ((cache, name), loans) in names {
        if record.undivided(cache) {
            judge(name, &loans, &mut findings);
        } else {
            findings.undecided += loans.len() as u64;
        }
    }
    touched(record, &mut findings);
    findings
}

/// Every key that transactions have used is free in the end.
fn touched(record: &Record, findings: &mut Findings) {
    for (_, call) in record.history.on(Use::Bank) {
        let touches = matches!(
            call.request.operation,
            Operation::Key {
                operation: KeyOperation::Touch { .. },
                ..
            }
        );
        if !touches || record.excuses(call.cache) {
            continue;
        }
        findings.judge(matches!(call.outcome, Outcome::Ok(_)), || {
            let (key, at) = (call.key(), call.invoked);
            format!("{key:?} is still locked at {at} µs: {:?}", call.outcome)
        });
    }
}

fn judge(name: usize, loans: &[&Loan], findings: &mut Findings) {
    let mut holders: Vec<Holder> = loans
        .iter()
        .filter_map(|loan| holder(loan, loans))
        .collect();
    holders.sort_by_key(|holder| holder.token);
    for (place, first) in holders.iter().enumerate() {
        for second in &holders[place + 1..] {
            findings.judge(first.token < second.token, || {
                format!("lock {name}: two holders have one token: {first:?}, {second:?}")
            });
            findings.judge(second.responded >= first.invoked, || {
                format!("lock {name}: a token fell: {second:?} came before {first:?}")
            });
            findings.judge(second.responded >= first.until, || {
                format!("lock {name}: two hold it: {first:?}, {second:?}")
            });
            let found = first.found_at.is_none_or(|at| at <= second.responded);
            findings.judge(found, || {
                format!("lock {name}: {first:?} still held it behind {second:?}")
            });
        }
    }
}

fn holder(loan: &Loan, loans: &[&Loan]) -> Option<Holder> {
    let token = loan.granted()?;
    let LockOperation::Take { lease, .. } = loan.operation else {
        return None;
    };
    let under = || {
        let of = |loan: &&&Loan| loan.under().is_some_and(|(of, _)| of == token);
        loans.iter().filter(of)
    };
    let renewed = under().filter(|loan| loan.answered() > Some(0));
    // Each lease counts from the grant, which is not before the question.
    let begins = renewed.map(|loan| loan.invoked).chain([loan.invoked]);
    let end = begins.max().unwrap_or_default() + lease - DRIFT;
    let releases = under().filter(|loan| matches!(loan.operation, LockOperation::Release { .. }));
    let let_go = releases.map(|loan| loan.invoked).min();
    let found = under().filter(|loan| loan.under().is_some_and(|(_, held)| held));
    Some(Holder {
        token,
        invoked: loan.invoked,
        responded: loan.responded,
        until: let_go.map_or(end, |at| end.min(at)),
        found_at: found.map(|loan| loan.invoked).max(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::{self, MISS};
    use embergrid::error::ErrorKind;
    use embergrid::types::{ClusterTime, Expiry, Reply};

    const LEASE: Time = 100 * MS;

    fn loan(operation: LockOperation, (invoked, responded): (Time, Time), reply: Reply) -> Loan {
        Loan {
            cache: 0,
            name: 0,
            operation,
            invoked: invoked * MS,
            responded: responded * MS,
            outcome: Outcome::Ok(reply),
            attempts: 1,
            last: false,
        }
    }

    fn locked(token: u64) -> Reply {
        let expires_at = ClusterTime(1);
        Reply::Locked { token, expires_at }
    }

    fn take(times: (Time, Time), token: u64) -> Loan {
        let (lease, spare) = (LEASE, 0);
        loan(LockOperation::Take { lease, spare }, times, locked(token))
    }

    fn renew(times: (Time, Time), token: u64) -> Loan {
        let lease = LEASE;
        loan(LockOperation::Renew { token, lease }, times, locked(token))
    }

    fn release(times: (Time, Time), token: u64) -> Loan {
        let reply = Reply::Removed {
            applied: true,
            previous: None,
        };
        loan(LockOperation::Release { token }, times, reply)
    }

    fn violations(loans: &[Loan]) -> usize {
        let mut record = made_up::record();
        record.loans = loans.to_vec();
        check(&record).violations.len()
    }

    #[test]
    fn two_holders_and_tokens_that_fall_are_found() {
        let first = take((0, 10), 5);
        let sound = [
            first.clone(),
            renew((50, 55), 5),
            take((20, 160), 7),
            release((170, 171), 7),
            take((171, 180), 8),
            take((190, 200), 0),
        ];
        assert_eq!(violations(&sound), 0);
        // While the lease of the first runs; after it was renewed.
        assert_eq!(violations(&[first.clone(), take((20, 30), 7)]), 1);
        let renewed = [first.clone(), renew((50, 55), 5), take((20, 130), 7)];
        assert_eq!(violations(&renewed), 1);
        // The same token, or a lower one, behind the lease.
        assert_eq!(violations(&[first.clone(), take((200, 210), 5)]), 1);
        assert!(violations(&[first.clone(), take((200, 210), 4)]) > 0);
        // A holder of before that lives on.
        let returned = [first.clone(), take((120, 130), 7), renew((140, 141), 5)];
        assert!(violations(&returned) > 0);
        let returned = [first, take((120, 130), 7), release((140, 141), 5)];
        assert_eq!(violations(&returned), 1);
    }

    #[test]
    fn what_stays_locked_is_found() {
        let last = Loan {
            last: true,
            ..take((0, 10), 5)
        };
        assert_eq!(violations(std::slice::from_ref(&last)), 0);
        let never = Loan {
            last: true,
            ..take((0, 10), 0)
        };
        assert_eq!(violations(&[never]), 1);
        let refused = Loan {
            outcome: Outcome::Failed(ErrorKind::Unavailable),
            ..last
        };
        assert_eq!(violations(&[refused]), 1);
        let mut record = made_up::record();
        let uses = &record.history.uses;
        let bank = uses.iter().position(|one| *one == Use::Bank);
        let bank = bank.expect("a bank");
        let touch = KeyOperation::Touch {
            expiry: Expiry::Keep,
        };
        record.call(bank, "a", (10, 20), touch.clone(), MISS);
        assert_eq!(check(&record).violations, Vec::<String>::new());
        record.call(bank, "a", (10, 20), touch, Outcome::Unknown);
        assert_eq!(check(&record).violations.len(), 1);
    }
}
