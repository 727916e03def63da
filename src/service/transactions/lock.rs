//! `Lock`, `Renew`, `Unlock`.

use super::super::Front;
use super::super::deadline::CallTime;
use super::super::{decode, encode};
use crate::error::{Error, Result};
use crate::rpc::proto as pb;
use crate::types::Micros;
use crate::types::lock::{Held, LEASE_DEFAULT};
use std::time::{Duration, Instant};

/// See `TransactionService.Lock`.
pub async fn take(
    front: &Front,
    message: pb::LockRequest,
    time: CallTime,
) -> Result<pb::LockResponse> {
    let id = decode::request_id(&message.request_id)?;
    let some = |wait: &prost_types::Duration| *wait != prost_types::Duration::default();
    let wait = decode::duration("wait", message.wait.filter(some))?.unwrap_or_default();
    let terms = (Duration::from_micros(wait), lease(message.lease)?);
    time.check(Instant::now())?;
    let name = message.name.as_bytes();
    let held = front.handle.lock(name, terms, id, time.deadline).await?;
    Ok(pb::LockResponse {
        acquired: held.is_some(),
        token: held.map_or(0, |held| held.token),
        expires_at: expires_at(held),
    })
}

/// See `TransactionService.Renew`.
pub async fn renew(
    front: &Front,
    message: pb::RenewRequest,
    time: CallTime,
) -> Result<pb::RenewResponse> {
    let id = decode::request_id(&message.request_id)?;
    let terms = (required(message.token)?, lease(message.lease)?);
    time.check(Instant::now())?;
    let name = message.name.as_bytes();
    let renewed = front.handle.renew_lock(name, terms, id, time.deadline);
    let held = renewed.await?;
    Ok(pb::RenewResponse {
        renewed: held.is_some(),
        expires_at: expires_at(held),
    })
}

/// See `TransactionService.Unlock`.
pub async fn release(
    front: &Front,
    message: &pb::UnlockRequest,
    time: CallTime,
) -> Result<pb::UnlockResponse> {
    let id = decode::request_id(&message.request_id)?;
    let token = required(message.token)?;
    time.check(Instant::now())?;
    let name = message.name.as_bytes();
    let unlocked = front.handle.unlock(name, token, id, time.deadline).await?;
    Ok(pb::UnlockResponse { unlocked })
}

fn lease(sent: Option<prost_types::Duration>) -> Result<Micros> {
    Ok(decode::duration("lease", sent)?.unwrap_or(LEASE_DEFAULT))
}

fn required(token: u64) -> Result<u64> {
    if token > 0 {
        return Ok(token);
    }
    Err(Error::invalid("token is required").because("BAD_TOKEN"))
}

fn expires_at(held: Option<Held>) -> Option<prost_types::Timestamp> {
    held.map(|held| encode::timestamp(held.expires_at))
}
