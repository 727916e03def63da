//! The stream of updates as one owner knows it: what is applied up to which counter, what all
//! owners are known to hold, and the updates between the two, which decide a fail-over.

use crate::types::message::{Tail, Update, UpdateEffect, WatchPosition};
use crate::types::ticket::note::is_ended;
use crate::types::{Blob, Entry, EntryVersion, TopologyVersion};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::VecDeque;

/// The most updates that may wait for owners. A full log is "overloaded", and the bound of what
/// PRIMARY_SYNC and FULL_ASYNC leave behind in one partition.
pub const TAIL_MAX: usize = 4096;

/// A tail of so many updates is searched for a key; only of a longer one the keys are counted.
const SEARCHED_MAX: usize = 8;

/// Updates in order without gaps.
#[derive(Default)]
pub struct Log {
    /// The topology in which the primary that is followed took over.
    pub stream: TopologyVersion,
    /// All updates up to this counter are held here.
    pub applied: u64,
    /// The last update that all owners are known to hold.
    pub committed: WatchPosition,
    /// The updates behind it.
    tail: VecDeque<Update>,
    /// Keys with an update in a tail that is too long to be searched, and how many.
    pending: HashMap<Blob, u32, FixedState>,
    /// Updates in the tail that concern every key.
    pending_for_all: u32,
}

/// How often an effect concerns every key.
fn concerning_all(effect: &UpdateEffect) -> u32 {
    let ended = effect.keys().filter(|key| is_ended(key)).count();
    let all = matches!(effect, UpdateEffect::Clear { .. });
    ended as u32 + u32::from(all)
}

/// The keys that are counted where the tail is long.
fn counted(effect: &UpdateEffect) -> impl Iterator<Item = &Blob> {
    effect.keys().filter(|key| !is_ended(key))
}

impl Log {
    /// A log that begins behind a place.
    pub fn behind(stream: TopologyVersion, position: WatchPosition) -> Self {
        Self {
            stream,
            applied: position.counter,
            committed: position,
            ..Self::default()
        }
    }

    /// Whether an update in the tail concerns a key.
    pub fn is_pending(&self, key: &[u8]) -> bool {
        self.pending_for_all > 0
            || if self.is_searched() {
                self.searched().any(|own| **own == *key)
            } else {
                self.pending.contains_key(key)
            }
    }

    fn is_searched(&self) -> bool {
        self.tail.len() <= SEARCHED_MAX
    }

    fn searched(&self) -> impl Iterator<Item = &Blob> {
        self.tail.iter().flat_map(|update| counted(&update.effect))
    }

    /// Whether a key that begins so is pending.
    pub fn is_pending_below(&self, prefix: &[u8]) -> bool {
        self.searched().any(|key| key.starts_with(prefix))
    }

    /// Whether something that concerns the whole partition, or anything at all, is pending.
    pub fn is_settled(&self) -> bool {
        self.tail.is_empty()
    }

    /// The cluster's clock became another one: what waits for owners moves with what is stored.
    pub fn shift(&mut self, by: i64) {
        for update in &mut self.tail {
            match &mut update.effect {
                UpdateEffect::Set { entry, .. } => entry.shift(by),
                UpdateEffect::Clear { at, .. } => *at = at.shifted(by),
                UpdateEffect::Prepare(prepared) => super::held::shift_prepared(prepared, by),
                UpdateEffect::Finish { until, writes, .. } => {
                    *until = until.shifted(by);
                    writes.iter_mut().for_each(|(_, entry)| entry.shift(by));
                }
                UpdateEffect::Status(status) => status.until = status.until.shifted(by),
                UpdateEffect::Nothing
                | UpdateEffect::Expire { .. }
                | UpdateEffect::RaiseFloor { .. } => {}
            }
            if let Some((_, record)) = &mut update.request {
                record.at = record.at.shifted(by);
            }
        }
    }

    pub fn is_full(&self) -> bool {
        self.tail.len() >= TAIL_MAX
    }

    /// Gives back what updates took that wait no more.
    pub fn give_back(&mut self) {
        if self.tail.is_empty() {
            self.tail = VecDeque::new();
            self.pending.shrink_to(0);
        }
    }

    pub fn len(&self) -> usize {
        self.tail.len()
    }

    /// The states that wait for owners.
    pub fn waiting(&self) -> impl Iterator<Item = &Entry> {
        let states = self.tail.iter().flat_map(|update| update.effect.states());
        states.map(|(_, entry)| entry)
    }

    /// The last place in the stream.
    pub fn end(&self) -> WatchPosition {
        self.tail
            .back()
            .map_or(self.committed, |update| WatchPosition {
                counter: update.counter,
                topology: update.topology,
            })
    }

    /// The next update is held by all owners at once, as there is nobody else: only its place
    /// is noted. Nothing may wait before it.
    pub fn pass(&mut self, position: WatchPosition) {
        debug_assert!(self.is_settled() && position.counter == self.applied + 1);
        self.applied = position.counter;
        self.committed = position;
    }

