//! What callers send, checked and turned into the vocabulary of the node. Pure: nothing is asked
//! of the node here. Every refusal names the field and the bound.

use super::limits::{CACHE_NAME_BYTES_MAX, NAMES_IN_ERROR_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::proto as pb;
use crate::types::cache::{KEY_BYTES_MAX, check_key, partition_of};
use crate::types::view::ViewCache;
use crate::types::{
    Blob, CacheSettings, Change, Condition, Expiry, Incarnation, KeyOperation, Member, Micros,
    NodeId, Operation, Request, RequestId, TransactionId, View,
};
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

/// The longest duration that an entry's life may have: 100 years.
pub const DURATION_SECONDS_MAX: i64 = 3_153_600_000;

/// The cache of a name.
///
/// # Errors
///
/// `InvalidArgument` for what cannot be a name, `Unavailable` where the node knows no view yet,
/// `NotFound` naming those that exist.
pub fn known<'a>(view: &'a View, name: &str) -> Result<&'a ViewCache> {
    cache_name(name)?;
    if view.version.number == 0 {
        return Err(Error::unavailable(
            "this node has not joined its cluster yet",
        ));
    }
    view.cache_named(name).ok_or_else(|| {
        let names = view
            .caches
            .values()
            .map(|cache| cache.settings.name.as_str());
        no_cache(name, names.collect())
    })
}

fn no_cache(name: &str, mut names: Vec<&str>) -> Error {
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMES_IN_ERROR_MAX);
    names.truncate(NAMES_IN_ERROR_MAX);
    let mut list = names.join(", ");
    if list.is_empty() {
        list.push_str("none");
    }
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    Error::new(
        ErrorKind::NotFound,
        format!("there is no cache {name:?}; caches here: {list}"),
    )
    .because("NO_SUCH_CACHE")
}

/// Refuses what cannot be the name of a cache.
///
/// # Errors
///
/// `InvalidArgument`.
pub fn cache_name(name: &str) -> Result<()> {
    match name.len() {
        1..=CACHE_NAME_BYTES_MAX => Ok(()),
        len => Err(Error::invalid(format!(
            "the name of a cache has 1 to {CACHE_NAME_BYTES_MAX} bytes, not {len}"
        ))),
    }
}

/// A key.
///
/// # Errors
///
/// `InvalidArgument` where it is empty or too long.
pub fn key(bytes: &[u8]) -> Result<Blob> {
    check_key(bytes)?;
    Ok(Blob::from(bytes))
}

/// A prefix of keys; empty: all.
///
/// # Errors
///
/// `InvalidArgument` where it is too long.
pub fn prefix(bytes: &[u8]) -> Result<Blob> {
    at_most_a_key("key_prefix", bytes)?;
    Ok(Blob::from(bytes))
}

fn at_most_a_key(what: &str, bytes: &[u8]) -> Result<()> {
    if bytes.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{what} has at most {KEY_BYTES_MAX} bytes, not {}",
        bytes.len()
    ))
    .because("KEY_LENGTH"))
}

/// A value.
///
/// # Errors
///
/// `InvalidArgument` where it is longer than the cache allows.
pub fn value(bytes: &[u8], settings: &CacheSettings) -> Result<Blob> {
    settings.check_value(bytes)?;
    Ok(Blob::from(bytes))
}

/// The same, but that the bytes stay in the buffer that they came in until they are stored, or wait.
fn lent_value(bytes: Bytes, settings: &CacheSettings) -> Result<Blob> {
    settings.check_value(&bytes)?;
    Ok(Blob::lent(bytes))
}

/// A request id: 16 bytes, or none.
///
/// # Errors
///
/// `InvalidArgument` for any other length.
pub fn request_id(bytes: &[u8]) -> Result<Option<RequestId>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    RequestId::try_from(bytes).map(Some).map_err(|_| {
        Error::invalid(format!(
            "a request_id has 16 bytes or none, not {}",
            bytes.len()
        ))
    })
}

