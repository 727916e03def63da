//! What the commands on one key have in common: which key, how long it lives, and what must hold.

use super::outcome::Failure;
use crate::client::messages::condition::Condition as Choice;
use crate::client::messages::{Condition, Expiry};
use bytes::Bytes;
use clap::Args;
use std::time::Duration;

/// One key of a cache.
#[derive(Clone, Debug, Args)]
pub struct Key {
    /// The cache
    pub cache: String,
    /// The key
    pub key: String,
    /// Choose the partition by this text instead of the key; entries that share one live together
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub affinity_key: String,
}

impl Key {
    /// The key as it goes into a request.
    pub fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self.key.as_bytes())
    }

    /// What stands in for it where the partition is chosen; empty: nothing.
    pub fn affinity(&self) -> Bytes {
        Bytes::copy_from_slice(self.affinity_key.as_bytes())
    }
}

/// How long an entry lives.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ExpiryFlags {
    /// How long it lives, such as 10s or 8h [default: as the cache says]
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration::parse)]
    time_to_live: Option<Duration>,
    /// How long it lives without being used [default: as the cache says]
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration::parse)]
    time_to_idle: Option<Duration>,
    /// It lives until it is removed
    #[arg(long, conflicts_with_all = ["time_to_live", "time_to_idle"])]
    no_expiry: bool,
    /// Leave its expiry as it is
    #[arg(long, conflicts_with_all = ["time_to_live", "time_to_idle", "no_expiry"])]
    keep_expiry: bool,
}

impl ExpiryFlags {
    /// The message; none where the cache's defaults hold.
    ///
    /// # Errors
    ///
    /// Where a duration is too long to be told.
    pub fn message(self) -> Result<Option<Expiry>, Failure> {
        let lasting = self.time_to_live.or(self.time_to_idle).is_some();
        if !lasting && !self.no_expiry && !self.keep_expiry {
            return Ok(None);
        }
        Ok(Some(Expiry {
            time_to_live: self.time_to_live.map(duration).transpose()?,
            time_to_idle: self.time_to_idle.map(duration).transpose()?,
            keep: self.keep_expiry,
        }))
    }
}

/// What must hold for a write to be applied.
#[derive(Clone, Debug, Default, Args)]
pub struct ConditionFlags {
    /// Only where the key does not live
    #[arg(long, group = "condition")]
    if_absent: bool,
    /// Only where the key lives
    #[arg(long, group = "condition")]
    if_present: bool,
    /// Only where the key lives with this version (hexadecimal, as `get` prints it)
    #[arg(long, group = "condition", value_name = "VERSION", value_parser = version)]
    if_version: Option<u64>,
    /// Only where the key lives with this value
    #[arg(long, group = "condition", value_name = "TEXT")]
    if_value: Option<String>,
}

impl ConditionFlags {
    /// The message; none where nothing must hold.
    pub fn message(&self) -> Option<Condition> {
        let choice = match (self.if_version, &self.if_value) {
            (Some(version), _) => Choice::Version(version),
            (None, Some(value)) => Choice::Value(Bytes::copy_from_slice(value.as_bytes())),
            _ if self.if_absent => Choice::Absent(true),
            _ if self.if_present => Choice::Present(true),
            _ => return None,
        };
        Some(Condition {
            condition: Some(choice),
        })
    }
}

/// A duration as messages have it.
///
/// # Errors
///
/// Where it is too long.
pub fn duration(length: Duration) -> Result<prost_types::Duration, Failure> {
    prost_types::Duration::try_from(length).map_err(|_| Failure::usage("the duration is too long"))
}

fn version(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|error| format!("not a hexadecimal number: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_flags_the_cache_decides() {
        assert_eq!(ExpiryFlags::default().message(), Ok(None));
        assert_eq!(ConditionFlags::default().message(), None);
    }

    #[test]
    fn expiry_flags_become_one_message() {
        let none = ExpiryFlags {
            no_expiry: true,
            ..ExpiryFlags::default()
        };
        assert_eq!(none.message(), Ok(Some(Expiry::default())));
        let short = ExpiryFlags {
            time_to_live: Some(Duration::from_millis(1_500)),
            ..ExpiryFlags::default()
        };
        let said = short.message().expect("a message").expect("an expiry");
        let lives = said.time_to_live.expect("a time to live");
        assert_eq!((lives.seconds, lives.nanos), (1, 500_000_000));
        assert!(!said.keep);
    }

    #[test]
    fn versions_are_hexadecimal() {
        assert_eq!(version("00000000000000ff"), Ok(255));
        assert!(version("g").is_err());
    }
}
