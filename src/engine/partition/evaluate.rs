//! What an operation on one key does to its state: a function of the state, the operation and the
//! time, without effects.

use crate::error::{Error, ErrorKind, Result};
use crate::types::ticket::stored::is_ticket;
use crate::types::time::ClusterTime;
use crate::types::{
    Blob, CacheSettings, Change, Condition, Entry, EntryVersion, EntryView, Expiry, KeyOperation,
    Live, Micros, Reply,
};

/// The reason of a put on a key whose removal is final.
pub const REMOVED: &str = "REMOVED";

/// The reason of a write over a ticket that is not made by a call on tickets.
pub const HOLDS_TICKET: &str = "HOLDS_TICKET";

/// What an operation works on.
pub struct Given<'a> {
    pub settings: &'a CacheSettings,
    pub key: &'a Blob,
    /// The state of the key, tombstones included. A life past its end must not be given.
    pub entry: Option<&'a Entry>,
    pub now: ClusterTime,
    /// The version of a write, if it comes to one.
    pub version: EntryVersion,
    /// All that is created gets a later point: nothing created after a range tombstone falls
    /// under it.
    pub created_after: Option<ClusterTime>,
}

/// What comes of an operation.
pub struct Evaluated {
    pub reply: Reply,
    /// The new state; absent where nothing changes.
    pub entry: Option<Entry>,
    /// The last access moves, which is no write.
    pub touched: bool,
}

/// An entry as clients see it.
pub fn view(key: &Blob, entry: &Entry, omit_value: bool) -> Option<EntryView> {
    let live = entry.live.as_ref()?;
    Some(EntryView {
        key: key.clone(),
        value: if omit_value {
            Blob::default()
        } else {
            live.value.clone()
        },
        flags: live.flags,
        version: live.value_version,
        created_at: entry.created_at,
        last_access_at: live.last_access,
        expires_at: live.expires_at,
        idle_expires_at: live.idle_expires_at(),
    })
}

/// Carries an operation out on a state.
///
/// # Errors
///
/// `InvalidArgument` where the value cannot be changed as asked or would grow beyond the limit,
/// `AlreadyExists` where removes are final and the key was removed, `FailedPrecondition` where a
/// plain write meets a ticket.
pub fn evaluate(given: &Given<'_>, operation: &KeyOperation) -> Result<Evaluated> {
    let plain = !matches!(
        operation,
        KeyOperation::Get { touch: None, .. } | KeyOperation::Ticket(_)
    );
    if plain && live(given).is_some_and(|(_, live)| is_ticket(&live.value)) {
        let context = "the key holds a ticket, which calls on tickets alone change";
        return Err(Error::new(ErrorKind::FailedPrecondition, context).because(HOLDS_TICKET));
    }
    match operation {
        KeyOperation::Get {
            touch: None,
            omit_value,
        } => Ok(get(given, *omit_value)),
        KeyOperation::Get {
            touch: Some(expiry),
            omit_value,
        } => {
            let entry = touch(given, *expiry);
            let shown = entry
                .as_ref()
                .or_else(|| given.entry.filter(|entry| entry.live.is_some()));
            let seen = shown.and_then(|entry| view(given.key, entry, *omit_value));
            Ok(Evaluated {
                reply: Reply::Got { entry: seen },
                touched: entry.is_some() && *expiry == Expiry::Keep,
                entry: entry.filter(|_| *expiry != Expiry::Keep),
            })
        }
        KeyOperation::Put {
            value,
            flags,
            expiry,
            condition,
            return_previous,
        } => put(given, value, *flags, *expiry, condition, *return_previous),
        KeyOperation::Remove {
            condition,
            return_previous,
        } => Ok(remove(given, condition, *return_previous)),
        KeyOperation::Touch { expiry } => {
            let entry = touch(given, *expiry);
            Ok(Evaluated {
                reply: Reply::Touched {
                    applied: entry.is_some(),
                },
                touched: entry.is_some() && *expiry == Expiry::Keep,
                entry: entry.filter(|_| *expiry != Expiry::Keep),
            })
        }
        KeyOperation::Modify {
            change,
            expiry,
            condition,
        } => modify(given, change, *expiry, condition),
        KeyOperation::Ticket(operation) => super::tickets::evaluate::evaluate(given, operation),
    }
}

