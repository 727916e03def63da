//! Lockers: clients that take named locks, wait for them, renew them, let them go or forget them.

use crate::clock::{MS, SECOND, Time};
use crate::history::Outcome;
use crate::loan::Loan;
use crate::machine::Input;
use crate::rng::Rng;
use crate::world::{Happening, World};
use embergrid::error::{Applied, Error, Result};
use embergrid::types::cache::partition_of;
use embergrid::types::{
    Blob, Expiry, KeyOperation, KeyPlace, LockOperation, Operation, Reply, Request, RequestId,
};
use std::collections::BTreeMap;

const LOCKERS: usize = 5;
pub const NAMES: usize = 2;
const ATTEMPTS_MAX: u32 = 4;
const GRACE: Time = SECOND;
/// An answer is waited for so much longer than the lock.
const ANSWER: Time = 1_500 * MS;
/// The longest lease that is asked for.
const LEASE_MAX: Time = 3 * SECOND;
/// So many take a lock in the end: all have their turn within the wait.
const LAST_MAX: usize = 8;
/// Tokens of attempts: far from those of other clients.
const FIRST_TOKEN: u64 = 1 << 44;

#[derive(Clone, Copy, Debug)]
struct Attempt {
    locker: Option<usize>,
    loan: usize,
    node: usize,
    id: Option<RequestId>,
    wait: Time,
    deadline: Time,
    gone: bool,
}

/// What a locker holds, as far as it knows.
#[derive(Clone, Copy, Debug)]
struct Held {
    name: usize,
    token: u64,
    lease: Time,
}

#[derive(Default)]
pub struct Lockers {
    rng: Option<Rng>,
    cache: Option<usize>,
    attempts: BTreeMap<u64, Attempt>,
    next: u64,
    held: BTreeMap<usize, Held>,
}

impl Lockers {
    pub fn of(seed: u64) -> Self {
        Self {
            rng: Some(Rng::stream(seed, "lockers")),
            next: FIRST_TOKEN,
            ..Self::default()
        }
    }

    fn rng(&mut self) -> &mut Rng {
        self.rng.get_or_insert_with(|| Rng::stream(0, "lockers"))
    }

    pub fn node_gone(&mut self, node: usize) -> Vec<u64> {
        let waiting = self.attempts.iter_mut();
        let waiting = waiting.filter(|(_, attempt)| attempt.node == node);
        waiting
            .map(|(token, attempt)| {
                attempt.gone = true;
                *token
            })
            .collect()
    }
}

fn name_of(name: usize) -> Blob {
    Blob::from(format!("lock-{name}").as_str())
}

impl World {
    /// Without a cache for them there are none.
    pub fn open_locks(&mut self) {
        self.lockers.cache = self.plan.locks();
        if self.lockers.cache.is_none() {
            return;
        }
        for locker in 0..LOCKERS {
            let at = self.plan.clients_start + SECOND + self.lockers.rng().below(500 * MS);
            self.at(at, Happening::LockerStep(locker));
        }
    }

    pub fn locker_step(&mut self, locker: usize) {
        if self.clients.stopped {
            return;
        }
        let held = self.lockers.held.get(&locker).copied();
        let rng = self.lockers.rng();
        let named = rng.percent(70).then(|| {
            let mut id = [0u8; 16];
            id[..8].copy_from_slice(&rng.next().to_le_bytes());
            id[8..].copy_from_slice(&rng.next().to_le_bytes());
            id
        });
        let (name, operation, wait) = match held {
            None => {
                let lease = rng.within(300 * MS, LEASE_MAX);
                let wait = if rng.percent(30) {
                    0
                } else {
                    rng.within(MS, 5 * SECOND)
                };
                // The rest follows with each attempt.
                let take = LockOperation::Take { lease, spare: 0 };
                (rng.index(NAMES), take, wait)
            }
            Some(Held { name, token, lease }) => match rng.below(10) {
                0..=5 => (name, LockOperation::Renew { token, lease }, 0),
                6..=8 => (name, LockOperation::Release { token }, 0),
                _ => {
                    // It dies: its lock is free when the lease is over.
                    self.lockers.held.remove(&locker);
                    self.after(100 * MS, Happening::LockerStep(locker));
                    return;
                }
            },
        };
        self.begin_loan(Some(locker), name, operation, (named, wait), None);
    }

    /// In the end each lock can be taken at many nodes, one after the other: what another holds is
    /// waited for until its lease is over.
    pub fn take_all_locks(&mut self) {
        let names = self.lockers.cache.map_or(0, |_| NAMES);
        for name in 0..names {
            for node in 0..self.nodes.len().min(LAST_MAX) {
                let lease = 100 * MS;
                let take = LockOperation::Take { lease, spare: 0 };
                self.begin_loan(None, name, take, (None, 2_500 * MS), Some(node));
            }
        }
        self.touch_what_transactions_locked();
    }

    /// Every key that transactions have used can be written: a touch waits as a write does.
    fn touch_what_transactions_locked(&mut self) {
        if self.record.bank.is_empty() || self.bank.ledger.is_some() {
            return;
        }
        let keys: Vec<KeyPlace> = self.ledger().into_iter().chain(self.lists()).collect();
        for (place, key) in keys.into_iter().enumerate() {
            let of = |cache: &embergrid::types::CacheSettings| cache.id() == key.cache;
            let Some(cache) = self.plan.caches.iter().position(of) else {
                continue;
            };
            let request = Request {
                cache: key.cache,
                partition: key.partition,
                operation: Operation::Key {
                    key: key.key,
                    operation: KeyOperation::Touch {
                        expiry: Expiry::Keep,
                    },
                },
                request_id: None,
            };
            self.ask_at(place % self.nodes.len(), cache, request);
        }
    }

