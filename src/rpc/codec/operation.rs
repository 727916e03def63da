//! Requests that are carried to the primary.

use super::{blob, condition, limits, lock, required, ticket, transaction, version};
use crate::error::{Error, Result};
use crate::rpc::proto::{
    self,
    request::{self as wire, Operation as Sent, expiry_change::Change as SentExpiry},
};
use crate::types::message::Forward;
use crate::types::{Blob, CacheId, Change, ClusterTime, Expiry, KeyOperation, Operation, Request};
use bytes::Bytes;

/// A request on its way to the primary.
pub fn encode_forward(forward: &Forward) -> proto::Forward {
    proto::Forward {
        id: forward.id,
        topology: version::some_topology(forward.topology),
        deadline: forward.deadline.0,
        request: Some(encode(&forward.request)),
    }
}

/// A request on its way to the primary.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known.
pub fn decode_forward(sent: proto::Forward) -> Result<Forward> {
    Ok(Forward {
        id: sent.id,
        topology: version::topology(sent.topology),
        deadline: ClusterTime(sent.deadline),
        request: decode(required(sent.request, "request")?)?,
    })
}

/// A request.
pub fn encode(request: &Request) -> proto::Request {
    let (key, operation) = match &request.operation {
        Operation::Key { key, operation } => (blob::encode(key), encode_key(operation)),
        Operation::Scan {
            prefix,
            after,
            limit,
            keys_only,
        } => {
            let scan = wire::Scan {
                prefix: blob::encode(prefix),
                after: after.as_ref().map(blob::encode),
                limit: *limit,
                keys_only: *keys_only,
            };
            (Bytes::new(), Sent::Scan(scan))
        }
        Operation::Size => (Bytes::new(), Sent::Size(wire::Size {})),
        Operation::Clear => (Bytes::new(), Sent::Clear(wire::Clear {})),
        Operation::Transaction { id, step } => {
            let step = transaction::encode(id, step);
            (Bytes::new(), Sent::Transaction(step))
        }
        Operation::Verify { repair } => {
            (Bytes::new(), Sent::Verify(wire::Verify { repair: *repair }))
        }
        Operation::Lock { name, operation } => (blob::encode(name), lock::encode(operation)),
        Operation::Tickets(operation) => (Bytes::new(), ticket::encode_several(operation)),
        Operation::Errand(_) => return nothing(request),
    };
    proto::Request {
        cache: request.cache.0,
        partition: request.partition,
        key,
        operation: Some(operation),
        request_id: blob::encode_request_id(request.request_id.as_ref()),
    }
}

/// What no other node can carry out, and is never sent to one: the receiver refuses it.
fn nothing(request: &Request) -> proto::Request {
    proto::Request {
        cache: request.cache.0,
        partition: request.partition,
        ..proto::Request::default()
    }
}

/// A request.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known.
pub fn decode(sent: proto::Request) -> Result<Request> {
    let operation = match required(sent.operation, "operation of a known kind")? {
        Sent::Scan(scan) => Operation::Scan {
            prefix: blob::prefix(&scan.prefix, "prefix")?,
            after: scan
                .after
                .map(|after| blob::key(&after, "after"))
                .transpose()?,
            limit: scan.limit,
            keys_only: scan.keys_only,
        },
        Sent::Size(wire::Size {}) => Operation::Size,
        Sent::Clear(wire::Clear {}) => Operation::Clear,
        Sent::Transaction(step) => {
            let (id, step) = transaction::decode(step)?;
            Operation::Transaction { id, step }
        }
        Sent::Verify(wire::Verify { repair }) => Operation::Verify { repair },
        asked @ (Sent::TakeLock(_) | Sent::RenewLock(_) | Sent::ReleaseLock(_)) => {
            Operation::Lock {
                name: lock::name(&sent.key)?,
                operation: lock::decode(asked)?,
            }
        }
        other => match ticket::decode_several(other)? {
            Ok(operation) => Operation::Tickets(operation),
            Err(on_key) => Operation::Key {
                key: blob::key(&sent.key, "key")?,
                operation: decode_key(*on_key)?,
            },
        },
    };
    Ok(Request {
        cache: CacheId(sent.cache),
        partition: partition(sent.partition)?,
        operation,
        request_id: blob::request_id(&sent.request_id)?,
    })
}

/// An operation on one key, as a part of a transaction.
pub fn encode_on_key(key: &Blob, operation: &KeyOperation) -> proto::Request {
    proto::Request {
        key: blob::encode(key),
        operation: Some(encode_key(operation)),
        ..proto::Request::default()
    }
}

/// An operation on one key, as a part of a transaction.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known.
pub fn on_key(sent: proto::Request) -> Result<(Blob, KeyOperation)> {
    let operation = required(sent.operation, "operation of a known kind")?;
    Ok((blob::key(&sent.key, "key")?, decode_key(operation)?))
}

