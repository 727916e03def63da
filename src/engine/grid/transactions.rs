//! Transactions of this node: their steps take the way of every request, and their answers come
//! back here when no lock is held.

use super::Grid;
use super::errands::OWN;
use crate::engine::partition::held::Inquiry;
use crate::engine::partition::steps::{atomic_cache, older_protocol, step_of};
use crate::engine::shell::Shell;
use crate::engine::transaction::{Begun, TIMEOUT_MAX, Task, Transactions};
use crate::error::{Error, ErrorKind, Result};
use crate::types::cache::check_key;
use crate::types::transaction::{Begin, OpenTransaction, Part};
use crate::types::{
    AtomicityMode, CacheMode, Decision, Execute, KeyOperation, KeyPlace, Monotonic, Operation,
    PartitionId, Reply, Request, RequestId, Step, StepReply, TransactionId,
};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// Of the tokens of this node's own requests, those with this bit are asked for transactions.
const FOR_TRANSACTION: u64 = 1 << 62;

/// What is asked for transactions and not answered yet. Every question ends by its deadline.
#[derive(Default)]
pub struct Asked {
    last: u64,
    waiting: BTreeMap<u64, About>,
}

/// What an answer is for.
enum About {
    /// A transaction of this node, about one of its participants.
    Step(TransactionId, PartitionId),
    /// Something that is prepared in a partition of this node.
    Decision(TransactionId, PartitionId),
}

impl Asked {
    fn wait_for(&mut self, about: About) -> u64 {
        self.last += 1;
        let token = OWN | FOR_TRANSACTION | self.last;
        self.waiting.insert(token, about);
        token
    }
}

/// Whether a token of this node's own is asked for a transaction.
pub fn is_for_transaction(token: u64) -> bool {
    token & FOR_TRANSACTION != 0
}

/// What was decided; none where that is not known, and asked again.
fn decision(result: Result<Reply>) -> Option<Decision> {
    match result {
        // The record went with its cache, and nobody can commit by it any more.
        Err(error) if error.kind == ErrorKind::NotFound => Some(Decision::RolledBack),
        result => match step_of(result) {
            Ok(StepReply::Decided(decision)) => Some(decision),
            _ => None,
        },
    }
}

impl Grid {
    /// Carries out a transaction; answers as [`Grid::submit`] does.
    pub fn execute(
        &self,
        execute: Execute,
        request_id: Option<RequestId>,
        deadline: Monotonic,
        mono: Monotonic,
        token: &mut dyn FnMut() -> u64,
    ) -> Option<Result<Reply>> {
        if let Err(error) = self.take_part(execute.places(), true) {
            return Some(Err(error));
        }
        let Some(first) = execute.places().next().map(KeyPlace::partition_id) else {
            return Some(Err(Error::invalid("a transaction names at least one key")));
        };
        let deadline = deadline.min(mono.after(TIMEOUT_MAX));
        if execute.places().all(|place| place.partition_id() == first) {
            let request = self.alone(first, execute, request_id);
            return self.submit(request, deadline, mono, token);
        }
        let begin = |transactions: &mut Transactions, begun| {
            let local = |partition| self.is_local(partition);
            transactions.execute(execute, local, begun, self.now(mono))
        };
        self.begin(begin, request_id, deadline, mono, token)
    }

    /// Reads keys as they were at one moment: `Reply::Executed` with an answer for each.
    pub fn look(
        &self,
        keys: Vec<KeyPlace>,
        omit_values: bool,
        deadline: Monotonic,
        mono: Monotonic,
        token: &mut dyn FnMut() -> u64,
    ) -> Option<Result<Reply>> {
        if let Err(error) = self.take_part(keys.iter(), false) {
            return Some(Err(error));
        }
        let begin = |transactions: &mut Transactions, begun| {
            let local = |partition| self.is_local(partition);
            transactions.look(keys, omit_values, local, begun, self.now(mono))
        };
        self.begin(begin, None, deadline, mono, token)
    }

