//! Tellers: clients that move amounts between accounts in several caches by one transaction each,
//! and that look at all accounts at once. What is moved is taken elsewhere, so the sum stays 0.

use crate::clock::{MS, SECOND, Time};
use crate::deal::{Deal, Errand};
use crate::history::Outcome;
use crate::machine::Input;
use crate::rng::Rng;
use crate::world::{Happening, World};
use embergrid::error::{Applied, Error, Result};
use embergrid::types::cache::partition_of;
use embergrid::types::{Blob, Change, Condition, Execute, Expiry, KeyOperation, KeyPlace, Reply};
use std::collections::BTreeMap;

const ACCOUNTS: usize = 6;
const TELLERS: usize = 3;
const ATTEMPTS_MAX: u32 = 4;
const GRACE: Time = SECOND;

#[derive(Clone, Copy, Debug)]
struct Visit {
    teller: Option<usize>,
    deal: usize,
    node: usize,
    deadline: Time,
    gone: bool,
}

#[derive(Default)]
pub struct Bank {
    rng: Option<Rng>,
    visits: BTreeMap<u64, Visit>,
    next: u64,
    /// The versions that looks have seen last.
    versions: BTreeMap<usize, u64>,
    /// What is looked at instead of the accounts.
    pub ledger: Option<Vec<KeyPlace>>,
}

/// Tokens of visits: far from those of the other clients.
const FIRST_TOKEN: u64 = 1 << 40;

impl Bank {
    pub fn of(seed: u64) -> Self {
        Self {
            rng: Some(Rng::stream(seed, "bank")),
            next: FIRST_TOKEN,
            ..Self::default()
        }
    }

    fn rng(&mut self) -> &mut Rng {
        self.rng.get_or_insert_with(|| Rng::stream(0, "bank"))
    }

    pub fn node_gone(&mut self, node: usize) -> Vec<u64> {
        let waiting = self.visits.iter_mut();
        let waiting = waiting.filter(|(_, visit)| visit.node == node);
        waiting
            .map(|(token, visit)| {
                visit.gone = true;
                *token
            })
            .collect()
    }
}

impl World {
    fn account(&self, account: usize) -> KeyPlace {
        let name = format!("account-{account}");
        let caches = &self.record.bank;
        self.place(caches[account % caches.len()], &name)
    }

    pub fn place(&self, cache: usize, name: &str) -> KeyPlace {
        let settings = &self.plan.caches[cache];
        let key = Blob::from(name);
        KeyPlace {
            cache: settings.id(),
            partition: partition_of(&key, settings.partitions),
            key,
        }
    }

    /// All accounts, and the count.
    pub fn ledger(&self) -> Vec<KeyPlace> {
        if let Some(ledger) = &self.bank.ledger {
            return ledger.clone();
        }
        let accounts = (0..ACCOUNTS).map(|account| self.account(account));
        accounts
            .chain([self.place(self.record.bank[0], "count")])
            .collect()
    }

    /// Without caches for it there is none.
    pub fn open_bank(&mut self) {
        self.record.bank = self.plan.bank();
        if self.record.bank.is_empty() {
            return;
        }
        self.open_lists();
        for teller in 0..TELLERS {
            let at = self.plan.clients_start + SECOND + self.bank.rng().below(500 * MS);
            self.at(at, Happening::TellerStep(teller));
        }
    }

    pub fn teller_step(&mut self, teller: usize) {
        if self.clients.stopped {
            return;
        }
        let errand = if self.bank.rng().percent(40) {
            Errand::Look
        } else {
            self.draw_move()
        };
        self.begin_deal(Some(teller), errand, None);
    }

    fn draw_move(&mut self) -> Errand {
        let rng = self.bank.rng();
        let from = rng.index(ACCOUNTS);
        let to = (from + 1 + rng.index(ACCOUNTS - 1)) % ACCOUNTS;
        let amount = 1 + rng.below(100) as i64;
        let (counted, conditional, named) = (rng.percent(50), rng.percent(30), rng.percent(50));
        let id = named.then(|| {
            let mut id = [0u8; 16];
            id[..8].copy_from_slice(&rng.next().to_le_bytes());
            id[8..].copy_from_slice(&rng.next().to_le_bytes());
            id
        });
        let add = |delta| KeyOperation::Modify {
            change: Change::Increment {
                delta,
                initial: Some(delta),
                at_least_zero: false,
                wrap: false,
            },
            expiry: Expiry::Keep,
            condition: Condition::Any,
        };
        let mut execute = Execute::default();
        let (from_place, to_place) = (self.account(from), self.account(to));
        execute.operations.push((from_place.clone(), add(-amount)));
        execute.operations.push((to_place.clone(), add(amount)));
        if counted {
            execute
                .operations
                .push((self.place(self.record.bank[0], "count"), add(1)));
        }
        if conditional && !counted {
            let condition = match self.bank.versions.get(&from) {
                Some(version) => Condition::Version(*version),
                None => Condition::Absent,
            };
            execute.conditions.push((from_place, condition));
            execute.otherwise.push((to_place, add(0)));
        }
        Errand::Move {
            execute,
            id,
            counted,
        }
    }

