//! What clients asked, when, and what came of it: the evidence of most checkers. Plain data.

use crate::caches::Use;
use crate::clock::Time;
use embergrid::error::ErrorKind;
use embergrid::types::ticket::TicketErrand;
use embergrid::types::{Blob, CacheId, KeyOperation, Operation, Reply, Request, TopologyVersion};

/// How an operation ended for its client.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Not yet, or the client gave up or was told that nobody knows: a write may take effect at
    /// any later time, or never.
    Unknown,
    Ok(Reply),
    /// Refused, and said not to be applied.
    Failed(ErrorKind),
}

/// One operation of one client, all its attempts included.
#[derive(Clone, Debug)]
pub struct Call {
    pub client: usize,
    pub cache: usize,
    pub request: Request,
    pub invoked: Time,
    pub responded: Time,
    pub outcome: Outcome,
    /// The node of the last attempt.
    pub node: usize,
    pub attempts: u32,
    /// The committed views of the first attempt's node when it was asked and of the last one's
    /// when it answered.
    pub views: (TopologyVersion, TopologyVersion),
}

impl Call {
    pub fn key(&self) -> Option<&Blob> {
        match &self.request.operation {
            Operation::Key { key, .. } => Some(key),
            Operation::Errand(errand) => match &**errand {
                TicketErrand::AddChild { key, .. }
                | TicketErrand::One { key, .. }
                | TicketErrand::Delete { key, .. } => Some(key),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn key_operation(&self) -> Option<&KeyOperation> {
        match &self.request.operation {
            Operation::Key { operation, .. } => Some(operation),
            _ => None,
        }
    }

    pub fn reply(&self) -> Option<&Reply> {
        match &self.outcome {
            Outcome::Ok(reply) => Some(reply),
            _ => None,
        }
    }

    pub fn is_write(&self) -> bool {
        !self.request.operation.is_read()
    }

    /// Whether it may have changed something.
    pub fn may_be_applied(&self) -> bool {
        self.is_write()
            && match &self.outcome {
                Outcome::Unknown => true,
                Outcome::Ok(reply) => applied(reply),
                Outcome::Failed(_) => false,
            }
    }

    /// Whether it changed something, for sure.
    pub fn was_applied(&self) -> bool {
        self.is_write() && self.reply().is_some_and(applied)
    }

    /// The value that it stores, if it is a put.
    pub fn value_put(&self) -> Option<&Blob> {
        match self.key_operation()? {
            KeyOperation::Put { value, .. } => Some(value),
            _ => None,
        }
    }
}

/// Whether a write says that it changed something.
pub fn applied(reply: &Reply) -> bool {
    match reply {
        Reply::Put { applied, .. }
        | Reply::Removed { applied, .. }
        | Reply::Touched { applied }
        | Reply::Modified { applied, .. } => *applied,
        Reply::Cleared { .. } => true,
        Reply::Got { .. }
        | Reply::Scanned { .. }
        | Reply::Size { .. }
        | Reply::Executed { .. }
        | Reply::Step(_)
        | Reply::Verified(_)
        | Reply::Locked { .. }
        | Reply::Registered { .. }
        | Reply::Narrowed { .. }
        | Reply::Deleted { .. } => false,
    }
}

/// The same request, sent again after it was answered, and the second answer.
#[derive(Clone, Debug)]
pub struct Echo {
    pub call: usize,
    pub at: Time,
    pub reply: Reply,
}

/// All calls of a run in the order of their invocation.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub uses: Vec<Use>,
    pub cache_ids: Vec<CacheId>,
    pub calls: Vec<Call>,
    pub echoes: Vec<Echo>,
}

impl History {
    /// Calls on caches of one use, with the place in the history.
    pub fn on(&self, wanted: Use) -> impl Iterator<Item = (usize, &Call)> {
        let calls = self.calls.iter().enumerate();
        calls.filter(move |(_, call)| self.uses[call.cache] == wanted)
    }
}
