//! What the node answers, as callers read it. Pure; the counterpart of `decode.rs`.

use crate::error::{Applied, Error, ErrorKind, Result};
use crate::rpc::proto as pb;
use crate::types::{Blob, ClusterTime, EntryView, Micros, Reply};
use bytes::Bytes;

/// Values up to this are copied; longer ones are shared with the store until they are sent.
const COPIED_MAX: usize = 256;

/// Stored bytes on their way out.
pub fn bytes(blob: Blob) -> Bytes {
    if blob.len() <= COPIED_MAX {
        Bytes::copy_from_slice(&blob)
    } else {
        Bytes::from_owner(blob)
    }
}

/// A point in cluster time, which counts from the Unix epoch.
pub fn timestamp(at: ClusterTime) -> prost_types::Timestamp {
    micros_timestamp(at.0)
}

/// Microseconds since the Unix epoch.
pub fn micros_timestamp(micros: u64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: (micros / 1_000_000) as i64,
        nanos: (micros % 1_000_000) as i32 * 1_000,
    }
}

/// A duration.
pub fn duration(micros: Micros) -> prost_types::Duration {
    prost_types::Duration {
        seconds: (micros / 1_000_000) as i64,
        nanos: (micros % 1_000_000) as i32 * 1_000,
    }
}

/// An entry.
pub fn entry(view: EntryView) -> pb::Entry {
    entry_under(bytes(view.key.clone()), view)
}

/// The same under the key as it was asked for, which are the same bytes.
pub fn entry_under(key: Bytes, view: EntryView) -> pb::Entry {
    pb::Entry {
        key,
        value: bytes(view.value),
        flags: view.flags,
        version: view.version,
        created_at: Some(timestamp(view.created_at)),
        last_access_at: Some(timestamp(view.last_access_at)),
        expires_at: view.expires_at.map(timestamp),
        idle_expires_at: view.idle_expires_at.map(timestamp),
    }
}

/// The error for a reply that belongs to another operation than was asked for.
pub fn mismatch(reply: &Reply) -> Error {
    let what = match reply {
        Reply::Got { .. } => "get",
        Reply::Put { .. } => "put",
        Reply::Removed { .. } => "remove",
        Reply::Touched { .. } => "touch",
        Reply::Modified { .. } => "modify",
        Reply::Scanned { .. } => "scan",
        Reply::Size { .. } => "size",
        Reply::Cleared { .. } => "clear",
        Reply::Executed { .. } => "execute",
        Reply::Step(_) => "a step of a transaction",
        Reply::Verified(_) => "verify",
        Reply::Locked { .. } => "a lock",
        Reply::Registered { .. } => "a child of a ticket",
        Reply::Narrowed { .. } => "a step down from a ticket",
        Reply::Deleted { .. } => "a step of a delete",
    };
    let error = Error::new(
        ErrorKind::Internal,
        format!("the node answered as if asked for {what}"),
    );
    Error {
        applied: Applied::Unknown,
        ..error
    }
}

/// The answer that belongs to a reply of the node.
pub trait FromReply: Sized {
    /// # Errors
    ///
    /// `Internal` where the reply belongs to another operation.
    fn from_reply(reply: Reply) -> Result<Self>;
}

impl FromReply for pb::GetResponse {
    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Got { entry: found } => Ok(Self {
                entry: found.map(entry),
            }),
            other => Err(mismatch(&other)),
        }
    }
}

impl FromReply for pb::PutResponse {
    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Put {
                applied,
                version,
                previous,
            } => Ok(Self {
                applied,
                version,
                previous: previous.map(entry),
            }),
            other => Err(mismatch(&other)),
        }
    }
}

impl FromReply for pb::RemoveResponse {
    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Removed { applied, previous } => Ok(Self {
                applied,
                previous: previous.map(entry),
            }),
            other => Err(mismatch(&other)),
        }
    }
}

impl FromReply for pb::TouchResponse {
    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Touched { applied } => Ok(Self { applied }),
            other => Err(mismatch(&other)),
        }
    }
}

impl FromReply for pb::ModifyResponse {
    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            // An append to a number leaves a number as well, but only an increment answers one;
            // the caller of `modified` knows which it was.
            Reply::Modified {
                applied, version, ..
            } => Ok(Self {
                applied,
                version,
                value: None,
            }),
            other => Err(mismatch(&other)),
        }
    }
}

/// The answer to a `Modify`; with the number where it was an increment that was applied.
///
/// # Errors
///
/// `Internal` where the reply belongs to another operation.
pub fn modified(reply: Reply, increment: bool) -> Result<pb::ModifyResponse> {
    let number = match &reply {
        Reply::Modified {
            applied: true,
            value,
            ..
        } if increment => std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok()),
        _ => None,
    };
    let response = pb::ModifyResponse::from_reply(reply)?;
    Ok(pb::ModifyResponse {
        value: number,
        ..response
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> EntryView {
        EntryView {
            key: Blob::from("key"),
            value: Blob::from(vec![7; COPIED_MAX + 1]),
            flags: 9,
            version: 11,
            created_at: ClusterTime(1_500_000),
            last_access_at: ClusterTime(2_000_001),
            expires_at: None,
            idle_expires_at: Some(ClusterTime(3_000_000)),
        }
    }

    #[test]
    fn an_entry_keeps_every_field() {
        let encoded = entry(view());
        assert_eq!(encoded.key.as_ref(), b"key");
        assert_eq!(encoded.value.len(), COPIED_MAX + 1);
        assert_eq!((encoded.flags, encoded.version), (9, 11));
        let created = prost_types::Timestamp {
            seconds: 1,
            nanos: 500_000_000,
        };
        assert_eq!(encoded.created_at, Some(created));
        let accessed = prost_types::Timestamp {
            seconds: 2,
            nanos: 1_000,
        };
        assert_eq!(encoded.last_access_at, Some(accessed));
        assert_eq!(encoded.expires_at, None);
        assert!(encoded.idle_expires_at.is_some());
    }

    #[test]
    fn only_an_increment_that_was_applied_answers_a_number() {
        let reply = |applied| Reply::Modified {
            applied,
            version: 3,
            value: Blob::from("-12"),
        };
        assert_eq!(
            modified(reply(true), true).expect("an answer").value,
            Some(-12)
        );
        assert_eq!(modified(reply(true), false).expect("an answer").value, None);
        assert_eq!(modified(reply(false), true).expect("an answer").value, None);
        assert!(modified(Reply::Size { live: 1 }, true).is_err());
    }

    #[test]
    fn an_answer_to_another_question_is_a_fault_of_ours() {
        let error = pb::GetResponse::from_reply(Reply::Size { live: 1 }).expect_err("a fault");
        assert_eq!(error.kind, ErrorKind::Internal);
        assert_eq!(error.applied, Applied::Unknown);
    }
}