    /// Every node is asked for all accounts once more.
    pub fn audit(&mut self) {
        if self.record.bank.is_empty() {
            return;
        }
        for node in 0..self.nodes.len() {
            self.begin_deal(None, Errand::Look, Some(node));
        }
        if self.bank.ledger.is_none() {
            self.read_all_lists();
        }
    }

    pub fn begin_deal(&mut self, teller: Option<usize>, errand: Errand, node: Option<usize>) {
        let deal = self.record.deals.len();
        self.record.deals.push(Deal {
            errand,
            invoked: self.now,
            responded: Time::MAX,
            outcome: Outcome::Unknown,
            attempts: 0,
            last: teller.is_none(),
            gone: false,
        });
        self.visit(teller, deal, node);
    }

    fn visit(&mut self, teller: Option<usize>, deal: usize, node: Option<usize>) {
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].up())
            .collect();
        let drawn = self.bank.rng().pick(&up).copied().unwrap_or_default();
        let node = node.unwrap_or(drawn);
        let patience = if teller.is_none() {
            3 * SECOND
        } else {
            crate::workload::patience(self.bank.rng())
        };
        let deadline = self.now + patience;
        self.bank.next += 1;
        let token = self.bank.next;
        let visit = Visit {
            teller,
            deal,
            node,
            deadline,
            gone: !self.nodes[node].up(),
        };
        self.bank.visits.insert(token, visit);
        self.record.deals[deal].attempts += 1;
        let until = if visit.gone {
            self.now + MS
        } else {
            deadline + GRACE
        };
        self.at(until, Happening::TellerTimeout(token));
        let input = match self.record.deals[deal].errand.clone() {
            Errand::Move { execute, id, .. } => Input::Execute {
                token,
                execute,
                id,
                deadline,
            },
            Errand::Look => Input::Look {
                token,
                keys: self.ledger(),
                deadline,
            },
        };
        self.feed(node, input);
    }

    pub fn teller_timeout(&mut self, token: u64) {
        let Some(visit) = self.bank.visits.remove(&token) else {
            return;
        };
        let stood = |&(from, until, node): &(Time, Time, usize)| {
            node == visit.node && from <= visit.deadline + GRACE && until + GRACE >= visit.deadline
        };
        if !visit.gone && !self.record.pauses.iter().any(stood) {
            self.broken.push(format!(
                "n{} does not answer a transaction until {} µs",
                visit.node, visit.deadline
            ));
        }
        self.visited(visit, Outcome::Unknown);
    }

    /// Whether the answer was for a teller.
    pub fn bank_completed(&mut self, token: u64, result: &Result<Reply>) -> bool {
        let Some(visit) = self.bank.visits.remove(&token) else {
            return token >= FIRST_TOKEN && self.writer_completed(token, result);
        };
        let retried = self.record.deals[visit.deal].attempts > 1;
        let outcome = match result {
            Ok(reply) => Outcome::Ok(reply.clone()),
            Err(Error {
                kind,
                applied: Applied::NotApplied,
                ..
            }) if !retried => Outcome::Failed(*kind),
            Err(_) => Outcome::Unknown,
        };
        self.visited(visit, outcome);
        true
    }

    fn visited(&mut self, visit: Visit, outcome: Outcome) {
        let deal = &mut self.record.deals[visit.deal];
        let named = matches!(deal.errand, Errand::Move { id: Some(_), .. });
        let again = outcome == Outcome::Unknown && named && deal.attempts < ATTEMPTS_MAX;
        if again && !self.clients.stopped {
            self.visit(visit.teller, visit.deal, None);
            return;
        }
        if outcome != Outcome::Unknown {
            deal.responded = self.now;
        }
        deal.outcome = outcome;
        deal.gone = visit.gone;
        if let (Errand::Look, Outcome::Ok(Reply::Executed { replies, .. })) =
            (&deal.errand, &deal.outcome)
        {
            for (account, reply) in replies.iter().take(ACCOUNTS).enumerate() {
                if let Reply::Got { entry: Some(entry) } = reply {
                    self.bank.versions.insert(account, entry.version);
                }
            }
        }
        if let Some(teller) = visit.teller {
            let think = self.bank.rng().below(200 * MS);
            self.after(think, Happening::TellerStep(teller));
        }
    }
}
