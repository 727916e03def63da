//! `cache create`: makes a cache.

use super::super::connection::Connection;
use super::super::key::duration;
use super::super::outcome::{Answer, Failure, Outcome};
use super::super::output;
use super::super::progress::waiting;
use super::{describe, parse_atomicity, parse_mode, parse_synchronization};
use crate::client::messages::cache_settings::{PartitionLoss, ReadFrom, WhenSplit};
use crate::client::messages::{AtomicityMode, CacheMode, CacheSettings, WriteSynchronizationMode};
use clap::{Args, ValueEnum};
use std::time::Duration;

/// Create a cache and show its settings; one that exists with the same settings is left as it is
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  embergrid cache create service-tickets --cache-mode PARTITIONED \
                        --backups 1 --time-to-live 10s"
)]
pub struct Arguments {
    /// The name, 1 to 255 bytes
    name: String,
    #[command(flatten)]
    modes: Modes,
    #[command(flatten)]
    times: Times,
    /// Units of placement [default: 1024]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    partitions: Option<u32>,
    /// The largest value, such as 64KiB; 16MiB at most [default: 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = some_bytes)]
    entry_max_size: Option<u64>,
    /// Memory of each node for copies of what it does not own [default: 0]
    #[arg(long, value_name = "SIZE", value_parser = crate::config::size::parse)]
    near_cache_max_size: Option<u64>,
    /// A key that was removed stays so while the memory of the remove is kept
    #[arg(long)]
    removes_are_final: bool,
    /// Only servers with this attribute hold the cache; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = attribute)]
    node_filter: Vec<(String, String)>,
    /// An attribute whose value differs between a primary and its backups where possible
    #[arg(
        long,
        value_name = "ATTRIBUTE",
        default_value = "",
        hide_default_value = true
    )]
    backup_zone: String,
    #[command(flatten)]
    connection: Connection,
}

/// Where entries live and whom a write waits for.
#[derive(Clone, Debug, Args)]
struct Modes {
    /// LOCAL, REPLICATED or PARTITIONED [default: REPLICATED]
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    cache_mode: Option<CacheMode>,
    /// ATOMIC or TRANSACTIONAL [default: TRANSACTIONAL]
    #[arg(long, value_name = "MODE", value_parser = parse_atomicity)]
    atomicity_mode: Option<AtomicityMode>,
    /// FULL_SYNC, PRIMARY_SYNC or FULL_ASYNC [default: FULL_SYNC]
    #[arg(long, value_name = "MODE", value_parser = parse_synchronization)]
    write_synchronization_mode: Option<WriteSynchronizationMode>,
    /// Copies beside the primary in a PARTITIONED cache [default: 1]
    #[arg(long, value_name = "COUNT")]
    backups: Option<u16>,
    /// Who may answer a read [default: any; primary with PRIMARY_SYNC]
    #[arg(long, value_enum)]
    read_from: Option<Readers>,
    /// What a minority may do in a split [default: allow-read-writes]
    #[arg(long, value_enum)]
    when_split: Option<Splits>,
    /// What becomes of a partition all of whose owners are gone [default: reject]
    #[arg(long, value_enum)]
    partition_loss: Option<Losses>,
}

