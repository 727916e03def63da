//! Named locks: what can be asked of one, and the token by which a later holder is told from an
//! earlier one.

use super::cache::{CacheMode, CacheSettings, WhenSplit};
use super::time::{ClusterTime, MILLISECOND, Micros, SECOND};
use super::version::EntryVersion;
use crate::error::{Error, Result};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The cache that keeps all locks.
pub const CACHE: &str = "embergrid-locks";
/// Locks are few, so it has few partitions.
const PARTITIONS: u32 = 128;
/// Copies beside the primary: one more than usual.
const BACKUPS: u32 = 2;
/// The longest name of a lock, in bytes; the shortest has one.
pub const NAME_BYTES_MAX: usize = 255;
/// How long a lock may be held without being renewed.
pub const LEASE: RangeInclusive<Micros> = 100 * MILLISECOND..=3_600 * SECOND;
/// The lease of who names none.
pub const LEASE_DEFAULT: Micros = 30 * SECOND;
/// The longest wait for a lock: less than any call may take.
pub const WAIT_MAX: Micros = 50 * SECOND;

/// How many bits of a token count the writes of a partition; those above are the number of the
/// view. At 10,000 grants a second these last for ten months, and those above for a year of two
/// views a second.
const COUNTER_BITS: u32 = 38;

/// What can be asked of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOperation {
    /// Takes it, or waits for it.
    Take {
        lease: Micros,
        /// The wait ends so long before the deadline of the request.
        spare: Micros,
    },
    /// Its lease begins anew, if it is held under this token.
    Renew { token: u64, lease: Micros },
    /// It is free, if it was held under this token.
    Release { token: u64 },
}

/// A lock that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Greater than that of every earlier holder of this name.
    pub token: u64,
    /// When its lease ends.
    pub expires_at: ClusterTime,
}

/// Checks the name of a lock.
///
/// # Errors
///
/// `InvalidArgument`, naming the bounds.
pub fn check_name(name: &[u8]) -> Result<()> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    let context = format!("the name of a lock has 1 to {NAME_BYTES_MAX} bytes");
    Err(Error::invalid(context).because("BAD_LOCK_NAME"))
}

/// Checks how long is waited for a lock.
///
/// # Errors
///
/// `InvalidArgument`, naming the bound.
pub fn check_wait(wait: Duration) -> Result<()> {
    if wait <= Duration::from_micros(WAIT_MAX) {
        return Ok(());
    }
    Err(Error::invalid("wait is up to 50 s").because("BAD_WAIT"))
}

/// Checks a lease.
///
/// # Errors
///
/// `InvalidArgument`, naming the bounds.
pub fn check_lease(lease: Micros) -> Result<Micros> {
    if LEASE.contains(&lease) {
        return Ok(lease);
    }
    Err(Error::invalid("the lease of a lock is 100 ms to 1 h").because("BAD_LEASE"))
}

/// The token of a lock that this write grants: greater than that of every earlier grant in the
/// partition, whatever is still known of those. None: the numbers are used up.
pub fn token(version: EntryVersion) -> Option<u64> {
    let number = version.topology.number;
    let fits = number < 1 << (u64::BITS - COUNTER_BITS) && version.counter < 1 << COUNTER_BITS;
    fits.then_some(number << COUNTER_BITS | version.counter)
}

/// The settings of the cache that keeps locks, where the settings file does not name it. It stops in
/// a minority where the number of servers is known.
pub fn cache(quorum_of: Option<u32>) -> CacheSettings {
    CacheSettings {
        mode: CacheMode::Partitioned,
        backups: BACKUPS,
        partitions: PARTITIONS,
        when_split: match quorum_of {
            Some(_) => WhenSplit::DenyReadWrites,
            None => WhenSplit::AllowReadWrites,
        },
        ..CacheSettings::named(CACHE)
    }
}

#[cfg(test)]
mod tests {
    use super::super::version::TopologyVersion;
    use super::*;

    fn version(number: u64, counter: u64) -> EntryVersion {
        let topology = TopologyVersion {
            number,
            ..TopologyVersion::default()
        };
        EntryVersion { topology, counter }
    }

    #[test]
    fn tokens_rise_with_versions_and_end_where_they_would_not() {
        let most = (1 << COUNTER_BITS) - 1;
        let rising = [(1, 1), (1, 2), (1, most), (2, 1), (7, 5)];
        let tokens = rising.map(|(number, counter)| token(version(number, counter)));
        assert!(tokens.is_sorted() && tokens[0] > Some(0), "{tokens:?}");
        assert_eq!(token(version(1, most + 1)), None);
        assert_eq!(token(version(1 << 26, 1)), None);
        assert!(token(version((1 << 26) - 1, most)).is_some());
    }
}
