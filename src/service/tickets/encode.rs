//! Tickets as callers read them.

use super::super::encode::{bytes, duration, timestamp};
use crate::rpc::proto as pb;
use crate::types::ticket::{Expiration, Ticket};

/// A ticket.
pub fn ticket(ticket: Ticket) -> pb::Ticket {
    let attributes = ticket.attributes.into_iter().map(|(name, values)| {
        let values = values.into_iter().map(bytes).collect();
        (name, pb::AttributeValues { values })
    });
    pb::Ticket {
        id: bytes(ticket.id),
        kind: ticket.kind,
        principal: bytes(ticket.principal),
        service: bytes(ticket.service),
        parent_id: bytes(ticket.parent_id),
        attributes: attributes.collect(),
        expiration: ticket.expiration.map(expiration),
        payload: bytes(ticket.payload),
        version: ticket.version,
        created_at: ticket.created_at.map(timestamp),
        last_used_at: ticket.last_used_at.map(timestamp),
        uses: ticket.uses,
        root_id: bytes(ticket.root_id),
        expires_at: ticket.expires_at.map(timestamp),
    }
}

fn expiration(expiration: Expiration) -> pb::Expiration {
    pb::Expiration {
        max_time_to_live: expiration.max_time_to_live.map(duration),
        max_time_to_idle: expiration.max_time_to_idle.map(duration),
        max_uses: expiration.max_uses,
        hard_expire_at: expiration.hard_expire_at.map(timestamp),
    }
}
