//! Tellers and lockers, as in the simulator: the ones move amounts between accounts by `Execute` and
//! look at all accounts at once by `Execute` and `GetMany`, the others take named locks, renew them,
//! let them go or forget them. Checkers 24 and 26 judge what they saw: all of it where the run has one
//! side, and in caches that stop in a minority where it is cut apart.

use crate::caches::{self, Use};
use crate::clients::{Clients, single_attempt};
use crate::clock::{SECOND, Time};
use crate::cluster::Cluster;
use crate::deal::{Deal, Errand};
use crate::faults::Profile;
use crate::history::Outcome;
use crate::loan::Loan;
use crate::pace::pass;
use crate::record::Record;
use crate::rng::Rng;
use crate::wire;
use embergrid::client::{Client, Lock, Options, messages as pb};
use embergrid::error::{Applied, Error, Result};
use embergrid::types::{CacheSettings, ClusterTime, Execute, LockOperation, Reply};
use parking_lot::Mutex;
use pb::execute_request::Operation;
use pb::execute_request::operation::Operation as Asked;
use pb::execute_response::result::Result as Answer;
use std::sync::Arc;
use std::time::Duration;

const ACCOUNTS: usize = 6;
const TELLERS: usize = 3;
const LOCKERS: usize = 3;
const NAMES: usize = 2;
/// A transfer with a request id is tried so often.
const ATTEMPTS_MAX: u32 = 4;
/// One call of a teller or a locker may take so long.
const PATIENCE: Duration = Duration::from_secs(4);
/// The longest that a lock is waited for.
const WAIT_MAX: u64 = 2_000;
/// In the end each lock is waited for as long as a lease that nobody ends may last, and longer.
const LAST_WAIT: Duration = Duration::from_secs(20);

/// What all of them share.
pub struct Bank {
    clients: Arc<Clients>,
    nodes: Vec<Client>,
    /// One for each node, with all the time that a sound cluster needs.
    last: Vec<Client>,
    /// The caches with accounts: place and name.
    caches: Vec<(usize, String)>,
    locks: usize,
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    deals: Vec<Deal>,
    loans: Vec<Loan>,
}

/// What a teller does.
#[derive(Clone)]
enum Task {
    Move(pb::ExecuteRequest, bool),
    Look { batch: bool },
}

/// The cache that keeps named locks, as nodes make it.
pub fn locks(partitions: u32, nodes: usize) -> (Use, CacheSettings) {
    let quorum = (nodes >= 3).then_some(nodes as u32);
    caches::locks(partitions, quorum)
}

impl Bank {
    /// Accounts are in caches that stop in a minority where the run is cut apart, else in all others;
    /// with an odd seed in one of them.
    pub async fn open(
        cluster: &Cluster,
        clients: &Arc<Clients>,
        all: &[(Use, CacheSettings)],
        profile: Profile,
        seed: u64,
    ) -> Option<Arc<Self>> {
        let stops = profile == Profile::Split;
        let named =
            |(place, (_, settings)): (usize, &(Use, CacheSettings))| (place, settings.name.clone());
        let wanted = |(_, (of, settings)): &(usize, &(Use, CacheSettings))| {
            *of == Use::Bank && settings.stops() == stops
        };
        let mut caches: Vec<_> = all.iter().enumerate().filter(wanted).map(named).collect();
        if !seed.is_multiple_of(2) {
            caches.truncate(1);
        }
        let locks = all.iter().position(|(of, _)| *of == Use::Locks)?;
        if caches.is_empty() {
            return None;
        }
        let patient = Options {
            routing: false,
            ..Options::default()
        };
        let (mut nodes, mut last) = (Vec::new(), Vec::new());
        for node in 0..cluster.size() {
            nodes.push(cluster.client(&[node], single_attempt(PATIENCE)).await);
            last.push(cluster.client(&[node], patient).await);
        }
        Some(Arc::new(Self {
            clients: Arc::clone(clients),
            nodes,
            last,
            caches,
            locks,
            state: Mutex::new(State {
                rng: Rng::stream(seed, "bank"),
                deals: Vec::new(),
                loans: Vec::new(),
            }),
        }))
    }

    /// Has all of them begin.
    pub fn work(self: &Arc<Self>, tasks: &mut tokio::task::JoinSet<()>) {
        for _ in 0..TELLERS {
            tasks.spawn(Arc::clone(self).tell());
        }
        for _ in 0..LOCKERS {
            tasks.spawn(Arc::clone(self).lock());
        }
    }

    async fn tell(self: Arc<Self>) {
        while !self.clients.stopped() {
            let task = self.draw();
            self.deal(task, None).await;
            self.think(40).await;
        }
    }

    /// Up to so many milliseconds.
    async fn think(&self, most: u64) {
        let span = self.state.lock().rng.below(most);
        pass(Duration::from_millis(span)).await;
    }

