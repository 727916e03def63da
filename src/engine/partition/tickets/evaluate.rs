//! What an operation on one ticket does to its state: a function of the state, the operation and
//! the time, without effects. The counterpart of `partition/evaluate.rs`.

use super::super::evaluate::{Evaluated, Given, REMOVED, view};
use crate::engine::planted::{self, Fault};
use crate::error::{Error, ErrorKind, Result};
use crate::types::ticket::note::ADOPTION;
use crate::types::ticket::record::between;
use crate::types::ticket::{Stored, TicketOperation, TicketRecord};
use crate::types::{Blob, ClusterTime, Entry, Live, Reply};

/// The error for a ticket that does not live.
pub fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such ticket")
}

/// The error for a child whose parent does not live.
pub fn parent_gone() -> Error {
    let context = "the parent of the ticket does not live";
    Error::new(ErrorKind::ParentGone, context)
}

/// The reason where it is being deleted, with all that descends from it.
pub const ENDING: &str = "ENDING";

/// The reason of a refusal: what the ticket descends from may have been idle for too long, and must
/// be asked first.
pub const UNSURE: &str = "ASK_ABOVE";

/// The reason of a refusal: what a child was told of its parent at its registration is out of date.
pub const OUTDATED: &str = "REGISTER_AGAIN";

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
            sure_until,
            not_after,
        } => {
            if not_after.is_some_and(|point| given.now > point) {
                let late = "the ticket came so long after its parent was asked that it may have \
                            been deleted meanwhile; add it again";
                return Err(Error::unavailable(late).not_applied());
            }
            let registered = not_after.map(|point| point.shifted(-ADOPTION.cast_signed()));
            if let (Some(registered), Some(dead)) = (registered, given.entry)
                && dead.live.is_none()
                && !dead.removed_by_key
                && dead.created_at >= registered
            {
                // See `narrow.rs`.
                let early =
                    "the end of the parent came nearer since the ticket was registered there";
                return Err(Error::new(ErrorKind::Conflict, early)
                    .because(OUTDATED)
                    .not_applied());
            }
            let bounds = Bounds {
                created_at: *created_at,
                hard_expire_at: *hard_expire_at,
                expires_by: *expires_by,
                sure_until: *sure_until,
            };
            add(given, record, &bounds)
        }
        TicketOperation::Get { kind, vouched } => get(given, kind, *vouched),
        TicketOperation::Update {
            record,
            hard_expire_at,
            keep_expiration,
            expected_version,
            vouched,
        } => {
            let (entry, live, old) = ticket(given).ok_or_else(not_found)?;
            must_be_sure(given, entry, &old, *vouched)?;
            right_kind(&record.kind, &old)?;
            if expected_version.is_some_and(|version| version != live.value_version) {
                let other = "the ticket has another version: another update came first";
                return Err(Error::new(ErrorKind::Conflict, other));
            }
            let new = updated(entry, &old, record, *hard_expire_at, *keep_expiration);
            let version = given.version.digest();
            let stored = stored(given, &new, entry.created_at, Some(entry), version)?;
            Ok(wrote(stored, version).instead_of(given.key, entry))
        }
        TicketOperation::Use { kind, vouched } => use_once(given, kind, *vouched),
        TicketOperation::Touch => {
            let applied = ticket(given).is_some();
            Ok(Evaluated {
                reply: Reply::Touched { applied },
                entry: None,
                touched: applied,
            })
        }
    }
}

/// The ticket that lives.
fn ticket<'a>(given: &Given<'a>) -> Option<(&'a Entry, &'a Live, Stored<'a>)> {
    let entry = given.entry?;
    let live = entry.live.as_ref()?;
    let stored = Stored::read(&live.value).filter(|stored| !stored.ending)?;
    Some((entry, live, stored))
}

fn must_be_sure(
    given: &Given<'_>,
    entry: &Entry,
    ticket: &Stored<'_>,
    vouched: bool,
) -> Result<()> {
    let trusted = vouched || planted::is(Fault::TrustAbove);
    if trusted || !ticket.is_unsure(entry.created_at, given.now) {
        return Ok(());
    }
    let context = "what the ticket descends from may have been idle for too long";
    Err(Error::new(ErrorKind::Conflict, context)
        .because(UNSURE)
        .not_applied())
}

