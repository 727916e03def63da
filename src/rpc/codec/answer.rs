//! Answers to single-key calls, for clients.

use super::entry;
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::proto;
use crate::types::{Change, EntryView, KeyOperation, Reply};

/// The answer to a single-key call, whichever it was.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To `Get`.
    Get(proto::GetResponse),
    /// To `Put`.
    Put(proto::PutResponse),
    /// To `Remove`.
    Remove(proto::RemoveResponse),
    /// To `Touch`.
    Touch(proto::TouchResponse),
    /// To `Modify`.
    Modify(proto::ModifyResponse),
}

/// `Get`.
///
/// # Errors
///
/// `Internal` where the reply is one to another operation.
pub fn get(reply: &Reply) -> Result<proto::GetResponse> {
    match reply {
        Reply::Got { entry } => Ok(proto::GetResponse { entry: encoded(entry) }),
        _ => Err(mismatch("Get")),
    }
}

/// `Put`.
///
/// # Errors
///
/// `Internal` where the reply is one to another operation.
pub fn put(reply: &Reply) -> Result<proto::PutResponse> {
    match reply {
        Reply::Put { applied, version, previous } => Ok(proto::PutResponse {
            applied: *applied,
            version: *version,
            previous: encoded(previous),
        }),
        _ => Err(mismatch("Put")),
    }
}

/// `Remove`.
///
/// # Errors
///
/// `Internal` where the reply is one to another operation.
pub fn remove(reply: &Reply) -> Result<proto::RemoveResponse> {
    match reply {
        Reply::Removed { applied, previous } => {
            Ok(proto::RemoveResponse { applied: *applied, previous: encoded(previous) })
        }
        _ => Err(mismatch("Remove")),
    }
}

/// `Touch`.
///
/// # Errors
///
/// `Internal` where the reply is one to another operation.
pub fn touch(reply: &Reply) -> Result<proto::TouchResponse> {
    match reply {
        Reply::Touched { applied } => Ok(proto::TouchResponse { applied: *applied }),
        _ => Err(mismatch("Touch")),
    }
}

/// `Modify`. The number is told after an `increment` that was applied.
///
/// # Errors
///
/// `Internal` where the reply is one to another operation, or its value is no number.
pub fn modify(reply: &Reply, increment: bool) -> Result<proto::ModifyResponse> {
    let Reply::Modified { applied, version, value } = reply else {
        return Err(mismatch("Modify"));
    };
    let number = match *applied && increment {
        true => Some(number(value)?),
        false => None,
    };
    Ok(proto::ModifyResponse { applied: *applied, version: *version, value: number })
}

/// The answer to an operation.
///
/// # Errors
///
/// `Internal` where the reply is one to another operation.
pub fn to(operation: &KeyOperation, reply: &Reply) -> Result<Answer> {
    Ok(match operation {
        KeyOperation::Get { .. } => Answer::Get(get(reply)?),
        KeyOperation::Put { .. } => Answer::Put(put(reply)?),
        KeyOperation::Remove { .. } => Answer::Remove(remove(reply)?),
        KeyOperation::Touch { .. } => Answer::Touch(touch(reply)?),
        KeyOperation::Modify { change, .. } => {
            Answer::Modify(modify(reply, matches!(change, Change::Increment { .. }))?)
        }
    })
}

fn encoded(entry: &Option<EntryView>) -> Option<proto::Entry> {
    entry.as_ref().map(entry::encode)
}

fn number(value: &[u8]) -> Result<i64> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| internal("the value after an increment is no number"))
}

fn mismatch(call: &str) -> Error {
    internal(format!("the reply is not one to {call}"))
}

/// By the time that there is a reply, the operation has been carried out.
fn internal(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    let mut error = Error::new(ErrorKind::Internal, text);
    error.applied = crate::error::Applied::Unknown;
    error
}
