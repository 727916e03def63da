//! What tellers ask for, and what comes of it: see `bank.rs`.

use crate::clock::Time;
use crate::history::Outcome;
use embergrid::types::{Execute, Reply, RequestId};

/// What a teller asked for.
#[derive(Clone, Debug)]
pub enum Errand {
    /// Moves an amount; and counts that in a key of its own, where `counted`.
    Move {
        execute: Execute,
        id: Option<RequestId>,
        counted: bool,
    },
    Look,
}

/// One errand, all its attempts included.
#[derive(Clone, Debug)]
pub struct Deal {
    pub errand: Errand,
    pub invoked: Time,
    pub responded: Time,
    pub outcome: Outcome,
    pub attempts: u32,
    /// The last looks, when nothing disturbs any more.
    pub last: bool,
    /// The node of the last attempt was gone.
    pub gone: bool,
}

impl Deal {
    pub fn counted(&self) -> bool {
        matches!(self.errand, Errand::Move { counted: true, .. })
    }

    /// The numbers that a look saw: those of the accounts, and the count.
    pub fn seen(&self) -> Option<(Vec<i64>, i64)> {
        let Outcome::Ok(Reply::Executed { replies, .. }) = &self.outcome else {
            return None;
        };
        if !matches!(self.errand, Errand::Look) {
            return None;
        }
        let number = |reply: &Reply| match reply {
            Reply::Got { entry: Some(entry) } => std::str::from_utf8(&entry.value)
                .ok()
                .and_then(|text| text.parse().ok()),
            Reply::Got { entry: None } => Some(0),
            _ => None,
        };
        let mut numbers: Vec<i64> = replies.iter().map(number).collect::<Option<_>>()?;
        let count = numbers.pop()?;
        Some((numbers, count))
    }
}
