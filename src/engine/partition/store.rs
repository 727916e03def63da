//! What one owner remembers of a partition: the state of every key, the last range tombstone, the
//! floor of its tombstones, and the requests that were answered.
//!
//! Two states of a key merge to the greater by (incarnation, dead over live, version), or, where
//! removes are final, by (removed by key, incarnation, dead, version): associative, commutative
//! and idempotent. The last access stands outside of that order and merges by maximum.

use super::remembered::Remembered;
use super::sums;
use super::tickets::index::{Tickets, state};
use crate::engine::planted::{self, Fault};
use crate::types::ticket::{Stored, note};
use crate::types::time::ClusterTime;
use crate::types::{Blob, Entry, EntryVersion};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::cmp::Ordering;
use xxhash_rust::xxh3::xxh3_64;

/// The contents of a partition; in this order what every call looks at stands together.
#[derive(Default)]
#[repr(C)]
pub struct Store {
    entries: HashMap<Blob, Entry, FixedState>,
    removes_are_final: bool,
    /// All that was created at or before this point is gone.
    pub cleared_at: Option<ClusterTime>,
    pub requests: Remembered,
    /// Over all states, see `sums`.
    sum: u64,
    /// What `entries` take in memory.
    bytes: u64,
    tombstones: usize,
    /// The greatest version seen.
    pub seen: EntryVersion,
    /// Tombstones up to this version may be gone.
    pub floor: EntryVersion,
    /// What lived and fell under the end of a principal, for whoever tells of it.
    killed: Vec<(Blob, Entry)>,
    /// How tickets among the entries are found.
    pub tickets: Tickets,
}

/// What a state takes beside the bytes of its key and of its value: its place in the table, with
/// the free ones that go with it, and the heads of what is shared.
const ENTRY_BYTES: u64 = size_of::<(Blob, Entry)>() as u64 * 3 / 2 + 32;

/// A table of so many places is kept, however few are in use; of those without any, a thousand of
/// which are a cache that is empty, nothing.
const CAPACITY_KEPT: usize = 64;

/// What a state of a key takes in memory.
fn cost(key: &Blob, entry: &Entry) -> u64 {
    let value = entry.live.as_ref().map_or(0, |live| live.value.len());
    (key.len() + value) as u64 + ENTRY_BYTES
}

/// Whether a range tombstone covers an entry. Links that are young survive it: a child may be on its
/// way to its partition, and is found by its link.
fn covers(at: ClusterTime, key: &[u8], entry: &Entry) -> bool {
    let young = || note::is_link(key) && entry.created_at.after(note::YOUNG) > at;
    entry.created_at <= at && !young()
}

/// The order of two states of one key.
pub fn compare(a: &Entry, b: &Entry, removes_are_final: bool) -> Ordering {
    let by_key = if removes_are_final {
        a.removed_by_key.cmp(&b.removed_by_key)
    } else {
        Ordering::Equal
    };
    by_key
        .then(a.incarnation.cmp(&b.incarnation))
        .then(if planted::is(Fault::UpdateBeatsRemove) {
            a.version.cmp(&b.version)
        } else {
            Ordering::Equal
        })
        .then(a.live.is_none().cmp(&b.live.is_none()))
        .then(a.version.cmp(&b.version))
}

/// Makes a state the greater of two, with the greater last access of one and the same life.
/// Returns what it was before, if that changed.
fn merge(state: &mut Entry, other: Entry, removes_are_final: bool) -> Option<Entry> {
    let latest = match (&state.live, &other.live) {
        (Some(x), Some(y)) if state.incarnation == other.incarnation => {
            Some(x.last_access.max(y.last_access))
        }
        _ => None,
    };
    let set = |entry: &mut Entry| {
        if let (Some(live), Some(latest)) = (&mut entry.live, latest) {
            live.last_access = latest;
        }
    };
    if compare(state, &other, removes_are_final) == Ordering::Less {
        let before = std::mem::replace(state, other);
        set(state);
        return Some(before);
    }
    let known = state.live.as_ref().map(|live| live.last_access);
    if latest.is_none() || known == latest {
        return None;
    }
    let before = state.clone();
    set(state);
    Some(before)
}

impl Store {
    pub fn new(removes_are_final: bool) -> Self {
        Self {
            removes_are_final,
            ..Self::default()
        }
    }

    /// Forgets everything but how states are ordered.
    pub fn reset(&mut self) {
        *self = Self::new(self.removes_are_final);
    }

    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The same with the key as it is stored, which can be shared.
    pub fn find(&self, key: &[u8]) -> Option<(&Blob, &Entry)> {
        self.entries.get_key_value(key)
    }

