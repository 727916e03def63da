//! What can be asked of a partition, and what it answers.

use super::blob::Blob;
use super::cache::CacheId;
use super::comparing::Verified;
use super::lock::LockOperation;
use super::ticket::operation::{Bounds, ParentView};
use super::ticket::{TicketErrand, TicketOperation, TicketsOperation};
use super::time::{ClusterTime, Micros};
use super::transaction::{Step, StepReply, TransactionId};

/// The id of a request that may be repeated: applied once within its window.
pub type RequestId = [u8; 16];

/// What must hold of the key for a write to be applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    Any,
    /// The key does not live.
    Absent,
    /// The key lives.
    Present,
    /// The key lives with this value version.
    Version(u64),
    /// The key lives with these bytes.
    Value(Blob),
}

/// What a write does with the expiry of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// The defaults of the cache.
    #[default]
    Default,
    /// Leave it as it is (the defaults for a key that is created).
    Keep,
    /// These; absent: none.
    Set {
        /// Time to live from now.
        time_to_live: Option<Micros>,
        /// Time to idle.
        time_to_idle: Option<Micros>,
    },
}

/// How `Modify` changes a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Bytes behind the value.
    Append(Blob),
    /// Bytes before the value.
    Prepend(Blob),
    /// Adds to a value that is decimal text.
    Increment {
        /// What to add.
        delta: i64,
        /// The value of a key that does not live; absent: such a key is not applied.
        initial: Option<i64>,
        /// Stop at zero where the sum would be below.
        at_least_zero: bool,
        /// Wrap around where the sum leaves 64 bits; otherwise that is refused.
        wrap: bool,
    },
}

/// An operation on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOperation {
    /// Reads.
    Get {
        /// Also sets the expiry.
        touch: Option<Expiry>,
        /// Leaves the value out of the answer.
        omit_value: bool,
    },
    /// Stores.
    Put {
        value: Blob,
        flags: u32,
        expiry: Expiry,
        condition: Condition,
        return_previous: bool,
    },
    /// Removes; with `return_previous` this is "take".
    Remove {
        condition: Condition,
        return_previous: bool,
    },
    /// Sets the expiry and moves the last access.
    Touch { expiry: Expiry },
    /// Changes the value in place.
    Modify {
        change: Change,
        expiry: Expiry,
        condition: Condition,
    },
    /// On a ticket.
    Ticket(TicketOperation),
}

impl KeyOperation {
    /// See [`Operation::own`].
    pub(crate) fn own(&mut self) {
        if let Self::Put { value, .. } = self {
            value.own(None);
        }
    }

    /// Whether it changes nothing but, perhaps, the last access.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Self::Get { touch: None, .. } | Self::Ticket(TicketOperation::Get { .. })
        )
    }

    /// Whether its answer does not depend on what the key held: a FULL_ASYNC cache may answer it
    /// before any owner has seen it.
    pub fn is_blind(&self) -> bool {
        matches!(
            self,
            Self::Put {
                condition: Condition::Any,
                return_previous: false,
                ..
            }
        )
    }
}

/// An operation on one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// On one key.
    Key { key: Blob, operation: KeyOperation },
    /// Live entries in the order of (hash, key), those behind `after` only.
    Scan {
        prefix: Blob,
        after: Option<Blob>,
        limit: u32,
        keys_only: bool,
    },
    /// How many entries live.
    Size,
    /// Removes all that lives, by a range tombstone.
    Clear,
    /// One step of a transaction.
    Transaction { id: TransactionId, step: Step },
    /// Compares all copies, and repairs what differs where that is asked.
    Verify { repair: bool },
    /// On the tickets of the partition.
    Tickets(TicketsOperation),
    /// On a lock that has a name.
    Lock {
        name: Blob,
        operation: LockOperation,
    },
    /// On tickets of several partitions; the partition of the request means nothing.
    Errand(Box<TicketErrand>),
}

impl Operation {
    /// What waits keeps no network buffer.
    pub(crate) fn own(&mut self) {
        if let Self::Key { operation, .. } = self {
            operation.own();
        }
    }

    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        match self {
            Self::Key { operation, .. } => operation.is_read(),
            // A repair changes no answer that is right, and may be asked for again.
            Self::Scan { .. } | Self::Size | Self::Verify { .. } => true,
            Self::Tickets(operation) => operation.is_read(),
            Self::Errand(errand) => errand.is_read(),
            Self::Transaction { step, .. } => matches!(step, Step::Look { .. }),
            Self::Clear | Self::Lock { .. } => false,
        }
    }

    /// Whether it is a call on tickets, or a step of one.
    pub fn is_of_tickets(&self) -> bool {
        let of_key = matches!(self, Self::Key { operation, .. }
            if matches!(operation, KeyOperation::Ticket(_)));
        of_key || matches!(self, Self::Tickets(_))
    }

    /// Whether it changes nothing the second time, also without a request id: the steps of a
    /// transaction are known by its id.
    pub fn is_idempotent(&self) -> bool {
        match self {
            Self::Transaction { step, .. } => !matches!(step, Step::Alone(_)),
            _ => self.is_read(),
        }
    }
}

/// An operation and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub cache: CacheId,
    pub partition: u32,
    pub operation: Operation,
    /// With an id, a write is applied once within the window however often it is sent.
    pub request_id: Option<RequestId>,
}

/// An entry as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryView {
    pub key: Blob,
    pub value: Blob,
    pub flags: u32,
    pub version: u64,
    pub created_at: ClusterTime,
    pub last_access_at: ClusterTime,
    pub expires_at: Option<ClusterTime>,
    pub idle_expires_at: Option<ClusterTime>,
}

/// The answer to an operation that was carried out. A miss, or a condition that did not hold, is
/// a result and not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Got {
        entry: Option<EntryView>,
    },
    Put {
        applied: bool,
        version: u64,
        previous: Option<EntryView>,
    },
    Removed {
        applied: bool,
        previous: Option<EntryView>,
    },
    Touched {
        applied: bool,
    },
    Modified {
        applied: bool,
        version: u64,
        value: Blob,
    },
    /// Entries in order; `more` when the limit ended the page.
    Scanned {
        entries: Vec<EntryView>,
        more: bool,
    },
    Size {
        live: u64,
    },
    Cleared {
        removed: u64,
    },
    /// To a whole transaction: whether its conditions held, and the answers of that branch.
    Executed {
        held: bool,
        replies: Vec<Reply>,
    },
    /// To one step of a transaction.
    Step(Box<StepReply>),
    Verified(Box<Verified>),
    /// To who takes or renews a lock. Token 0: it is not held, or not under that token.
    Locked {
        token: u64,
        /// When its lease ends.
        expires_at: ClusterTime,
    },
    /// To a child that registers.
    Registered {
        parent: Box<ParentView>,
    },
    /// To a step down from a ticket whose end has come nearer: until when this ticket lives, links
    /// of its children, and whether there are more. Absent: nothing lives there that ends with it.
    Narrowed {
        bounds: Option<Bounds>,
        left: Vec<Blob>,
        more: bool,
    },
    /// One step of a delete: tickets that are gone, links (or tickets) that are left to do, and
    /// whether there are more of them.
    Deleted {
        removed: u64,
        /// The ticket that was named lived for everybody until this step.
        lived: bool,
        left: Vec<Blob>,
        more: bool,
    },
}