fn live<'a>(given: &Given<'a>) -> Option<(&'a Entry, &'a Live)> {
    let entry = given.entry?;
    entry.live.as_ref().map(|live| (entry, live))
}

/// Whether a condition holds.
pub fn holds(given: &Given<'_>, condition: &Condition) -> bool {
    let live = live(given).map(|(_, live)| live);
    match condition {
        Condition::Any => true,
        Condition::Absent => live.is_none(),
        Condition::Present => live.is_some(),
        Condition::Version(version) => live.is_some_and(|live| live.value_version == *version),
        Condition::Value(value) => live.is_some_and(|live| live.value == *value),
    }
}

fn get(given: &Given<'_>, omit_value: bool) -> Evaluated {
    let entry = live(given).and_then(|(entry, _)| view(given.key, entry, omit_value));
    let ticket = live(given).is_some_and(|(_, live)| is_ticket(&live.value));
    let touched = entry.is_some() && given.settings.touch_on_read && !ticket;
    Evaluated {
        reply: Reply::Got { entry },
        entry: None,
        touched,
    }
}

/// The expiry of a life: (absolute point, time to idle).
fn expiry_of(given: &Given<'_>, expiry: Expiry) -> (Option<ClusterTime>, Option<Micros>) {
    let from_now = |ttl: Option<Micros>| ttl.map(|ttl| given.now.after(ttl));
    match (expiry, live(given)) {
        (Expiry::Keep, Some((_, live))) => (live.expires_at, live.time_to_idle),
        (Expiry::Keep | Expiry::Default, _) => (
            from_now(given.settings.time_to_live),
            given.settings.time_to_idle,
        ),
        (
            Expiry::Set {
                time_to_live,
                time_to_idle,
            },
            _,
        ) => (from_now(time_to_live), time_to_idle),
    }
}

fn stored(given: &Given<'_>, value: &Blob, flags: u32, expiry: Expiry) -> Result<Entry> {
    given.settings.check_value(value)?;
    if is_ticket(value) {
        let context = "the value begins as a stored ticket does; calls on tickets store those";
        return Err(Error::invalid(context).because(HOLDS_TICKET));
    }
    let existing = live(given).map(|(entry, _)| entry);
    let removed = given.entry.is_some_and(|entry| entry.removed_by_key);
    if existing.is_none() && removed && given.settings.removes_are_final {
        let context = "the key was removed, and removes are final in this cache";
        return Err(Error::new(ErrorKind::AlreadyExists, context).because(REMOVED));
    }
    let (expires_at, time_to_idle) = expiry_of(given, expiry);
    let created = given
        .created_after
        .map_or(given.now, |after| given.now.max(after.after(1)));
    Ok(Entry {
        incarnation: existing.map_or(given.version, |entry| entry.incarnation),
        version: given.version,
        created_at: existing.map_or(created, |entry| entry.created_at),
        removed_by_key: false,
        live: Some(Live {
            value: value.clone(),
            flags,
            value_version: given.version.digest(),
            expires_at,
            time_to_idle,
            last_access: given.now,
        }),
    })
}

