//! Updates: the elements of a partition's stream, and the request ids that travel with them.

use super::{blob, entry, list, reply, required, transaction, version};
use crate::error::{Error, Result};
use crate::rpc::proto::{self, update as wire, update::Effect as Sent};
use crate::types::message::{RequestRecord, Update, UpdateEffect};
use crate::types::{ClusterTime, RequestId};

/// One change of a partition.
pub fn encode(update: &Update) -> proto::Update {
    let effect = match &update.effect {
        UpdateEffect::Nothing => Sent::Nothing(wire::Nothing {}),
        UpdateEffect::Set { key, entry } => Sent::Set(entry::encode_key_state(key, entry)),
        UpdateEffect::Expire {
            key,
            incarnation,
            tombstone,
        } => Sent::Expire(wire::Expire {
            key: blob::encode(key),
            incarnation: version::some_entry(*incarnation),
            tombstone: *tombstone,
        }),
        UpdateEffect::Clear { at, version } => Sent::Clear(wire::Clear {
            at: at.0,
            version: version::some_entry(*version),
        }),
        UpdateEffect::RaiseFloor { floor } => Sent::RaiseFloor(wire::RaiseFloor {
            floor: version::some_entry(*floor),
        }),
        UpdateEffect::Prepare(prepared) => Sent::Prepare(transaction::encode_prepared(prepared)),
        UpdateEffect::Finish { id, until, writes } => Sent::Finish(wire::Finish {
            id: transaction::encode_id(id),
            until: until.0,
            writes: transaction::encode_writes(writes),
        }),
        UpdateEffect::Status(status) => Sent::Status(transaction::encode_status(status)),
    };
    proto::Update {
        counter: update.counter,
        topology: version::some_topology(update.topology),
        effect: Some(effect),
        request: update
            .request
            .as_ref()
            .map(|(id, record)| encode_record(id, record)),
    }
}

/// One change of a partition.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known.
pub fn decode(sent: proto::Update) -> Result<Update> {
    let effect = match required(sent.effect, "effect of a known kind")? {
        Sent::Nothing(_) => UpdateEffect::Nothing,
        Sent::Set(state) => {
            let (key, entry) = entry::key_state(state)?;
            UpdateEffect::Set { key, entry }
        }
        Sent::Expire(expire) => UpdateEffect::Expire {
            key: blob::key(&expire.key, "key")?,
            incarnation: version::entry(expire.incarnation),
            tombstone: expire.tombstone,
        },
        Sent::Clear(clear) => UpdateEffect::Clear {
            at: ClusterTime(clear.at),
            version: version::entry(clear.version),
        },
        Sent::RaiseFloor(raise) => UpdateEffect::RaiseFloor {
            floor: version::entry(raise.floor),
        },
        Sent::Prepare(prepared) => {
            UpdateEffect::Prepare(Box::new(transaction::prepared(prepared)?))
        }
        Sent::Finish(finish) => UpdateEffect::Finish {
            id: transaction::id(finish.id)?,
            until: ClusterTime(finish.until),
            writes: list(finish.writes, "writes", entry::key_state)?,
        },
        Sent::Status(status) => UpdateEffect::Status(transaction::status(status)?),
    };
    Ok(Update {
        counter: sent.counter,
        topology: version::topology(sent.topology),
        effect,
        request: sent.request.map(record).transpose()?,
    })
}

/// A request id and what it stands for.
pub fn encode_record(id: &RequestId, record: &RequestRecord) -> proto::RequestRecord {
    proto::RequestRecord {
        id: blob::encode_request_id(Some(id)),
        at: record.at.0,
        reply: Some(reply::encode(&record.reply)),
    }
}

/// A request id and what it stands for.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known.
pub fn record(sent: proto::RequestRecord) -> Result<(RequestId, RequestRecord)> {
    let id = blob::request_id(&sent.id)?
        .ok_or_else(|| Error::invalid("the request id of a record is missing"))?;
    let reply = reply::decode(required(sent.reply, "reply")?)?;
    Ok((
        id,
        RequestRecord {
            at: ClusterTime(sent.at),
            reply,
        },
    ))
}
