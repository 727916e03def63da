//! Entries between nodes: the state that owners store, and what clients see of it.

use super::{blob, required, version};
use crate::error::Result;
use crate::rpc::proto;
use crate::types::{Blob, ClusterTime, Entry, EntryView, Live};

/// The state of a key, for another owner.
pub fn encode_state(entry: &Entry) -> proto::EntryState {
    proto::EntryState {
        version: version::some_entry(entry.version),
        incarnation: (entry.incarnation != entry.version)
            .then(|| version::encode_entry(entry.incarnation)),
        created_at: entry.created_at.0,
        removed_by_key: entry.removed_by_key,
        live: entry.live.as_ref().map(|live| proto::entry_state::Live {
            value: blob::encode(&live.value),
            flags: live.flags,
            value_version: live.value_version,
            expires_at: live.expires_at.map(|point| point.0),
            time_to_idle: live.time_to_idle,
            last_access: live.last_access.0,
        }),
    }
}

/// The state of a key, from another owner.
///
/// # Errors
///
/// `InvalidArgument` where the value is too long.
pub fn state(sent: proto::EntryState) -> Result<Entry> {
    let version = version::entry(sent.version);
    Ok(Entry {
        incarnation: sent
            .incarnation
            .map_or(version, |sent| version::entry(Some(sent))),
        version,
        created_at: ClusterTime(sent.created_at),
        removed_by_key: sent.removed_by_key,
        live: sent.live.map(live).transpose()?,
    })
}

fn live(sent: proto::entry_state::Live) -> Result<Live> {
    Ok(Live {
        value: blob::value(&sent.value, "value")?,
        flags: sent.flags,
        value_version: sent.value_version,
        expires_at: sent.expires_at.map(ClusterTime),
        time_to_idle: sent.time_to_idle,
        last_access: ClusterTime(sent.last_access),
    })
}

/// A key with its state.
pub fn encode_key_state(key: &Blob, entry: &Entry) -> proto::KeyState {
    proto::KeyState {
        key: blob::encode(key),
        entry: Some(encode_state(entry)),
    }
}

/// A key with its state.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, empty or too long.
pub fn key_state(sent: proto::KeyState) -> Result<(Blob, Entry)> {
    Ok((
        blob::key(&sent.key, "key")?,
        state(required(sent.entry, "entry")?)?,
    ))
}

/// An entry as clients see it, for a peer.
pub fn encode_answer(entry: &EntryView) -> proto::EntryAnswer {
    proto::EntryAnswer {
        key: blob::encode(&entry.key),
        value: blob::encode(&entry.value),
        flags: entry.flags,
        version: entry.version,
        created_at: entry.created_at.0,
        last_access_at: entry.last_access_at.0,
        expires_at: entry.expires_at.map(|point| point.0),
        idle_expires_at: entry.idle_expires_at.map(|point| point.0),
    }
}

/// An entry as clients see it, from a peer.
///
/// # Errors
///
/// `InvalidArgument` where key or value are out of bounds.
pub fn answer(sent: proto::EntryAnswer) -> Result<EntryView> {
    Ok(EntryView {
        key: blob::key(&sent.key, "key")?,
        value: blob::value(&sent.value, "value")?,
        flags: sent.flags,
        version: sent.version,
        created_at: ClusterTime(sent.created_at),
        last_access_at: ClusterTime(sent.last_access_at),
        expires_at: sent.expires_at.map(ClusterTime),
        idle_expires_at: sent.idle_expires_at.map(ClusterTime),
    })
}
