//! The settings of a cache on the wire, checked and completed with the defaults of the settings
//! file; and back. Pure.

use super::super::decode;
use super::super::encode::duration;
use super::super::limits::CACHE_NAME_BYTES_MAX;
use crate::config::caches;
use crate::error::{Error, Result};
use crate::rpc::proto as pb;
use crate::types::{
    AtomicityMode, CacheMode, CacheSettings, Micros, PartitionLoss, ReadFrom, WhenSplit,
    WriteSynchronizationMode,
};
use pb::cache_settings as wire;
use std::collections::BTreeMap;

/// The settings of a cache that is to be created.
///
/// # Errors
///
/// `InvalidArgument` naming the field and its bounds.
pub fn decode(message: Option<pb::CacheSettings>) -> Result<CacheSettings> {
    let message = message.ok_or_else(|| Error::invalid("settings are required"))?;
    decode::cache_name(&message.name)?;
    let (when_split, partition_loss) = (
        when_split(message.when_split)?,
        partition_loss(message.partition_loss)?,
    );
    let defaults = CacheSettings::named(&message.name);
    let mode = mode(message.mode)?;
    if mode == CacheMode::Local && when_split != WhenSplit::AllowReadWrites {
        return Err(Error::invalid(
            "when_split has no meaning in a LOCAL cache, which is never split",
        ));
    }
    let write_synchronization = write_synchronization(message.write_synchronization_mode)?;
    let time_to_idle = decode::duration("time_to_idle", message.time_to_idle)?;
    let span = |name, value, default: Micros| {
        decode::duration(name, value).map(|value| value.unwrap_or(default))
    };
    let settings = CacheSettings {
        mode,
        atomicity: atomicity(message.atomicity_mode)?,
        write_synchronization,
        backups: message.backups.unwrap_or(defaults.backups),
        partitions: match message.partitions {
            0 => defaults.partitions,
            partitions => partitions,
        },
        time_to_live: decode::duration("time_to_live", message.time_to_live)?,
        time_to_idle,
        touch_on_read: message.touch_on_read.unwrap_or(time_to_idle.is_some()),
        read_from: read_from(message.read_from, write_synchronization)?,
        removes_are_final: message.removes_are_final,
        tombstone_retention: span(
            "tombstone_retention",
            message.tombstone_retention,
            defaults.tombstone_retention,
        )?,
        request_id_window: span(
            "request_id_window",
            message.request_id_window,
            defaults.request_id_window,
        )?,
        entry_bytes_max: match message.entry_bytes_max {
            0 => defaults.entry_bytes_max,
            bytes => bytes,
        },
        near_bytes_max: message.near_bytes_max,
        node_filter: node_filter(message.node_filter.into_iter().collect())?,
        backup_zone: backup_zone(message.backup_zone)?,
        when_split,
        partition_loss,
        name: message.name,
    };
    within_bounds(&settings)?;
    Ok(settings)
}

/// A cache keeps to the same bounds wherever its settings come from.
fn within_bounds(settings: &CacheSettings) -> Result<()> {
    let faults = caches::faults(settings);
    let mut said = faults
        .iter()
        .map(|fault| format!("{}: {}; {}", fault.setting, fault.what, fault.cure));
    let Some(first) = said.next() else {
        return Ok(());
    };
    let rest: String = said.map(|fault| format!("; {fault}")).collect();
    Err(Error::invalid(first + &rest))
}

fn when_split(number: i32) -> Result<WhenSplit> {
    match wire::WhenSplit::try_from(number) {
        Ok(wire::WhenSplit::Unspecified | wire::WhenSplit::AllowReadWrites) => {
            Ok(WhenSplit::AllowReadWrites)
        }
        Ok(wire::WhenSplit::AllowReads) => Ok(WhenSplit::AllowReads),
        Ok(wire::WhenSplit::DenyReadWrites) => Ok(WhenSplit::DenyReadWrites),
        Err(_) => Err(no_such("when_split", number)),
    }
}

fn partition_loss(number: i32) -> Result<PartitionLoss> {
    match wire::PartitionLoss::try_from(number) {
        Ok(wire::PartitionLoss::Unspecified | wire::PartitionLoss::Reject) => {
            Ok(PartitionLoss::Reject)
        }
        Ok(wire::PartitionLoss::Reset) => Ok(PartitionLoss::Reset),
        Err(_) => Err(no_such("partition_loss", number)),
    }
}

fn no_such(field: &str, number: i32) -> Error {
    Error::invalid(format!("{field} = {number} is none of its values"))
}

fn at_most<N: PartialOrd + std::fmt::Display>(field: &str, number: N, max: N) -> Result<N> {
    if number <= max {
        return Ok(number);
    }
    Err(Error::invalid(format!(
        "{field} is at most {max}, not {number}"
    )))
}

