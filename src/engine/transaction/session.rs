//! One transaction of several calls at its initiator, from `Begin` to its end.
//!
//! # How it works
//!
//! What it writes stays here until it commits. A call reads the keys that it does not know yet at
//! their primaries and is carried out on what was read, together with what the transaction has
//! written before. `Commit` is one transaction of one call (`transaction::initiator`): what the keys were
//! must still hold, and then all that was written becomes visible at once.
//!
//! | | READ_COMMITTED | REPEATABLE_READ, SERIALIZABLE |
//! |---|---|---|
//! | a read | of what is committed, each time anew | once; later ones give the same |
//! | PESSIMISTIC locks | keys that it writes, at access | all keys, at access |
//! | must hold at commit | PESSIMISTIC: what it has locked and written; OPTIMISTIC: nothing | all that it has read |
//!
//! So nothing that was written before commit can be read by others, nothing is half visible, and what
//! committed under REPEATABLE_READ or SERIALIZABLE has a place in one order: the moment of its
//! decision, at which all that it had read was so. Between calls, a transaction that cannot commit
//! any more may see keys of different moments; it learns of that at commit.
//!
//! Locks are an aid (`partition/locks.rs`): they keep others from writing what was read. An older
//! transaction takes them from a younger one, and a younger one waits for an older one; what waits
//! so holds nothing that an older one could wait for, hence no deadlock. Whoever has lost a lock
//! commits if nothing changed meanwhile, and is told to run again otherwise.
//!
//! # Messages
//!
//! Answers carry the number of the call that they belong to; late and doubled ones find another call
//! or none. A node that dies takes its transactions with it: nothing of them is anywhere else but
//! locks, which end when it is out of the view.