/// How long entries live and how long things are remembered.
#[derive(Clone, Debug, Args)]
struct Times {
    /// How long an entry lives, such as 8h [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration::parse)]
    time_to_live: Option<Duration>,
    /// How long an entry lives without being used [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration::parse)]
    time_to_idle: Option<Duration>,
    /// Whether a read is a use [default: yes with --time-to-idle]
    #[arg(long, value_name = "true|false")]
    touch_on_read: Option<bool>,
    /// The longest a remove is remembered for a server that is out [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration::parse)]
    tombstone_retention: Option<Duration>,
    /// How long a repeated request is known again [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration::parse)]
    request_id_window: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Readers {
    /// Every owner
    Any,
    /// The primary
    Primary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Splits {
    /// Everything; halves merge when they meet
    AllowReadWrites,
    /// Reads of what may be old
    AllowReads,
    /// Nothing
    DenyReadWrites,
}

impl From<Splits> for WhenSplit {
    fn from(splits: Splits) -> Self {
        match splits {
            Splits::AllowReadWrites => Self::AllowReadWrites,
            Splits::AllowReads => Self::AllowReads,
            Splits::DenyReadWrites => Self::DenyReadWrites,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Losses {
    /// Its requests are refused
    Reject,
    /// It begins anew after a while
    Reset,
}

impl From<Losses> for PartitionLoss {
    fn from(losses: Losses) -> Self {
        match losses {
            Losses::Reject => Self::Reject,
            Losses::Reset => Self::Reset,
        }
    }
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let settings = settings(&arguments)?;
    if let Some(warning) = doubtful(&settings) {
        output::aside(warning);
    }
    let client = arguments.connection.client().await?;
    let created = Box::pin(client.create_cache(settings));
    let cache = waiting("creating the cache", created).await?;
    describe::print(&cache, arguments.connection.output);
    Ok(Answer::Yes)
}

/// What the check of a settings file warns of as well.
fn doubtful(settings: &CacheSettings) -> Option<&'static str> {
    match (settings.mode(), settings.backups) {
        (CacheMode::Partitioned, Some(0)) => Some(
            "warning: with no backups, the crash of a node loses every entry whose primary it is",
        ),
        (CacheMode::Replicated | CacheMode::Local, Some(_)) => {
            Some("warning: backups have no meaning outside of PARTITIONED")
        }
        _ => None,
    }
}

/// What is left out is left to the cluster.
fn settings(arguments: &Arguments) -> Result<CacheSettings, Failure> {
    let (modes, times) = (&arguments.modes, &arguments.times);
    let lasting = |length: Option<Duration>| length.map(duration).transpose();
    let read_from = modes.read_from.map(|readers| match readers {
        Readers::Any => ReadFrom::Any,
        Readers::Primary => ReadFrom::Primary,
    });
    Ok(CacheSettings {
        name: arguments.name.clone(),
        mode: modes.cache_mode.unwrap_or_default().into(),
        atomicity_mode: modes.atomicity_mode.unwrap_or_default().into(),
        write_synchronization_mode: modes.write_synchronization_mode.unwrap_or_default().into(),
        backups: modes.backups.map(u32::from),
        read_from: read_from.unwrap_or_default().into(),
        when_split: modes
            .when_split
            .map_or(0, |split| WhenSplit::from(split).into()),
        partition_loss: modes
            .partition_loss
            .map_or(0, |loss| PartitionLoss::from(loss).into()),
        time_to_live: lasting(times.time_to_live)?,
        time_to_idle: lasting(times.time_to_idle)?,
        touch_on_read: times.touch_on_read,
        tombstone_retention: lasting(times.tombstone_retention)?,
        request_id_window: lasting(times.request_id_window)?,
        partitions: arguments.partitions.unwrap_or_default(),
        entry_bytes_max: arguments.entry_max_size.unwrap_or_default(),
        near_bytes_max: arguments.near_cache_max_size.unwrap_or_default(),
        removes_are_final: arguments.removes_are_final,
        node_filter: arguments.node_filter.iter().cloned().collect(),
        backup_zone: arguments.backup_zone.clone(),
    })
}

/// A size that is not nothing: to the cluster that would mean its default.
fn some_bytes(text: &str) -> Result<u64, String> {
    match crate::config::size::parse(text)? {
        0 => Err("1 byte at least".to_owned()),
        bytes => Ok(bytes),
    }
}

fn attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loses_entries_is_warned_of() {
        let with = |mode: CacheMode, backups| CacheSettings {
            mode: mode.into(),
            backups,
            ..CacheSettings::default()
        };
        let warning = |mode, backups| doubtful(&with(mode, backups)).unwrap_or_default();
        assert!(warning(CacheMode::Partitioned, Some(0)).contains("loses every entry"));
        assert!(warning(CacheMode::Replicated, Some(2)).contains("no meaning"));
        assert_eq!(warning(CacheMode::Partitioned, Some(1)), "");
        assert_eq!(warning(CacheMode::Replicated, None), "");
    }

    #[test]
    fn attributes_are_pairs() {
        assert_eq!(attribute("disk=ssd"), Ok(("disk".into(), "ssd".into())));
        assert_eq!(attribute("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(attribute("disk").is_err());
        assert!(attribute("=ssd").is_err());
    }
}