fn mode(number: i32) -> Result<CacheMode> {
    match pb::CacheMode::try_from(number) {
        Ok(pb::CacheMode::Unspecified | pb::CacheMode::Replicated) => Ok(CacheMode::Replicated),
        Ok(pb::CacheMode::Local) => Ok(CacheMode::Local),
        Ok(pb::CacheMode::Partitioned) => Ok(CacheMode::Partitioned),
        Err(_) => Err(no_such("mode", number)),
    }
}

fn atomicity(number: i32) -> Result<AtomicityMode> {
    match pb::AtomicityMode::try_from(number) {
        Ok(pb::AtomicityMode::Unspecified | pb::AtomicityMode::Transactional) => {
            Ok(AtomicityMode::Transactional)
        }
        Ok(pb::AtomicityMode::Atomic) => Ok(AtomicityMode::Atomic),
        Err(_) => Err(no_such("atomicity_mode", number)),
    }
}

fn write_synchronization(number: i32) -> Result<WriteSynchronizationMode> {
    use pb::WriteSynchronizationMode as Wire;
    match Wire::try_from(number) {
        Ok(Wire::Unspecified | Wire::FullSync) => Ok(WriteSynchronizationMode::FullSync),
        Ok(Wire::PrimarySync) => Ok(WriteSynchronizationMode::PrimarySync),
        Ok(Wire::FullAsync) => Ok(WriteSynchronizationMode::FullAsync),
        Err(_) => Err(no_such("write_synchronization_mode", number)),
    }
}

fn read_from(number: i32, written: WriteSynchronizationMode) -> Result<ReadFrom> {
    match wire::ReadFrom::try_from(number) {
        Ok(wire::ReadFrom::Unspecified) => Ok(match written {
            WriteSynchronizationMode::PrimarySync => ReadFrom::Primary,
            _ => ReadFrom::Any,
        }),
        Ok(wire::ReadFrom::Any) => Ok(ReadFrom::Any),
        Ok(wire::ReadFrom::Primary) => Ok(ReadFrom::Primary),
        Err(_) => Err(no_such("read_from", number)),
    }
}

fn node_filter(filter: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    for (name, value) in &filter {
        if name.is_empty() {
            return Err(Error::invalid("an attribute in node_filter has no name"));
        }
        let longest = name.len().max(value.len());
        at_most(
            "the length of a text in node_filter",
            longest,
            CACHE_NAME_BYTES_MAX,
        )?;
    }
    Ok(filter)
}

fn backup_zone(zone: String) -> Result<Option<String>> {
    at_most(
        "the length of backup_zone",
        zone.len(),
        CACHE_NAME_BYTES_MAX,
    )?;
    Ok((!zone.is_empty()).then_some(zone))
}

/// The settings of a cache, every field set.
pub fn encode(settings: &CacheSettings) -> pb::CacheSettings {
    let mode = match settings.mode {
        CacheMode::Local => pb::CacheMode::Local,
        CacheMode::Replicated => pb::CacheMode::Replicated,
        CacheMode::Partitioned => pb::CacheMode::Partitioned,
    };
    let written = match settings.write_synchronization {
        WriteSynchronizationMode::FullSync => pb::WriteSynchronizationMode::FullSync,
        WriteSynchronizationMode::PrimarySync => pb::WriteSynchronizationMode::PrimarySync,
        WriteSynchronizationMode::FullAsync => pb::WriteSynchronizationMode::FullAsync,
    };
    let read_from = match settings.read_from {
        ReadFrom::Any => wire::ReadFrom::Any,
        ReadFrom::Primary => wire::ReadFrom::Primary,
    };
    let when_split = match settings.when_split {
        WhenSplit::AllowReadWrites => wire::WhenSplit::AllowReadWrites,
        WhenSplit::AllowReads => wire::WhenSplit::AllowReads,
        WhenSplit::DenyReadWrites => wire::WhenSplit::DenyReadWrites,
    };
    let partition_loss = match settings.partition_loss {
        PartitionLoss::Reject => wire::PartitionLoss::Reject,
        PartitionLoss::Reset => wire::PartitionLoss::Reset,
    };
    pb::CacheSettings {
        name: settings.name.clone(),
        mode: mode.into(),
        atomicity_mode: encode_atomicity(settings.atomicity).into(),
        write_synchronization_mode: written.into(),
        backups: Some(settings.backups),
        partitions: settings.partitions,
        time_to_live: settings.time_to_live.map(duration),
        time_to_idle: settings.time_to_idle.map(duration),
        touch_on_read: Some(settings.touch_on_read),
        read_from: read_from.into(),
        removes_are_final: settings.removes_are_final,
        tombstone_retention: Some(duration(settings.tombstone_retention)),
        request_id_window: Some(duration(settings.request_id_window)),
        entry_bytes_max: settings.entry_bytes_max,
        near_bytes_max: settings.near_bytes_max,
        node_filter: settings.node_filter.clone().into_iter().collect(),
        backup_zone: settings.backup_zone.clone().unwrap_or_default(),
        when_split: when_split.into(),
        partition_loss: partition_loss.into(),
    }
}

