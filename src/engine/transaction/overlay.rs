//! What a transaction of several calls knows of its keys, and what it has done to them. Nobody else
//! sees any of it before the commit.

use super::session::Asked;
use crate::engine::partition::evaluate::{Evaluated, Given, evaluate};
use crate::engine::planted::{self, Fault};
use crate::error::{Error, Result};
use crate::types::transaction::TRANSACTION_KEYS_MAX;
use crate::types::{
    ClusterTime, Condition, Entry, EntryVersion, EntryView, Execute, Expiry, KeyOperation,
    KeyPlace, Live, Reply, TopologyVersion,
};
use std::collections::BTreeMap;

/// The most bytes of keys and values that one transaction keeps.
pub const KEPT_BYTES_MAX: usize = 8 << 20;

/// What is known of a key.
#[derive(Clone, Debug, Default)]
struct Known {
    /// The version of the value at its primary, or that nothing lived there. Absent: not asked for.
    seen: Option<Option<u64>>,
    /// As the transaction sees it.
    now: Option<Entry>,
    /// Its lock was asked for.
    locked: bool,
    change: Option<Change>,
}

/// What was done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// It has another value; its expiry counts from the commit on.
    Put(Expiry),
    Removed,
    Touched(Expiry),
}

/// All keys of a transaction.
#[derive(Debug, Default)]
pub struct Overlay {
    keys: BTreeMap<KeyPlace, Known>,
    /// Those that the call under way was the first to ask for: nobody has been told of them.
    fresh: Vec<KeyPlace>,
    bytes: usize,
    writes: u64,
}

fn check_bytes(bytes: usize) -> Result<()> {
    if bytes <= KEPT_BYTES_MAX {
        return Ok(());
    }
    let context = format!("a transaction keeps at most {KEPT_BYTES_MAX} bytes");
    Err(Error::overloaded(context).because("TRANSACTION_TOO_LARGE"))
}

impl Known {
    fn weight(&self, place: &KeyPlace) -> usize {
        let live = self.now.as_ref().and_then(|entry| entry.live.as_ref());
        place.key.len() + live.map_or(0, |live| live.value.len()) + 64
    }

    /// The expiry that a write leaves, with what was done before.
    fn expiry(&self, asked: Expiry) -> Expiry {
        match (asked, self.change) {
            (Expiry::Keep, Some(Change::Put(before) | Change::Touched(before))) => before,
            (Expiry::Keep, Some(Change::Removed)) => Expiry::Default,
            (asked, _) => asked,
        }
    }

    fn changed_by(&self, operation: &KeyOperation) -> Option<Change> {
        match operation {
            KeyOperation::Put { expiry, .. } | KeyOperation::Modify { expiry, .. } => {
                Some(Change::Put(self.expiry(*expiry)))
            }
            KeyOperation::Remove { .. } => Some(Change::Removed),
            KeyOperation::Touch { expiry }
            | KeyOperation::Get {
                touch: Some(expiry),
                ..
            } => {
                let expiry = self.expiry(*expiry);
                Some(match self.change {
                    Some(Change::Put(_)) => Change::Put(expiry),
                    _ => Change::Touched(expiry),
                })
            }
            KeyOperation::Get { touch: None, .. } | KeyOperation::Ticket(_) => self.change,
        }
    }
}

/// A state as evaluation wants it. Versions of states are known at the primary alone.
fn entry_of(view: EntryView) -> Entry {
    let idle = view.idle_expires_at;
    Entry {
        incarnation: EntryVersion::default(),
        version: EntryVersion::default(),
        created_at: view.created_at,
        removed_by_key: false,
        live: Some(Live {
            value: view.value,
            flags: view.flags,
            value_version: view.version,
            expires_at: view.expires_at,
            time_to_idle: idle.map(|at| at.since(view.last_access_at)),
            last_access: view.last_access_at,
        }),
    }
}

impl Overlay {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether an operation on a key can be carried out without asking. `keeps`: what was read once
    /// counts; `locks`: the key must be locked.
    pub fn knows(&self, place: &KeyPlace, keeps: bool, locks: bool) -> bool {
        self.keys.get(place).is_some_and(|known| {
            let kept = known.change.is_some() || (keeps && known.seen.is_some());
            kept && (known.locked || !locks)
        })
    }

