//! From what a history holds to what the client of the cluster takes, and back.

use embergrid::client::{Client, messages as pb};
use embergrid::error::{Error, Result};
use embergrid::types::{
    Blob, Change, ClusterTime, Condition, EntryView, Expiry, KeyOperation, Operation, Reply,
    Request,
};

/// Makes one call.
pub async fn call(client: &Client, cache: &str, request: &Request) -> Result<Reply> {
    let request_id = request
        .request_id
        .map(|id| bytes::Bytes::copy_from_slice(&id));
    let request_id = request_id.unwrap_or_default();
    let Operation::Key { key, operation } = &request.operation else {
        return Err(Error::invalid("a call on a whole partition"));
    };
    let (cache, key) = (cache.to_owned(), bytes_of(key));
    Ok(match operation.clone() {
        KeyOperation::Get { .. } => Reply::Got {
            entry: client.get(&cache, key).await?.map(entry),
        },
        KeyOperation::Put {
            value,
            flags,
            expiry,
            condition,
            return_previous,
        } => {
            let put = pb::PutRequest {
                cache,
                key,
                value: bytes_of(&value),
                flags,
                expiry: expiry_of(expiry),
                condition: condition_of(&condition),
                return_previous,
                request_id,
                ..pb::PutRequest::default()
            };
            let reply = client.put(put).await?;
            Reply::Put {
                applied: reply.applied,
                version: reply.version,
                previous: reply.previous.map(entry),
            }
        }
        KeyOperation::Remove {
            condition,
            return_previous,
        } => {
            let remove = pb::RemoveRequest {
                cache,
                key,
                condition: condition_of(&condition),
                return_previous,
                request_id,
                ..pb::RemoveRequest::default()
            };
            let reply = client.remove(remove).await?;
            Reply::Removed {
                applied: reply.applied,
                previous: reply.previous.map(entry),
            }
        }
        KeyOperation::Ticket(_) => {
            return Err(Error::invalid("tickets are not asked for here"));
        }
        KeyOperation::Touch { expiry } => {
            let touch = pb::TouchRequest {
                cache,
                key,
                expiry: expiry_of(expiry),
                request_id,
                ..pb::TouchRequest::default()
            };
            let applied = client.touch(touch).await?.applied;
            Reply::Touched { applied }
        }
        KeyOperation::Modify {
            change, condition, ..
        } => {
            let modify = pb::ModifyRequest {
                cache,
                key,
                change: Some(change_of(change)),
                expiry: expiry_of(Expiry::Keep),
                condition: condition_of(&condition),
                request_id,
                ..pb::ModifyRequest::default()
            };
            let reply = client.modify(modify).await?;
            let value = reply.value.map(|value| value.to_string());
            Reply::Modified {
                applied: reply.applied,
                version: reply.version,
                value: Blob::from(value.unwrap_or_default().as_str()),
            }
        }
    })
}

fn bytes_of(blob: &Blob) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(blob)
}

fn blob(bytes: &[u8]) -> Blob {
    Blob::from(bytes)
}

fn point(timestamp: Option<prost_types::Timestamp>) -> Option<ClusterTime> {
    let of = |at: prost_types::Timestamp| {
        ClusterTime((at.seconds * 1_000_000 + i64::from(at.nanos) / 1_000) as u64)
    };
    timestamp.map(of)
}

pub fn entry(entry: pb::Entry) -> EntryView {
    EntryView {
        key: blob(&entry.key),
        value: blob(&entry.value),
        flags: entry.flags,
        version: entry.version,
        created_at: point(entry.created_at).unwrap_or_default(),
        last_access_at: point(entry.last_access_at).unwrap_or_default(),
        expires_at: point(entry.expires_at),
        idle_expires_at: point(entry.idle_expires_at),
    }
}

fn condition_of(condition: &Condition) -> Option<pb::Condition> {
    use pb::condition::Condition as Of;
    let of = match condition {
        Condition::Any => return None,
        Condition::Absent => Of::Absent(true),
        Condition::Present => Of::Present(true),
        Condition::Version(version) => Of::Version(*version),
        Condition::Value(value) => Of::Value(bytes_of(value)),
    };
    Some(pb::Condition {
        condition: Some(of),
    })
}

/// The clients here set no expiry of their own.
fn expiry_of(expiry: Expiry) -> Option<pb::Expiry> {
    (expiry == Expiry::Keep).then(|| pb::Expiry {
        keep: true,
        ..pb::Expiry::default()
    })
}

fn change_of(change: Change) -> pb::modify_request::Change {
    use pb::modify_request::Change as Of;
    match change {
        Change::Append(value) => Of::Append(bytes_of(&value)),
        Change::Prepend(value) => Of::Prepend(bytes_of(&value)),
        Change::Increment {
            delta,
            initial,
            at_least_zero,
            wrap,
        } => Of::Increment(pb::modify_request::Increment {
            delta,
            initial,
            at_least_zero,
            wrap,
        }),
    }
}
