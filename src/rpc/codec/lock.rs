//! Operations on locks that have a name, as one node asks another one for them.

use super::blob;
use crate::error::{Error, Result};
use crate::rpc::proto::request::{self as wire, Operation as Sent};
use crate::types::lock::{check_lease, check_name};
use crate::types::{Blob, LockOperation};
use bytes::Bytes;

/// An operation on a lock.
pub fn encode(operation: &LockOperation) -> Sent {
    match *operation {
        LockOperation::Take { lease, spare } => Sent::TakeLock(wire::TakeLock { lease, spare }),
        LockOperation::Renew { token, lease } => Sent::RenewLock(wire::RenewLock { token, lease }),
        LockOperation::Release { token } => Sent::ReleaseLock(wire::ReleaseLock { token }),
    }
}

/// An operation on a lock.
///
/// # Errors
///
/// `InvalidArgument` where it is none, or its lease is too short or too long.
pub fn decode(sent: Sent) -> Result<LockOperation> {
    Ok(match sent {
        Sent::TakeLock(take) => LockOperation::Take {
            lease: check_lease(take.lease)?,
            spare: take.spare,
        },
        Sent::RenewLock(renew) => LockOperation::Renew {
            token: renew.token,
            lease: check_lease(renew.lease)?,
        },
        Sent::ReleaseLock(release) => LockOperation::Release {
            token: release.token,
        },
        _ => return Err(Error::invalid("operation: not one on a lock")),
    })
}

/// The name of a lock.
///
/// # Errors
///
/// `InvalidArgument` where it is empty or too long.
pub fn name(sent: &Bytes) -> Result<Blob> {
    check_name(sent)?;
    Ok(blob::copied(sent))
}
