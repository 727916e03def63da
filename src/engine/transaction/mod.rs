//! Transactions: the machine of the initiator, and the protocol.
//!
//! # The protocol
//!
//! The node that is asked is the *initiator*. The partitions whose keys are named are the
//! *participants*, each by its primary; a step to one of them goes the way that every request goes
//! ([`super::grid`]): to the primary, once more where it was lost, anew where the primary changed.
//! The first partition that is not of a LOCAL cache keeps the *status record*.
//!
//! 1. `Prepare` to every participant. It waits until none of its keys is pending or locked, finds
//!    out whether its conditions hold and what would come of either branch, and streams that to its
//!    backups. From then on the keys are locked: reads and writes of them wait at the primary, and
//!    backups send reads there. It answers when every owner holds it, in every cache.
//! 2. `Decide` to the status record, once every participant has answered. The record is written
//!    once: the first decision stays. When every owner holds it, the transaction *is* committed, and
//!    the caller is told.
//! 3. `Finish` to every participant: the states that were prepared become visible, under the
//!    versions that they got then, and the keys are free.
//! 4. `Forget` to the status record: nobody has to ask for it any more.
//!
//! Where something is refused, the initiator sends `Finish` (rolled back) without a record: there
//! being none means the same. A transaction of one partition takes one step, `Alone`, and one update.
//!
//! # Who decides
//!
//! The status record, and nobody else. `Decide` is sent only by the initiator, only after every
//! owner of every participant holds what is prepared, and at most until the deadline. Whoever
//! cannot wait for the initiator (it is out of the view, or the deadline has passed) sends `Inquire`,
//! which records "rolled back" where there is no record. So each participant finishes by one and
//! the same word, whoever asks first. Safety in three sentences: *committed* is recorded only while
//! all participants are prepared and none has finished, since whoever rolls one back has either
//! recorded it (then `Decide` finds that) or is the initiator itself, which then sends no `Decide`.
//! A participant drops or applies what is prepared only by that record. No read shows a key between
//! prepare and finish, so a transaction is visible at all participants from the moment of its record
//! on: who sees one of its writes finds the others visible or waits for them.
//!
//! # Messages
//!
//! | message | lost | doubled | late |
//! |---|---|---|---|
//! | `Prepare` | sent again | finds what is prepared, and answers the same | behind the deadline, or where the transaction has ended here: refused, nothing is locked |
//! | `Decide` | sent again | finds the record | behind the deadline: rolled back is recorded and answered |
//! | `Inquire` | asked again after a second | finds the record | the record is there |
//! | `Finish` | sent again; if never, the participant asks by itself | has finished already | the same |
//! | `Forget` | the record is kept for `tombstone-retention` | nothing changes | nothing changes |
//! | an answer | the step is sent again | nobody waits for it | the same |
//!
//! That a transaction has ended is remembered, with its partition, until five seconds behind its
//! deadline: a message of it cannot be carried out later than that, since each carries the deadline.
//! Messages between nodes in different topologies are dropped below, and sent again.
//!
//! # Crash points
//!
//! | who is gone | when | then |
//! |---|---|---|
//! | initiator | before `Decide` | participants ask; none is recorded: rolled back everywhere |
//! | initiator | after `Decide` was sent | participants ask; the record was written before their question, or after it and then is refused: the same word everywhere |
//! | initiator | while finishing | those that have not finished ask, and find "committed", which is kept until all have finished |
//! | a primary of a participant | at any time | its backups hold what is prepared (or it was not answered); the new primary goes on |
//! | the primary of the record | while deciding | its backups hold the decision (or it was not answered); asked again |
//! | all owners of a participant | at any time | it is lost, as all that they had; the others finish |
//! | all owners of the record | at any time | the participants wait for one of them to return, or for the lost partition to be reset |
//!
//! Where the cache with the record is dropped, who has not finished rolls back. What is committed and has
//! not finished everywhere is done in part then, unless its initiator lives and reaches all others before
//! the deadline: README says so, and "Decisions" why.
//!
//! # Order
//!
//! A transaction is as old as its first attempt: (view, count, initiator). One that meets the lock of
//! a younger one waits; one that meets that of an older one gives way, frees what it has prepared,
//! and comes again with the age that it had. So waiting goes from old to young only, there is no
//! circle, and each becomes the oldest in the end. What locks has prepared, so nothing is taken from
//! a younger one. A call on one key, or on one partition, waits while it holds nothing.
//!
//! # Several calls
//!
//! `Begin` to `Commit` is [`session`]: until it commits, a transaction is nothing but what its node
//! keeps of it, and its commit is a transaction of one call as above, under the same age.
//!
//! # Reading many keys at once
//!
//! [`Transactions::look`] reads all keys twice. If no state changed between, all of them were so at
//! the moment between the two, for no key can be read while a transaction that is decided has not
//! finished there. After `LOOKS_MAX` vain turns it takes locks, as a transaction that only reads.

mod initiator;
mod overlay;
mod plan;
pub mod session;
#[cfg(test)]
mod session_tests;
pub mod sessions;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::types::time::SECOND;
use crate::types::{
    ClusterTime, Execute, KeyPlace, Member, Micros, Monotonic, Now, Operation, PartitionId, Reply,
    RequestId, TransactionId,
};
use initiator::Running;
use session::Session;
use std::collections::{BTreeMap, BTreeSet};

