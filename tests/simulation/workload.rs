//! What clients ask for: few keys so that conflicts happen, unique values so that a read tells
//! which write it saw. Decides only what; clients.rs decides when and where.

use crate::caches::Use;
use crate::clock::{MS, SECOND};
use crate::history::Call;
use crate::rng::Rng;
use crate::tickets::Tickets;
use embergrid::types::cache::partition_of;
use embergrid::types::{
    Blob, CacheSettings, Change, ClusterTime, Condition, Expiry, KeyOperation, Operation, Reply,
    Request,
};
use std::collections::BTreeMap;

/// Keys of a cache that is written with conflicts: some hold values, some hold numbers.
const REGISTERS: u64 = 5;
const COUNTERS: u64 = 2;
/// The last so many keys that are put once are read.
const RECENT: u64 = 12;

#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// Keys that are written with conflicts are others in each age, so that a long run has no key
    /// with more calls than its checkers can judge.
    pub age: u64,
    next_value: u64,
    next_key: u64,
    /// What clients have seen last of a key: value and version, for conditions.
    seen: BTreeMap<(usize, Blob), (Blob, u64)>,
    recent: BTreeMap<usize, Vec<Blob>>,
    tickets: Tickets,
}

fn put(value: Blob, condition: Condition, return_previous: bool) -> KeyOperation {
    KeyOperation::Put {
        value,
        flags: 7,
        expiry: Expiry::Default,
        condition,
        return_previous,
    }
}

const GET: KeyOperation = KeyOperation::Get {
    touch: None,
    omit_value: false,
};

impl Workload {
    /// The next request of a client on the cache at a place.
    pub fn on(
        &mut self,
        cache: usize,
        wanted: Use,
        settings: &CacheSettings,
        now: ClusterTime,
        rng: &mut Rng,
    ) -> Request {
        if wanted == Use::Tickets {
            return self.tickets.next(settings, now, rng);
        }
        let (key, operation) = match wanted {
            Use::Ttl | Use::Idle => self.once(cache, rng),
            Use::Weak | Use::Bank | Use::Locks => self.weak(cache, rng),
            Use::Final => self.final_key(rng, cache),
            Use::Tickets => unreachable!("they are asked for otherwise"),
            Use::Registers | Use::Local => {
                if rng.ppm(12_000) {
                    return whole_partition(settings, rng);
                }
                if rng.percent(25) {
                    self.counter(rng)
                } else {
                    self.register(cache, rng)
                }
            }
        };
        let write = !operation.is_read();
        let request_id = (write && rng.percent(50)).then(|| {
            let mut id = [0u8; 16];
            id[..8].copy_from_slice(&rng.next().to_le_bytes());
            id[8..].copy_from_slice(&rng.next().to_le_bytes());
            id
        });
        let partition = partition_of(&key, settings.partitions);
        let operation = Operation::Key { key, operation };
        Request {
            cache: settings.id(),
            partition,
            operation,
            request_id,
        }
    }

    /// Never the same twice. Some are long enough to be lent, as by a connection, and equally long, so
    /// that one may take the memory of another.
    fn value(&mut self) -> Blob {
        self.next_value += 1;
        match self.next_value % 4 {
            0 => Blob::lent(format!("v{:<600}", self.next_value).into()),
            _ => Blob::from(format!("v{}", self.next_value).as_str()),
        }
    }

    fn aged(&self, key: String) -> Blob {
        match self.age {
            0 => Blob::from(key.as_str()),
            age => Blob::from(format!("{key}.{age}").as_str()),
        }
    }

    fn register(&mut self, cache: usize, rng: &mut Rng) -> (Blob, KeyOperation) {
        let key = self.aged(format!("r{}", rng.below(REGISTERS)));
        let seen = self.seen.get(&(cache, key.clone())).cloned();
        let operation = match rng.below(20) {
            0..=6 => GET,
            7..=10 => put(self.value(), Condition::Any, rng.percent(30)),
            11 => put(self.value(), Condition::Absent, rng.percent(30)),
            12 => put(self.value(), Condition::Present, false),
            13..=14 => {
                let condition = match seen {
                    Some((value, _)) if rng.percent(50) => Condition::Value(value),
                    Some((_, version)) => Condition::Version(version),
                    None => Condition::Absent,
                };
                put(self.value(), condition, false)
            }
            15 => KeyOperation::Remove {
                condition: Condition::Any,
                return_previous: false,
            },
            16 => {
                let condition =
                    seen.map_or(Condition::Any, |(_, version)| Condition::Version(version));
                KeyOperation::Remove {
                    condition,
                    return_previous: false,
                }
            }
            17..=18 => KeyOperation::Remove {
                condition: Condition::Any,
                return_previous: true,
            },
            _ => KeyOperation::Touch {
                expiry: Expiry::Keep,
            },
        };
        (key, operation)
    }