fn right_kind(kind: &Blob, ticket: &Stored<'_>) -> Result<()> {
    if kind.is_empty() || **kind == *ticket.kind {
        return Ok(());
    }
    let own = String::from_utf8_lossy(ticket.kind).into_owned();
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

/// Whether a ticket may live longer than its successor, so that what descends from it must be told.
fn outlives(old: &Live, new: &Live) -> bool {
    let longer =
        |old: Option<u64>, new: Option<u64>| new.is_some_and(|new| old.is_none_or(|old| old > new));
    let ends = |live: &Live| live.expires_at.map(|at| at.0);
    let idle = |live: &Live| live.idle_expires_at().map(|at| at.0);
    longer(ends(old), ends(new))
        || longer(idle(old), idle(new))
        || longer(old.time_to_idle, new.time_to_idle)
}

impl Evaluated {
    /// The answer names the ticket that was there, without its value, where that might have lived
    /// longer.
    fn instead_of(mut self, key: &Blob, old: &Entry) -> Self {
        let new = self.entry.as_ref().and_then(|entry| entry.live.as_ref());
        let shorter = old.live.as_ref().zip(new);
        if let Reply::Put { previous, .. } = &mut self.reply
            && shorter.is_some_and(|(old, new)| outlives(old, new))
        {
            *previous = view(key, old, true);
        }
        self
    }
}

/// The points in time of a ticket that is added.
struct Bounds {
    created_at: Option<ClusterTime>,
    hard_expire_at: Option<ClusterTime>,
    expires_by: Option<ClusterTime>,
    sure_until: Option<ClusterTime>,
}

fn add(given: &Given<'_>, record: &TicketRecord, bounds: &Bounds) -> Result<Evaluated> {
    let existing = given.entry.filter(|entry| entry.live.is_some());
    if existing.is_none() && given.entry.is_some_and(|entry| entry.removed_by_key) {
        let context = "a ticket of this id was deleted, and does not come back";
        return Err(Error::new(ErrorKind::AlreadyExists, context).because(REMOVED));
    }
    let lives = ticket(given);
    if given.entry.is_some() && existing.is_some() && lives.is_none() {
        let ends = existing.and_then(Stored::of).is_some();
        if ends {
            let context = "the ticket of this id is being deleted";
            return Err(Error::new(ErrorKind::AlreadyExists, context).because(REMOVED));
        }
    }
    let fresh = given
        .created_after
        .map_or(given.now, |after| given.now.max(after.after(1)));
    let stored_at = existing.map_or(fresh, |entry| entry.created_at);
    let created = bounds.created_at.map_or(given.now, |at| at.min(given.now));
    let from_there = |point: Option<ClusterTime>| point.map(|at| between(stored_at, at));
    let mut new = record.clone();
    new.created = between(stored_at, created);
    new.hard_end = from_there(bounds.hard_expire_at);
    new.horizon = from_there(bounds.expires_by);
    new.sure_until = from_there(bounds.sure_until);
    new.uses = 0;
    new.ending = false;
    new.incarnation = lives
        .as_ref()
        .map_or(given.version.digest(), |(_, _, old)| old.incarnation);
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
    let stored = wrote(stored(given, &new, stored_at, existing, version)?, version);
    Ok(match lives {
        Some((old, ..)) => stored.instead_of(given.key, old),
        None => stored,
    })
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

fn get(given: &Given<'_>, kind: &Blob, vouched: bool) -> Result<Evaluated> {
    let entry = match ticket(given) {
        Some((entry, _, ticket)) => {
            must_be_sure(given, entry, &ticket, vouched)?;
            right_kind(kind, &ticket)?;
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
    old: &Stored<'_>,
    record: &TicketRecord,
    hard_expire_at: Option<ClusterTime>,
    keep_expiration: bool,
) -> TicketRecord {
    let mut new = TicketRecord::from(old);
    new.principal = record.principal.clone();
    new.service = record.service.clone();
    new.attributes = record.attributes.clone();
    new.payload = record.payload.clone();
    // Sealed by the key of now, as the payload is.
    new.name = record.name.clone();
    if !keep_expiration {
        new.time_to_live = record.time_to_live;
        new.time_to_idle = record.time_to_idle;
        new.max_uses = record.max_uses;
        new.hard_end = hard_expire_at.map(|at| between(entry.created_at, at));
    }
    new
}

fn use_once(given: &Given<'_>, kind: &Blob, vouched: bool) -> Result<Evaluated> {
    let (entry, live, ticket) = ticket(given).ok_or_else(not_found)?;
    must_be_sure(given, entry, &ticket, vouched)?;
    right_kind(kind, &ticket)?;
    let spent_at = |uses| ticket.max_uses.is_some_and(|most| uses >= most);
    if spent_at(ticket.uses) {
        // An update lowered the limit below what was counted.
        return Err(not_found());
    }
    let uses = ticket.uses.saturating_add(1);
    let used = Entry {
        incarnation: entry.incarnation,
        version: given.version,
        created_at: entry.created_at,
        removed_by_key: false,
        // A use gives no new version to clients: it is no update that another one could lose.
        live: Some(Live {
            value: ticket.with_uses(uses),
            last_access: given.now,
            ..*live
        }),
    };
    let reply = Reply::Got {
        entry: view(given.key, &used, false),
    };
    let entry = if spent_at(uses) {
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
