//! The one place where an error becomes a gRPC status, and a status an error again.
//!
//! `google.rpc.ErrorInfo` (reason, domain) and our `Outcome` travel in `grpc-status-details-bin`, so
//! that no client parses text. Where the reason does not tell the kind, the kind itself goes with it
//! as metadata. A status without our details comes from something else on the way (a proxy, the
//! transport, a program of other make): it says as much about a write as can be known, which is
//! mostly nothing.

use crate::error::{Applied, Error, ErrorKind};
use crate::rpc::proto;
use bytes::Bytes;
use prost::Message;
use std::collections::HashMap;
use tonic::{Code, Status};

/// The domain in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "embergrid";
/// The longest text in a status: it travels twice, in headers that every hop bounds.
pub const TEXT_BYTES_MAX: usize = 1024;
/// The longest reason; that of google.rpc.
pub const REASON_BYTES_MAX: usize = 63;
/// The longest detail: the longest name that users choose.
pub const DETAIL_BYTES_MAX: usize = 255;

const KIND: &str = "kind";
const DETAIL: &str = "detail";
const ERROR_INFO_URL: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const OUTCOME_URL: &str = "type.googleapis.com/embergrid.v1.Outcome";

/// `google.rpc.Status`. Written here rather than in `proto/`, so that stubs in other languages do
/// not collide with the ones that their gRPC library brings.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: HashMap<String, String>,
}

/// The status that says this error.
pub fn to_status(error: &Error) -> Status {
    let code = code_of(error.kind);
    let message = shortened(&error.context, TEXT_BYTES_MAX);
    let mut metadata = HashMap::new();
    if kind_of(code, &error.reason) != error.kind {
        metadata.insert(KIND.to_owned(), error.kind.reason().to_owned());
    }
    if let Some(detail) = &error.detail {
        let detail = shortened(detail, DETAIL_BYTES_MAX);
        metadata.insert(DETAIL.to_owned(), detail.to_owned());
    }
    let info = ErrorInfo {
        reason: shortened(&error.reason, REASON_BYTES_MAX).to_owned(),
        domain: DOMAIN.to_owned(),
        metadata,
    };
    let outcome = proto::Outcome {
        value: outcome_of(error.applied).into(),
    };
    let details = RpcStatus {
        code: code.into(),
        message: message.to_owned(),
        details: vec![any(ERROR_INFO_URL, &info), any(OUTCOME_URL, &outcome)],
    };
    Status::with_details(code, message, Bytes::from(details.encode_to_vec()))
}

/// The error that a status says.
pub fn from_status(status: &Status) -> Error {
    match ours(status) {
        Some(error) => error,
        None => foreign(status),
    }
}

/// The error inside a reply (one key of many, one request of a pipeline, a peer's answer).
pub fn to_proto(error: &Error) -> proto::Error {
    proto::Error {
        code: code_of(error.kind).into(),
        message: shortened(&error.context, TEXT_BYTES_MAX).to_owned(),
        reason: shortened(&error.reason, REASON_BYTES_MAX).to_owned(),
        outcome: outcome_of(error.applied).into(),
        kind: if kind_of(code_of(error.kind), &error.reason) == error.kind {
            String::new()
        } else {
            error.kind.reason().to_owned()
        },
        detail: shortened(
            error.detail.as_deref().unwrap_or_default(),
            DETAIL_BYTES_MAX,
        )
        .to_owned(),
    }
}

/// Back from it. What is not known is read as the most cautious answer.
pub fn from_proto(error: proto::Error) -> Error {
    let code = match Code::from_i32(error.code) {
        Code::Ok => Code::Unknown,
        code => code,
    };
    let kind = kind_named(&error.kind).unwrap_or_else(|| kind_of(code, &error.reason));
    Error {
        kind,
        context: shortened(&error.message, TEXT_BYTES_MAX).to_owned().into(),
        reason: reason_of(kind, &error.reason),
        detail: detail_of(&error.detail),
        applied: applied_of(error.outcome),
    }
}