/// The number of a partition, below what any cache may have.
///
/// # Errors
///
/// `InvalidArgument` for a greater one.
pub fn partition(sent: u32) -> Result<u32> {
    if sent < limits::PARTITIONS_MAX {
        Ok(sent)
    } else {
        Err(Error::invalid(format!(
            "partition: {sent} is beyond any cache"
        )))
    }
}

fn encode_key(operation: &KeyOperation) -> Sent {
    match operation {
        KeyOperation::Get { touch, omit_value } => Sent::Get(wire::Get {
            touch: touch.as_ref().map(encode_expiry),
            omit_value: *omit_value,
        }),
        KeyOperation::Put {
            value,
            flags,
            expiry,
            condition,
            return_previous,
        } => Sent::Put(wire::Put {
            value: blob::encode(value),
            flags: *flags,
            expiry: Some(encode_expiry(expiry)),
            condition: condition::encode(condition),
            return_previous: *return_previous,
        }),
        KeyOperation::Remove {
            condition,
            return_previous,
        } => Sent::Remove(wire::Remove {
            condition: condition::encode(condition),
            return_previous: *return_previous,
        }),
        KeyOperation::Touch { expiry } => Sent::Touch(wire::Touch {
            expiry: Some(encode_expiry(expiry)),
        }),
        KeyOperation::Modify {
            change,
            expiry,
            condition,
        } => Sent::Modify(wire::Modify {
            change: Some(encode_change(change)),
            expiry: Some(encode_expiry(expiry)),
            condition: condition::encode(condition),
        }),
        KeyOperation::Ticket(operation) => ticket::encode(operation),
    }
}

fn decode_key(sent: Sent) -> Result<KeyOperation> {
    Ok(match sent {
        Sent::Get(get) => KeyOperation::Get {
            touch: get.touch.map(decode_expiry).transpose()?,
            omit_value: get.omit_value,
        },
        Sent::Put(put) => KeyOperation::Put {
            value: blob::value(&put.value, "value")?,
            flags: put.flags,
            expiry: decode_expiry(required(put.expiry, "expiry")?)?,
            condition: condition::decode(put.condition.as_ref())?,
            return_previous: put.return_previous,
        },
        Sent::Remove(remove) => KeyOperation::Remove {
            condition: condition::decode(remove.condition.as_ref())?,
            return_previous: remove.return_previous,
        },
        Sent::Touch(touch) => KeyOperation::Touch {
            expiry: decode_expiry(required(touch.expiry, "expiry")?)?,
        },
        Sent::Modify(modify) => KeyOperation::Modify {
            change: decode_change(required(modify.change, "change")?)?,
            expiry: decode_expiry(required(modify.expiry, "expiry")?)?,
            condition: condition::decode(modify.condition.as_ref())?,
        },
        other => match ticket::decode(other)? {
            Some(operation) => KeyOperation::Ticket(operation),
            None => return Err(Error::invalid("operation: not one on a key")),
        },
    })
}

fn encode_change(change: &Change) -> wire::modify::Change {
    use wire::modify::Change as Sent;
    let bytes = |blob: &Blob| blob::encode(blob);
    match change {
        Change::Append(value) => Sent::Append(bytes(value)),
        Change::Prepend(value) => Sent::Prepend(bytes(value)),
        Change::Increment {
            delta,
            initial,
            at_least_zero,
            wrap,
        } => Sent::Increment(proto::modify_request::Increment {
            delta: *delta,
            initial: *initial,
            at_least_zero: *at_least_zero,
            wrap: *wrap,
        }),
    }
}

fn decode_change(sent: wire::modify::Change) -> Result<Change> {
    use wire::modify::Change as Sent;
    Ok(match sent {
        Sent::Append(value) => Change::Append(blob::value(&value, "append")?),
        Sent::Prepend(value) => Change::Prepend(blob::value(&value, "prepend")?),
        Sent::Increment(increment) => Change::Increment {
            delta: increment.delta,
            initial: increment.initial,
            at_least_zero: increment.at_least_zero,
            wrap: increment.wrap,
        },
    })
}

fn encode_expiry(expiry: &Expiry) -> wire::ExpiryChange {
    let change = match *expiry {
        Expiry::Default => SentExpiry::Default(wire::expiry_change::Default {}),
        Expiry::Keep => SentExpiry::Keep(wire::expiry_change::Keep {}),
        Expiry::Set {
            time_to_live,
            time_to_idle,
        } => SentExpiry::Set(wire::expiry_change::Set {
            time_to_live,
            time_to_idle,
        }),
    };
    wire::ExpiryChange {
        change: Some(change),
    }
}

fn decode_expiry(sent: wire::ExpiryChange) -> Result<Expiry> {
    Ok(match required(sent.change, "expiry of a known kind")? {
        SentExpiry::Default(_) => Expiry::Default,
        SentExpiry::Keep(_) => Expiry::Keep,
        SentExpiry::Set(set) => Expiry::Set {
            time_to_live: set.time_to_live,
            time_to_idle: set.time_to_idle,
        },
    })
}
