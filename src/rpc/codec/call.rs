//! Single-key calls of clients: what each one asks for, checked as far as it can be without knowing
//! its cache.

use super::limits::{self, KEY_BYTES_MAX};
use super::{blob, expiry};
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::proto::{self, modify_request::Change as SentChange};
use crate::types::{Blob, Change, KeyOperation, RequestId};
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

/// One operation on one key of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The name of the cache, 1 to 255 bytes.
    pub cache: String,
    /// The key.
    pub key: Blob,
    /// What stands in for the key where the partition is chosen.
    pub affinity_key: Option<Blob>,
    /// With an id, a write is applied once.
    pub request_id: Option<RequestId>,
    /// What to do.
    pub operation: KeyOperation,
}

impl Call {
    /// The bytes that choose the partition.
    pub fn placed_by(&self) -> &[u8] {
        self.affinity_key.as_ref().unwrap_or(&self.key)
    }
}

/// `Get`.
///
/// # Errors
///
/// `InvalidArgument`, naming the field; `Unimplemented` within a transaction.
pub fn get(sent: &proto::GetRequest) -> Result<Call> {
    transaction(&sent.transaction)?;
    Ok(Call {
        cache: cache(&sent.cache)?,
        key: blob::key(&sent.key, "key")?,
        affinity_key: affinity_key(&sent.affinity_key)?,
        request_id: blob::request_id(&sent.request_id)?,
        operation: KeyOperation::Get {
            touch: sent.touch.as_ref().map(|touch| expiry::decode(Some(touch))).transpose()?,
            omit_value: sent.omit_value,
        },
    })
}

/// `Put`.
///
/// # Errors
///
/// `InvalidArgument`, naming the field; `Unimplemented` within a transaction.
pub fn put(sent: &proto::PutRequest) -> Result<Call> {
    transaction(&sent.transaction)?;
    Ok(Call {
        cache: cache(&sent.cache)?,
        key: blob::key(&sent.key, "key")?,
        affinity_key: affinity_key(&sent.affinity_key)?,
        request_id: blob::request_id(&sent.request_id)?,
        operation: KeyOperation::Put {
            value: blob::value(&sent.value, "value")?,
            flags: sent.flags,
            expiry: expiry::decode(sent.expiry.as_ref())?,
            condition: expiry::condition(sent.condition.as_ref())?,
            return_previous: sent.return_previous,
        },
    })
}

/// `Remove`.
///
/// # Errors
///
/// `InvalidArgument`, naming the field; `Unimplemented` within a transaction.
pub fn remove(sent: &proto::RemoveRequest) -> Result<Call> {
    transaction(&sent.transaction)?;
    Ok(Call {
        cache: cache(&sent.cache)?,
        key: blob::key(&sent.key, "key")?,
        affinity_key: affinity_key(&sent.affinity_key)?,
        request_id: blob::request_id(&sent.request_id)?,
        operation: KeyOperation::Remove {
            condition: expiry::condition(sent.condition.as_ref())?,
            return_previous: sent.return_previous,
        },
    })
}

/// `Touch`.
///
/// # Errors
///
/// `InvalidArgument`, naming the field; `Unimplemented` within a transaction.
pub fn touch(sent: &proto::TouchRequest) -> Result<Call> {
    transaction(&sent.transaction)?;
    Ok(Call {
        cache: cache(&sent.cache)?,
        key: blob::key(&sent.key, "key")?,
        affinity_key: affinity_key(&sent.affinity_key)?,
        request_id: blob::request_id(&sent.request_id)?,
        operation: KeyOperation::Touch { expiry: expiry::decode(sent.expiry.as_ref())? },
    })
}

/// `Modify`.
///
/// # Errors
///
/// `InvalidArgument`, naming the field; `Unimplemented` within a transaction.
pub fn modify(sent: &proto::ModifyRequest) -> Result<Call> {
    transaction(&sent.transaction)?;
    let change = match &sent.change {
        Some(SentChange::Append(value)) => Change::Append(blob::value(value, "append")?),
        Some(SentChange::Prepend(value)) => Change::Prepend(blob::value(value, "prepend")?),
        Some(SentChange::Increment(increment)) => Change::Increment {
            delta: increment.delta,
            initial: increment.initial,
            at_least_zero: increment.at_least_zero,
            wrap: increment.wrap,
        },
        None => {
            return Err(Error::invalid("change: one of append, prepend, increment is required"));
        }
    };
    Ok(Call {
        cache: cache(&sent.cache)?,
        key: blob::key(&sent.key, "key")?,
        affinity_key: affinity_key(&sent.affinity_key)?,
        request_id: blob::request_id(&sent.request_id)?,
        operation: KeyOperation::Modify {
            change,
            expiry: expiry::decode(sent.expiry.as_ref())?,
            condition: expiry::condition(sent.condition.as_ref())?,
        },
    })
}

/// The id of one key's part of a call with several keys: the same whenever the call is repeated.
pub fn derived_id(id: &RequestId, key: &[u8]) -> RequestId {
    let mut bytes = Vec::with_capacity(id.len() + key.len());
    bytes.extend_from_slice(id);
    bytes.extend_from_slice(key);
    xxh3_128(&bytes).to_be_bytes()
}

/// The name of a cache.
///
/// # Errors
///
/// `InvalidArgument` where it is empty or too long.
pub fn cache(name: &str) -> Result<String> {
    limits::name(name, "cache")?;
    Ok(name.to_owned())
}

/// An affinity key; empty: none.
///
/// # Errors
///
/// `InvalidArgument` where it is too long.
pub fn affinity_key(sent: &Bytes) -> Result<Option<Blob>> {
    limits::at_most(sent.len(), KEY_BYTES_MAX, "affinity_key", "bytes")?;
    Ok((!sent.is_empty()).then(|| blob::copied(sent)))
}

/// Refuses a transaction by name.
///
/// # Errors
///
/// `Unimplemented` where one is named.
pub fn transaction(sent: &str) -> Result<()> {
    if sent.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unimplemented, "transaction: there are none in this version"))
}