    fn counter(&mut self, rng: &mut Rng) -> (Blob, KeyOperation) {
        let key = self.aged(format!("c{}", rng.below(COUNTERS)));
        if rng.percent(30) {
            return (key, GET);
        }
        let change = Change::Increment {
            delta: 1,
            initial: Some(1),
            at_least_zero: false,
            wrap: false,
        };
        (
            key,
            KeyOperation::Modify {
                change,
                expiry: Expiry::Keep,
                condition: Condition::Any,
            },
        )
    }

    /// Keys that are put once, read while they live and after.
    fn once(&mut self, cache: usize, rng: &mut Rng) -> (Blob, KeyOperation) {
        if rng.percent(25) {
            return (
                self.fresh_key(cache, "k"),
                put(self.value(), Condition::Any, false),
            );
        }
        match self.recent_key(cache, rng) {
            Some(key) => (key, GET),
            None => (
                self.fresh_key(cache, "k"),
                put(self.value(), Condition::Any, false),
            ),
        }
    }

    /// Keys that are put once and never removed, beside registers.
    fn weak(&mut self, cache: usize, rng: &mut Rng) -> (Blob, KeyOperation) {
        if rng.percent(40) {
            return self.register(cache, rng);
        }
        (
            self.fresh_key(cache, "w"),
            put(self.value(), Condition::Any, false),
        )
    }

    /// Keys that are put, updated, removed, and put again in vain.
    fn final_key(&mut self, rng: &mut Rng, cache: usize) -> (Blob, KeyOperation) {
        let key = match self.recent_key(cache, rng) {
            Some(key) if !rng.percent(20) => key,
            _ => self.fresh_key(cache, "f"),
        };
        let operation = match rng.below(10) {
            0..=3 => GET,
            4..=6 => put(self.value(), Condition::Any, false),
            7 => put(self.value(), Condition::Present, false),
            _ => KeyOperation::Remove {
                condition: Condition::Any,
                return_previous: true,
            },
        };
        (key, operation)
    }

    fn fresh_key(&mut self, cache: usize, kind: &str) -> Blob {
        self.next_key += 1;
        let key = Blob::from(format!("{kind}{}", self.next_key).as_str());
        self.recent.entry(cache).or_default().push(key.clone());
        key
    }

    fn recent_key(&self, cache: usize, rng: &mut Rng) -> Option<Blob> {
        let keys = self.recent.get(&cache)?;
        let first = keys.len().saturating_sub(RECENT as usize);
        rng.pick(&keys[first..]).cloned()
    }

    /// Learns from an answer what a later condition may name.
    pub fn learn(&mut self, call: &Call) {
        let Some(key) = call.key() else { return };
        let place = (call.cache, key.clone());
        match call.reply() {
            Some(Reply::Got { entry: Some(entry) }) => {
                self.seen
                    .insert(place, (entry.value.clone(), entry.version));
            }
            Some(Reply::Put {
                applied: true,
                version,
                ..
            }) => {
                if let Some(value) = call.value_put() {
                    self.seen.insert(place, (value.clone(), *version));
                }
            }
            _ => {}
        }
    }
}

fn whole_partition(settings: &CacheSettings, rng: &mut Rng) -> Request {
    let operation = match rng.below(3) {
        0 => Operation::Clear,
        1 => Operation::Size,
        _ => Operation::Scan {
            prefix: Blob::default(),
            after: None,
            limit: 100,
            keys_only: false,
        },
    };
    let partition = rng.below(u64::from(settings.partitions)) as u32;
    Request {
        cache: settings.id(),
        partition,
        operation,
        request_id: None,
    }
}

/// How long a client waits for an answer.
pub fn patience(rng: &mut Rng) -> u64 {
    if rng.percent(20) {
        rng.within(5, 100) * MS
    } else {
        rng.within(1, 6) * SECOND
    }
}
