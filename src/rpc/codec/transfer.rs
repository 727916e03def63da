//! Transfers of a partition's contents.

use super::{entry, list, transaction, update, version};
use crate::error::{Error, Result};
use crate::rpc::proto::{self, chunk as wire};
use crate::types::message::{Chunk, Parting, TransferHeader, TransferKind};
use crate::types::transaction::TransactionStates;
use crate::types::{ClusterTime, Member};

/// A piece of a partition's contents.
pub fn encode(chunk: &Chunk) -> proto::Chunk {
    proto::Chunk {
        kind: encode_kind(chunk.kind).into(),
        session: chunk.session,
        seq: chunk.seq,
        last: chunk.last,
        header: chunk.header.as_deref().map(encode_header),
        entries: chunk
            .entries
            .iter()
            .map(|(key, state)| entry::encode_key_state(key, state))
            .collect(),
        requests: chunk
            .requests
            .iter()
            .map(|(id, record)| update::encode_record(id, record))
            .collect(),
    }
}

/// A piece of a partition's contents.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known.
pub fn decode(sent: proto::Chunk) -> Result<Chunk> {
    Ok(Chunk {
        kind: kind(sent.kind)?,
        session: sent.session,
        seq: sent.seq,
        last: sent.last,
        header: sent.header.map(header).transpose()?.map(Box::new),
        entries: list(sent.entries, "entries", entry::key_state)?,
        requests: list(sent.requests, "requests", update::record)?,
    })
}

/// Which transfer.
pub fn encode_kind(kind: TransferKind) -> proto::TransferKind {
    match kind {
        TransferKind::Load => proto::TransferKind::Load,
        TransferKind::Merge => proto::TransferKind::Merge,
    }
}

/// Which transfer.
///
/// # Errors
///
/// `InvalidArgument` for one that is not known or not said.
pub fn kind(sent: i32) -> Result<TransferKind> {
    match proto::TransferKind::try_from(sent) {
        Ok(proto::TransferKind::Load) => Ok(TransferKind::Load),
        Ok(proto::TransferKind::Merge) => Ok(TransferKind::Merge),
        Ok(proto::TransferKind::Unspecified) | Err(_) => Err(Error::invalid(format!(
            "transfer kind: {sent} is not known"
        ))),
    }
}

fn encode_header(header: &TransferHeader) -> wire::Header {
    wire::Header {
        stream: version::some_topology(header.stream),
        position: Some(version::encode_position(header.position)),
        agreed: version::some_entry(header.agreed),
        floor: version::some_entry(header.floor),
        seen: version::some_entry(header.seen),
        cleared_at: header.cleared_at.map(|point| point.0),
        joined: version::some_topology(header.joined),
        parted: header.parted.iter().map(encode_parted).collect(),
        prepared: {
            let prepared = header.transactions.prepared.iter();
            prepared.map(transaction::encode_prepared).collect()
        },
        statuses: {
            let statuses = header.transactions.statuses.iter();
            statuses.map(transaction::encode_status).collect()
        },
        finished: transaction::encode_finished(&header.transactions),
    }
}

fn encode_parted((member, parting): &(Member, Parting)) -> wire::Parted {
    wire::Parted {
        member: version::some_member(*member),
        agreed: version::some_entry(parting.agreed),
        end: version::some_entry(parting.end),
    }
}

fn header(sent: wire::Header) -> Result<TransferHeader> {
    Ok(TransferHeader {
        stream: version::topology(sent.stream),
        position: sent.position.map(version::position).unwrap_or_default(),
        agreed: version::entry(sent.agreed),
        floor: version::entry(sent.floor),
        seen: version::entry(sent.seen),
        cleared_at: sent.cleared_at.map(ClusterTime),
        joined: version::topology(sent.joined),
        transactions: TransactionStates {
            prepared: list(sent.prepared, "prepared", transaction::prepared)?,
            statuses: list(sent.statuses, "statuses", transaction::status)?,
            finished: list(sent.finished, "finished", transaction::finished)?,
        },
        parted: list(sent.parted, "parted", |parted| {
            let member = version::member_or_zero(parted.member);
            let parting = Parting {
                agreed: version::entry(parted.agreed),
                end: version::entry(parted.end),
            };
            Ok((member, parting))
        })?,
    })
}
