//! What an operation on one ticket does to its state: a function of the state, the operation and
//! the time, without effects. The counterpart of `partition/evaluate.rs`.

use super::super::evaluate::{Evaluated, Given, REMOVED, view};
use crate::error::{Error, ErrorKind, Result};
use crate::types::ticket::record::between;
use crate::types::ticket::{TicketOperation, TicketRecord};
use crate::types::{Blob, ClusterTime, Entry, Live, Reply};

/// The error for a ticket that does not live.
pub fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such ticket")
}

/// Carries an operation out on the state of a ticket.
///
/// # Errors
///
/// `NotFound`, `WrongKind`, `Conflict` (an update that expects another version), `AlreadyExists`
/// (an add of what was removed), `InvalidArgument` (too large), `Unavailable` (an add that came too
/// late behind the registration at its parent).
pub fn evaluate(given: &Given<'_>, operation: &TicketOperation) -> Result<Evaluated> {
    match operation {
        TicketOperation::Add {
            record,
            created_at,
            hard_expire_at,
            expires_by,
            not_after,
        } => {
            if not_after.is_some_and(|point| given.now > point) {
                let late = "the ticket came so long after its parent was asked that it may have \
                            been deleted meanwhile; add it again";
                return Err(Error::unavailable(late).not_applied());
            }
            add(given, record, *created_at, *hard_expire_at, *expires_by)
        }
        TicketOperation::Get { kind } => get(given, kind),
        TicketOperation::Update {
            record,
            hard_expire_at,
            keep_expiration,
            expected_version,
        } => {
            let (entry, live, old) = ticket(given).ok_or_else(not_found)?;
            right_kind(&record.kind, &old)?;
            if expected_version.is_some_and(|version| version != live.value_version) {
                let other = "the ticket has another version: another update came first";
                return Err(Error::new(ErrorKind::Conflict, other));
            }
            let new = updated(entry, &old, record, *hard_expire_at, *keep_expiration);
            let version = given.version.digest();
            let entry = stored(given, &new, entry.created_at, Some(entry), version)?;
            Ok(wrote(entry, version))
        }
        TicketOperation::Use { kind } => use_once(given, kind),
    }
}

/// The ticket that lives.
fn ticket<'a>(given: &Given<'a>) -> Option<(&'a Entry, &'a Live, TicketRecord)> {
    let entry = given.entry?;
    let live = entry.live.as_ref()?;
    let record = TicketRecord::of(entry).filter(|record| !record.ending)?;
    Some((entry, live, record))
}

fn right_kind(kind: &Blob, record: &TicketRecord) -> Result<()> {
    if kind.is_empty() || *kind == record.kind {
        return Ok(());
    }
    let own = String::from_utf8_lossy(&record.kind).into_owned();
    let context = format!("the ticket is of kind {own}");
    Err(Error::new(ErrorKind::WrongKind, context).with_detail(&own))
}

fn wrote(entry: Entry, version: u64) -> Evaluated {
    Evaluated {
        reply: Reply::Put {
            applied: true,
            version,
            previous: None,
        },
        entry: Some(entry),
        touched: false,
    }
}

