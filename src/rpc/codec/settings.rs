//! The settings of a cache between nodes. The message is the one of the public interface, where
//! fields may be left to their defaults; a node sets every field, and refuses what leaves one out.

use super::limits::{self, BACKUPS_MAX, NAME_BYTES_MAX, PARTITIONS_MAX, VALUE_BYTES_MAX};
use super::{node, required};
use crate::error::{Error, Result};
use crate::rpc::proto;
use crate::types::{
    AtomicityMode, CacheMode, CacheSettings, Micros, PartitionLoss, ReadFrom, WhenSplit,
    WriteSynchronizationMode, time::SECOND,
};
use prost_types::Duration;
use proto::cache_settings as wire;

/// All settings, none left to its default.
pub fn encode(settings: &CacheSettings) -> proto::CacheSettings {
    proto::CacheSettings {
        name: settings.name.clone(),
        mode: encode_mode(settings.mode).into(),
        atomicity_mode: encode_atomicity(settings.atomicity).into(),
        write_synchronization_mode: encode_synchronization(settings.write_synchronization).into(),
        backups: Some(settings.backups),
        partitions: settings.partitions,
        time_to_live: settings.time_to_live.map(duration),
        time_to_idle: settings.time_to_idle.map(duration),
        touch_on_read: Some(settings.touch_on_read),
        read_from: encode_read_from(settings.read_from).into(),
        removes_are_final: settings.removes_are_final,
        tombstone_retention: Some(duration(settings.tombstone_retention)),
        request_id_window: Some(duration(settings.request_id_window)),
        entry_bytes_max: settings.entry_bytes_max,
        near_bytes_max: settings.near_bytes_max,
        node_filter: node::encode_attributes(&settings.node_filter),
        backup_zone: settings.backup_zone.clone().unwrap_or_default(),
        when_split: encode_when_split(settings.when_split).into(),
        partition_loss: encode_partition_loss(settings.partition_loss).into(),
    }
}

/// Settings from a peer. Bounds are those that keep a node safe: what is sensible was checked where
/// the cache was made.
///
/// # Errors
///
/// `InvalidArgument`, naming the setting.
pub fn decode(sent: proto::CacheSettings) -> Result<CacheSettings> {
    check(&sent)?;
    let optional = |sent: &Option<Duration>, field: &str| {
        sent.as_ref().map(|sent| micros(sent, field)).transpose()
    };
    let span = |sent: &Option<Duration>, field: &str| required(optional(sent, field)?, field);
    Ok(CacheSettings {
        mode: mode(sent.mode)?,
        atomicity: atomicity(sent.atomicity_mode)?,
        write_synchronization: synchronization(sent.write_synchronization_mode)?,
        backups: required(sent.backups, "backups")?,
        partitions: sent.partitions,
        time_to_live: optional(&sent.time_to_live, "time_to_live")?,
        time_to_idle: optional(&sent.time_to_idle, "time_to_idle")?,
        touch_on_read: required(sent.touch_on_read, "touch_on_read")?,
        read_from: read_from(sent.read_from)?,
        removes_are_final: sent.removes_are_final,
        tombstone_retention: span(&sent.tombstone_retention, "tombstone_retention")?,
        request_id_window: span(&sent.request_id_window, "request_id_window")?,
        entry_bytes_max: sent.entry_bytes_max,
        near_bytes_max: sent.near_bytes_max,
        node_filter: node::attributes(sent.node_filter, "node_filter")?,
        backup_zone: Some(sent.backup_zone).filter(|zone| !zone.is_empty()),
        when_split: when_split(sent.when_split)?,
        partition_loss: partition_loss(sent.partition_loss)?,
        name: sent.name,
    })
}

/// What needs no conversion.
fn check(sent: &proto::CacheSettings) -> Result<()> {
    limits::name(&sent.name, "name")?;
    limits::at_most(
        sent.backup_zone.len(),
        NAME_BYTES_MAX,
        "backup_zone",
        "bytes",
    )?;
    let large = |sent: u64, most: u64, field: &str| match sent > most {
        true => Err(Error::invalid(format!(
            "{field}: {sent}, at most {most} is allowed"
        ))),
        false => Ok(()),
    };
    large(
        sent.backups.unwrap_or_default().into(),
        BACKUPS_MAX.into(),
        "backups",
    )?;
    large(sent.partitions.into(), PARTITIONS_MAX.into(), "partitions")?;
    if sent.partitions == 0 {
        return Err(Error::invalid("partitions: 0, at least 1 is needed"));
    }
    large(
        sent.entry_bytes_max,
        VALUE_BYTES_MAX as u64,
        "entry_bytes_max",
    )
}

/// A duration of any length.
fn duration(micros: Micros) -> Duration {
    Duration {
        seconds: i64::try_from(micros / SECOND).unwrap_or(i64::MAX),
        nanos: i32::try_from(micros % SECOND * 1_000).unwrap_or_default(),
    }
}

/// A duration of zero and up, as long as its microseconds can be counted.
fn micros(sent: &Duration, field: &str) -> Result<Micros> {
    let fine = u64::try_from(sent.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000);
    u64::try_from(sent.seconds)
        .ok()
        .and_then(|seconds| seconds.checked_mul(SECOND)?.checked_add(fine? / 1_000))
        .ok_or_else(|| Error::invalid(format!("{field}: no duration of zero or more")))
}