use super::overlay::Overlay;
use super::{FINISHES_FOR, Task, cluster_time};
use crate::engine::partition::steps::step_of;
use crate::error::{Error, ErrorKind, Result};
use crate::types::transaction::{Begin, Concurrency, Isolation, Part};
use crate::types::{
    Blob, CacheSettings, ClusterTime, EntryView, Execute, KeyOperation, KeyPlace, Monotonic, Now,
    Operation, PartitionId, Reply, RequestId, Step, StepReply, TransactionId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// The reason where a transaction is not known: it has ended, or another node began it.
pub const NO_TRANSACTION: &str = "NO_TRANSACTION";
/// The reason of a second call while one is under way.
pub const TRANSACTION_BUSY: &str = "TRANSACTION_BUSY";
/// The reason where what a transaction read has changed.
pub const READ_CHANGED: &str = "READ_CHANGED";
/// Attempts of this bit are calls, and not those of the commit.
const CALL: u32 = 1 << 31;

/// Whether a step belongs to a call, and not to the commit in several partitions.
pub fn is_call(id: TransactionId) -> bool {
    id.attempt & CALL != 0
}

/// An operation of one call, and the settings of its cache.
pub type Asked = (KeyPlace, KeyOperation, Arc<CacheSettings>);

/// How far it is.
#[derive(Debug)]
enum State {
    /// Between calls.
    Open,
    /// A call waits for what its keys are.
    Asking {
        token: u64,
        asked: Vec<Asked>,
        /// By partition, the keys that were asked for, in order.
        missing: BTreeMap<PartitionId, Vec<Blob>>,
        deadline: Monotonic,
    },
    /// All of it is in one partition, which was asked to carry it out.
    Alone {
        token: u64,
    },
    /// It commits in several partitions.
    Committing,
    Ended(Result<()>),
}

/// A transaction of several calls.
#[derive(Debug)]
pub struct Session {
    pub id: TransactionId,
    pub begin: Begin,
    pub begun_at: Monotonic,
    pub deadline: Monotonic,
    until: ClusterTime,
    overlay: Overlay,
    /// Where it has asked for locks.
    locked: BTreeSet<PartitionId>,
    /// Counts calls.
    call: u32,
    state: State,
}

/// What comes of a commit.
pub enum Commit {
    Tasks(Vec<Task>),
    /// To be carried out as one transaction of one call, under this transaction's id.
    Execute(Box<Execute>),
}

impl Session {
    pub fn new(id: TransactionId, begin: Begin, now: Now) -> Self {
        let deadline = now.mono.after(begin.timeout);
        Self {
            id,
            begin,
            begun_at: now.mono,
            deadline,
            until: cluster_time(deadline, now),
            overlay: Overlay::default(),
            locked: BTreeSet::new(),
            call: 0,
            state: State::Open,
        }
    }

    /// Whether it can be used no more.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// When it wants to be called: for a call, or for its end.
    pub fn due(&self) -> Monotonic {
        match &self.state {
            State::Asking { deadline, .. } => self.deadline.min(*deadline),
            State::Open => self.deadline,
            // What it waits for ends by itself before.
            State::Alone { .. } | State::Committing | State::Ended(_) => {
                self.deadline.after(FINISHES_FOR)
            }
        }
    }

    /// How many keys it knows.
    pub fn keys(&self) -> usize {
        self.overlay.len()
    }

    fn repeats_reads(&self) -> bool {
        self.begin.isolation != Isolation::ReadCommitted
    }

    fn locks(&self, operation: &KeyOperation) -> bool {
        let pessimistic = self.begin.concurrency == Concurrency::Pessimistic;
        pessimistic && (self.repeats_reads() || !operation.is_read())
    }

    /// The name of a call or of the end in the ids of steps.
    fn step_id(&self) -> TransactionId {
        TransactionId {
            attempt: CALL | self.call,
            ..self.id
        }
    }

    fn is_open(&self) -> Result<()> {
        match &self.state {
            State::Open => Ok(()),
            State::Ended(_) => Err(no_transaction()),
            _ => {
                let context = "another call of the transaction is under way";
                let error = Error::new(ErrorKind::FailedPrecondition, context);
                Err(error.because(TRANSACTION_BUSY))
            }
        }
    }

    /// Carries operations out. None of them is, where one cannot be.
    ///
    /// # Errors
    ///
    /// Whatever can be said at once; the transaction stays as it is.
    pub fn operate(
        &mut self,
        asked: Vec<Asked>,
        token: u64,
        deadline: Monotonic,
        now: Now,
    ) -> Result<Vec<Task>> {
        self.is_open()?;
        if now.mono >= self.deadline {
            return Err(no_transaction());
        }
        self.overlay
            .check_room(asked.iter().map(|(place, ..)| place))?;
        self.call += 1;
        let deadline = deadline.min(self.deadline);
        let wanted = self.wanted(&asked);
        let mut tasks = Vec::new();
        let mut missing = BTreeMap::new();
        for (partition, (locks, keys)) in wanted {
            let keys: Vec<Blob> = keys.into_iter().collect();
            missing.insert(partition, keys.clone());
            let step = if locks {
                self.locked.insert(partition);
                let deadline = self.until;
                Step::Lock { keys, deadline }
            } else {
                let omit_values = false;
                Step::Look { keys, omit_values }
            };
            tasks.push(self.ask(partition, step, None, Some(deadline)));
        }
        let none = missing.is_empty();
        self.state = State::Asking {
            token,
            asked,
            missing,
            deadline,
        };
        if none {
            return Ok(self.carry_out(now));
        }
        Ok(tasks)
    }

    /// What must be asked for before these can be carried out, and whether it is locked.
    fn wanted(&self, asked: &[Asked]) -> BTreeMap<PartitionId, (bool, BTreeSet<Blob>)> {
        let mut wanted: BTreeMap<PartitionId, (bool, BTreeSet<Blob>)> = BTreeMap::new();
        for (place, operation, _) in asked {
            let locks = self.locks(operation);
            let knows = self.overlay.knows(place, self.repeats_reads(), locks);
            let blind = operation.is_blind() && !locks;
            if !knows && !blind {
                let (lock, keys) = wanted.entry(place.partition_id()).or_default();
                *lock |= locks;
                keys.insert(place.key.clone());
            }
        }
        wanted
    }

    fn ask(
        &self,
        partition: PartitionId,
        step: Step,
        request_id: Option<RequestId>,
        deadline: Option<Monotonic>,
    ) -> Task {
        let id = self.step_id();
        Task::Ask {
            id,
            partition,
            operation: Operation::Transaction { id, step },
            request_id,
            deadline,
        }
    }

    /// A partition has answered.
    pub fn on_answer(
        &mut self,
        id: TransactionId,
        partition: PartitionId,
        result: Result<Reply>,
        now: Now,
    ) -> Vec<Task> {
        if id.attempt != CALL | self.call {
            return Vec::new();
        }
        match &mut self.state {
            State::Asking { missing, .. } if missing.contains_key(&partition) => {
                match step_of(result) {
                    Ok(StepReply::Looked(looked)) => self.looked(partition, looked, now),
                    Ok(_) => Vec::new(),
                    Err(error) => self.call_failed(error),
                }
            }
            State::Alone { token } => {
                let token = *token;
                let result = match result {
                    Ok(Reply::Executed { held: true, .. }) => Ok(()),
                    Ok(_) => Err(read_changed()),
                    Err(error) => Err(error),
                };
                self.end_with(Some(token), result)
            }
            _ => Vec::new(),
        }
    }

    fn looked(
        &mut self,
        partition: PartitionId,
        looked: Vec<(Option<EntryView>, u64)>,
        now: Now,
    ) -> Vec<Task> {
        let State::Asking { missing, .. } = &mut self.state else {
            return Vec::new();
        };
        let keys = missing.remove(&partition).unwrap_or_default();
        let done = missing.is_empty();
        let locked = self.locked.contains(&partition);
        for (key, (view, _)) in keys.into_iter().zip(looked) {
            let (cache, partition) = partition;
            let place = KeyPlace {
                cache,
                partition,
                key,
            };
            if let Err(error) = self.overlay.see(place, view, locked) {
                return self.call_failed(error);
            }
        }
        if done {
            self.carry_out(now)
        } else {
            Vec::new()
        }
    }

    /// The call ends with an error; the transaction is what it was before.
    fn call_failed(&mut self, error: Error) -> Vec<Task> {
        let State::Asking { token, .. } = &self.state else {
            return Vec::new();
        };
        let token = *token;
        self.call += 1;
        self.state = State::Open;
        self.overlay.give_up_call();
        let result = Err(error.not_applied());
        vec![Task::Answer { token, result }]
    }

    /// Everything is known: the call is carried out on that.
    fn carry_out(&mut self, now: Now) -> Vec<Task> {
        let State::Asking { token, asked, .. } = std::mem::replace(&mut self.state, State::Open)
        else {
            return Vec::new();
        };
        let keeps_reads = self.repeats_reads();
        let done = self.overlay.carry_out(&asked, keeps_reads, now.cluster);
        let result = match done {
            Ok(replies) => Ok(Reply::Executed {
                held: true,
                replies,
            }),
            Err(error) => {
                self.overlay.give_up_call();
                Err(error.not_applied())
            }
        };
        vec![Task::Answer { token, result }]
    }

    /// Makes all of it visible, or none.
    ///
    /// # Errors
    ///
    /// `FailedPrecondition` while a call is under way; nothing happens then.
    pub fn commit(&mut self, token: u64, deadline: Monotonic, now: Now) -> Result<Commit> {
        if let State::Ended(result) = &self.state {
            let result = result.clone().map(|()| done());
            return Ok(Commit::Tasks(vec![Task::Answer { token, result }]));
        }
        self.is_open()?;
        if now.mono >= self.deadline {
            return Ok(Commit::Tasks(self.end_with(Some(token), Err(timed_out()))));
        }
        let pessimistic = self.begin.concurrency == Concurrency::Pessimistic;
        let execute = self.overlay.execute(self.repeats_reads(), pessimistic);
        let Some(first) = execute.places().next().map(KeyPlace::partition_id) else {
            return Ok(Commit::Tasks(self.end_with(Some(token), Ok(()))));
        };
        self.call += 1;
        if execute.places().any(|place| place.partition_id() != first) {
            self.state = State::Committing;
            return Ok(Commit::Execute(Box::new(execute)));
        }
        self.state = State::Alone { token };
        let step = Step::Alone(Box::new(Part::of(execute)));
        let id = Some(self.request_id());
        let ask = self.ask(first, step, id, Some(deadline.min(self.deadline)));
        Ok(Commit::Tasks(vec![ask]))
    }

    /// Under which the commit may be sent twice.
    pub fn request_id(&self) -> RequestId {
        let id = self.id;
        let words = [
            id.topology,
            id.sequence,
            id.initiator.id.0,
            id.initiator.incarnation.0,
        ];
        xxh3_128(&words.map(u64::to_le_bytes).concat()).to_le_bytes()
    }

    /// The commit in several partitions has ended so.
    pub fn committed(&mut self, result: &Result<Reply>) -> (Result<Reply>, Vec<Task>) {
        let result = match result {
            Ok(Reply::Executed { held: true, .. }) => Ok(()),
            Ok(_) => Err(read_changed()),
            Err(error) => Err(error.clone()),
        };
        let tasks = self.end_with(None, result.clone());
        (result.map(|()| done()), tasks)
    }

    /// Drops all of it. A call that is under way ends with an error.
    ///
    /// # Errors
    ///
    /// `FailedPrecondition` where it commits, or has.
    pub fn roll_back(&mut self, token: u64) -> Result<Vec<Task>> {
        let answer = Task::Answer {
            token,
            result: Ok(done()),
        };
        match &self.state {
            State::Ended(Err(_)) => return Ok(vec![answer]),
            State::Ended(Ok(())) => {
                let context = "the transaction has been committed";
                return Err(Error::new(ErrorKind::FailedPrecondition, context)
                    .because("TRANSACTION_COMMITTED")
                    .not_applied());
            }
            State::Alone { .. } | State::Committing => self.is_open()?,
            State::Open | State::Asking { .. } => {}
        }
        let mut tasks = self.call_failed(rolled_back());
        tasks.extend(self.end_with(None, Err(rolled_back())));
        tasks.push(answer);
        Ok(tasks)
    }

    /// It has ended so: its locks are given up, and it is remembered for who asks again.
    fn end_with(&mut self, token: Option<u64>, result: Result<()>) -> Vec<Task> {
        self.call += 1;
        self.overlay = Overlay::default();
        let unlock = |partition: &PartitionId| self.ask(*partition, Step::Unlock, None, None);
        let mut tasks: Vec<Task> = self.locked.iter().map(unlock).collect();
        self.locked.clear();
        self.state = State::Ended(result.clone());
        if let Some(token) = token {
            let result = result.map(|()| done());
            tasks.push(Task::Answer { token, result });
        }
        tasks
    }

    /// The time that it wanted to be called at has come. Returns whether it can be forgotten.
    pub fn on_timeout(&mut self, now: Now) -> (Vec<Task>, bool) {
        let over = now.mono >= self.deadline;
        match &self.state {
            State::Ended(_) => (Vec::new(), true),
            State::Asking { .. } => {
                let mut tasks = self.call_failed(late());
                if over {
                    tasks.extend(self.end_with(None, Err(timed_out())));
                }
                (tasks, false)
            }
            State::Open => (self.end_with(None, Err(timed_out())), false),
            State::Alone { token } => {
                let token = Some(*token);
                let context = "the commit was not answered";
                (self.end_with(token, Err(Error::unknown(context))), true)
            }
            State::Committing => (Vec::new(), true),
        }
    }
}

/// The answer to a commit and to a rollback.
fn done() -> Reply {
    Reply::Executed {
        held: true,
        replies: Vec::new(),
    }
}

/// The refusal of a transaction that is not known.
pub fn no_transaction() -> Error {
    let context = "no such transaction at this node: it has ended, or another node began it";
    Error::new(ErrorKind::NotFound, context)
        .because(NO_TRANSACTION)
        .not_applied()
}

fn read_changed() -> Error {
    let context = "what the transaction read has changed: run it again";
    Error::new(ErrorKind::Conflict, context)
        .because(READ_CHANGED)
        .not_applied()
}

fn rolled_back() -> Error {
    let context = "the transaction was rolled back";
    Error::new(ErrorKind::Conflict, context)
        .because("TRANSACTION_ROLLED_BACK")
        .not_applied()
}

fn timed_out() -> Error {
    let context = "the transaction was rolled back: its time is over";
    Error::new(ErrorKind::Conflict, context)
        .because("TRANSACTION_TIMED_OUT")
        .not_applied()
}

fn late() -> Error {
    let context = "the keys could not be read or locked within the deadline";
    Error::new(ErrorKind::DeadlineExceeded, context).not_applied()
}