    fn draw(&self) -> Task {
        let mut state = self.state.lock();
        let rng = &mut state.rng;
        if rng.percent(40) {
            let batch = self.caches.len() == 1 && rng.percent(50);
            return Task::Look { batch };
        }
        let from = rng.index(ACCOUNTS);
        let to = (from + 1 + rng.index(ACCOUNTS - 1)) % ACCOUNTS;
        let amount = 1 + rng.below(100) as i64;
        let counted = rng.percent(50);
        let mut operations = vec![self.add(from, -amount), self.add(to, amount)];
        if counted {
            operations.push(self.add(ACCOUNTS, 1));
        }
        let id = [rng.next().to_le_bytes(), rng.next().to_le_bytes()].concat();
        let request = pb::ExecuteRequest {
            operations,
            request_id: id.into(),
            ..Default::default()
        };
        Task::Move(request, counted)
    }

    /// The cache and the key of an account; behind the last one comes the count.
    fn place(&self, account: usize) -> (String, bytes::Bytes) {
        let (_, cache) = &self.caches[account % self.caches.len()];
        (cache.clone(), format!("account-{account}").into())
    }

    fn add(&self, account: usize, delta: i64) -> Operation {
        use pb::modify_request::{Change, Increment};
        let (cache, key) = self.place(account);
        let increment = Increment {
            delta,
            initial: Some(delta),
            at_least_zero: false,
            wrap: false,
        };
        Operation {
            operation: Some(Asked::Modify(pb::ModifyRequest {
                cache,
                key,
                change: Some(Change::Increment(increment)),
                expiry: Some(pb::Expiry {
                    keep: true,
                    ..Default::default()
                }),
                ..Default::default()
            })),
        }
    }

    /// Does it, at a node of its choice or at this one, and writes it down.
    async fn deal(&self, task: Task, at: Option<usize>) {
        let (errand, attempts_max) = match &task {
            Task::Move(_, counted) => {
                let (execute, id) = (Execute::default(), None);
                let counted = *counted;
                let errand = Errand::Move {
                    execute,
                    id,
                    counted,
                };
                (errand, ATTEMPTS_MAX)
            }
            Task::Look { .. } => (Errand::Look, 1),
        };
        let mut deal = Deal {
            errand,
            invoked: self.clients.now(),
            responded: Time::MAX,
            outcome: Outcome::Unknown,
            attempts: 0,
            last: at.is_some(),
            gone: false,
        };
        while deal.attempts < attempts_max && deal.outcome == Outcome::Unknown {
            let client = match at {
                Some(node) => &self.last[node],
                None => &self.nodes[self.pick()],
            };
            deal.attempts += 1;
            let result = match &task {
                Task::Move(request, _) => {
                    client
                        .execute(request.clone())
                        .await
                        .map(|done| Reply::Executed {
                            held: done.held,
                            replies: Vec::new(),
                        })
                }
                Task::Look { batch } => self.look(client, *batch).await,
            };
            deal.outcome = match result {
                Ok(reply) => Outcome::Ok(reply),
                Err(Error {
                    kind,
                    applied: Applied::NotApplied,
                    ..
                }) if deal.attempts == 1 => Outcome::Failed(kind),
                Err(_) => Outcome::Unknown,
            };
        }
        if deal.outcome != Outcome::Unknown {
            deal.responded = self.clients.now();
        }
        self.state.lock().deals.push(deal);
    }

    /// A node that runs.
    fn pick(&self) -> usize {
        let up = self.clients.up();
        let mut state = self.state.lock();
        state.rng.pick(&up).copied().unwrap_or_default()
    }

    /// All accounts, and the count.
    async fn look(&self, client: &Client, batch: bool) -> Result<Reply> {
        let places = (0..=ACCOUNTS).map(|account| self.place(account));
        let entries: Vec<Option<pb::Entry>> = if batch {
            let request = pb::GetManyRequest {
                cache: self.caches[0].1.clone(),
                keys: places.map(|(_, key)| key).collect(),
                ..Default::default()
            };
            let read = client.get_many(request).await?;
            read.into_iter().collect::<Result<_>>()?
        } else {
            let get = |(cache, key)| Operation {
                operation: Some(Asked::Get(pb::GetRequest {
                    cache,
                    key,
                    ..Default::default()
                })),
            };
            let request = pb::ExecuteRequest {
                operations: places.map(get).collect(),
                ..Default::default()
            };
            let done = client.execute(request).await?;
            let results = done.results.into_iter().map(|done| match done.result {
                Some(Answer::Get(got)) => Ok(got.entry),
                other => Err(Error::unknown(format!("{other:?} is no answer"))),
            });
            results.collect::<Result<_>>()?
        };
        let got = |entry: Option<pb::Entry>| Reply::Got {
            entry: entry.map(wire::entry),
        };
        Ok(Reply::Executed {
            held: true,
            replies: entries.into_iter().map(got).collect(),
        })
    }