/// The code of a kind, as the page on errors lists them.
fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::WrongOwner
        | ErrorKind::WrongKind
        | ErrorKind::ParentGone
        | ErrorKind::FailedPrecondition => Code::FailedPrecondition,
        ErrorKind::Unimplemented => Code::Unimplemented,
        ErrorKind::Internal => Code::Internal,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Overloaded => Code::ResourceExhausted,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Unknown => Code::Unknown,
        ErrorKind::OutOfRange => Code::OutOfRange,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::DataLoss => Code::DataLoss,
    }
}

/// The kind of a code: the one among several that the reason names, or the general one.
fn kind_of(code: Code, reason: &str) -> ErrorKind {
    match code {
        Code::InvalidArgument => ErrorKind::InvalidArgument,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::FailedPrecondition => [
            ErrorKind::WrongOwner,
            ErrorKind::WrongKind,
            ErrorKind::ParentGone,
        ]
        .into_iter()
        .find(|kind| kind.reason() == reason)
        .unwrap_or(ErrorKind::FailedPrecondition),
        Code::Unimplemented => ErrorKind::Unimplemented,
        Code::Ok | Code::Internal => ErrorKind::Internal,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::Aborted => ErrorKind::Conflict,
        Code::ResourceExhausted => ErrorKind::Overloaded,
        Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        Code::Cancelled => ErrorKind::Cancelled,
        Code::Unknown => ErrorKind::Unknown,
        Code::OutOfRange => ErrorKind::OutOfRange,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::DataLoss => ErrorKind::DataLoss,
    }
}

fn kind_named(name: &str) -> Option<ErrorKind> {
    ErrorKind::ALL
        .into_iter()
        .find(|kind| kind.reason() == name)
}

fn outcome_of(applied: Applied) -> proto::outcome::Value {
    match applied {
        Applied::NotApplied => proto::outcome::Value::NotApplied,
        Applied::Unknown => proto::outcome::Value::Unknown,
    }
}

/// Anything but a clear "not applied" may have been.
fn applied_of(outcome: i32) -> Applied {
    match proto::outcome::Value::try_from(outcome) {
        Ok(proto::outcome::Value::NotApplied) => Applied::NotApplied,
        _ => Applied::Unknown,
    }
}

/// The reason as it was said, where it was; without an allocation where it is the kind's own.
fn reason_of(kind: ErrorKind, said: &str) -> std::borrow::Cow<'static, str> {
    let said = shortened(said, REASON_BYTES_MAX);
    if said.is_empty() || said == kind.reason() {
        kind.reason().into()
    } else {
        said.to_owned().into()
    }
}

fn detail_of(said: &str) -> Option<Box<str>> {
    let said = shortened(said, DETAIL_BYTES_MAX);
    (!said.is_empty()).then(|| said.into())
}

/// The error in our own details, if the status carries them.
fn ours(status: &Status) -> Option<Error> {
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let info = details.iter().find(|any| any.type_url == ERROR_INFO_URL)?;
    let info = ErrorInfo::decode(info.value.as_slice()).ok()?;
    if info.domain != DOMAIN {
        return None;
    }
    let kind = info
        .metadata
        .get(KIND)
        .and_then(|name| kind_named(name))
        .unwrap_or_else(|| kind_of(status.code(), &info.reason));
    let outcome = details
        .iter()
        .find(|any| any.type_url == OUTCOME_URL)
        .and_then(|any| proto::Outcome::decode(any.value.as_slice()).ok())
        .map_or(0, |outcome| outcome.value);
    Some(Error {
        kind,
        context: shortened(status.message(), TEXT_BYTES_MAX)
            .to_owned()
            .into(),
        reason: reason_of(kind, &info.reason),
        detail: info.metadata.get(DETAIL).and_then(|said| detail_of(said)),
        applied: applied_of(outcome),
    })
}