    /// For what stands outside of the sum only: the last access.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.entries.get_mut(key)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn tombstones(&self) -> usize {
        self.tombstones
    }

    /// The sum over everything: equal copies have equal ones.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The same, computed anew.
    pub fn summed(&self) -> u64 {
        let all = self
            .entries()
            .map(|(key, entry)| sums::of(key, entry, false));
        all.fold(0, u64::wrapping_add)
    }

    /// What all states take in memory, counted as they change.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The same, counted anew.
    pub fn count_bytes(&self) -> u64 {
        self.entries().map(|(key, entry)| cost(key, entry)).sum()
    }

    /// Merges a state in. Whether that changed anything, and then what was there before.
    pub fn set(&mut self, key: &Blob, entry: Entry) -> (bool, Option<Entry>) {
        self.put(key, entry, false)
    }

    /// The same for who does not ask what was there before: the new value takes its memory where it
    /// can.
    pub fn set_over(&mut self, key: &Blob, entry: Entry) -> bool {
        self.put(key, entry, true).0
    }

    fn put(&mut self, key: &Blob, mut entry: Entry, over: bool) -> (bool, Option<Entry>) {
        self.see(entry.version);
        self.see(entry.incarnation);
        if self.cleared(key, &entry) {
            return (false, None);
        }
        let Some(state) = self.entries.get_mut(&**key) else {
            self.tombstones += usize::from(entry.live.is_none());
            self.sum = self.sum.wrapping_add(sums::of(key, &entry, false));
            self.bytes += cost(key, &entry);
            let concerned = self.tickets.concerns(key, None, Some(&entry));
            if let Some(live) = &mut entry.live {
                live.value.own(None);
            }
            self.entries.insert(key.clone(), entry);
            if concerned {
                self.changed(key, None);
            }
            return (true, None);
        };
        let mut before = merge(state, entry, self.removes_are_final);
        let dead = usize::from(state.live.is_none());
        if let Some(before) = &mut before {
            self.bytes = (self.bytes + cost(key, state)).saturating_sub(cost(key, before));
            let was = usize::from(before.live.is_none());
            self.tombstones = (self.tombstones + dead).saturating_sub(was);
            self.sum = self.sum.wrapping_sub(sums::of(key, before, false));
            self.sum = self.sum.wrapping_add(sums::of(key, state, false));
            let concerned = self.tickets.concerns(key, Some(before), Some(state));
            let gone = before.live.as_mut().filter(|_| over && !concerned);
            if let Some(live) = &mut state.live {
                live.value
                    .own(gone.map(|gone| std::mem::take(&mut gone.value)));
            }
            if concerned {
                self.changed(key, Some(before));
            }
        }
        (before.is_some(), before)
    }

    /// An entry was another one before: the indexes follow, and what falls under it goes.
    fn changed(&mut self, key: &Blob, before: Option<&Entry>) {
        let entries = &self.entries;
        let of_parent = |parent: &[u8]| state(entries.get(parent));
        self.tickets
            .change(key, before, entries.get(&**key), of_parent);
        if let Some(principal) = note::read_ended(key) {
            self.end_principal(principal);
        }
    }

    /// Removes the tickets of a principal that were created before it ended.
    fn end_principal(&mut self, principal: &[u8]) {
        let ended = self.tickets.ended_at(principal);
        let Some(at) = ended.filter(|_| !planted::is(Fault::ForgetEnded)) else {
            return;
        };
        let of_principal: Vec<Blob> = self.tickets.of_principal(principal).cloned().collect();
        for key in of_principal {
            let covered = self.get(&key).is_some_and(|entry| entry.created_at <= at);
            if covered && let Some(entry) = self.take(&key) {
                self.killed.push((key, entry));
            }
        }
    }

    /// Takes what lived and fell under the end of a principal.
    pub fn take_killed(&mut self) -> Vec<(Blob, Entry)> {
        std::mem::take(&mut self.killed)
    }

    /// Whether a state that is not known here would change anything.
    pub fn lacks(&self, key: &[u8], entry: &Entry) -> bool {
        !self.cleared(key, entry)
            && self
                .get(key)
                .is_none_or(|mine| compare(mine, entry, self.removes_are_final) == Ordering::Less)
    }

    fn cleared(&self, key: &[u8], entry: &Entry) -> bool {
        self.is_cleared(key, entry) || self.ended(entry)
    }

    /// Whether the last range tombstone covers a state.
    pub fn is_cleared(&self, key: &[u8], entry: &Entry) -> bool {
        self.cleared_at.is_some_and(|at| covers(at, key, entry))
    }

    /// Whether an entry is a ticket of a principal that ended after it was created. One that is
    /// ending is in no index, so the end of its principal leaves it where it stands: every copy
    /// has to, and its own end finds its children.
    fn ended(&self, entry: &Entry) -> bool {
        if self.tickets.ended_count() == 0 || planted::is(Fault::ForgetEnded) {
            return false;
        }
        let Some(ticket) = Stored::of(entry) else {
            return false;
        };
        let at = self.tickets.ended_at(ticket.principal);
        let under = !ticket.principal.is_empty() && !ticket.ending;
        under && at.is_some_and(|at| entry.created_at <= at)
    }

    pub fn see(&mut self, version: EntryVersion) {
        self.seen = self.seen.max(version);
    }

    /// Takes a key out.
    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        let (key, entry) = self.entries.remove_entry(key)?;
        self.bytes = self.bytes.saturating_sub(cost(&key, &entry));
        let dead = usize::from(entry.live.is_none());
        self.tombstones = self.tombstones.saturating_sub(dead);
        self.sum = self.sum.wrapping_sub(sums::of(&key, &entry, false));
        self.changed(&key, Some(&entry));
        self.give_back();
        Some(entry)
    }

    /// What many entries took in the table need not stay when few are left.
    fn give_back(&mut self) {
        let (capacity, left) = (self.entries.capacity(), self.entries.len());
        if left == 0 || (capacity > CAPACITY_KEPT && capacity / 4 > left) {
            self.entries.shrink_to(2 * left);
        }
    }

    /// Removes all that was created at or before a point; returns what lived, in key order.
    pub fn clear(&mut self, at: ClusterTime) -> Vec<(Blob, Entry)> {
        self.cleared_at = Some(self.cleared_at.map_or(at, |old| old.max(at)));
        let mut gone: Vec<Blob> = self
            .entries
            .iter()
            .filter(|(key, entry)| covers(at, key, entry))
            .map(|(key, _)| key.clone())
            .collect();
        gone.sort_unstable();
        let mut removed = Vec::new();
        for key in gone {
            if let Some(entry) = self.take(&key)
                && entry.live.is_some()
            {
                removed.push((key, entry));
            }
        }
        removed
    }

    /// Drops tombstones up to a version; returns how many.
    pub fn raise_floor(&mut self, floor: EntryVersion) -> usize {
        self.floor = self.floor.max(floor);
        let ended = self.tickets.all_ended().filter(|key| {
            let note = self.get(key);
            note.is_some_and(|note| note.version <= floor)
        });
        for key in ended.cloned().collect::<Vec<_>>() {
            self.take(&key);
        }
        if self.tombstones == 0 {
            return 0;
        }
        let (before, mut gone, mut bytes) = (self.entries.len(), 0u64, 0);
        self.entries.retain(|key, entry| {
            let stays = entry.live.is_some() || entry.version > floor;
            if !stays {
                gone = gone.wrapping_add(sums::of(key, entry, false));
                bytes += cost(key, entry);
            }
            stays
        });
        let dropped = before - self.entries.len();
        self.give_back();
        self.tombstones = self.tombstones.saturating_sub(dropped);
        self.sum = self.sum.wrapping_sub(gone);
        self.bytes = self.bytes.saturating_sub(bytes);
        dropped
    }

    /// All keys, in key order.
    pub fn keys(&self) -> Vec<Blob> {
        let mut keys: Vec<Blob> = self.entries.keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// All states, in no order: for what does not depend on one.
    pub fn entries(&self) -> impl Iterator<Item = (&Blob, &Entry)> {
        self.entries.iter()
    }

    /// Changes every state in the same way, in what stands outside of the sum only: points in time.
    pub fn for_each_mut(&mut self, mut change: impl FnMut(&mut Entry)) {
        self.entries.values_mut().for_each(&mut change);
    }

    /// Keys under a prefix in the order of (hash, key), those behind `after` only; at most
    /// `limit` and one more.
    pub fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        lives: impl Fn(&Entry) -> bool,
    ) -> Vec<&Blob> {
        let from = after.map(|key| (xxh3_64(key), key));
        let mut page: Vec<(u64, &Blob)> = self
            .entries
            .iter()
            .filter(|(key, entry)| key.starts_with(prefix) && !note::is_note(key) && lives(entry))
            .map(|(key, _)| (xxh3_64(key), key))
            .filter(|(hash, key)| from.is_none_or(|from| (*hash, &***key) > from))
            .collect();
        page.sort_unstable();
        page.truncate(limit.saturating_add(1));
        page.into_iter().map(|(_, key)| key).collect()
    }

    /// Panics where the indexes are not what a scan gives.
    pub fn check_tickets(&self) {
        self.tickets.check(self.entries.iter());
    }

    /// Moves every stored point in time: the cluster's clock became another one.
    pub fn shift(&mut self, by: i64) {
        self.for_each_mut(|entry| entry.shift(by));
        self.cleared_at = self.cleared_at.map(|at| at.shifted(by));
        self.requests.shift(by);
        self.tickets = Tickets::default();
        let keys = self.keys();
        for key in keys {
            self.changed(&key, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ticket::TicketRecord;
    use crate::types::{Live, TopologyVersion};
    use bytes::Bytes;

    fn entry(counter: u64, created_at: u64, value: Blob) -> Entry {
        let version = EntryVersion {
            topology: TopologyVersion::default(),
            counter,
        };
        Entry {
            incarnation: version,
            version,
            created_at: ClusterTime(created_at),
            removed_by_key: false,
            live: Some(Live {
                value,
                flags: 0,
                value_version: 1,
                expires_at: None,
                time_to_idle: None,
                last_access: ClusterTime(created_at),
            }),
        }
    }

    #[test]
    fn what_is_set_over_another_state_leaves_the_same() {
        let key = Blob::from("key");
        let ticket = |uses| TicketRecord {
            kind: Blob::from("TGT"),
            service: Blob::from(vec![7; 4096]),
            uses,
            ..TicketRecord::default()
        };
        let plain = |byte, len| Bytes::from(vec![byte; len]);
        let record = |uses| Bytes::copy_from_slice(&ticket(uses).encode());
        // An older state changes nothing; one that was accessed later changes that alone.
        let states = [
            (1, 1, plain(1, 1000)),
            (3, 3, plain(2, 1000)),
            (2, 2, plain(3, 1000)),
            (3, 9, plain(2, 1000)),
            (4, 4, plain(4, 1000)),
            (5, 5, record(1)),
            (6, 6, record(2)),
            (7, 7, plain(5, 5000)),
            (8, 8, plain(6, 5000)),
        ];
        let place = |store: &Store| {
            let live = store.get(&key).and_then(|entry| entry.live.as_ref());
            live.map(|live| live.value.as_ptr() as usize)
        };
        for read in [false, true] {
            let (mut set, mut over) = (Store::new(false), Store::new(false));
            let mut taken = Vec::new();
            for (counter, accessed, value) in states.clone() {
                let of = |value| {
                    let mut entry = entry(counter, 1, value);
                    entry.incarnation.counter = 1;
                    let live = entry.live.as_mut();
                    live.unwrap().last_access = ClusterTime(accessed);
                    entry
                };
                let reader = over.get(&key).filter(|_| read).cloned();
                let (copy, before) = (set.get(&key).cloned(), place(&over));
                let (changed, _) = set.set(&key, of(Blob::from(&value[..])));
                assert_eq!(over.set_over(&key, of(Blob::lent(value))), changed);
                assert!(reader.is_none() || reader == copy, "who reads it keeps it");
                assert_eq!(over.get(&key), set.get(&key), "{counter}");
                let sums = |store: &Store| (store.sum(), store.bytes());
                assert_eq!(sums(&over), sums(&set));
                assert_eq!(sums(&over), (over.summed(), over.count_bytes()));
                if place(&over) == before && !(accessed == 2 || accessed == 9) {
                    taken.push(counter);
                }
            }
            // A ticket's old bytes are looked at once more; what is read is not written over.
            assert_eq!(taken, if read { vec![] } else { vec![3, 4, 8] });
        }
    }

    #[test]
    fn the_end_of_a_principal_leaves_the_same_whenever_it_is_told() {
        let ticket = |ending| TicketRecord {
            kind: Blob::from("TGT"),
            principal: Blob::from("user"),
            ending,
            ..TicketRecord::default()
        };
        let end = entry(9, 9, Blob::default());
        let note = note::ended(b"user", end.version);
        let states = [
            (Blob::from("lives"), entry(1, 1, ticket(false).encode())),
            (Blob::from("is ending"), entry(2, 2, ticket(true).encode())),
            (
                Blob::from("is younger"),
                entry(10, 10, ticket(false).encode()),
            ),
            (note, end),
        ];
        let told = |order: [usize; 4]| {
            let mut store = Store::new(false);
            for place in order {
                let (key, entry) = &states[place];
                store.set(key, entry.clone());
            }
            let mut keys = store.keys();
            keys.sort();
            (store.sum(), keys)
        };
        let first = told([3, 0, 1, 2]);
        assert_eq!(first.1.len(), 3, "{:?}", first.1);
        for order in [[0, 1, 2, 3], [1, 3, 0, 2], [2, 0, 3, 1]] {
            assert_eq!(told(order), first, "{order:?}");
        }
    }
}
