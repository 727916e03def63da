//! Operations on tickets, and their answers. A ticket travels in its stored form.

use super::{blob, list, required};
use crate::error::{Error, Result};
use crate::rpc::proto::{self, reply as answer, request as wire, request::Operation as Sent};
use crate::types::ticket::operation::{Bounds, ParentView};
use crate::types::ticket::{Link, TicketFilter, TicketOperation, TicketRecord, TicketsOperation};
use crate::types::{Blob, CacheId, ClusterTime};
use bytes::Bytes;

/// An operation on one ticket.
pub fn encode(operation: &TicketOperation) -> Sent {
    let at = |point: &Option<ClusterTime>| point.map(|point| point.0);
    match operation {
        TicketOperation::Add {
            record,
            created_at,
            hard_expire_at,
            expires_by,
            sure_until,
            not_after,
        } => Sent::AddTicket(wire::AddTicket {
            record: blob::encode(&record.encode()),
            created_at: at(created_at),
            hard_expire_at: at(hard_expire_at),
            expires_by: at(expires_by),
            sure_until: at(sure_until),
            not_after: at(not_after),
        }),
        TicketOperation::Get { kind, vouched } => Sent::GetTicket(wire::GetTicket {
            kind: blob::encode(kind),
            vouched: *vouched,
        }),
        TicketOperation::Update {
            record,
            hard_expire_at,
            keep_expiration,
            expected_version,
            vouched,
        } => Sent::UpdateTicket(wire::UpdateTicket {
            record: blob::encode(&record.encode()),
            hard_expire_at: at(hard_expire_at),
            keep_expiration: *keep_expiration,
            expected_version: *expected_version,
            vouched: *vouched,
        }),
        TicketOperation::Use { kind, vouched } => Sent::UseTicket(wire::UseTicket {
            kind: blob::encode(kind),
            vouched: *vouched,
        }),
        TicketOperation::Touch => Sent::TouchTicket(wire::TouchTicket {}),
    }
}

/// An operation on one ticket, if it is one.
///
/// # Errors
///
/// `InvalidArgument`, naming what is too long or no ticket.
pub fn decode(sent: Sent) -> Result<Option<TicketOperation>> {
    let at = |point: Option<u64>| point.map(ClusterTime);
    Ok(Some(match sent {
        Sent::AddTicket(add) => TicketOperation::Add {
            record: record(&add.record)?,
            created_at: at(add.created_at),
            hard_expire_at: at(add.hard_expire_at),
            expires_by: at(add.expires_by),
            sure_until: at(add.sure_until),
            not_after: at(add.not_after),
        },
        Sent::GetTicket(get) => TicketOperation::Get {
            kind: blob::prefix(&get.kind, "kind")?,
            vouched: get.vouched,
        },
        Sent::UpdateTicket(update) => TicketOperation::Update {
            record: record(&update.record)?,
            hard_expire_at: at(update.hard_expire_at),
            keep_expiration: update.keep_expiration,
            expected_version: update.expected_version,
            vouched: update.vouched,
        },
        Sent::UseTicket(used) => TicketOperation::Use {
            kind: blob::prefix(&used.kind, "kind")?,
            vouched: used.vouched,
        },
        Sent::TouchTicket(_) => TicketOperation::Touch,
        _ => return Ok(None),
    }))
}

fn record(bytes: &Bytes) -> Result<Box<TicketRecord>> {
    super::limits::at_most(
        bytes.len(),
        super::limits::VALUE_BYTES_MAX,
        "record",
        "bytes",
    )?;
    let record = TicketRecord::decode(bytes);
    let record = record.ok_or_else(|| Error::invalid("record: not the stored form of a ticket"));
    record.map(Box::new)
}

/// An operation on several tickets.
pub fn encode_several(operation: &TicketsOperation) -> Sent {
    match operation {
        TicketsOperation::Register {
            parent,
            cache,
            child,
            until,
        } => Sent::RegisterChild(wire::RegisterChild {
            parent: blob::encode(parent),
            cache: cache.0,
            child: blob::encode(child),
            until: until.map(|until| until.0),
        }),
        TicketsOperation::Delete {
            key,
            done,
            descends_from,
            bar,
        } => Sent::DeleteStep(wire::DeleteStep {
            key: blob::encode(key),
            done: done.iter().map(blob::encode).collect(),
            descends_from: descends_from.as_ref().map(blob::encode),
            bar: *bar,
        }),
        TicketsOperation::Narrow { key, after, within } => Sent::NarrowStep(wire::NarrowStep {
            key: blob::encode(key),
            after: after.as_ref().map(blob::encode),
            within: within.as_ref().map(encode_bounds),
        }),
        TicketsOperation::EndPrincipal { principal } => Sent::EndPrincipal(wire::EndPrincipal {
            principal: blob::encode(principal),
        }),
        TicketsOperation::List {
            filter,
            after,
            limit,
        } => Sent::ListTickets(wire::ListTickets {
            filter: Some(encode_filter(filter)),
            after: after.as_ref().map(blob::encode),
            limit: *limit,
        }),
        TicketsOperation::Count { filter } => Sent::CountTickets(wire::CountTickets {
            filter: Some(encode_filter(filter)),
        }),
    }
}

