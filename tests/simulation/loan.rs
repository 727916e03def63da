//! What lockers ask for, and what comes of it: see `lockers.rs`.

use crate::clock::Time;
use crate::history::Outcome;
use embergrid::types::{LockOperation, Reply};

/// One call on a named lock, all its attempts included.
#[derive(Clone, Debug)]
pub struct Loan {
    pub cache: usize,
    pub name: usize,
    pub operation: LockOperation,
    pub invoked: Time,
    pub responded: Time,
    pub outcome: Outcome,
    pub attempts: u32,
    /// Of the last ones, when nothing disturbs any more.
    pub last: bool,
}

impl Loan {
    /// The token that a take was granted.
    pub fn granted(&self) -> Option<u64> {
        let taken = matches!(self.operation, LockOperation::Take { .. });
        self.answered().filter(|token| taken && *token > 0)
    }

    /// The token in the answer; 0: it was not held.
    pub fn answered(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Ok(Reply::Locked { token, .. }) => Some(token),
            _ => None,
        }
    }

    /// Under which token a renewal or a release was asked for, and whether it found it held.
    pub fn under(&self) -> Option<(u64, bool)> {
        match (self.operation, &self.outcome) {
            (LockOperation::Renew { token, .. }, _) => Some((token, self.answered() > Some(0))),
            (LockOperation::Release { token }, Outcome::Ok(Reply::Removed { applied, .. })) => {
                Some((token, *applied))
            }
            (LockOperation::Release { token }, _) => Some((token, false)),
            (LockOperation::Take { .. }, _) => None,
        }
    }
}
