//! The requests that were answered: who repeats one within its window gets the same answer.

use crate::types::message::RequestRecord;
use crate::types::{ClusterTime, Reply, RequestId};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use std::collections::VecDeque;
use std::hash::BuildHasher;

/// The most request ids that one partition remembers; a full table refuses, it never forgets
/// early.
const REMEMBERED_MAX: usize = 16_384;

/// An answer in little room, since there is one for each write of the last minute.
enum Kept {
    Put {
        version: u64,
    },
    Removed {
        applied: bool,
    },
    Touched {
        applied: bool,
    },
    Other(Box<Reply>),
    /// It was never confirmed.
    TakenBack,
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

    fn reply(&self) -> Option<Reply> {
        Some(match self {
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
            Self::TakenBack => return None,
        })
    }
}

/// A request and what it was answered.
struct Known {
    id: RequestId,
    at: ClusterTime,
    kept: Kept,
}

/// Requests with their answers. There are many, and each is mostly looked for once, in vain, before
/// it comes: so they stand in the order in which they came, and the table that finds them is small,
/// since it holds their places only.
#[derive(Default)]
#[repr(C)]
pub struct Remembered {
    /// Places in `known`, counted from `first` on, around the end of the numbers. Neither of the
    /// tables is walked through where an order would reach anything.
    places: HashTable<u32>,
    /// By time.
    known: VecDeque<Known>,
    first: u32,
    /// What came later than younger ones: from another history, or with a load.
    strays: HashMap<RequestId, (ClusterTime, Kept), FixedState>,
}

fn hash(id: &RequestId) -> u64 {
    FixedState::default().hash_one(id)
}

impl Remembered {
    fn place(&self, id: &RequestId) -> Option<usize> {
        let index = |place: &u32| place.wrapping_sub(self.first) as usize;
        let known = |place: &u32| self.known.get(index(place));
        let same = |place: &u32| known(place).is_some_and(|known| known.id == *id);
        self.places.find(hash(id), same).map(index)
    }

    fn find(&self, id: &RequestId) -> Option<&Known> {
        self.known.get(self.place(id)?)
    }

    /// Looks at the last one, beside which the next one will stand.
    pub fn reach(&self) -> Option<ClusterTime> {
        self.known.back().map(|last| last.at)
    }

    /// What a request was answered.
    pub fn answer(&self, id: &RequestId) -> Option<Reply> {
        match self.find(id) {
            Some(known) => known.kept.reply(),
            None => self.strays.get(id)?.1.reply(),
        }
    }

    pub fn contains(&self, id: &RequestId) -> bool {
        self.find(id).is_some() || self.strays.contains_key(id)
    }

    pub fn is_full(&self) -> bool {
        self.places.len() + self.strays.len() >= REMEMBERED_MAX
    }

    /// Remembers an answer, unless the request has one.
    pub fn insert(&mut self, id: RequestId, record: RequestRecord) {
        if self.contains(&id) {
            return;
        }
        let (at, kept) = (record.at, Kept::of(record.reply));
        if self.known.back().is_some_and(|last| last.at > at) {
            self.strays.insert(id, (at, kept));
            return;
        }
        let place = self.first.wrapping_add(self.known.len() as u32);
        self.known.push_back(Known { id, at, kept });
        let (known, first) = (&self.known, self.first);
        self.places
            .insert_unique(hash(&id), place, |place| rehash(known, first, *place));
    }

    /// Takes back what was never confirmed.
    pub fn remove(&mut self, id: &RequestId) {
        self.strays.remove(id);
        let Some(place) = self.place(id) else { return };
        self.unplace(id, place);
        if let Some(known) = self.known.get_mut(place) {
            known.kept = Kept::TakenBack;
        }
    }

    /// The table forgets a place.
    fn unplace(&mut self, id: &RequestId, place: usize) {
        let place = self.first.wrapping_add(place as u32);
        let found = self.places.find_entry(hash(id), |own| *own == place);
        if let Ok(found) = found {
            found.remove();
        }
    }