/// An operation on several tickets, or what was sent if it is none.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing or too long.
pub fn decode_several(sent: Sent) -> Result<Result<TicketsOperation, Box<Sent>>> {
    let key = |bytes: Bytes, field| blob::key(&bytes, field);
    Ok(Ok(match sent {
        Sent::RegisterChild(register) => TicketsOperation::Register {
            parent: key(register.parent, "parent")?,
            cache: CacheId(register.cache),
            child: key(register.child, "child")?,
            until: register.until.map(ClusterTime),
        },
        Sent::DeleteStep(step) => TicketsOperation::Delete {
            key: key(step.key, "key")?,
            done: list(step.done, "done", |link| blob::key(&link, "done"))?,
            descends_from: step
                .descends_from
                .map(|parent| blob::key(&parent, "descends_from"))
                .transpose()?,
            bar: step.bar,
        },
        Sent::NarrowStep(step) => TicketsOperation::Narrow {
            key: key(step.key, "key")?,
            after: step
                .after
                .map(|after| blob::key(&after, "after"))
                .transpose()?,
            within: step.within.map(bounds).transpose()?,
        },
        Sent::EndPrincipal(end) => TicketsOperation::EndPrincipal {
            principal: key(end.principal, "principal")?,
        },
        Sent::ListTickets(list) => TicketsOperation::List {
            filter: filter(list.filter)?,
            after: list
                .after
                .map(|after| blob::key(&after, "after"))
                .transpose()?,
            limit: list.limit,
        },
        Sent::CountTickets(count) => TicketsOperation::Count {
            filter: filter(count.filter)?,
        },
        other => return Ok(Err(Box::new(other))),
    }))
}

fn encode_filter(filter: &TicketFilter) -> wire::TicketFilter {
    let attribute = |(name, values): &(Blob, Vec<Blob>)| wire::ticket_filter::Attribute {
        name: blob::encode(name),
        values: values.iter().map(blob::encode).collect(),
    };
    wire::TicketFilter {
        kind: blob::encode(&filter.kind),
        principal: blob::encode(&filter.principal),
        service: blob::encode(&filter.service),
        attributes: filter.attributes.iter().map(attribute).collect(),
    }
}

fn filter(sent: Option<wire::TicketFilter>) -> Result<TicketFilter> {
    let sent = required(sent, "filter")?;
    let term = |bytes: &Bytes| blob::prefix(bytes, "filter");
    let attributes = list(sent.attributes, "attributes", |attribute| {
        let values = list(attribute.values, "values", |value| term(&value))?;
        Ok((term(&attribute.name)?, values))
    })?;
    Ok(TicketFilter {
        kind: term(&sent.kind)?,
        principal: term(&sent.principal)?,
        service: term(&sent.service)?,
        attributes,
    })
}

/// Until when a ticket lives.
pub fn encode_bounds(bounds: &Bounds) -> proto::TicketBounds {
    proto::TicketBounds {
        of: blob::encode(&bounds.of),
        end: bounds.end.map(|end| end.0),
        sure_until: bounds.sure_until.map(|sure| sure.0),
        at: bounds.at.0,
    }
}

/// Until when a ticket lives.
///
/// # Errors
///
/// `InvalidArgument`, naming what is too long.
pub fn bounds(sent: proto::TicketBounds) -> Result<Bounds> {
    Ok(Bounds {
        of: blob::key(&sent.of, "of")?,
        end: sent.end.map(ClusterTime),
        sure_until: sent.sure_until.map(ClusterTime),
        at: ClusterTime(sent.at),
    })
}

/// What a child is told of its parent.
pub fn encode_parent(parent: &ParentView) -> answer::Registered {
    let link = |link: &Link| answer::TicketLink {
        cache: link.cache.0,
        key: blob::encode(&link.key),
        name: blob::encode(&link.name),
    };
    answer::Registered {
        name: blob::encode(&parent.name),
        root: parent.root.as_ref().map(link),
        anchor: parent.anchor.as_ref().map(link),
        granted_by: parent.granted_by.iter().map(link).collect(),
        limited: parent.limited,
        expires_at: parent.expires_at.map(|at| at.0),
        at: parent.at.0,
        sure_until: parent.sure_until.map(|at| at.0),
    }
}

/// What a child is told of its parent.
///
/// # Errors
///
/// `InvalidArgument`, naming what is too long.
pub fn parent(sent: proto::reply::Registered) -> Result<ParentView> {
    let link = |link: answer::TicketLink| -> Result<Link> {
        Ok(Link {
            cache: CacheId(link.cache),
            key: blob::key(&link.key, "key")?,
            name: blob::prefix(&link.name, "name")?,
        })
    };
    Ok(ParentView {
        name: blob::prefix(&sent.name, "name")?,
        root: sent.root.map(link).transpose()?,
        anchor: sent.anchor.map(link).transpose()?,
        granted_by: list(sent.granted_by, "granted_by", link)?,
        limited: sent.limited,
        expires_at: sent.expires_at.map(ClusterTime),
        at: ClusterTime(sent.at),
        sure_until: sent.sure_until.map(ClusterTime),
    })
}
