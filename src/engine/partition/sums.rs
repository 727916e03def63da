//! Sums over states, by which copies are compared: of one state, and, order-free, of many. The
//! store keeps the sum over all that it holds up to date, so that a comparison looks at nothing.
//!
//! What stands outside: the last access, which owners do not agree on at every moment, and points
//! in time, which each node moves by what it measured when clusters with other clocks meet. The
//! bytes of a value stand outside too unless they are asked for: its version and length are in.

use super::store::Store;
use crate::types::{Blob, Entry, EntryVersion};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// So many keys share a part, if there are not too many parts.
const PART_KEYS: usize = 64;
/// The most parts of a partition.
pub const PARTS_MAX: usize = 4096;

/// Bytes of a state that are summed: two versions of four words, five more words, two flags.
const STATE_BYTES: usize = 8 * 13 + 2;

/// The sum of one state.
pub fn of(key: &[u8], entry: &Entry, values: bool) -> u64 {
    let mut bytes = [0u8; STATE_BYTES];
    let mut place = 0;
    let mut add = |word: u64| {
        bytes[place..place + 8].copy_from_slice(&word.to_le_bytes());
        place += 8;
    };
    let mut add_version = |version: &EntryVersion| {
        add(version.topology.number);
        add(version.topology.coordinator.id.0);
        add(version.topology.coordinator.incarnation.0);
        add(version.counter);
    };
    add_version(&entry.incarnation);
    add_version(&entry.version);
    if let Some(live) = &entry.live {
        add(live.value_version);
        add(live.value.len() as u64);
        add(u64::from(live.flags));
        add(live.time_to_idle.map_or(0, |idle| idle.saturating_add(1)));
        add(if values { xxh3_64(&live.value) } else { 0 });
    }
    bytes[STATE_BYTES - 2] = u8::from(entry.live.is_some());
    bytes[STATE_BYTES - 1] = u8::from(entry.removed_by_key);
    xxh3_64_with_seed(&bytes, xxh3_64(key))
}

/// How many parts suit so many keys: a power of two.
pub fn parts_for(keys: usize) -> usize {
    (keys / PART_KEYS).next_power_of_two().clamp(1, PARTS_MAX)
}

/// The part that a key belongs to, of a power of two.
pub fn part_of(key: &[u8], parts: usize) -> usize {
    // The low bits chose the partition.
    (xxh3_64(key) >> 40) as usize & (parts.max(1) - 1)
}

impl Store {
    /// The sums over the parts of what is held.
    pub fn parts(&self, parts: usize, values: bool) -> Vec<u64> {
        let mut sums = vec![0u64; parts];
        for (key, entry) in self.entries() {
            if let Some(sum) = sums.get_mut(part_of(key, parts)) {
                *sum = sum.wrapping_add(of(key, entry, values));
            }
        }
        sums
    }

    /// The sum over everything, the bytes of values included.
    pub fn sum_of_values(&self) -> u64 {
        let all = self.entries().map(|(key, entry)| of(key, entry, true));
        all.fold(0, u64::wrapping_add)
    }

    /// The keys of some parts, in key order.
    pub fn keys_of_parts(&self, parts: usize, picked: &[u32]) -> Vec<Blob> {
        let in_one = |key: &&Blob| {
            u32::try_from(part_of(key, parts)).is_ok_and(|part| picked.contains(&part))
        };
        let mut keys: Vec<Blob> = self
            .entries()
            .map(|(key, _)| key)
            .filter(in_one)
            .cloned()
            .collect();
        keys.sort_unstable();
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ClusterTime, Live, TopologyVersion};

    fn entry(counter: u64, value: Option<&str>) -> Entry {
        let version = EntryVersion {
            topology: TopologyVersion::default(),
            counter,
        };
        Entry {
            incarnation: version,
            version,
            created_at: ClusterTime(counter),
            removed_by_key: false,
            live: value.map(|value| Live {
                value: Blob::from(value),
                flags: 0,
                value_version: counter,
                expires_at: None,
                time_to_idle: None,
                last_access: ClusterTime(counter),
            }),
        }
    }

    #[test]
    fn the_sum_follows_what_is_held_in_any_order() {
        let states = [("a", 1), ("b", 2), ("c", 3), ("a", 4), ("b", 1)];
        let mut one = Store::default();
        let mut other = Store::default();
        for (key, counter) in states {
            one.set(&Blob::from(key), entry(counter, Some("x")));
        }
        for (key, counter) in states.into_iter().rev() {
            other.set(&Blob::from(key), entry(counter, Some("x")));
        }
        assert_eq!(one.sum(), other.sum());
        assert_eq!(one.sum(), one.summed());
        other.take(b"c");
        assert_ne!(one.sum(), other.sum());
        one.take(b"c");
        assert_eq!(one.sum(), other.sum());
        one.set(&Blob::from("a"), entry(4, None));
        assert_ne!(one.sum(), other.sum());
        assert_eq!(one.sum(), one.summed());
        one.raise_floor(entry(4, None).version);
        assert_eq!((one.len(), one.sum()), (1, one.summed()));
        one.clear(ClusterTime(9));
        assert_eq!((one.len(), one.sum()), (0, 0));
    }

    #[test]
    fn every_part_of_a_state_counts_but_times_and_bytes() {
        let plain = entry(1, Some("x"));
        let sum = |entry: &Entry| of(b"k", entry, false);
        let with = |change: &dyn Fn(&mut Entry)| {
            let mut changed = plain.clone();
            change(&mut changed);
            changed
        };
        let with_live =
            |change: &dyn Fn(&mut Live)| with(&|entry| entry.live.iter_mut().for_each(change));
        assert_ne!(of(b"k", &plain, false), of(b"l", &plain, false));
        for changed in [
            with(&|entry| entry.incarnation.counter = 0),
            with(&|entry| entry.version.topology.number = 1),
            with(&|entry| entry.removed_by_key = true),
            with(&|entry| entry.live = None),
            with_live(&|live| live.flags = 1),
            with_live(&|live| live.value_version = 0),
            with_live(&|live| live.time_to_idle = Some(0)),
            with_live(&|live| live.value = Blob::from("xy")),
        ] {
            assert_ne!(sum(&plain), sum(&changed), "{changed:?}");
        }
        for same in [
            with(&|entry| entry.created_at = ClusterTime(7)),
            with_live(&|live| live.last_access = ClusterTime(7)),
            with_live(&|live| live.expires_at = Some(ClusterTime(7))),
            with_live(&|live| live.value = Blob::from("y")),
        ] {
            assert_eq!(sum(&plain), sum(&same), "{same:?}");
        }
        let bytes = with_live(&|live| live.value = Blob::from("y"));
        assert_ne!(of(b"k", &plain, true), of(b"k", &bytes, true));
    }

    #[test]
    fn parts_add_up_and_hold_their_keys() {
        let mut store = Store::default();
        for number in 0..1000u64 {
            let key = Blob::from(format!("key-{number}").as_str());
            store.set(&key, entry(number, Some("x")));
        }
        let parts = parts_for(store.len());
        assert_eq!(parts, 16);
        let sums = store.parts(parts, false);
        let all = sums.iter().fold(0u64, |all, sum| all.wrapping_add(*sum));
        assert_eq!(all, store.sum());
        let every: Vec<u32> = (0..16).collect();
        assert_eq!(store.keys_of_parts(parts, &every), store.keys());
        assert_eq!((parts_for(0), parts_for(63)), (1, 1));
    }
}
