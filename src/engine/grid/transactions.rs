//! Transactions of this node: their steps take the way of every request, and their answers come
//! back here when no lock is held.

use super::{Grid, Stir};
use crate::engine::partition::steps::{atomic_cache, step_of};
use crate::engine::partition::{self, Ask, Asker};
use crate::engine::transaction::{self, Begun, TIMEOUT_MAX, Task, Transactions};
use crate::error::{Error, ErrorKind, Result};
use crate::types::transaction::Part;
use crate::types::{
    AtomicityMode, CacheMode, Decision, Execute, KeyPlace, Monotonic, Operation, PartitionId,
    Reply, Request, RequestId, Step, StepReply,
};

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
        self.run_stirs(mono);
        None
    }

    /// Whether all these keys may take part.
    fn take_part<'a>(
        &self,
        places: impl Iterator<Item = &'a KeyPlace>,
        transactional: bool,
    ) -> Result<()> {
        let caches = self.caches.load();
        for place in places {
            let cache = self.target(&caches, place.cache, place.partition)?;
            if transactional && cache.settings.atomicity != AtomicityMode::Transactional {
                return Err(atomic_cache(&cache.settings.name));
            }
        }
        Ok(())
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
        let conditions = execute.conditions.into_iter();
        let operations = execute.operations.into_iter();
        let otherwise = execute.otherwise.into_iter();
        let part = Part {
            conditions: conditions.map(|(place, of)| (place.key, of)).collect(),
            operations: operations.map(|(place, of)| (place.key, of)).collect(),
            otherwise: otherwise.map(|(place, of)| (place.key, of)).collect(),
        };
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

    /// Answers whoever asked, on whatever node or within this one.
    pub(super) fn answer(&self, asker: Asker, result: Result<Reply>) {
        match asker {
            Asker::Step { .. } | Asker::Inquiry { .. } => {
                self.stir(std::iter::once(Stir::Answer(asker, result)));
            }
            Asker::Local { .. } | Asker::Remote { .. } => {
                partition::answer(asker, result, &*self.shell);
            }
        }
    }

    /// Something goes on as soon as no lock is held.
    pub(super) fn stir(&self, stirs: impl Iterator<Item = Stir>) {
        let mut all = self.stirs.lock();
        all.extend(stirs);
        self.stirred
            .store(true, std::sync::atomic::Ordering::Release);
    }

    /// Goes on with what came up under a lock. No lock is held here.
    pub(super) fn run_stirs(&self, mono: Monotonic) {
        while self.stirred.load(std::sync::atomic::Ordering::Acquire) {
            let stirs = {
                let mut all = self.stirs.lock();
                self.stirred
                    .store(false, std::sync::atomic::Ordering::Release);
                std::mem::take(&mut *all)
            };
            for stir in stirs {
                self.run_stir(stir, mono);
            }
        }
    }

    fn run_stir(&self, stir: Stir, mono: Monotonic) {
        match stir {
            Stir::Answer(Asker::Step { id, partition }, result) => {
                let now = self.now(mono);
                let tasks = self
                    .transactions
                    .with(|all| all.on_answer(id, partition, result, now));
                self.perform_tasks(tasks, mono);
            }
            Stir::Answer(
                Asker::Inquiry {
                    id,
                    partition: (cache, partition),
                },
                result,
            ) => {
                let decision = match result {
                    // The record went with its cache, and nobody can commit by it any more.
                    Err(error) if error.kind == ErrorKind::NotFound => Some(Decision::RolledBack),
                    result => match step_of(result) {
                        Ok(StepReply::Decided(decision)) => Some(decision),
                        // Without an answer it asks again.
                        _ => None,
                    },
                };
                if let Some(decision) = decision {
                    self.with_partition(cache, partition, mono, |partition, cx| {
                        partition.on_decision(id, decision, cx);
                    });
                }
            }
            Stir::Answer(Asker::Local { .. } | Asker::Remote { .. }, _) => {}
            Stir::Inquire(cache, partition, inquiry) => {
                let step = Step::Inquire {
                    deadline: inquiry.deadline,
                };
                let operation = Operation::Transaction {
                    id: inquiry.id,
                    step,
                };
                let asker = Asker::Inquiry {
                    id: inquiry.id,
                    partition: (cache, partition),
                };
                self.ask(inquiry.status, operation, None, None, asker, mono);
            }
        }
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
                    let asker = transaction::asker(id, partition);
                    self.ask(partition, operation, request_id, deadline, asker, mono);
                }
            }
        }
    }

    fn ask(
        &self,
        (cache, partition): PartitionId,
        operation: Operation,
        request_id: Option<RequestId>,
        deadline: Option<Monotonic>,
        asker: Asker,
        mono: Monotonic,
    ) {
        let ask = Ask {
            operation,
            request_id,
            deadline: deadline.unwrap_or(mono.after(self.options.network_timeout)),
            forwarded: false,
        };
        let caches = self.caches.load();
        match self.target(&caches, cache, partition) {
            Ok(cache) => self.route(cache, partition, ask, asker, mono),
            Err(error) => self.answer(asker, Err(error)),
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