/// The most transactions that one node has begun and not ended.
const RUNNING_MAX: usize = 16_384;
/// How often keys are looked at twice before they are locked.
const LOOKS_MAX: u32 = 4;
/// How long behind the deadline of a transaction its initiator goes on finishing it. Participants
/// ask by themselves from the deadline on.
const FINISHES_FOR: Micros = 60 * SECOND;
/// The longest that a transaction may take.
pub const TIMEOUT_MAX: Micros = 600 * SECOND;

/// What is to be done for a transaction.
#[derive(Debug, PartialEq)]
pub enum Task {
    /// A step to a participant; its answer goes to [`Transactions::on_answer`].
    Ask {
        id: TransactionId,
        partition: PartitionId,
        operation: Operation,
        request_id: Option<RequestId>,
        /// Absent: as long as one operation on the network may take.
        deadline: Option<Monotonic>,
    },
    /// The caller is answered.
    Answer { token: u64, result: Result<Reply> },
}

/// When and where a transaction begins.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    pub token: u64,
    pub request_id: Option<RequestId>,
    pub deadline: Monotonic,
    /// The number of the view.
    pub topology: u64,
    pub initiator: Member,
}

/// The transactions that this node has begun.
#[derive(Default)]
pub struct Transactions {
    sequence: u64,
    running: BTreeMap<u64, Running>,
    due: BTreeSet<(Monotonic, u64)>,
    sessions: BTreeMap<u64, Session>,
    sessions_due: BTreeSet<(Monotonic, u64)>,
}

impl Transactions {
    /// The id of one more transaction.
    pub fn id(&mut self, topology: u64, initiator: Member) -> TransactionId {
        self.sequence += 1;
        TransactionId {
            topology,
            sequence: self.sequence,
            initiator,
            attempt: 0,
        }
    }

    /// Begins a transaction. `local` says which partitions belong to LOCAL caches of this node.
    ///
    /// # Errors
    ///
    /// `Overloaded` where this node has begun as many as it may.
    pub fn execute(
        &mut self,
        execute: Execute,
        local: impl Fn(PartitionId) -> bool,
        begun: Begun,
        now: Now,
    ) -> Result<Vec<Task>> {
        self.admit()?;
        let id = self.id(begun.topology, begun.initiator);
        let status = execute.places().map(KeyPlace::partition_id);
        let status = status.into_iter().find(|partition| !local(*partition));
        let (running, tasks) = Running::execute(id, &execute, status, begun, now);
        self.insert(running);
        Ok(tasks)
    }

    /// Reads keys as they were at one moment.
    ///
    /// # Errors
    ///
    /// `Overloaded` where this node has begun as many as it may.
    pub fn look(
        &mut self,
        keys: Vec<KeyPlace>,
        omit_values: bool,
        local: impl Fn(PartitionId) -> bool,
        begun: Begun,
        now: Now,
    ) -> Result<Vec<Task>> {
        self.admit()?;
        let id = self.id(begun.topology, begun.initiator);
        let places = keys.iter().map(KeyPlace::partition_id);
        let status = places.into_iter().find(|partition| !local(*partition));
        let (running, tasks) = Running::look(id, keys, omit_values, status, begun, now);
        self.insert(running);
        Ok(tasks)
    }

    fn admit(&self) -> Result<()> {
        if self.running.len() < RUNNING_MAX {
            return Ok(());
        }
        Err(Error::overloaded(
            "this node has begun as many transactions as it may",
        ))
    }

    fn insert(&mut self, running: Running) {
        let sequence = running.id.sequence;
        self.due.insert((running.due, sequence));
        self.running.insert(sequence, running);
    }

    /// A participant has answered a step.
    pub fn on_answer(
        &mut self,
        id: TransactionId,
        partition: PartitionId,
        result: Result<Reply>,
        now: Now,
    ) -> Vec<Task> {
        if session::is_call(id) {
            return self.on_call_answer(id, partition, result, now);
        }
        self.with(id.sequence, |running| {
            if running.id == id {
                running.on_answer(partition, result, now)
            } else {
                Vec::new()
            }
        })
    }

    /// Everything that is due.
    pub fn on_timeout(&mut self, now: Now) -> Vec<Task> {
        let mut tasks = Vec::new();
        while let Some((_, sequence)) = self.due.first().copied().filter(|(at, _)| *at <= now.mono)
        {
            tasks.extend(self.with(sequence, |running| running.on_timeout(now)));
        }
        tasks.extend(self.sessions_timeout(now));
        tasks
    }

    fn with(&mut self, sequence: u64, input: impl FnOnce(&mut Running) -> Vec<Task>) -> Vec<Task> {
        let Some(mut running) = self.running.remove(&sequence) else {
            return Vec::new();
        };
        self.due.remove(&(running.due, sequence));
        let tasks = input(&mut running);
        if cfg!(debug_assertions) {
            running.check_invariants();
        }
        if !running.is_over() {
            self.insert(running);
        }
        self.end_session(sequence, tasks)
    }

    /// When `on_timeout` wants to be called.
    pub fn next(&self) -> Option<Monotonic> {
        let due = self.due.first().into_iter();
        due.chain(self.sessions_due.first())
            .map(|(at, _)| *at)
            .min()
    }

    /// How many have begun and not ended.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }
}

/// A point of the monotonic clock in cluster time.
fn cluster_time(at: Monotonic, now: Now) -> ClusterTime {
    now.cluster.after(at.since(now.mono))
}