    /// Whether so many keys more find room.
    ///
    /// # Errors
    ///
    /// `Overloaded`, naming the limit.
    pub fn check_room<'a>(&self, places: impl Iterator<Item = &'a KeyPlace>) -> Result<()> {
        let new = places.filter(|place| !self.keys.contains_key(place));
        if self.keys.len() + new.count() > TRANSACTION_KEYS_MAX {
            let context = format!("a transaction names at most {TRANSACTION_KEYS_MAX} keys");
            return Err(Error::overloaded(context).because("TOO_MANY_KEYS"));
        }
        Ok(())
    }

    /// What a key is at its primary.
    ///
    /// # Errors
    ///
    /// `Overloaded` where all of it has become too large; the call cannot be carried out then.
    pub fn see(&mut self, place: KeyPlace, view: Option<EntryView>, locked: bool) -> Result<()> {
        let known = self.keys.get(&place).cloned();
        if known.is_none() {
            self.fresh.push(place.clone());
        }
        let mut known = known.unwrap_or_default();
        known.locked |= locked;
        if known.change.is_none() {
            known.seen = Some(view.as_ref().map(|view| view.version));
            known.now = view.map(entry_of);
        }
        self.keep(place, known);
        check_bytes(self.bytes)
    }

    /// The call under way is not carried out: what was read for it is not kept.
    pub fn give_up_call(&mut self) {
        for place in std::mem::take(&mut self.fresh) {
            self.forget(&place);
        }
    }

    fn keep(&mut self, place: KeyPlace, known: Known) {
        self.forget(&place);
        self.bytes += known.weight(&place);
        self.keys.insert(place, known);
    }

    fn forget(&mut self, place: &KeyPlace) {
        if let Some(before) = self.keys.remove(place) {
            self.bytes -= before.weight(place);
        }
    }

    /// Carries operations out in order, all or none of them; of keys that were only read, nothing is
    /// kept where reads need not give the same again.
    ///
    /// # Errors
    ///
    /// Whatever one of them cannot be done for; `Overloaded` where all of it would become too large.
    pub fn carry_out(
        &mut self,
        asked: &[Asked],
        keeps_reads: bool,
        now: ClusterTime,
    ) -> Result<Vec<Reply>> {
        let mut after: BTreeMap<&KeyPlace, Known> = BTreeMap::new();
        let mut replies = Vec::with_capacity(asked.len());
        let mut writes = self.writes;
        for (place, operation, settings) in asked {
            let known = after.get(place).or_else(|| self.keys.get(place));
            let mut known = known.cloned().unwrap_or_default();
            writes += 1;
            let lives = |entry: &&Entry| {
                let live = entry.live.as_ref();
                live.is_none_or(|live| !live.expired(now) && !live.idle(now))
            };
            let given = Given {
                settings,
                key: &place.key,
                entry: known.now.as_ref().filter(lives),
                now,
                // No view has the number 0, so no value outside ever has such a version.
                version: EntryVersion {
                    topology: TopologyVersion::default(),
                    counter: writes,
                },
                created_after: None,
            };
            let Evaluated {
                reply,
                entry,
                touched,
            } = evaluate(&given, operation)?;
            if entry.is_some() || (touched && !operation.is_read()) {
                known.change = known.changed_by(operation);
                known.now = entry.or(known.now);
            }
            after.insert(place, known);
            replies.push(reply);
        }
        let after = after.into_iter();
        let after: Vec<_> = after.map(|(place, known)| (place.clone(), known)).collect();
        let more = after.iter().map(|(place, known)| known.weight(place));
        let before = after
            .iter()
            .filter_map(|(place, _)| self.keys.get_key_value(place));
        let before = before.map(|(place, known)| known.weight(place));
        check_bytes(self.bytes + more.sum::<usize>() - before.sum::<usize>())?;
        self.fresh.clear();
        self.writes = writes;
        for (place, known) in after {
            if keeps_reads || known.locked || known.change.is_some() {
                self.keep(place, known);
            } else {
                self.forget(&place);
            }
        }
        Ok(replies)
    }

    /// All of it as one transaction of one call: what must hold, and what is written. `keeps_reads`:
    /// whatever was read must still be so; `locked`: what was locked and written must.
    pub fn execute(&self, keeps_reads: bool, locked: bool) -> Execute {
        let mut execute = Execute::default();
        let checks = !planted::is(Fault::ForgetReads);
        for (place, known) in &self.keys {
            let guarded = locked && known.locked && known.change.is_some();
            if let Some(seen) = known.seen.filter(|_| checks && (keeps_reads || guarded)) {
                let condition = seen.map_or(Condition::Absent, Condition::Version);
                execute.conditions.push((place.clone(), condition));
            }
            let operation = match (known.change, known.now.as_ref()) {
                (None, _) => continue,
                (Some(Change::Removed), _) => KeyOperation::Remove {
                    condition: Condition::Any,
                    return_previous: false,
                },
                (Some(Change::Touched(expiry)), _) => KeyOperation::Touch { expiry },
                (Some(Change::Put(expiry)), now) => {
                    let Some(live) = now.and_then(|entry| entry.live.as_ref()) else {
                        continue;
                    };
                    KeyOperation::Put {
                        value: live.value.clone(),
                        flags: live.flags,
                        expiry,
                        condition: Condition::Any,
                        return_previous: false,
                    }
                }
            };
            execute.operations.push((place.clone(), operation));
        }
        execute
    }
}