/// The id of one part of a call: the same for the same part of the same call, so that the call
/// may be repeated, and another one for every other part.
pub fn part_id(id: Option<RequestId>, part: usize) -> Option<RequestId> {
    let mut bytes = [0u8; 24];
    bytes[..16].copy_from_slice(&id?);
    bytes[16..].copy_from_slice(&(part as u64).to_le_bytes());
    Some(xxh3_128(&bytes).to_le_bytes())
}

/// The transaction that a call belongs to; empty: none. A call within one has no request id: who
/// does not know what came of it rolls back and begins anew.
///
/// # Errors
///
/// `InvalidArgument` for what is no id from `Begin`, or beside a request id.
pub fn transaction(name: &str, request_id: &[u8]) -> Result<Option<TransactionId>> {
    if name.is_empty() {
        return Ok(None);
    }
    let bad = || {
        let context = "transaction is not an id from Begin";
        Error::invalid(context).because("BAD_TRANSACTION")
    };
    let parts: Vec<u64> = name
        .split('-')
        .map(|part| u64::from_str_radix(part, 16).map_err(|_| bad()))
        .collect::<Result<_>>()?;
    let [topology, sequence, id, incarnation] = parts[..] else {
        return Err(bad());
    };
    if !request_id.is_empty() {
        let context = "a call within a transaction has no request_id";
        return Err(Error::invalid(context).because("REQUEST_ID_IN_TRANSACTION"));
    }
    Ok(Some(TransactionId {
        topology,
        sequence,
        initiator: Member {
            id: NodeId(id),
            incarnation: Incarnation(incarnation),
        },
        attempt: 0,
    }))
}

/// The id of a transaction as clients have it.
pub fn transaction_name(id: TransactionId) -> String {
    let TransactionId {
        topology,
        sequence,
        initiator,
        ..
    } = id;
    let (node, incarnation) = (initiator.id.0, initiator.incarnation.0);
    format!("{topology:x}-{sequence:x}-{node:016x}-{incarnation:x}")
}

/// Refuses a transaction where a call cannot be part of one.
///
/// # Errors
///
/// `InvalidArgument` where there is one.
pub fn no_transaction(name: &str) -> Result<()> {
    if name.is_empty() {
        return Ok(());
    }
    let context = "a transaction has no place in Execute";
    Err(Error::invalid(context).because("TRANSACTION_NOT_HERE"))
}

/// The life of an entry; where the message is absent, that is `Default`.
///
/// # Errors
///
/// `InvalidArgument` for durations outside of their bounds, or beside `keep`.
pub fn expiry(message: Option<pb::Expiry>) -> Result<Expiry> {
    let Some(message) = message else {
        return Ok(Expiry::Default);
    };
    if message.keep {
        if message.time_to_live.is_some() || message.time_to_idle.is_some() {
            return Err(Error::invalid(
                "expiry.keep stands alone, without durations beside it",
            ));
        }
        return Ok(Expiry::Keep);
    }
    Ok(Expiry::Set {
        time_to_live: duration("expiry.time_to_live", message.time_to_live)?,
        time_to_idle: duration("expiry.time_to_idle", message.time_to_idle)?,
    })
}

/// A duration of at least a microsecond and at most 100 years.
///
/// # Errors
///
/// `InvalidArgument`, naming the field.
pub fn duration(what: &str, message: Option<prost_types::Duration>) -> Result<Option<Micros>> {
    let Some(prost_types::Duration { seconds, nanos }) = message else {
        return Ok(None);
    };
    let well_formed = (-999_999_999..=999_999_999).contains(&nanos)
        && (seconds >= 0 || nanos <= 0)
        && (seconds <= 0 || nanos >= 0);
    if !well_formed {
        return Err(
            Error::invalid(format!("{what} is not a well-formed duration")).because("BAD_DURATION"),
        );
    }
    let over = seconds > DURATION_SECONDS_MAX || (seconds == DURATION_SECONDS_MAX && nanos > 0);
    let micros = if over {
        None
    } else {
        Some(
            seconds
                .saturating_mul(1_000_000)
                .saturating_add(i64::from(nanos / 1_000)),
        )
    };
    match micros.map(u64::try_from) {
        Some(Ok(micros)) if micros > 0 => Ok(Some(micros)),
        _ => Err(Error::invalid(format!(
            "{what} is at least a microsecond and at most {DURATION_SECONDS_MAX} seconds"
        ))
        .because("BAD_DURATION")),
    }
}

