//! Bytes that are stored ⇄ bytes of a protobuf message.

use super::limits::{self, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::error::{Error, Result};
use crate::types::{Blob, RequestId};
use bytes::Bytes;

/// The same bytes, shared and not copied.
pub fn encode(blob: &Blob) -> Bytes {
    if blob.is_empty() {
        Bytes::new()
    } else {
        Bytes::from_owner(blob.clone())
    }
}

/// A copy, so that the network buffer is free again.
pub fn copied(bytes: &Bytes) -> Blob {
    Blob::from(bytes.as_ref())
}

/// A key: 1 to 65,535 bytes.
///
/// # Errors
///
/// `InvalidArgument`, naming the field.
pub fn key(bytes: &Bytes, field: &str) -> Result<Blob> {
    if bytes.is_empty() {
        return Err(Error::invalid(format!("{field} is empty")));
    }
    prefix(bytes, field)
}

/// The beginning of keys: 0 to 65,535 bytes.
///
/// # Errors
///
/// `InvalidArgument`, naming the field.
pub fn prefix(bytes: &Bytes, field: &str) -> Result<Blob> {
    limits::at_most(bytes.len(), KEY_BYTES_MAX, field, "bytes")?;
    Ok(copied(bytes))
}

/// A value: 0 bytes to 16 MiB. The bound of its cache is checked where the cache is known.
///
/// # Errors
///
/// `InvalidArgument`, naming the field.
pub fn value(bytes: &Bytes, field: &str) -> Result<Blob> {
    limits::at_most(bytes.len(), VALUE_BYTES_MAX, field, "bytes")?;
    Ok(copied(bytes))
}

/// A request id: 16 bytes, or none.
///
/// # Errors
///
/// `InvalidArgument` for any other length.
pub fn request_id(bytes: &Bytes) -> Result<Option<RequestId>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match RequestId::try_from(bytes.as_ref()) {
        Ok(id) => Ok(Some(id)),
        Err(_) => Err(Error::invalid(format!(
            "request_id: {} bytes, 16 or none are allowed",
            bytes.len()
        ))),
    }
}

/// A request id, or no bytes for none.
pub fn encode_request_id(id: Option<&RequestId>) -> Bytes {
    id.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(id))
}
