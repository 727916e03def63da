//! `ListTransactions`, `EndTransaction`: a node keeps the transactions that began there, so it is asked.

use super::super::deadline::CallTime;
use super::super::encode::duration;
use super::super::{decode, inquiry};
use crate::error::{Error, Result};
use crate::node::Handle;
use crate::rpc::proto as pb;
use crate::types::transaction::{Concurrency, Isolation, OpenTransaction};
use std::time::Instant;

/// The most that are told at a time.
const LISTED_MAX: usize = 1_000;

/// See `ClusterService.ListTransactions`.
pub async fn list(
    handle: &Handle,
    message: pb::ListTransactionsRequest,
    time: CallTime,
) -> Result<pb::ListTransactionsResponse> {
    let me = handle.me();
    if message.node.is_empty() || message.node == me.consistent_id {
        return Ok(own(handle, message.limit));
    }
    let node = inquiry::known_node(&handle.view(), &message.node)?.clone();
    inquiry::transactions(handle, &node, message.limit, time).await
}

/// Those that this node keeps.
pub fn own(handle: &Handle, limit: u32) -> pb::ListTransactionsResponse {
    let open = handle.open_transactions();
    let limit = match usize::try_from(limit) {
        Ok(limit) if limit > 0 => limit.min(LISTED_MAX),
        _ => LISTED_MAX,
    };
    pb::ListTransactionsResponse {
        node: handle.me().consistent_id.clone(),
        total: open.len() as u64,
        transactions: open.into_iter().take(limit).map(describe).collect(),
    }
}

fn describe(open: OpenTransaction) -> pb::list_transactions_response::Transaction {
    let concurrency = match open.begin.concurrency {
        Concurrency::Pessimistic => pb::TransactionConcurrency::Pessimistic,
        Concurrency::Optimistic => pb::TransactionConcurrency::Optimistic,
    };
    let isolation = match open.begin.isolation {
        Isolation::ReadCommitted => pb::TransactionIsolation::ReadCommitted,
        Isolation::RepeatableRead => pb::TransactionIsolation::RepeatableRead,
        Isolation::Serializable => pb::TransactionIsolation::Serializable,
    };
    pb::list_transactions_response::Transaction {
        transaction: decode::transaction_name(open.id),
        label: open.begin.label,
        concurrency: concurrency.into(),
        isolation: isolation.into(),
        age: Some(duration(open.age)),
        timeout: Some(duration(open.begin.timeout)),
        keys: u32::try_from(open.keys).unwrap_or(u32::MAX),
    }
}

/// See `ClusterService.EndTransaction`.
pub async fn end(
    handle: &Handle,
    name: &str,
    time: CallTime,
) -> Result<pb::EndTransactionResponse> {
    let missing = || Error::invalid("transaction is required").because("BAD_TRANSACTION");
    let id = decode::transaction(name, &[])?.ok_or_else(missing)?;
    time.check(Instant::now())?;
    let view = handle.view();
    let node = view
        .nodes
        .iter()
        .find(|node| node.member == id.initiator)
        .filter(|node| node.member != handle.me().member);
    match node {
        // Where its node is gone it is gone too, and this one says so.
        None => handle.roll_back(id, time.deadline).await?,
        Some(node) => inquiry::end_transaction(handle, node, name, time).await?,
    }
    Ok(pb::EndTransactionResponse {})
}