fn put(
    given: &Given<'_>,
    value: &Blob,
    flags: u32,
    expiry: Expiry,
    condition: &Condition,
    return_previous: bool,
) -> Result<Evaluated> {
    let applied = holds(given, condition);
    let previous = live(given)
        .filter(|_| return_previous || !applied)
        .and_then(|(entry, _)| view(given.key, entry, false));
    if !applied {
        let version = previous.as_ref().map_or(0, |entry| entry.version);
        let reply = Reply::Put {
            applied,
            version,
            previous,
        };
        return Ok(Evaluated {
            reply,
            entry: None,
            touched: false,
        });
    }
    let entry = stored(given, value, flags, expiry)?;
    let reply = Reply::Put {
        applied,
        version: given.version.digest(),
        previous,
    };
    Ok(Evaluated {
        reply,
        entry: Some(entry),
        touched: false,
    })
}

fn remove(given: &Given<'_>, condition: &Condition, return_previous: bool) -> Evaluated {
    let existing = live(given)
        .filter(|_| holds(given, condition))
        .map(|(entry, _)| entry);
    let applied = existing.is_some();
    let previous = live(given)
        .filter(|_| return_previous || (!applied && *condition != Condition::Any))
        .and_then(|(entry, _)| view(given.key, entry, false));
    let entry = existing.map(|entry| Entry {
        incarnation: entry.incarnation,
        version: given.version,
        created_at: entry.created_at,
        removed_by_key: true,
        live: None,
    });
    Evaluated {
        reply: Reply::Removed { applied, previous },
        entry,
        touched: false,
    }
}

/// The entry as a touch leaves it. One that keeps the expiry moves nothing but the last access,
/// which stands outside of versions: it is no write, and beats none on the other side of a split.
fn touch(given: &Given<'_>, expiry: Expiry) -> Option<Entry> {
    let (entry, live) = live(given)?;
    let (expires_at, time_to_idle) = expiry_of(given, expiry);
    let mut touched = entry.clone();
    touched.version = given.version;
    touched.live = Some(Live {
        expires_at,
        time_to_idle,
        last_access: given.now,
        ..live.clone()
    });
    Some(touched)
}

fn modify(
    given: &Given<'_>,
    change: &Change,
    expiry: Expiry,
    condition: &Condition,
) -> Result<Evaluated> {
    let existing = live(given).map(|(_, live)| live);
    let changed = match change {
        _ if !holds(given, condition) => None,
        Change::Append(bytes) => existing.map(|live| [&live.value[..], &bytes[..]].concat()),
        Change::Prepend(bytes) => existing.map(|live| [&bytes[..], &live.value[..]].concat()),
        Change::Increment {
            delta,
            initial,
            at_least_zero,
            wrap,
        } => match existing {
            Some(live) => {
                let sum = increment(&live.value, *delta, *at_least_zero, *wrap)?;
                Some(sum.to_string().into_bytes())
            }
            None => initial.map(|initial| initial.to_string().into_bytes()),
        },
    };
    let Some(value) = changed.map(Blob::from) else {
        let (version, value) = existing.map_or((0, Blob::default()), |live| {
            (live.value_version, live.value.clone())
        });
        let reply = Reply::Modified {
            applied: false,
            version,
            value,
        };
        return Ok(Evaluated {
            reply,
            entry: None,
            touched: false,
        });
    };
    let flags = existing.map_or(0, |live| live.flags);
    let entry = stored(given, &value, flags, expiry)?;
    let reply = Reply::Modified {
        applied: true,
        version: given.version.digest(),
        value,
    };
    Ok(Evaluated {
        reply,
        entry: Some(entry),
        touched: false,
    })
}

fn increment(value: &[u8], delta: i64, at_least_zero: bool, wrap: bool) -> Result<i64> {
    let number = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.trim().parse::<i64>().ok());
    let Some(number) = number else {
        return Err(Error::invalid(
            "increment of a value that is not a 64-bit decimal number",
        ));
    };
    let sum = match number.checked_add(delta) {
        Some(sum) => sum,
        None if at_least_zero && delta < 0 => 0,
        None if wrap => number.wrapping_add(delta),
        None => return Err(Error::invalid("increment leaves the range of 64 bits")),
    };
    Ok(if at_least_zero { sum.max(0) } else { sum })
}
