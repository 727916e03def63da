//! What callers say of tickets, checked. Every refusal names the field and the bound.

use super::super::decode::duration;
use crate::error::{Error, Result};
use crate::node::Wanted;
use crate::rpc::proto as pb;
use crate::types::ticket::{Expiration, ID_BYTES_MAX, Ticket, note};
use crate::types::{Blob, ClusterTime};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};

const PRINCIPAL_BYTES_MAX: usize = 1024;
const SERVICE_BYTES_MAX: usize = 4096;
const ATTRIBUTES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 255;
const VALUES_MAX: usize = 64;
const VALUE_BYTES_MAX: usize = 1024;
/// The latest point in time that a ticket may name, in seconds since the Unix epoch: the year 9999.
const SECONDS_MAX: i64 = 253_402_300_799;

fn at_most(what: &str, bytes: &Bytes, most: usize) -> Result<Blob> {
    if bytes.len() <= most {
        return Ok(Blob::from(bytes.as_ref()));
    }
    Err(Error::invalid(format!(
        "{what} has at most {most} bytes, not {}",
        bytes.len()
    )))
}

/// A principal; empty: nobody.
pub fn principal(bytes: &Bytes) -> Result<Blob> {
    at_most("principal", bytes, PRINCIPAL_BYTES_MAX)
}

/// A ticket that is added.
pub fn added(message: Option<pb::Ticket>) -> Result<Ticket> {
    let message = message.ok_or_else(|| Error::invalid("a ticket is required"))?;
    if message.id.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::invalid("the id of a ticket is empty or blank"));
    }
    if message.kind.is_empty() {
        return Err(Error::invalid("a ticket that is added has a kind"));
    }
    ticket(message)
}

/// A ticket that replaces one.
pub fn updated(message: Option<pb::Ticket>) -> Result<Ticket> {
    ticket(message.ok_or_else(|| Error::invalid("a ticket is required"))?)
}

fn id(what: &str, bytes: &Bytes) -> Result<Blob> {
    if note::is_note(bytes) {
        return Err(Error::invalid(format!(
            "{what} begins with the bytes under which the registry keeps notes of its own"
        )));
    }
    at_most(what, bytes, ID_BYTES_MAX)
}

fn ticket(message: pb::Ticket) -> Result<Ticket> {
    Ok(Ticket {
        id: id("id", &message.id)?,
        kind: message.kind,
        principal: principal(&message.principal)?,
        service: at_most("service", &message.service, SERVICE_BYTES_MAX)?,
        parent_id: id("parent_id", &message.parent_id)?,
        attributes: attributes(message.attributes)?,
        expiration: message.expiration.map(expiration).transpose()?,
        payload: Blob::from(message.payload.as_ref()),
        created_at: message
            .created_at
            .map(|at| point("created_at", at))
            .transpose()?,
        ..Ticket::default()
    })
}

fn attributes(
    message: HashMap<String, pb::AttributeValues>,
) -> Result<BTreeMap<String, Vec<Blob>>> {
    if message.len() > ATTRIBUTES_MAX {
        return Err(Error::invalid(format!(
            "at most {ATTRIBUTES_MAX} attributes"
        )));
    }
    let mut attributes = BTreeMap::new();
    for (name, values) in message {
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || values.values.len() > VALUES_MAX {
            return Err(Error::invalid(format!(
                "an attribute has a name of 1 to {NAME_BYTES_MAX} bytes and at most {VALUES_MAX} \
                 values"
            )));
        }
        let values = values.values.iter();
        let values = values.map(|value| at_most("a value", value, VALUE_BYTES_MAX));
        attributes.insert(name, values.collect::<Result<Vec<_>>>()?);
    }
    Ok(attributes)
}

fn expiration(message: pb::Expiration) -> Result<Expiration> {
    if message.max_uses == Some(0) {
        return Err(Error::invalid("expiration.max_uses is at least 1"));
    }
    Ok(Expiration {
        max_time_to_live: duration("expiration.max_time_to_live", message.max_time_to_live)?,
        max_time_to_idle: duration("expiration.max_time_to_idle", message.max_time_to_idle)?,
        max_uses: message.max_uses,
        hard_expire_at: message
            .hard_expire_at
            .map(|at| point("expiration.hard_expire_at", at))
            .transpose()?,
    })
}

/// A point in time from the Unix epoch on.
fn point(what: &str, at: prost_types::Timestamp) -> Result<ClusterTime> {
    let fits = (0..=SECONDS_MAX).contains(&at.seconds) && (0..1_000_000_000).contains(&at.nanos);
    if !fits {
        return Err(Error::invalid(format!(
            "{what} is a point from 1970 to 9999, with 0 to 999,999,999 nanoseconds"
        )));
    }
    let (seconds, nanos) = (at.seconds.unsigned_abs(), at.nanos.unsigned_abs());
    Ok(ClusterTime(seconds * 1_000_000 + u64::from(nanos) / 1_000))
}

/// Which tickets to list.
pub fn listed(message: &pb::ListTicketsRequest) -> Result<Wanted> {
    let values = message.attributes.values().map(|own| own.values.len());
    if values.sum::<usize>() > VALUES_MAX {
        return Err(Error::invalid(format!(
            "at most {VALUES_MAX} values of attributes in one filter"
        )));
    }
    Ok(Wanted {
        kind: message.kind.clone(),
        principal: principal(&message.principal)?,
        service: at_most("service", &message.service, SERVICE_BYTES_MAX)?,
        attributes: attributes(message.attributes.clone())?,
    })
}

/// Which tickets to count.
pub fn counted(message: pb::CountTicketsRequest) -> Result<Wanted> {
    Ok(Wanted {
        kind: message.kind,
        principal: principal(&message.principal)?,
        service: at_most("service", &message.service, SERVICE_BYTES_MAX)?,
        attributes: BTreeMap::new(),
    })
}