/// A status that no embergrid node made. A write is known not to be applied only where the request
/// was turned away as it came, or never left: a limit, for one, may have been met by the answer.
fn foreign(status: &Status) -> Error {
    let kind = match status.code() {
        // Ours would be a stale resume token; the transport says so of messages that are too long.
        Code::OutOfRange => ErrorKind::Internal,
        code => kind_of(code, ""),
    };
    let turned_away = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::Unimplemented
            | Code::PermissionDenied
            | Code::Unauthenticated
    );
    let text = match status.message() {
        "" => status.code().description(),
        text => shortened(text, TEXT_BYTES_MAX),
    };
    Error {
        kind,
        context: text.to_owned().into(),
        reason: kind.reason().into(),
        detail: None,
        applied: if turned_away || never_connected(status) {
            Applied::NotApplied
        } else {
            Applied::Unknown
        },
    }
}

/// Whether the other side sent it. One with a source was made here: the connection failed.
pub fn was_sent(status: &Status) -> bool {
    std::error::Error::source(status).is_none()
}

/// Whether no connection came about, so that nothing was sent.
pub fn never_connected(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn any(url: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any {
        type_url: url.to_owned(),
        value: message.encode_to_vec(),
    }
}

/// The beginning of a text, in at most `bytes` bytes.
fn shortened(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors() -> Vec<Error> {
        let mut errors = Vec::new();
        for kind in ErrorKind::ALL {
            let error = Error::new(kind, format!("{kind:?} went wrong"));
            errors.push(error.clone().because("SOMETHING_ELSE"));
            errors.push(error.clone().because("WRONG_OWNER"));
            errors.push(error.clone().not_applied());
            errors.push(error.clone().with_detail("TGT"));
            errors.push(Error {
                applied: Applied::Unknown,
                ..error.clone()
            });
            errors.push(error);
        }
        errors
    }

    #[test]
    fn every_kind_survives_a_status() {
        for error in errors() {
            assert_eq!(from_status(&to_status(&error)), error);
        }
    }

    #[test]
    fn every_kind_survives_a_reply() {
        for error in errors() {
            assert_eq!(from_proto(to_proto(&error)), error);
        }
    }

    #[test]
    fn codes_are_those_of_the_page_on_errors() {
        let code = |kind| to_status(&Error::new(kind, "")).code();
        assert_eq!(code(ErrorKind::WrongOwner), Code::FailedPrecondition);
        assert_eq!(code(ErrorKind::Conflict), Code::Aborted);
        assert_eq!(code(ErrorKind::Overloaded), Code::ResourceExhausted);
        assert_eq!(code(ErrorKind::Unknown), Code::Unknown);
        assert_eq!(code(ErrorKind::OutOfRange), Code::OutOfRange);
    }

    #[test]
    fn a_foreign_status_leaves_a_write_unknown_unless_it_was_turned_away() {
        let lost = from_status(&Status::unavailable("connection reset"));
        assert_eq!(
            (lost.kind, lost.applied),
            (ErrorKind::Unavailable, Applied::Unknown)
        );
        let refused = from_status(&Status::unimplemented("no such call"));
        assert_eq!(
            (refused.kind, refused.applied),
            (ErrorKind::Unimplemented, Applied::NotApplied)
        );
        let long = from_status(&Status::out_of_range("decoded message length too large"));
        assert_eq!(
            (long.kind, long.applied),
            (ErrorKind::Internal, Applied::Unknown)
        );
        let silent = from_status(&Status::new(Code::Aborted, ""));
        assert!(!silent.context.is_empty());
    }

    #[test]
    fn details_that_are_damaged_or_of_another_domain_are_foreign() {
        let damaged = Status::with_details(Code::Aborted, "x", Bytes::from_static(&[0xff, 0xff]));
        assert_eq!(from_status(&damaged).applied, Applied::Unknown);
        let info = ErrorInfo {
            reason: "X".into(),
            domain: "other".into(),
            metadata: HashMap::new(),
        };
        let details = RpcStatus {
            code: 10,
            message: String::new(),
            details: vec![any(ERROR_INFO_URL, &info)],
        };
        let other = Status::with_details(Code::Aborted, "x", details.encode_to_vec().into());
        assert_eq!(from_status(&other).reason, ErrorKind::Conflict.reason());
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let error = Error::invalid("ü".repeat(TEXT_BYTES_MAX));
        let back = from_status(&to_status(&error));
        assert!(back.context.len() <= TEXT_BYTES_MAX && back.context.ends_with('ü'));
    }
}
