//! The requests that were answered: who repeats one within its window gets the same answer.

use crate::types::message::RequestRecord;
use crate::types::{ClusterTime, Reply, RequestId};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::collections::VecDeque;

/// The most request ids that one partition remembers; a full table refuses, it never forgets
/// early.
const REMEMBERED_MAX: usize = 16_384;

/// An answer in little room, since there is one for each write of the last minute.
enum Kept {
    Put { version: u64 },
    Removed { applied: bool },
    Touched { applied: bool },
    Other(Box<Reply>),
}

impl Kept {
    fn of(reply: Reply) -> Self {
        match reply {
            Reply::Put {
                applied: true,
                version,
                previous: None,
            } => Self::Put { version },
            Reply::Removed {
                applied,
                previous: None,
            } => Self::Removed { applied },
            Reply::Touched { applied } => Self::Touched { applied },
            other => Self::Other(Box::new(other)),
        }
    }

    fn reply(&self) -> Reply {
        match self {
            Self::Put { version } => Reply::Put {
                applied: true,
                version: *version,
                previous: None,
            },
            Self::Removed { applied } => Reply::Removed {
                applied: *applied,
                previous: None,
            },
            Self::Touched { applied } => Reply::Touched { applied: *applied },
            Self::Other(reply) => Reply::clone(reply),
        }
    }
}

/// Requests with their answers.
#[derive(Default)]
pub struct Remembered {
    /// Never walked through: its order must not reach anything.
    by_id: HashMap<RequestId, Kept, FixedState>,
    /// The same ones, by time.
    order: VecDeque<(ClusterTime, RequestId)>,
}

impl Remembered {
    /// What a request was answered.
    pub fn answer(&self, id: &RequestId) -> Option<Reply> {
        self.by_id.get(id).map(Kept::reply)
    }

    pub fn contains(&self, id: &RequestId) -> bool {
        self.by_id.contains_key(id)
    }

    pub fn is_full(&self) -> bool {
        self.by_id.len() >= REMEMBERED_MAX
    }

    /// Remembers an answer, unless the request has one.
    pub fn insert(&mut self, id: RequestId, record: RequestRecord) {
        let Entry::Vacant(place) = self.by_id.entry(id) else {
            return;
        };
        place.insert(Kept::of(record.reply));
        // Nearly always the last place: only what comes from another history is older.
        let behind = self
            .order
            .iter()
            .rev()
            .take_while(|(at, _)| *at > record.at);
        let place = self.order.len() - behind.count();
        self.order.insert(place, (record.at, id));
    }

    /// Takes back what was never confirmed.
    pub fn remove(&mut self, id: &RequestId) {
        self.by_id.remove(id);
    }

    /// Forgets requests older than a point.
    pub fn forget(&mut self, before: ClusterTime) {
        let old = self.order.partition_point(|(at, _)| *at < before);
        for (_, id) in self.order.drain(..old) {
            self.by_id.remove(&id);
        }
        // What one busy minute took need not stay.
        if self.order.capacity() / 4 > self.order.len() {
            self.order.shrink_to(2 * self.order.len());
            self.by_id.shrink_to(2 * self.order.len());
        }
    }

    /// When the oldest one was answered.
    pub fn oldest(&self) -> Option<ClusterTime> {
        self.order.front().map(|(at, _)| *at)
    }

    /// All of them, by time.
    pub fn all(&self) -> impl Iterator<Item = (RequestId, RequestRecord)> {
        self.order.iter().filter_map(|(at, id)| {
            let reply = self.answer(id)?;
            Some((*id, RequestRecord { at: *at, reply }))
        })
    }

    /// The cluster's clock became another one.
    pub fn shift(&mut self, by: i64) {
        for (at, _) in &mut self.order {
            *at = at.shifted(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at: u64, reply: Reply) -> RequestRecord {
        let at = ClusterTime(at);
        RequestRecord { at, reply }
    }

    #[test]
    fn an_answer_is_kept_as_it_was_and_forgotten_by_age() {
        let replies = [
            Reply::Touched { applied: true },
            Reply::Removed {
                applied: false,
                previous: None,
            },
            Reply::Put {
                applied: true,
                version: 7,
                previous: None,
            },
            Reply::Put {
                applied: false,
                version: 0,
                previous: None,
            },
            Reply::Cleared { removed: 3 },
        ];
        let mut remembered = Remembered::default();
        for (number, at) in [(0u8, 30), (1, 10), (2, 20), (3, 10), (4, 40)] {
            let reply = replies[usize::from(number)].clone();
            remembered.insert([number; 16], record(at, reply));
            remembered.insert([number; 16], record(at + 50, Reply::Size { live: 1 }));
        }
        for (number, reply) in (0u8..).zip(&replies) {
            assert_eq!(remembered.answer(&[number; 16]).as_ref(), Some(reply));
        }
        let order: Vec<u8> = remembered.all().map(|(id, _)| id[0]).collect();
        assert_eq!(order, [1, 3, 2, 0, 4]);
        remembered.forget(ClusterTime(20));
        assert!(!remembered.contains(&[1; 16]) && !remembered.contains(&[3; 16]));
        assert_eq!(remembered.oldest(), Some(ClusterTime(20)));
    }
}