    /// Begins a transaction of several calls, which this node keeps.
    ///
    /// # Errors
    ///
    /// `Overloaded` where it keeps as many as it may; `Unavailable` while a server of the view does
    /// not know transactions.
    pub fn begin_transaction(&self, begin: Begin, mono: Monotonic) -> Result<TransactionId> {
        self.take_part(std::iter::empty(), true)?;
        let timeout = begin.timeout.min(TIMEOUT_MAX);
        let begin = Begin { timeout, ..begin };
        let number = self.view.load().version.number;
        let (me, now) = (self.options.me.member, self.now(mono));
        self.transactions
            .with(|all| all.begin(begin, number, me, now))
    }

    /// Carries operations out within a transaction: `Reply::Executed` with an answer for each.
    pub fn operate(
        &self,
        id: TransactionId,
        operations: Vec<(KeyPlace, KeyOperation)>,
        deadline: Monotonic,
        mono: Monotonic,
        token: &mut dyn FnMut() -> u64,
    ) -> Option<Result<Reply>> {
        if let Err(error) = self.take_part(operations.iter().map(|(place, _)| place), true) {
            return Some(Err(error.not_applied()));
        }
        let caches = self.caches.load();
        let with_settings = |(place, operation): (KeyPlace, KeyOperation)| {
            let settings = caches.get(&place.cache)?.settings.clone();
            Some((place, operation, settings))
        };
        let asked = operations.into_iter().filter_map(with_settings).collect();
        let operate = |all: &mut Transactions, begun: Begun| {
            all.operate(id, asked, begun.token, begun.deadline, self.now(mono))
        };
        self.begin(operate, None, deadline, mono, token)
    }

    /// Makes visible what a transaction wrote, or nothing of it.
    pub fn commit(
        &self,
        id: TransactionId,
        deadline: Monotonic,
        mono: Monotonic,
        token: &mut dyn FnMut() -> u64,
    ) -> Option<Result<Reply>> {
        let commit = |all: &mut Transactions, begun: Begun| {
            let local = |partition| self.is_local(partition);
            all.commit(id, local, begun.token, begun.deadline, self.now(mono))
        };
        self.begin(commit, None, deadline, mono, token)
    }

    /// Drops what a transaction wrote.
    pub fn roll_back(
        &self,
        id: TransactionId,
        deadline: Monotonic,
        mono: Monotonic,
        token: &mut dyn FnMut() -> u64,
    ) -> Option<Result<Reply>> {
        let roll_back = |all: &mut Transactions, begun: Begun| all.roll_back(id, begun.token);
        self.begin(roll_back, None, deadline, mono, token)
    }

    /// The transactions of several calls that this node keeps and that can still be used.
    pub fn open_transactions(&self, mono: Monotonic) -> Vec<OpenTransaction> {
        let now = self.now(mono);
        self.transactions.with(|all| all.open(now))
    }

    fn begin(
        &self,
        begin: impl FnOnce(&mut Transactions, Begun) -> Result<Vec<Task>>,
        request_id: Option<RequestId>,
        deadline: Monotonic,
        mono: Monotonic,
        token: &mut dyn FnMut() -> u64,
    ) -> Option<Result<Reply>> {
        if mono >= deadline {
            let context = "the deadline has passed already";
            let error = Error::new(ErrorKind::DeadlineExceeded, context);
            return Some(Err(error.not_applied()));
        }
        let begun = Begun {
            token: token(),
            request_id,
            deadline,
            topology: self.view.load().version.number,
            initiator: self.options.me.member,
        };
        match self.transactions.with(|all| begin(all, begun)) {
            Ok(tasks) => self.perform_tasks(tasks, mono),
            Err(error) => self.shell.complete(begun.token, Err(error)),
        }
        self.go_on_with_errands(mono);
        None
    }

