//! Caches and their settings.

use super::time::{Micros, SECOND};
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// The id of a cache: Java's hash of its name, so that thin clients of other grids find it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheId(pub i32);

impl CacheId {
    /// The id of a name: `String.hashCode` over its UTF-16 units.
    pub fn of(name: &str) -> Self {
        Self(name.encode_utf16().fold(0i32, |hash, unit| {
            hash.wrapping_mul(31).wrapping_add(i32::from(unit))
        }))
    }
}

/// Where the entries of a cache live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheMode {
    /// On this node only; never routed, moved or merged.
    Local,
    /// On every server.
    #[default]
    Replicated,
    /// On a primary and `backups` further servers for each partition.
    Partitioned,
}

/// What several keys in one call mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AtomicityMode {
    /// Each key for itself; a batch may fail in part.
    Atomic,
    /// All or nothing.
    #[default]
    Transactional,
}

/// Whom an acknowledged write has reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum WriteSynchronizationMode {
    /// Every owner.
    #[default]
    FullSync,
    /// The primary.
    PrimarySync,
    /// Nobody yet.
    FullAsync,
}

/// What a view that is not primary may do with a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhenSplit {
    /// Everything; halves merge when they meet.
    #[default]
    AllowReadWrites,
    /// Reads only, of what may be old.
    AllowReads,
    /// Nothing.
    DenyReadWrites,
}

/// What becomes of a partition all of whose owners are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartitionLoss {
    /// Its requests are refused until an owner returns.
    #[default]
    Reject,
    /// It begins anew after a delay.
    Reset,
}

/// Who may answer a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReadFrom {
    /// Any owner.
    #[default]
    Any,
    /// The primary only.
    Primary,
}

/// The partition of a key, or of the affinity key that stands in for it.
pub fn partition_of(affinity_key: &[u8], partitions: u32) -> u32 {
    let partition = xxhash_rust::xxh3::xxh3_64(affinity_key) % u64::from(partitions.max(1));
    u32::try_from(partition).unwrap_or_default()
}

/// The most bytes of a key.
pub const KEY_BYTES_MAX: usize = 65_535;

/// Whether these bytes may be a key.
///
/// # Errors
///
/// `InvalidArgument` where there are none, or too many.
pub fn check_key(bytes: &[u8]) -> Result<()> {
    match bytes.len() {
        1..=KEY_BYTES_MAX => Ok(()),
        len => Err(
            Error::invalid(format!("a key has 1 to {KEY_BYTES_MAX} bytes, not {len}"))
                .because("KEY_LENGTH"),
        ),
    }
}

/// The settings of one cache, the same on all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// 1 to 255 bytes.
    pub name: String,
    /// Where entries live.
    pub mode: CacheMode,
    /// What several keys in one call mean.
    pub atomicity: AtomicityMode,
    /// Whom an acknowledged write has reached.
    pub write_synchronization: WriteSynchronizationMode,
    /// Copies beside the primary (PARTITIONED).
    pub backups: u32,
    /// Units of placement, 1 to 65,536.
    pub partitions: u32,
    /// Default time to live from creation or the last put; absent: for ever.
    pub time_to_live: Option<Micros>,
    /// Default time to idle; absent: none.
    pub time_to_idle: Option<Micros>,
    /// Whether a plain read moves the last access.
    pub touch_on_read: bool,
    /// Who may answer a read.
    pub read_from: ReadFrom,
    /// Whether a key removed by name stays so while its tombstone lives.
    pub removes_are_final: bool,
    /// The longest a tombstone is kept for a server that is out.
    pub tombstone_retention: Micros,
    /// How long a request id is remembered.
    pub request_id_window: Micros,
    /// The largest value, in bytes.
    pub entry_bytes_max: u64,
    /// The most bytes of near copies on a node that does not own them; 0: none are kept.
    pub near_bytes_max: u64,
    /// Only servers with these attributes hold the cache; empty: all.
    pub node_filter: BTreeMap<String, String>,
    /// An attribute whose value differs between the primary and its backups, where possible.
    pub backup_zone: Option<String>,
    /// What a view that is not primary may do.
    pub when_split: WhenSplit,
    /// What becomes of a partition all of whose owners are gone.
    pub partition_loss: PartitionLoss,
}

impl CacheSettings {
    /// The defaults of settings.md under this name.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            mode: CacheMode::default(),
            atomicity: AtomicityMode::default(),
            write_synchronization: WriteSynchronizationMode::default(),
            backups: 1,
            partitions: 1024,
            time_to_live: None,
            time_to_idle: None,
            touch_on_read: false,
            read_from: ReadFrom::Any,
            removes_are_final: false,
            tombstone_retention: 24 * 3600 * SECOND,
            request_id_window: 60 * SECOND,
            entry_bytes_max: 1 << 20,
            near_bytes_max: 0,
            node_filter: BTreeMap::new(),
            backup_zone: None,
            when_split: WhenSplit::default(),
            partition_loss: PartitionLoss::default(),
        }
    }

    /// Whether this may be a value: repeating it cannot help, so it is not "overloaded".
    ///
    /// # Errors
    ///
    /// `InvalidArgument` where it is longer than the cache allows.
    pub fn check_value(&self, bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 <= self.entry_bytes_max {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "a value in cache {:?} has at most {} bytes (entry-max-size), not {}",
            self.name,
            self.entry_bytes_max,
            bytes.len()
        ))
        .because("VALUE_TOO_LARGE"))
    }

    /// Whether its writes stop in a view that is not primary.
    pub fn stops(&self) -> bool {
        self.when_split != WhenSplit::AllowReadWrites
    }

    /// The id that belongs to the name.
    pub fn id(&self) -> CacheId {
        CacheId::of(&self.name)
    }

    /// Whether its reads stop there as well.
    pub fn denies_reads(&self) -> bool {
        self.when_split == WhenSplit::DenyReadWrites
    }

    /// Whether a write waits for every owner, so that every owner may serve reads.
    pub fn full_sync(&self) -> bool {
        self.write_synchronization == WriteSynchronizationMode::FullSync
    }
}

/// What a node holds of a cache beside the primaries'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// Live entries of partitions of which it is a backup.
    pub backup: u64,
    /// Near copies of partitions that it does not own.
    pub near: u64,
}