/// What must hold of the key.
///
/// # Errors
///
/// `InvalidArgument` for a flag that is present and false, or a value that is too long.
pub fn condition(message: Option<pb::Condition>, settings: &CacheSettings) -> Result<Condition> {
    use pb::condition::Condition as Wire;
    let Some(condition) = message.and_then(|message| message.condition) else {
        return Ok(Condition::Any);
    };
    let set = |flag: bool, name: &str, means: Condition| {
        if flag {
            return Ok(means);
        }
        Err(Error::invalid(format!(
            "condition.{name} is true or left out, not false"
        )))
    };
    match condition {
        Wire::Any(flag) => set(flag, "any", Condition::Any),
        Wire::Absent(flag) => set(flag, "absent", Condition::Absent),
        Wire::Present(flag) => set(flag, "present", Condition::Present),
        Wire::Version(version) => Ok(Condition::Version(version)),
        Wire::Value(bytes) => Ok(Condition::Value(value(&bytes, settings)?)),
    }
}

/// An operation on one key of a cache, with what all of them share.
struct Single<'a> {
    key: &'a [u8],
    affinity_key: &'a [u8],
    request_id: &'a [u8],
}

impl Single<'_> {
    fn request(
        self,
        settings: &CacheSettings,
        operation: impl FnOnce() -> Result<KeyOperation>,
    ) -> Result<Request> {
        let id = request_id(self.request_id)?;
        keyed(settings, self.key, self.affinity_key, id, operation)
    }
}

/// A request on one key.
///
/// # Errors
///
/// `InvalidArgument` for a bad key or affinity key; whatever `operation` says.
pub fn keyed(
    settings: &CacheSettings,
    key_bytes: &[u8],
    affinity_key: &[u8],
    id: Option<RequestId>,
    operation: impl FnOnce() -> Result<KeyOperation>,
) -> Result<Request> {
    let key = key(key_bytes)?;
    at_most_a_key("affinity_key", affinity_key)?;
    let affinity = if affinity_key.is_empty() {
        key_bytes
    } else {
        affinity_key
    };
    let operation = operation()?;
    let request_id = if operation.is_read() { None } else { id };
    Ok(Request {
        cache: settings.id(),
        partition: partition_of(affinity, settings.partitions),
        operation: Operation::Key { key, operation },
        request_id,
    })
}

/// The partition of the entry of a well-formed read that wants all of it and nothing else; none for
/// any other message, also one that is to be refused.
pub fn plain_read(message: &pb::GetRequest, settings: &CacheSettings) -> Option<u32> {
    let pb::GetRequest {
        cache: _,
        key,
        touch: None,
        omit_value: false,
        affinity_key,
        transaction,
        request_id,
    } = message
    else {
        return None;
    };
    let plain = transaction.is_empty() && request_id.is_empty();
    let fits = (1..=KEY_BYTES_MAX).contains(&key.len()) && affinity_key.len() <= KEY_BYTES_MAX;
    if !(plain && fits) {
        return None;
    }
    let affinity = if affinity_key.is_empty() {
        key
    } else {
        affinity_key
    };
    Some(partition_of(affinity, settings.partitions))
}