    pub fn begin_loan(
        &mut self,
        locker: Option<usize>,
        name: usize,
        operation: LockOperation,
        (id, wait): (Option<RequestId>, Time),
        node: Option<usize>,
    ) -> usize {
        let loan = self.record.loans.len();
        self.record.loans.push(Loan {
            cache: self.lockers.cache.unwrap_or_default(),
            name,
            operation,
            invoked: self.now,
            responded: Time::MAX,
            outcome: Outcome::Unknown,
            attempts: 0,
            last: locker.is_none(),
        });
        self.attempt_loan(locker, loan, (id, wait), node);
        loan
    }

    /// Nobody waits so long that the lease would outlive the beginning of the last calls: those have
    /// their turn one after the other, and their time is for that.
    fn wait_at_most(&self) -> Time {
        self.plan.compare.saturating_sub(self.now + LEASE_MAX)
    }

    fn attempt_loan(
        &mut self,
        locker: Option<usize>,
        loan: usize,
        (id, wait): (Option<RequestId>, Time),
        node: Option<usize>,
    ) {
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].up())
            .collect();
        let drawn = self.lockers.rng().pick(&up).copied().unwrap_or_default();
        let node = node.unwrap_or(drawn);
        let wait = match locker {
            Some(_) => wait.min(self.wait_at_most()),
            None => wait,
        };
        let deadline = self.now + wait + ANSWER;
        self.lockers.next += 1;
        let token = self.lockers.next;
        let attempt = Attempt {
            locker,
            loan,
            node,
            id,
            wait,
            deadline,
            gone: !self.nodes[node].up(),
        };
        self.lockers.attempts.insert(token, attempt);
        let until = if attempt.gone {
            self.now + MS
        } else {
            deadline + GRACE
        };
        self.at(until, Happening::LockerTimeout(token));
        let of = &mut self.record.loans[loan];
        of.attempts += 1;
        let operation = match of.operation {
            LockOperation::Take { lease, .. } => LockOperation::Take {
                lease,
                spare: ANSWER,
            },
            other => other,
        };
        let settings = &self.plan.caches[of.cache];
        let name = name_of(of.name);
        let request = Request {
            cache: settings.id(),
            partition: partition_of(&name, settings.partitions),
            operation: Operation::Lock { name, operation },
            request_id: id,
        };
        self.feed(
            node,
            Input::Submit {
                attempt: token,
                request,
                deadline,
            },
        );
    }

    pub fn locker_timeout(&mut self, token: u64) {
        let Some(attempt) = self.lockers.attempts.remove(&token) else {
            return;
        };
        let stood = |&(from, until, node): &(Time, Time, usize)| {
            node == attempt.node
                && from <= attempt.deadline + GRACE
                && until + GRACE >= attempt.deadline
        };
        if !attempt.gone && !self.record.pauses.iter().any(stood) {
            self.broken.push(format!(
                "n{} does not answer a call on a lock until {} µs",
                attempt.node, attempt.deadline
            ));
        }
        self.loan_over(attempt, Outcome::Unknown);
    }

    /// Whether the answer was for a locker.
    pub fn lock_completed(&mut self, token: u64, result: &Result<Reply>) -> bool {
        let Some(attempt) = self.lockers.attempts.remove(&token) else {
            return token >= FIRST_TOKEN;
        };
        let retried = self.record.loans[attempt.loan].attempts > 1;
        let outcome = match result {
            Ok(reply) => Outcome::Ok(reply.clone()),
            Err(Error {
                kind,
                applied: Applied::NotApplied,
                ..
            }) if !retried => Outcome::Failed(*kind),
            Err(_) => Outcome::Unknown,
        };
        self.loan_over(attempt, outcome);
        true
    }

    fn loan_over(&mut self, attempt: Attempt, outcome: Outcome) {
        let loan = &mut self.record.loans[attempt.loan];
        let again =
            outcome == Outcome::Unknown && attempt.id.is_some() && loan.attempts < ATTEMPTS_MAX;
        if again && !self.clients.stopped {
            let terms = (attempt.id, attempt.wait);
            self.attempt_loan(attempt.locker, attempt.loan, terms, None);
            return;
        }
        if outcome != Outcome::Unknown {
            loan.responded = self.now;
        }
        loan.outcome = outcome;
        let Some(locker) = attempt.locker else { return };
        let held = match loan.operation {
            LockOperation::Take { lease, .. } => loan.granted().map(|token| Held {
                name: loan.name,
                token,
                lease,
            }),
            LockOperation::Renew { .. } if loan.answered() > Some(0) => {
                self.lockers.held.get(&locker).copied()
            }
            _ => None,
        };
        match held {
            Some(held) => self.lockers.held.insert(locker, held),
            None => self.lockers.held.remove(&locker),
        };
        let think = self.lockers.rng().below(400 * MS);
        self.after(think, Happening::LockerStep(locker));
    }
}