    /// Forgets requests older than a point.
    pub fn forget(&mut self, before: ClusterTime) {
        while let Some(oldest) = self.known.front().filter(|known| known.at < before) {
            let id = oldest.id;
            self.unplace(&id, 0);
            self.known.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        self.strays.retain(|_, (at, _)| *at >= before);
        // What one busy minute took need not stay.
        let kept = 2 * self.known.len();
        if self.known.capacity() / 2 > kept {
            self.known.shrink_to(kept);
            let (known, first) = (&self.known, self.first);
            self.places
                .shrink_to(kept, |place| rehash(known, first, *place));
        }
        if self.strays.is_empty() {
            self.strays = HashMap::default();
        }
    }

    /// When the oldest one was answered.
    pub fn oldest(&self) -> Option<ClusterTime> {
        let strays = self.strays.values().map(|(at, _)| *at);
        strays.chain(self.known.front().map(|known| known.at)).min()
    }

    /// All of them, by time.
    pub fn all(&self) -> impl Iterator<Item = (RequestId, RequestRecord)> {
        let strays = self.strays.iter();
        let mut strays: Vec<_> = strays.map(|(id, (at, kept))| (*at, *id, kept)).collect();
        strays.sort_unstable_by_key(|(at, id, _)| (*at, *id));
        let mut strays = strays.into_iter().peekable();
        let mut known = self
            .known
            .iter()
            .map(|known| (known.at, known.id, &known.kept));
        let mut known = std::iter::from_fn(move || known.next()).peekable();
        let by_time = std::iter::from_fn(move || {
            let stray = strays.next_if(|(at, ..)| known.peek().is_none_or(|known| *at < known.0));
            stray.or_else(|| known.next())
        });
        by_time.filter_map(|(at, id, kept)| {
            let reply = kept.reply()?;
            Some((id, RequestRecord { at, reply }))
        })
    }

    /// The cluster's clock became another one.
    pub fn shift(&mut self, by: i64) {
        let known = self.known.iter_mut().map(|known| &mut known.at);
        let strays = self.strays.values_mut().map(|(at, _)| at);
        known.chain(strays).for_each(|at| *at = at.shifted(by));
    }
}

/// The hash of what stands at a place.
fn rehash(known: &VecDeque<Known>, first: u32, place: u32) -> u64 {
    let known = known.get(place.wrapping_sub(first) as usize);
    known.map_or(0, |known| hash(&known.id))
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

    #[test]
    fn many_come_and_go_in_order_and_out_of_it() {
        let mut remembered = Remembered {
            first: u32::MAX - 100,
            ..Remembered::default()
        };
        let id = |number: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_le_bytes());
            id
        };
        let size = |live| Reply::Size { live };
        // Every seventh comes late.
        let at = |number: u64| number.saturating_sub(if number.is_multiple_of(7) { 30 } else { 0 });
        for number in 0..2_000u64 {
            remembered.insert(id(number), record(at(number), size(number)));
            remembered.forget(ClusterTime(number.saturating_sub(500)));
        }
        let all: Vec<_> = remembered.all().collect();
        assert!(all.is_sorted_by_key(|(_, record)| record.at));
        assert_eq!(
            all.first().map(|(_, record)| record.at),
            remembered.oldest()
        );
        assert!(all.len() < 501 && !remembered.strays.is_empty());
        for number in 0..2_000 {
            let stays = at(number) >= 1_499;
            assert_eq!(remembered.contains(&id(number)), stays, "{number}");
            let answer = stays.then(|| size(number));
            assert_eq!(remembered.answer(&id(number)), answer);
        }
        remembered.remove(&id(1_500));
        assert_eq!(remembered.answer(&id(1_500)), None);
        assert_eq!(remembered.all().count(), all.len() - 1);
        remembered.insert(id(1_500), record(9_000, size(1)));
        assert_eq!(remembered.answer(&id(1_500)), Some(size(1)));
        remembered.forget(ClusterTime(9_001));
        assert_eq!((remembered.all().count(), remembered.oldest()), (0, None));
        assert!(remembered.places.is_empty() && remembered.strays.is_empty());
    }
}