fn unknown(field: &str, sent: i32) -> Error {
    Error::invalid(format!("{field}: {sent} is not known"))
}

fn encode_mode(mode: CacheMode) -> proto::CacheMode {
    match mode {
        CacheMode::Local => proto::CacheMode::Local,
        CacheMode::Replicated => proto::CacheMode::Replicated,
        CacheMode::Partitioned => proto::CacheMode::Partitioned,
    }
}

fn mode(sent: i32) -> Result<CacheMode> {
    match proto::CacheMode::try_from(sent) {
        Ok(proto::CacheMode::Local) => Ok(CacheMode::Local),
        Ok(proto::CacheMode::Replicated) => Ok(CacheMode::Replicated),
        Ok(proto::CacheMode::Partitioned) => Ok(CacheMode::Partitioned),
        Ok(proto::CacheMode::Unspecified) | Err(_) => Err(unknown("mode", sent)),
    }
}

fn encode_atomicity(mode: AtomicityMode) -> proto::AtomicityMode {
    match mode {
        AtomicityMode::Atomic => proto::AtomicityMode::Atomic,
        AtomicityMode::Transactional => proto::AtomicityMode::Transactional,
    }
}

fn atomicity(sent: i32) -> Result<AtomicityMode> {
    match proto::AtomicityMode::try_from(sent) {
        Ok(proto::AtomicityMode::Atomic) => Ok(AtomicityMode::Atomic),
        Ok(proto::AtomicityMode::Transactional) => Ok(AtomicityMode::Transactional),
        Ok(proto::AtomicityMode::Unspecified) | Err(_) => Err(unknown("atomicity_mode", sent)),
    }
}

fn encode_synchronization(mode: WriteSynchronizationMode) -> proto::WriteSynchronizationMode {
    match mode {
        WriteSynchronizationMode::FullSync => proto::WriteSynchronizationMode::FullSync,
        WriteSynchronizationMode::PrimarySync => proto::WriteSynchronizationMode::PrimarySync,
        WriteSynchronizationMode::FullAsync => proto::WriteSynchronizationMode::FullAsync,
    }
}

fn synchronization(sent: i32) -> Result<WriteSynchronizationMode> {
    use proto::WriteSynchronizationMode as Sent;
    match Sent::try_from(sent) {
        Ok(Sent::FullSync) => Ok(WriteSynchronizationMode::FullSync),
        Ok(Sent::PrimarySync) => Ok(WriteSynchronizationMode::PrimarySync),
        Ok(Sent::FullAsync) => Ok(WriteSynchronizationMode::FullAsync),
        Ok(Sent::Unspecified) | Err(_) => Err(unknown("write_synchronization_mode", sent)),
    }
}

fn encode_read_from(read_from: ReadFrom) -> wire::ReadFrom {
    match read_from {
        ReadFrom::Any => wire::ReadFrom::Any,
        ReadFrom::Primary => wire::ReadFrom::Primary,
    }
}

fn read_from(sent: i32) -> Result<ReadFrom> {
    match wire::ReadFrom::try_from(sent) {
        Ok(wire::ReadFrom::Any) => Ok(ReadFrom::Any),
        Ok(wire::ReadFrom::Primary) => Ok(ReadFrom::Primary),
        Ok(wire::ReadFrom::Unspecified) | Err(_) => Err(unknown("read_from", sent)),
    }
}

fn encode_when_split(mode: WhenSplit) -> wire::WhenSplit {
    match mode {
        WhenSplit::AllowReadWrites => wire::WhenSplit::AllowReadWrites,
        WhenSplit::AllowReads => wire::WhenSplit::AllowReads,
        WhenSplit::DenyReadWrites => wire::WhenSplit::DenyReadWrites,
    }
}

/// An absent one is from a node that knows no other mode.
fn when_split(sent: i32) -> Result<WhenSplit> {
    match wire::WhenSplit::try_from(sent) {
        Ok(wire::WhenSplit::Unspecified | wire::WhenSplit::AllowReadWrites) => {
            Ok(WhenSplit::AllowReadWrites)
        }
        Ok(wire::WhenSplit::AllowReads) => Ok(WhenSplit::AllowReads),
        Ok(wire::WhenSplit::DenyReadWrites) => Ok(WhenSplit::DenyReadWrites),
        Err(_) => Err(unknown("when_split", sent)),
    }
}

fn encode_partition_loss(loss: PartitionLoss) -> wire::PartitionLoss {
    match loss {
        PartitionLoss::Reject => wire::PartitionLoss::Reject,
        PartitionLoss::Reset => wire::PartitionLoss::Reset,
    }
}

/// An absent one is from a node that knows no other answer to a loss.
fn partition_loss(sent: i32) -> Result<PartitionLoss> {
    match wire::PartitionLoss::try_from(sent) {
        Ok(wire::PartitionLoss::Unspecified | wire::PartitionLoss::Reject) => {
            Ok(PartitionLoss::Reject)
        }
        Ok(wire::PartitionLoss::Reset) => Ok(PartitionLoss::Reset),
        Err(_) => Err(unknown("partition_loss", sent)),
    }
}
