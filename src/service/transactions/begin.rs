//! `Begin`, `Commit`, `Rollback`.

use super::super::Front;
use super::super::deadline::CallTime;
use super::super::decode;
use crate::config::TRANSACTION_TIMEOUT;
use crate::error::{Error, Result};
use crate::rpc::proto as pb;
use crate::types::transaction::{Begin, Concurrency, Isolation, LABEL_BYTES_MAX};
use crate::types::{Micros, TransactionId};
use std::time::{Duration, Instant};

/// See `TransactionService.Begin`.
pub fn run(front: &Front, message: pb::BeginRequest) -> Result<pb::BeginResponse> {
    let begin = Begin {
        concurrency: concurrency(message.concurrency)?,
        isolation: isolation(message.isolation)?,
        timeout: timeout(message.timeout, front.limits.transaction_timeout)?,
        label: label(message.label)?,
    };
    let id = front.handle.begin_transaction(begin)?;
    Ok(pb::BeginResponse {
        transaction: decode::transaction_name(id),
    })
}

/// See `TransactionService.Commit`.
pub async fn commit(front: &Front, name: &str, time: CallTime) -> Result<pb::CommitResponse> {
    let id = required(name)?;
    time.check(Instant::now())?;
    front.handle.commit(id, time.deadline).await?;
    Ok(pb::CommitResponse {})
}

/// See `TransactionService.Rollback`.
pub async fn roll_back(front: &Front, name: &str, time: CallTime) -> Result<pb::RollbackResponse> {
    let id = required(name)?;
    time.check(Instant::now())?;
    front.handle.roll_back(id, time.deadline).await?;
    Ok(pb::RollbackResponse {})
}

fn required(name: &str) -> Result<TransactionId> {
    let missing = || Error::invalid("transaction is required").because("BAD_TRANSACTION");
    decode::transaction(name, &[])?.ok_or_else(missing)
}

fn concurrency(sent: i32) -> Result<Concurrency> {
    use pb::TransactionConcurrency as Wire;
    match Wire::try_from(sent) {
        Ok(Wire::Unspecified | Wire::Pessimistic) => Ok(Concurrency::Pessimistic),
        Ok(Wire::Optimistic) => Ok(Concurrency::Optimistic),
        Err(_) => Err(Error::invalid(format!("concurrency: {sent} is not known"))),
    }
}

fn isolation(sent: i32) -> Result<Isolation> {
    use pb::TransactionIsolation as Wire;
    match Wire::try_from(sent) {
        Ok(Wire::ReadCommitted) => Ok(Isolation::ReadCommitted),
        Ok(Wire::Unspecified | Wire::RepeatableRead) => Ok(Isolation::RepeatableRead),
        Ok(Wire::Serializable) => Ok(Isolation::Serializable),
        Err(_) => Err(Error::invalid(format!("isolation: {sent} is not known"))),
    }
}

fn timeout(sent: Option<prost_types::Duration>, default: Duration) -> Result<Micros> {
    let given = match sent {
        None => default,
        Some(sent) => Duration::try_from(sent).unwrap_or_default(),
    };
    if !TRANSACTION_TIMEOUT.contains(&given) {
        return Err(Error::invalid("timeout is 1 ms to 10 min"));
    }
    Ok(Micros::try_from(given.as_micros()).unwrap_or(Micros::MAX))
}

fn label(sent: String) -> Result<String> {
    if sent.len() <= LABEL_BYTES_MAX {
        return Ok(sent);
    }
    let length = sent.len();
    let context = format!("label has at most {LABEL_BYTES_MAX} bytes, not {length}");
    Err(Error::invalid(context))
}