    /// Whether all these keys may take part.
    fn take_part<'a>(
        &self,
        places: impl Iterator<Item = &'a KeyPlace>,
        transactional: bool,
    ) -> Result<()> {
        if !self.knows_transactions() {
            return Err(older_protocol());
        }
        let caches = self.caches.load();
        for place in places {
            let cache = self.target(&caches, place.cache, place.partition)?;
            check_key(&place.key)?;
            if transactional && cache.settings.atomicity != AtomicityMode::Transactional {
                return Err(atomic_cache(&cache.settings.name));
            }
        }
        Ok(())
    }

    /// Whether every server of the view knows transactions: [`Grid::execute`] and [`Grid::look`]
    /// are refused otherwise.
    pub fn knows_transactions(&self) -> bool {
        self.knows_transactions.load(Ordering::Relaxed)
    }

    fn is_local(&self, (cache, _): PartitionId) -> bool {
        let cache = self.cache(cache);
        cache.is_some_and(|cache| cache.settings.mode == CacheMode::Local)
    }

    /// A transaction of one partition is one request.
    fn alone(
        &self,
        (cache, partition): PartitionId,
        execute: Execute,
        request_id: Option<RequestId>,
    ) -> Request {
        let number = self.view.load().version.number;
        let me = self.options.me.member;
        let id = self.transactions.with(|all| all.id(number, me));
        let part = Part::of(execute);
        Request {
            cache,
            partition,
            operation: Operation::Transaction {
                id,
                step: Step::Alone(Box::new(part)),
            },
            request_id,
        }
    }

    /// The answer to something that was asked for a transaction. No lock is held here.
    pub(super) fn on_asked(&self, token: u64, result: Result<Reply>, mono: Monotonic) {
        let asked = self.asked.lock().waiting.remove(&token);
        match asked {
            Some(About::Step(id, partition)) => {
                let now = self.now(mono);
                let answered = |all: &mut Transactions| all.on_answer(id, partition, result, now);
                let tasks = self.transactions.with(answered);
                self.perform_tasks(tasks, mono);
            }
            Some(About::Decision(id, (cache, partition))) => {
                if let Some(decision) = decision(result) {
                    self.with_partition(cache, partition, mono, |partition, cx| {
                        partition.on_decision(id, decision, cx);
                    });
                }
            }
            None => {}
        }
    }

    /// Asks for the decision of something that is prepared in a partition of this node.
    pub(super) fn inquire(&self, about: PartitionId, inquiry: Inquiry, mono: Monotonic) {
        let Inquiry {
            id,
            status,
            deadline,
        } = inquiry;
        let step = Step::Inquire { deadline };
        let operation = Operation::Transaction { id, step };
        self.ask(
            status,
            operation,
            None,
            None,
            About::Decision(id, about),
            mono,
        );
    }

    fn perform_tasks(&self, tasks: Vec<Task>, mono: Monotonic) {
        for task in tasks {
            match task {
                Task::Answer { token, result } => self.shell.complete(token, result),
                Task::Ask {
                    id,
                    partition,
                    operation,
                    request_id,
                    deadline,
                } => {
                    let about = About::Step(id, partition);
                    self.ask(partition, operation, request_id, deadline, about, mono);
                }
            }
        }
    }

    /// Asks one partition; the answer comes to [`Grid::on_asked`].
    fn ask(
        &self,
        (cache, partition): PartitionId,
        operation: Operation,
        request_id: Option<RequestId>,
        deadline: Option<Monotonic>,
        about: About,
        mono: Monotonic,
    ) {
        let token = self.asked.lock().wait_for(about);
        let deadline = deadline.unwrap_or(mono.after(self.options.network_timeout));
        let request = Request {
            cache,
            partition,
            operation,
            request_id,
        };
        if let Some(result) = self.submit_step(request, deadline, mono, &mut || token) {
            self.shell.complete(token, result);
        }
    }

    pub(super) fn transactions_timeout(&self, mono: Monotonic) {
        if self.transactions.due().is_some_and(|due| due <= mono) {
            let now = self.now(mono);
            let tasks = self.transactions.with(|all| all.on_timeout(now));
            self.perform_tasks(tasks, mono);
        }
    }

    /// How many transactions this node has begun and not ended.
    pub fn transactions(&self) -> usize {
        self.transactions.with(|all| all.len())
    }
}
