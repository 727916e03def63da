//! What belongs to transactions: their ids, what a caller asks for, and what the machine of a
//! partition is asked on the way. The protocol stands in the documentation of
//! [`crate::engine::transaction`].

use super::blob::Blob;
use super::cache::CacheId;
use super::entry::Entry;
use super::node::Member;
use super::operation::{Condition, KeyOperation, Reply};
use super::time::{ClusterTime, Micros};
use crate::error::{Error, Result};

/// The most keys that one transaction may name.
pub const TRANSACTION_KEYS_MAX: usize = 10_000;

/// The longest label of a transaction, in bytes.
pub const LABEL_BYTES_MAX: usize = 255;

/// Names one attempt of one transaction, and says how old it is: the smaller, the older.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId {
    /// The number of the view in which it began.
    pub topology: u64,
    /// Counts what its initiator began.
    pub sequence: u64,
    /// The node that decides it.
    pub initiator: Member,
    /// Counts its attempts; all of them have the age of the first.
    pub attempt: u32,
}

impl TransactionId {
    /// The age: of two transactions, the one with the smaller age is the older.
    pub fn age(&self) -> Age {
        (self.topology, self.sequence, self.initiator)
    }
}

/// The smaller, the older.
pub type Age = (u64, u64, Member);

/// When a transaction of several calls takes its locks.
///
/// # Example
///
/// ```
/// use embergrid::client::{Concurrency, TransactionOptions};
///
/// // Hardly anybody else changes these keys: nobody need wait for locks.
/// let options = TransactionOptions {
///     concurrency: Concurrency::Optimistic,
///     ..TransactionOptions::default()
/// };
/// assert_ne!(options.concurrency, Concurrency::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Concurrency {
    /// At access.
    #[default]
    Pessimistic,
    /// At commit.
    Optimistic,
}

/// What a transaction of several calls is kept from seeing of others.
///
/// # Example
///
/// ```
/// use embergrid::client::{Isolation, TransactionOptions};
///
/// // What it read decides what it writes, also to other keys.
/// let options = TransactionOptions {
///     isolation: Isolation::Serializable,
///     ..TransactionOptions::default()
/// };
/// assert!(options.isolation > Isolation::default(), "each keeps it from more");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isolation {
    /// What is not committed.
    ReadCommitted,
    /// Also that what it read is another thing later, or was not all so at one moment.
    #[default]
    RepeatableRead,
    /// Anything that could not be if one ran after the other.
    Serializable,
}

/// How a transaction of several calls begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    pub concurrency: Concurrency,
    pub isolation: Isolation,
    /// It is rolled back when this is over.
    pub timeout: Micros,
    /// For people who list transactions.
    pub label: String,
}

/// A transaction of several calls that has not ended, for who lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    pub id: TransactionId,
    pub begin: Begin,
    /// How long ago it began.
    pub age: Micros,
    /// The keys that it knows.
    pub keys: usize,
}

/// A partition of a cache.
pub type PartitionId = (CacheId, u32);

/// One key of one cache.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPlace {
    pub cache: CacheId,
    pub partition: u32,
    pub key: Blob,
}

impl KeyPlace {
    pub fn partition_id(&self) -> PartitionId {
        (self.cache, self.partition)
    }
}

/// Conditions on keys, what to do where all of them hold, and what to do otherwise: all of it or
/// nothing. No key comes twice in one of the two lists of operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Execute {
    pub conditions: Vec<(KeyPlace, Condition)>,
    pub operations: Vec<(KeyPlace, KeyOperation)>,
    pub otherwise: Vec<(KeyPlace, KeyOperation)>,
}

impl Execute {
    /// All places that it names, in the order of conditions, operations and the others.
    pub fn places(&self) -> impl Iterator<Item = &KeyPlace> {
        let conditions = self.conditions.iter().map(|(place, _)| place);
        let operations = self.operations.iter().chain(&self.otherwise);
        conditions.chain(operations.map(|(place, _)| place))
    }
}