/// A message that asks for an operation on one key.
pub trait SingleKey {
    /// The cache that it names.
    fn cache(&self) -> &str;
    /// The transaction that it belongs to, and its request id.
    fn within(&self) -> (&str, &[u8]);
    /// What it asks of that cache.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` or `Unimplemented`, naming the field.
    fn request(self, settings: &CacheSettings) -> Result<Request>;
}

macro_rules! single {
    ($message:ident) => {
        Single {
            key: &$message.key,
            affinity_key: &$message.affinity_key,
            request_id: &$message.request_id,
        }
    };
}

impl SingleKey for pb::GetRequest {
    fn cache(&self) -> &str {
        &self.cache
    }

    fn within(&self) -> (&str, &[u8]) {
        (&self.transaction, &self.request_id)
    }

    fn request(self, settings: &CacheSettings) -> Result<Request> {
        single!(self).request(settings, || get_operation(self.touch, self.omit_value))
    }
}

/// A read, with a touch where the message has one.
///
/// # Errors
///
/// `InvalidArgument` for a bad expiry.
pub fn get_operation(touch: Option<pb::Expiry>, omit_value: bool) -> Result<KeyOperation> {
    let touch = touch.map(|touch| expiry(Some(touch))).transpose()?;
    Ok(KeyOperation::Get { touch, omit_value })
}

impl SingleKey for pb::PutRequest {
    fn cache(&self) -> &str {
        &self.cache
    }

    fn within(&self) -> (&str, &[u8]) {
        (&self.transaction, &self.request_id)
    }

    fn request(self, settings: &CacheSettings) -> Result<Request> {
        single!(self).request(settings, || {
            Ok(KeyOperation::Put {
                value: lent_value(self.value, settings)?,
                flags: self.flags,
                expiry: expiry(self.expiry)?,
                condition: condition(self.condition, settings)?,
                return_previous: self.return_previous,
            })
        })
    }
}

impl SingleKey for pb::RemoveRequest {
    fn cache(&self) -> &str {
        &self.cache
    }

    fn within(&self) -> (&str, &[u8]) {
        (&self.transaction, &self.request_id)
    }

    fn request(self, settings: &CacheSettings) -> Result<Request> {
        single!(self).request(settings, || {
            Ok(KeyOperation::Remove {
                condition: condition(self.condition, settings)?,
                return_previous: self.return_previous,
            })
        })
    }
}

impl SingleKey for pb::TouchRequest {
    fn cache(&self) -> &str {
        &self.cache
    }

    fn within(&self) -> (&str, &[u8]) {
        (&self.transaction, &self.request_id)
    }

    fn request(self, settings: &CacheSettings) -> Result<Request> {
        single!(self).request(settings, || {
            Ok(KeyOperation::Touch {
                expiry: expiry(self.expiry)?,
            })
        })
    }
}

impl SingleKey for pb::ModifyRequest {
    fn cache(&self) -> &str {
        &self.cache
    }

    fn within(&self) -> (&str, &[u8]) {
        (&self.transaction, &self.request_id)
    }

    fn request(self, settings: &CacheSettings) -> Result<Request> {
        single!(self).request(settings, || {
            Ok(KeyOperation::Modify {
                change: change(self.change, settings)?,
                expiry: expiry(self.expiry)?,
                condition: condition(self.condition, settings)?,
            })
        })
    }
}

fn change(message: Option<pb::modify_request::Change>, settings: &CacheSettings) -> Result<Change> {
    use pb::modify_request::Change as Wire;
    match message {
        None => Err(Error::invalid(
            "one of append, prepend and increment is required",
        )),
        Some(Wire::Append(bytes)) => Ok(Change::Append(value(&bytes, settings)?)),
        Some(Wire::Prepend(bytes)) => Ok(Change::Prepend(value(&bytes, settings)?)),
        Some(Wire::Increment(increment)) => Ok(Change::Increment {
            delta: increment.delta,
            initial: increment.initial,
            at_least_zero: increment.at_least_zero,
            wrap: increment.wrap,
        }),
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