fn add(
    given: &Given<'_>,
    record: &TicketRecord,
    created_at: Option<ClusterTime>,
    hard_expire_at: Option<ClusterTime>,
    expires_by: Option<ClusterTime>,
) -> Result<Evaluated> {
    let existing = given.entry.filter(|entry| entry.live.is_some());
    if existing.is_none() && given.entry.is_some_and(|entry| entry.removed_by_key) {
        let context = "a ticket of this id was deleted, and does not come back";
        return Err(Error::new(ErrorKind::AlreadyExists, context).because(REMOVED));
    }
    let lives = ticket(given);
    if given.entry.is_some() && existing.is_some() && lives.is_none() {
        let ends = existing.and_then(TicketRecord::head).is_some();
        if ends {
            let context = "the ticket of this id is being deleted";
            return Err(Error::new(ErrorKind::AlreadyExists, context).because(REMOVED));
        }
    }
    let fresh = given
        .created_after
        .map_or(given.now, |after| given.now.max(after.after(1)));
    let stored_at = existing.map_or(fresh, |entry| entry.created_at);
    let created = created_at.map_or(given.now, |at| at.min(given.now));
    let mut new = record.clone();
    new.created = between(stored_at, created);
    new.hard_end = hard_expire_at.map(|at| between(stored_at, at));
    new.horizon = expires_by.map(|at| between(stored_at, at));
    new.uses = 0;
    new.ending = false;
    new.incarnation = lives.map_or(given.version.digest(), |(_, _, old)| old.incarnation);
    if new.parent.is_some() {
        new.horizon = new.end(stored_at).map(|end| between(stored_at, end));
    }
    if new.end(stored_at).is_some_and(|end| given.now > end) {
        let reply = Reply::Put {
            applied: false,
            version: 0,
            previous: None,
        };
        return Ok(Evaluated {
            reply,
            entry: None,
            touched: false,
        });
    }
    let version = given.version.digest();
    Ok(wrote(
        stored(given, &new, stored_at, existing, version)?,
        version,
    ))
}

/// The entry of a ticket that was added, updated or used now.
fn stored(
    given: &Given<'_>,
    record: &TicketRecord,
    created_at: ClusterTime,
    existing: Option<&Entry>,
    value_version: u64,
) -> Result<Entry> {
    let value = record.encode();
    let limit = given.settings.entry_bytes_max;
    if value.len() as u64 > limit {
        return Err(Error::invalid(format!(
            "the ticket takes {} bytes, over the entry-max-size of cache {}, {limit} bytes",
            value.len(),
            given.settings.name
        ))
        .because("VALUE_TOO_LARGE"));
    }
    Ok(Entry {
        incarnation: existing.map_or(given.version, |entry| entry.incarnation),
        version: given.version,
        created_at,
        removed_by_key: false,
        live: Some(Live {
            value,
            flags: 0,
            value_version,
            expires_at: record.end(created_at),
            time_to_idle: record.time_to_idle,
            last_access: given.now,
        }),
    })
}

fn get(given: &Given<'_>, kind: &Blob) -> Result<Evaluated> {
    let entry = match ticket(given) {
        Some((entry, _, record)) => {
            right_kind(kind, &record)?;
            view(given.key, entry, false)
        }
        None => None,
    };
    Ok(Evaluated {
        reply: Reply::Got { entry },
        entry: None,
        touched: false,
    })
}

/// A ticket as an update leaves it: what it is, and how often it was used, stays.
fn updated(
    entry: &Entry,
    old: &TicketRecord,
    record: &TicketRecord,
    hard_expire_at: Option<ClusterTime>,
    keep_expiration: bool,
) -> TicketRecord {
    let mut new = old.clone();
    new.principal = record.principal.clone();
    new.service = record.service.clone();
    new.attributes = record.attributes.clone();
    new.payload = record.payload.clone();
    if !keep_expiration {
        new.time_to_live = record.time_to_live;
        new.time_to_idle = record.time_to_idle;
        new.max_uses = record.max_uses;
        new.hard_end = hard_expire_at.map(|at| between(entry.created_at, at));
    }
    new
}

fn use_once(given: &Given<'_>, kind: &Blob) -> Result<Evaluated> {
    let (entry, live, mut record) = ticket(given).ok_or_else(not_found)?;
    right_kind(kind, &record)?;
    if record.max_uses.is_some_and(|most| record.uses >= most) {
        // An update lowered the limit below what was counted.
        return Err(not_found());
    }
    record.uses = record.uses.saturating_add(1);
    let spent = record.max_uses.is_some_and(|most| record.uses >= most);
    // A use gives no new version: it is no update that another one could lose.
    let used = stored(
        given,
        &record,
        entry.created_at,
        Some(entry),
        live.value_version,
    )?;
    let reply = Reply::Got {
        entry: view(given.key, &used, false),
    };
    let entry = if spent {
        Entry {
            removed_by_key: true,
            live: None,
            ..used
        }
    } else {
        used
    };
    Ok(Evaluated {
        reply,
        entry: Some(entry),
        touched: false,
    })
}