    /// Adds the next update.
    pub fn push(&mut self, update: Update) {
        debug_assert_eq!(update.counter, self.applied + 1);
        self.applied = update.counter;
        self.pending_for_all += concerning_all(&update.effect);
        self.tail.push_back(update);
        let uncounted = match self.tail.len() {
            len if len <= SEARCHED_MAX => len,
            len if len == SEARCHED_MAX + 1 => 0,
            len => len - 1,
        };
        for update in self.tail.range(uncounted..) {
            for key in counted(&update.effect) {
                *self.pending.entry(key.clone()).or_default() += 1;
            }
        }
    }

    /// Takes the first update out of the tail if its counter is not above `upto`.
    pub fn commit_next(&mut self, upto: u64) -> Option<Update> {
        if self.tail.front()?.counter > upto {
            return None;
        }
        let update = self.tail.pop_front()?;
        self.pending_for_all -= concerning_all(&update.effect);
        if self.is_searched() {
            self.pending.clear();
        } else {
            self.uncount(&update.effect);
        }
        self.committed = WatchPosition {
            counter: update.counter,
            topology: update.topology,
        };
        Some(update)
    }

    /// The updates behind a counter, at most `limit`.
    pub fn behind_counter(&self, counter: u64, limit: usize) -> Vec<Update> {
        let first = self.tail.front().map_or(0, |update| update.counter);
        let skip = usize::try_from((counter + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        self.tail.iter().skip(skip).take(limit).cloned().collect()
    }

    /// Finds the update that remembers a request.
    pub fn find_request(&self, id: &crate::types::RequestId) -> Option<&Update> {
        self.tail
            .iter()
            .find(|update| update.request.as_ref().is_some_and(|(own, _)| own == id))
    }

    /// The first update in the tail that is wanted.
    pub fn find(&self, wanted: impl Fn(&Update) -> bool) -> Option<&Update> {
        self.tail.iter().find(|update| wanted(update))
    }

    /// Makes an update do nothing, as if nobody had asked for it.
    pub fn void(&mut self, counter: u64) {
        let mut updates = self.tail.iter_mut();
        let Some(update) = updates.find(|update| update.counter == counter) else {
            return;
        };
        let effect = std::mem::replace(&mut update.effect, UpdateEffect::Nothing);
        update.request = None;
        self.pending_for_all -= concerning_all(&effect);
        if !self.is_searched() {
            self.uncount(&effect);
        }
    }

    /// The keys of an update do not wait any more.
    fn uncount(&mut self, effect: &UpdateEffect) {
        for key in counted(effect) {
            if let Some(count) = self.pending.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    self.pending.remove(key);
                }
            }
        }
    }

    /// Whether this very update is in the tail.
    pub fn holds(&self, counter: u64, topology: TopologyVersion) -> bool {
        let first = self.tail.front().map_or(0, |update| update.counter);
        counter
            .checked_sub(first)
            .and_then(|place| self.tail.get(usize::try_from(place).ok()?))
            .is_some_and(|update| update.counter == counter && update.topology == topology)
    }

    /// Replaces the tail; returns what the new one holds behind the old end.
    pub fn replace(&mut self, stream: TopologyVersion, updates: Vec<Update>) -> Vec<Update> {
        let end = self.applied;
        let committed = self.committed;
        *self = Self::behind(stream, committed);
        for update in updates {
            if update.counter == self.applied + 1 {
                self.push(update);
            }
        }
        self.behind_counter(end.max(committed.counter), TAIL_MAX)
    }

    /// What this owner tells a new primary.
    pub fn tail(&self, floor: EntryVersion) -> Tail {
        Tail {
            stream: self.stream,
            applied: self.applied,
            committed: self.committed.counter,
            updates: self.tail.iter().cloned().collect(),
            floor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(counter: u64, key: &str) -> Update {
        Update {
            counter,
            topology: TopologyVersion::default(),
            effect: UpdateEffect::Expire {
                key: Blob::from(key),
                incarnation: EntryVersion::default(),
                tombstone: false,
            },
            request: None,
        }
    }

    #[test]
    fn a_key_is_pending_as_long_as_an_update_of_it_waits_however_many_do() {
        let mut log = Log::default();
        let keys: Vec<String> = (0..30).map(|key| format!("key {}", key % 7)).collect();
        let (mut from, mut upto) = (0, 0);
        for (pushes, commits) in [(5, 3), (9, 2), (16, 4), (0, 17), (0, 4)] {
            for _ in 0..pushes {
                log.push(update(upto as u64 + 1, &keys[upto]));
                upto += 1;
            }
            for _ in 0..commits {
                assert!(log.commit_next(u64::MAX).is_some());
                from += 1;
            }
            for key in &keys {
                let waits = keys[from..upto].contains(key);
                assert_eq!(
                    log.is_pending(key.as_bytes()),
                    waits,
                    "{key}, {from}..{upto}"
                );
            }
            assert_eq!(log.is_pending_below(b"key"), from < upto);
        }
        assert!(log.is_settled() && log.pending.is_empty());
    }
}