/// What several keys in one call mean.
pub fn encode_atomicity(mode: AtomicityMode) -> pb::AtomicityMode {
    match mode {
        AtomicityMode::Atomic => pb::AtomicityMode::Atomic,
        AtomicityMode::Transactional => pb::AtomicityMode::Transactional,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn message() -> pb::CacheSettings {
        pb::CacheSettings {
            name: "c".into(),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_left_out_is_the_default_of_the_settings_file() {
        assert_eq!(decode(Some(message())), Ok(CacheSettings::named("c")));
    }

    #[test]
    fn settings_come_back_as_they_went() {
        let settings = CacheSettings {
            mode: CacheMode::Partitioned,
            atomicity: AtomicityMode::Atomic,
            write_synchronization: WriteSynchronizationMode::FullAsync,
            backups: 0,
            partitions: 16,
            time_to_live: Some(1_500_000),
            time_to_idle: Some(7_000),
            touch_on_read: false,
            read_from: ReadFrom::Primary,
            removes_are_final: true,
            tombstone_retention: 5_000_000,
            request_id_window: 6_000_000,
            entry_bytes_max: 16 << 20,
            node_filter: BTreeMap::from([("disk".into(), "ssd".into())]),
            backup_zone: Some("rack".into()),
            when_split: WhenSplit::AllowReads,
            partition_loss: PartitionLoss::Reset,
            ..CacheSettings::named("c")
        };
        assert_eq!(decode(Some(encode(&settings))), Ok(settings));
    }

    #[test]
    fn defaults_that_depend_on_others() {
        let idle = prost_types::Duration {
            seconds: 1,
            nanos: 0,
        };
        let settings = decode(Some(pb::CacheSettings {
            time_to_idle: Some(idle),
            write_synchronization_mode: pb::WriteSynchronizationMode::PrimarySync.into(),
            ..message()
        }))
        .expect("settings");
        assert!(settings.touch_on_read);
        assert_eq!(settings.read_from, ReadFrom::Primary);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        for message in [
            pb::CacheSettings {
                name: String::new(),
                ..message()
            },
            pb::CacheSettings {
                name: "n".repeat(256),
                ..message()
            },
            pb::CacheSettings {
                mode: 9,
                ..message()
            },
            pb::CacheSettings {
                atomicity_mode: -1,
                ..message()
            },
            pb::CacheSettings {
                write_synchronization_mode: 9,
                ..message()
            },
            pb::CacheSettings {
                read_from: 9,
                ..message()
            },
            pb::CacheSettings {
                when_split: 9,
                ..message()
            },
            pb::CacheSettings {
                partition_loss: 9,
                ..message()
            },
        ] {
            refuse(message);
        }
        assert!(decode(None).is_err());
    }

    fn refuse(message: pb::CacheSettings) {
        let error = decode(Some(message.clone())).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::InvalidArgument, "{message:?}");
    }

    #[test]
    fn bounds_are_those_of_the_settings_file() {
        let zero = Some(prost_types::Duration::default());
        for message in [
            pb::CacheSettings {
                mode: pb::CacheMode::Local.into(),
                when_split: wire::WhenSplit::DenyReadWrites.into(),
                ..message()
            },
            pb::CacheSettings {
                backups: Some(64),
                ..message()
            },
            pb::CacheSettings {
                near_bytes_max: (1 << 40) + 1,
                ..message()
            },
            pb::CacheSettings {
                request_id_window: Some(prost_types::Duration {
                    seconds: 3601,
                    nanos: 0,
                }),
                ..message()
            },
            pb::CacheSettings {
                partitions: 65_537,
                ..message()
            },
            pb::CacheSettings {
                entry_bytes_max: (16 << 20) + 1,
                ..message()
            },
            pb::CacheSettings {
                time_to_live: zero,
                ..message()
            },
            pb::CacheSettings {
                request_id_window: zero,
                ..message()
            },
            pb::CacheSettings {
                backup_zone: "z".repeat(256),
                ..message()
            },
            pb::CacheSettings {
                node_filter: [(String::new(), "x".into())].into(),
                ..message()
            },
        ] {
            refuse(message);
        }
    }
}
