//! `cache`: looking at, creating and ending caches. One file for each of its subcommands.

mod clear;
mod create;
mod describe;
mod drop;
mod list;
mod reset_lost;
mod size;

use super::get::point;
use super::outcome::Outcome;
use crate::client::messages::cache_settings::{PartitionLoss, ReadFrom, WhenSplit};
use crate::client::messages::{
    AtomicityMode, CacheDescription, CacheMode, CacheSettings, WriteSynchronizationMode,
};
use crate::config::{duration, size as bytes};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Look at, create and end caches
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  embergrid cache list")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::Arguments),
    Create(create::Arguments),
    Describe(describe::Arguments),
    Drop(drop::Arguments),
    Size(size::Arguments),
    Clear(clear::Arguments),
    ResetLost(reset_lost::Arguments),
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        Command::List(arguments) => list::run(arguments).await,
        Command::Create(arguments) => create::run(arguments).await,
        Command::Describe(arguments) => describe::run(arguments).await,
        Command::Drop(arguments) => drop::run(arguments).await,
        Command::Size(arguments) => size::run(arguments).await,
        Command::Clear(arguments) => clear::run(arguments).await,
        Command::ResetLost(arguments) => reset_lost::run(arguments).await,
    }
}

/// The settings of a cache under the names that the settings file has for them.
fn named(cache: &CacheDescription) -> Vec<(&'static str, Value)> {
    let Some(settings) = &cache.settings else {
        return Vec::new();
    };
    vec![
        ("name", json!(settings.name)),
        ("id", json!(cache.id)),
        ("created-at", json!(point(cache.created_at.as_ref()))),
        ("cache-mode", json!(mode(settings))),
        ("atomicity-mode", json!(atomicity(settings))),
        (
            "write-synchronization-mode",
            json!(synchronization(settings)),
        ),
        ("backups", json!(backups(settings))),
        ("partitions", json!(settings.partitions)),
        ("time-to-live", json!(lasting(settings.time_to_live))),
        ("time-to-idle", json!(lasting(settings.time_to_idle))),
        ("touch-on-read", json!(settings.touch_on_read)),
        ("read-from", json!(read_from(settings))),
        ("removes-are-final", json!(settings.removes_are_final)),
        (
            "tombstone-retention",
            json!(lasting(settings.tombstone_retention)),
        ),
        (
            "request-id-window",
            json!(lasting(settings.request_id_window)),
        ),
        (
            "entry-max-size",
            json!(bytes::show(settings.entry_bytes_max)),
        ),
        (
            "near-cache-max-size",
            json!(bytes::show(settings.near_bytes_max)),
        ),
        ("node-filter", json!(settings.node_filter)),
        (
            "backup-zone",
            json!(Some(&settings.backup_zone).filter(|zone| !zone.is_empty())),
        ),
        ("when-split", json!(when_split(settings))),
        ("partition-loss", json!(partition_loss(settings))),
    ]
}

fn as_json(cache: &CacheDescription) -> Value {
    let fields = named(cache).into_iter();
    Value::Object(Map::from_iter(
        fields.map(|(name, value)| (name.to_owned(), value)),
    ))
}

/// A value as people read it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(fields) if fields.is_empty() => "–".to_owned(),
        other => other.to_string(),
    }
}

fn mode(settings: &CacheSettings) -> &'static str {
    settings.mode().as_str_name()
}

fn atomicity(settings: &CacheSettings) -> &'static str {
    settings.atomicity_mode().as_str_name()
}

fn synchronization(settings: &CacheSettings) -> &'static str {
    settings.write_synchronization_mode().as_str_name()
}

fn read_from(settings: &CacheSettings) -> &'static str {
    match settings.read_from() {
        ReadFrom::Primary => "primary",
        ReadFrom::Any | ReadFrom::Unspecified => "any",
    }
}

fn when_split(settings: &CacheSettings) -> &'static str {
    match settings.when_split() {
        WhenSplit::AllowReadWrites | WhenSplit::Unspecified => "allow-read-writes",
        WhenSplit::AllowReads => "allow-reads",
        WhenSplit::DenyReadWrites => "deny-read-writes",
    }
}

fn partition_loss(settings: &CacheSettings) -> &'static str {
    match settings.partition_loss() {
        PartitionLoss::Reject | PartitionLoss::Unspecified => "reject",
        PartitionLoss::Reset => "reset",
    }
}

/// None where every server has a copy, or one alone.
fn backups(settings: &CacheSettings) -> Option<u32> {
    let counted = settings.mode() == CacheMode::Partitioned;
    settings.backups.filter(|_| counted)
}

fn lasting(length: Option<prost_types::Duration>) -> Option<String> {
    let length = Duration::try_from(length?).ok()?;
    Some(duration::show(length))
}

/// The values of a setting by name, in any case, as in the settings file.
macro_rules! by_name {
    ($function:ident, $enumeration:ty, $($value:literal),+) => {
        fn $function(text: &str) -> Result<$enumeration, String> {
            <$enumeration>::from_str_name(&text.to_ascii_uppercase())
                .filter(|_| [$($value),+].iter().any(|known| known.eq_ignore_ascii_case(text)))
                .ok_or_else(|| format!("one of {}", [$($value),+].join(", ")))
        }
    };
}

by_name!(parse_mode, CacheMode, "LOCAL", "REPLICATED", "PARTITIONED");
by_name!(parse_atomicity, AtomicityMode, "ATOMIC", "TRANSACTIONAL");
by_name!(
    parse_synchronization,
    WriteSynchronizationMode,
    "FULL_SYNC",
    "PRIMARY_SYNC",
    "FULL_ASYNC"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_in_any_case() {
        assert_eq!(parse_mode("partitioned"), Ok(CacheMode::Partitioned));
        assert_eq!(parse_atomicity("ATOMIC"), Ok(AtomicityMode::Atomic));
        let full = WriteSynchronizationMode::FullSync;
        assert_eq!(parse_synchronization("Full_Sync"), Ok(full));
        assert!(parse_mode("CACHE_MODE_UNSPECIFIED").is_err());
        assert!(parse_mode("shared").is_err_and(|said| said.contains("REPLICATED")));
    }

    #[test]
    fn settings_have_the_names_of_the_settings_file() {
        let cache = CacheDescription {
            settings: Some(CacheSettings {
                name: "c".to_owned(),
                mode: CacheMode::Partitioned.into(),
                backups: Some(2),
                time_to_live: Some(prost_types::Duration {
                    seconds: 3_600,
                    nanos: 0,
                }),
                ..CacheSettings::default()
            }),
            ..CacheDescription::default()
        };
        let said = as_json(&cache);
        assert_eq!(said["cache-mode"], "PARTITIONED");
        assert_eq!(said["backups"], 2);
        assert_eq!(said["time-to-live"], "1h");
        assert_eq!(said["time-to-idle"], Value::Null);
        let known: Vec<_> = crate::config::catalogue::SETTINGS
            .iter()
            .filter(|setting| setting.section == "caches")
            .map(|setting| setting.name)
            .collect();
        for (name, _) in named(&cache) {
            let told = ["id", "created-at"].contains(&name);
            assert!(told || known.contains(&name), "{name} is no setting");
        }
    }
}