/// The part of it that concerns one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub conditions: Vec<(Blob, Condition)>,
    pub operations: Vec<(Blob, KeyOperation)>,
    pub otherwise: Vec<(Blob, KeyOperation)>,
}

impl Part {
    /// All of a transaction that concerns one partition only.
    pub fn of(execute: Execute) -> Self {
        let conditions = execute.conditions.into_iter();
        let operations = execute.operations.into_iter();
        let otherwise = execute.otherwise.into_iter();
        Self {
            conditions: conditions.map(|(place, of)| (place.key, of)).collect(),
            operations: operations.map(|(place, of)| (place.key, of)).collect(),
            otherwise: otherwise.map(|(place, of)| (place.key, of)).collect(),
        }
    }

    /// The keys that it names; one may come more than once.
    pub fn keys(&self) -> impl Iterator<Item = &Blob> {
        let operations = self.operations.iter().chain(&self.otherwise);
        let keys = operations.map(|(key, _)| key);
        self.conditions.iter().map(|(key, _)| key).chain(keys)
    }
}

/// What one partition is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Carry the whole transaction out: no other partition takes part.
    Alone(Box<Part>),
    /// Lock the keys, find out what would come of either branch, and keep that.
    Prepare(Box<Prepare>),
    /// Record that the transaction is committed, unless something else is recorded.
    Decide(Box<Decide>),
    /// What was decided? Where nothing was, record that it is rolled back.
    Inquire { deadline: ClusterTime },
    /// Make it visible, or drop it.
    Finish {
        outcome: Decision,
        deadline: ClusterTime,
    },
    /// Every participant has finished: the record need not be kept.
    Forget { deadline: ClusterTime },
    /// Read keys, and tell the version of each state. No part of a transaction that writes.
    Look { keys: Vec<Blob>, omit_values: bool },
    /// The same, and keep others from writing them until `Unlock`, `Finish` or this point.
    Lock {
        keys: Vec<Blob>,
        deadline: ClusterTime,
    },
    /// Let all of its locks go; it takes no more of them.
    Unlock,
}

/// See [`Step::Prepare`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    pub part: Part,
    /// Where the decision is recorded. Absent: all participants are in LOCAL caches of the
    /// initiator, and end with it.
    pub status: Option<PartitionId>,
    /// Nothing is prepared or committed behind this point.
    pub deadline: ClusterTime,
}

/// See [`Step::Decide`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decide {
    /// Whether the conditions held.
    pub held: bool,
    pub deadline: ClusterTime,
    /// What a repeated request is answered.
    pub replies: Vec<Reply>,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    RolledBack,
    /// Whether the conditions held, which chooses the branch.
    Committed {
        held: bool,
    },
}

/// What one branch comes to in one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// The states that it leaves.
    pub writes: Vec<(Blob, Entry)>,
    /// The answer to each of its operations, or why it cannot be taken.
    pub replies: Result<Vec<Reply>, Error>,
}

/// What a participant keeps between prepare and finish.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    pub id: TransactionId,
    pub status: Option<PartitionId>,
    pub deadline: ClusterTime,
    /// Every key that it names, once, in order.
    pub keys: Vec<Blob>,
    /// Whether the conditions on keys of this partition hold.
    pub held: bool,
    pub operations: Branch,
    pub otherwise: Branch,
}

/// The record of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub id: TransactionId,
    pub decision: Decision,
    /// It is forgotten behind this point.
    pub until: ClusterTime,
}

/// What an owner knows of transactions: goes along with a transfer of the partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransactionStates {
    pub prepared: Vec<Prepared>,
    pub statuses: Vec<Status>,
    /// Transactions that have ended here, and until when that is remembered.
    pub finished: Vec<(TransactionId, ClusterTime)>,
}

/// The answer to a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepReply {
    Prepared {
        held: bool,
        operations: Result<Vec<Reply>, Error>,
        otherwise: Result<Vec<Reply>, Error>,
    },
    Decided(Decision),
    /// To Finish, Forget and Unlock.
    Finished,
    /// To Look and Lock, in the order of the keys: each entry, and the version of its state.
    Looked(Vec<(Option<super::operation::EntryView>, u64)>),
}
