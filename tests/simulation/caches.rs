//! The caches of a simulated cluster: one for each promise that needs settings of its own.

use crate::clock::{MS, SECOND, Time};
use embergrid::types::{CacheMode, CacheSettings, WhenSplit, WriteSynchronizationMode};

/// How the clients use a cache, and what may be expected of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Reads and writes that conflict; linearizable while undivided.
    Registers,
    /// The same; only what a weaker write promises.
    Weak,
    /// Each node for itself.
    Local,
    /// Keys that are put once and expire.
    Ttl,
    /// Keys that are put once and live while they are read.
    Idle,
    /// Keys that never return after a remove.
    Final,
    /// Accounts of the bank, and nothing else.
    Bank,
    /// Tickets: sessions and what descends from them.
    Tickets,
    /// Named locks, and nothing else.
    Locks,
}

pub const TTL: Time = 3 * SECOND;
pub const IDLE: Time = 4 * SECOND;
/// The rarest that touches go to all owners: min(1 s, idle/20).
pub const TOUCH_BATCH: Time = IDLE / 20;
pub const CLOCK_ERROR: Time = 50 * MS;

/// Caches that stop in a minority, in clusters that know their number: they come after all others.
pub fn stopping(partitions: u32) -> Vec<(Use, CacheSettings)> {
    let cache = |name: &str, mode, when_split| CacheSettings {
        mode,
        when_split,
        partitions,
        ..CacheSettings::named(name)
    };
    let caches = [
        cache("stops", CacheMode::Replicated, WhenSplit::DenyReadWrites),
        cache(
            "stops-partitioned",
            CacheMode::Partitioned,
            WhenSplit::DenyReadWrites,
        ),
        cache("reads", CacheMode::Partitioned, WhenSplit::AllowReads),
    ];
    let bank = ["bank-stops", "bank-stops-too"]
        .map(|name| cache(name, CacheMode::Partitioned, WhenSplit::DenyReadWrites));
    let caches = caches
        .map(|settings| (Use::Registers, settings))
        .into_iter();
    caches
        .chain(bank.map(|settings| (Use::Bank, settings)))
        .collect()
}

/// The cache that keeps named locks, as nodes make it.
pub fn locks(partitions: u32, quorum_of: Option<u32>) -> (Use, CacheSettings) {
    let settings = embergrid::types::lock::cache(quorum_of);
    let settings = CacheSettings {
        partitions,
        ..settings
    };
    (Use::Locks, settings)
}

/// All caches of the settings file, in the order in which operations name them.
pub fn all(partitions: u32) -> Vec<(Use, CacheSettings)> {
    use WriteSynchronizationMode::{FullAsync, FullSync, PrimarySync};
    let cache = |name: &str, mode, sync| CacheSettings {
        mode,
        write_synchronization: sync,
        partitions,
        ..CacheSettings::named(name)
    };
    let replicated = cache("replicated", CacheMode::Replicated, FullSync);
    let partitioned = cache("partitioned", CacheMode::Partitioned, FullSync);
    let bank = |settings: CacheSettings| {
        let name = format!("bank-{}", settings.name);
        (Use::Bank, CacheSettings { name, ..settings })
    };
    vec![
        (Use::Registers, replicated.clone()),
        (Use::Registers, partitioned.clone()),
        (
            Use::Weak,
            CacheSettings {
                read_from: embergrid::types::ReadFrom::Primary,
                ..cache("primary-sync", CacheMode::Partitioned, PrimarySync)
            },
        ),
        (
            Use::Weak,
            cache("full-async", CacheMode::Replicated, FullAsync),
        ),
        (Use::Local, cache("local", CacheMode::Local, FullSync)),
        (
            Use::Ttl,
            CacheSettings {
                name: "ttl".to_owned(),
                time_to_live: Some(TTL),
                ..partitioned.clone()
            },
        ),
        (
            Use::Idle,
            CacheSettings {
                name: "idle".to_owned(),
                time_to_idle: Some(IDLE),
                touch_on_read: true,
                ..replicated.clone()
            },
        ),
        (
            Use::Final,
            CacheSettings {
                name: "final".to_owned(),
                removes_are_final: true,
                ..replicated.clone()
            },
        ),
        (
            Use::Registers,
            CacheSettings {
                name: "near".to_owned(),
                near_bytes_max: 1 << 20,
                ..partitioned.clone()
            },
        ),
        bank(cache("replicated", CacheMode::Replicated, FullSync)),
        bank(CacheSettings {
            near_bytes_max: 1 << 20,
            ..partitioned
        }),
        bank(CacheSettings {
            read_from: embergrid::types::ReadFrom::Primary,
            ..cache("primary-sync", CacheMode::Partitioned, PrimarySync)
        }),
        bank(cache("full-async", CacheMode::Replicated, FullAsync)),
        (
            Use::Tickets,
            CacheSettings {
                name: "tickets".to_owned(),
                removes_are_final: true,
                ..replicated
            },
        ),
    ]
}