    async fn lock(self: Arc<Self>) {
        let mut held: Option<(usize, u64, Lock)> = None;
        while !self.clients.stopped() {
            let ticket = self.state.lock().rng.below(10);
            held = match held.take() {
                None => {
                    let (node, name, lease, wait) = {
                        let node = self.pick();
                        let mut state = self.state.lock();
                        let rng = &mut state.rng;
                        let (lease, wait) = (rng.within(300, 3_000), rng.below(WAIT_MAX));
                        (node, rng.index(NAMES), lease, Duration::from_millis(wait))
                    };
                    let lock = self.take(&self.nodes[node], name, wait, lease, false).await;
                    lock.map(|lock| (name, lease, lock))
                }
                Some((name, lease, lock)) if ticket < 6 => {
                    let lock = self.renew(name, lease, lock).await;
                    lock.map(|lock| (name, lease, lock))
                }
                Some((name, _, lock)) if ticket < 9 => {
                    self.let_go(name, lock).await;
                    None
                }
                // Its holder is gone; it is free when the lease is over.
                Some(_) => None,
            };
            self.think(100).await;
        }
    }

    fn note(
        &self,
        (name, operation): (usize, LockOperation),
        invoked: Time,
        outcome: Outcome,
        last: bool,
    ) {
        let unknown = outcome == Outcome::Unknown;
        self.state.lock().loans.push(Loan {
            cache: self.locks,
            name,
            operation,
            invoked,
            responded: if unknown {
                Time::MAX
            } else {
                self.clients.now()
            },
            outcome,
            attempts: 1,
            last,
        });
    }

    async fn take(
        &self,
        client: &Client,
        name: usize,
        wait: Duration,
        lease: u64,
        last: bool,
    ) -> Option<Lock> {
        let invoked = self.clients.now();
        let span = Duration::from_millis(lease);
        let taken = client.lock(&format!("lock-{name}"), wait, span).await;
        let operation = LockOperation::Take {
            lease: lease * SECOND / 1_000,
            spare: 0,
        };
        let token = |lock: &Option<Lock>| lock.as_ref().map_or(0, Lock::token);
        let outcome = outcome(taken.as_ref().map(|lock| locked(token(lock))));
        self.note((name, operation), invoked, outcome, last);
        taken.ok().flatten()
    }

    /// Where it is not known whether the lease began anew, it is not counted on, and not let go.
    async fn renew(&self, name: usize, lease: u64, mut lock: Lock) -> Option<Lock> {
        let (invoked, token) = (self.clients.now(), lock.token());
        let renewed = lock.renew(Duration::from_millis(lease)).await;
        let operation = LockOperation::Renew {
            token,
            lease: lease * SECOND / 1_000,
        };
        let told = |held: &bool| locked(if *held { token } else { 0 });
        let outcome = outcome(renewed.as_ref().map(told));
        self.note((name, operation), invoked, outcome, false);
        (renewed == Ok(true)).then_some(lock)
    }

    async fn let_go(&self, name: usize, lock: Lock) {
        let (invoked, token) = (self.clients.now(), lock.token());
        let done = lock.unlock().await;
        let reply = |applied: &bool| Reply::Removed {
            applied: *applied,
            previous: None,
        };
        let outcome = outcome(done.as_ref().map(reply));
        self.note(
            (name, LockOperation::Release { token }),
            invoked,
            outcome,
            false,
        );
    }

    /// When nothing disturbs any more: every node is asked for all accounts, and each lock can be taken.
    pub async fn audit(&self) {
        for node in 0..self.last.len() {
            self.deal(Task::Look { batch: false }, Some(node)).await;
        }
        for name in 0..NAMES {
            let client = &self.last[name % self.last.len()];
            let lock = self.take(client, name, LAST_WAIT, 1_000, true).await;
            if let Some(lock) = lock {
                self.let_go(name, lock).await;
            }
        }
    }

    /// Taken once, when all have stopped.
    pub fn write_down(&self, record: &mut Record) {
        let mut state = self.state.lock();
        record.bank = self.caches.iter().map(|(place, _)| *place).collect();
        record.deals = std::mem::take(&mut state.deals);
        record.loans = std::mem::take(&mut state.loans);
    }
}

fn locked(token: u64) -> Reply {
    Reply::Locked {
        token,
        expires_at: ClusterTime::default(),
    }
}

fn outcome(result: std::result::Result<Reply, &Error>) -> Outcome {
    match result {
        Ok(reply) => Outcome::Ok(reply),
        Err(error) if error.applied == Applied::NotApplied => Outcome::Failed(error.kind),
        Err(_) => Outcome::Unknown,
    }
}
