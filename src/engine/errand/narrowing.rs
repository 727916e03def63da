//! The way down from a ticket whose end came nearer; see `partition/tickets/narrow.rs`.

use super::{Errand, Step, Work, confused};
use crate::engine::planted::{self, Fault};
use crate::error::{Applied, Error, Result};
use crate::types::ticket::operation::Bounds;
use crate::types::ticket::{TicketsOperation, note};
use crate::types::{Blob, CacheId, Operation, Reply};

/// The way down from a ticket that was stored with an earlier end than the one it took the place of:
/// what descends from it must know before the caller hears of it.
#[derive(Default)]
pub struct Narrowing {
    /// What the caller will hear.
    answer: Option<Reply>,
    open: usize,
}

/// A step of that way.
pub struct Down {
    pub cache: CacheId,
    pub key: Blob,
    after: Option<Blob>,
    pub page: u64,
    within: Option<Bounds>,
}

impl Down {
    pub fn operation(&self) -> Operation {
        Operation::Tickets(TicketsOperation::Narrow {
            key: self.key.clone(),
            after: self.after.clone(),
            within: self.within.clone(),
        })
    }
}

impl Errand {
    fn narrowing(&mut self) -> Option<&mut Narrowing> {
        match &mut self.work {
            Work::Add(adding) => Some(&mut adding.narrowing),
            Work::One(one) => Some(&mut one.narrowing),
            Work::Delete(_) => None,
        }
    }

    /// A ticket was stored. Where its end came nearer, what descends from it is told first.
    pub(super) fn shortened(
        &mut self,
        cache: CacheId,
        key: Blob,
        mut result: Result<Reply>,
    ) -> Option<Result<Reply>> {
        let Ok(Reply::Put { previous, .. }) = &mut result else {
            return Some(result);
        };
        if previous.take().is_none() || planted::is(Fault::KeepBounds) {
            return Some(result);
        }
        let narrowing = self.narrowing()?;
        narrowing.answer = result.ok();
        narrowing.open = 1;
        self.ready.push(Step::Narrow(Box::new(Down {
            cache,
            key,
            after: None,
            page: 0,
            within: None,
        })));
        None
    }

    /// A ticket on the way down knows, and what descends from it is told next.
    pub(super) fn narrowed(&mut self, down: Down, result: Result<Reply>) -> Option<Result<Reply>> {
        let (bounds, left, more) = match result {
            Ok(Reply::Narrowed { bounds, left, more }) => (bounds, left, more),
            other => {
                // It is stored, and some may not know of it.
                let error = other.err().unwrap_or_else(confused);
                self.ready.clear();
                return Some(Err(Error {
                    applied: Applied::Unknown,
                    ..error
                }));
            }
        };
        let mut next = Vec::new();
        if more {
            next.push(Step::Narrow(Box::new(Down {
                after: left.last().cloned(),
                page: down.page + 1,
                ..down
            })));
        }
        let children = left.iter().filter_map(|link| note::read_link(link));
        next.extend(children.map(|child| {
            Step::Narrow(Box::new(Down {
                cache: child.cache,
                key: child.child,
                after: None,
                page: 0,
                within: bounds.clone(),
            }))
        }));
        let narrowing = self.narrowing()?;
        narrowing.open = (narrowing.open + next.len()).saturating_sub(1);
        let answer = narrowing.answer.take_if(|_| narrowing.open == 0);
        self.ready.extend(next);
        answer.map(Ok)
    }
}
