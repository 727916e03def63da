//! Owners compare their copies in the background, and what differs is repaired.
//!
//! The primary tells each owner from time to time the sum over all that it holds at one place of
//! the stream. An owner at that place whose sum is equal is silent. Another one answers with the
//! sums over parts of what it holds; the primary names its states in a few of the parts that
//! differ; the owner answers with what is otherwise, and the primary streams what prevails, to
//! itself and all owners, in the order of states: so a repair is an update like any other.
//!
//! What the primary lacks and an owner has: a tombstone is taken in unless the floor has passed
//! it. A life is taken in too, unless it had ended: by time, by a range, or so long ago that its
//! tombstone may be gone. The primary decided all that the owners hold, and what may have been
//! removed must not come back.
//!
//! Nothing is compared with an owner that loads, while other histories are merged, or by a primary
//! that does not serve. Lost messages end a round, and the next one begins with new sums. Late and
//! doubled ones speak of another place of the stream, or of a round that is over; a key that has
//! changed since its state was named, or that is pending, is left to the next round.

use super::{Cx, Partition, sums};
use crate::engine::shell::Notice;
use crate::types::comparing::{Compare, Compared, ComparedAt, Differs, Holds};
use crate::types::message::{Body, UpdateEffect};
use crate::types::time::SECOND;
use crate::types::{Blob, ClusterTime, Entry, Member, Micros, Monotonic};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The most parts that are looked at in one round.
const PICKED_MAX: usize = 8;
/// No further part is picked once so many states are named.
const NAMED_MAX: usize = 1024;
/// An answer is closed once its values reach this many bytes.
const ANSWER_BYTES: usize = 256 << 10;
/// A copy that differed is compared again so soon.
const AGAIN: Micros = SECOND;
/// First comparisons are spread over so many moments of an interval.
const PHASES: u32 = 64;

/// What is being found out about the copy of one owner.
pub struct Round {
    pub at: ComparedAt,
    /// How many parts there are.
    parts: usize,
    /// Those that differ and have not been looked at.
    left: Vec<u32>,
    /// The states that the primary named last.
    named: BTreeMap<Blob, u64>,
}

/// What becomes of a key whose copies differ.
enum Fix {
    /// All owners get this state.
    Send(Entry),
    /// The life had ended by time: it ends at the owner too.
    Expire(Entry),
    /// It had been removed, and the tombstone may be gone: it goes at the owner too.
    Remove(Entry),
    /// A tombstone that is dropped everywhere else.
    RaiseFloor,
    /// It fell under the last range tombstone, which the owner missed.
    Clear(ClusterTime),
}

impl Partition {
    /// How far this copy is: what counts for its contents.
    pub(super) fn contents_at(&self, values: bool) -> ComparedAt {
        let full_sync = self.settings.full_sync();
        ComparedAt {
            stream: self.log.stream,
            counter: if full_sync {
                self.log.committed.counter
            } else {
                self.log.applied
            },
            values,
        }
    }

    /// When the first comparison is due.
    pub(super) fn first_comparison(&self, cx: &Cx<'_>) -> Option<Monotonic> {
        let interval = cx.compare_interval.filter(|_| !self.local())?;
        let phase = u64::from(self.index % PHASES + 1);
        Some(cx.now.mono.after(interval * phase / u64::from(PHASES)))
    }

    /// Whether copies can be compared now.
    pub(super) fn may_compare(&self, cx: &Cx<'_>) -> bool {
        let settled = |inherited| self.log.committed.counter >= inherited;
        cx.serving
            && !self.renounced
            && self.place.sources.is_empty()
            && self
                .lead
                .as_ref()
                .is_some_and(|lead| lead.is_active() && settled(lead.inherited))
    }

    /// The other owners that follow the stream.
    pub(super) fn compared_owners(&self) -> Vec<Member> {
        let joined = self.lead.as_ref().map(|lead| &lead.joined);
        let owners = self.place.owners.iter().copied();
        owners
            .filter(|owner| joined.is_some_and(|joined| joined.contains(owner)))
            .collect()
    }

    /// A comparison is due.
    pub(super) fn compare_copies(&mut self, cx: &Cx<'_>) {
        let may = self.may_compare(cx) && self.verifying.is_none();
        let Some(lead) = &mut self.lead else { return };
        lead.compare_at = cx.compare_interval.map(|pause| cx.now.mono.after(pause));
        if !may {
            return;
        }
        lead.rounds.clear();
        let (at, sum) = (self.contents_at(false), self.store.sum());
        for owner in self.compared_owners() {
            cx.tally.compared.add(1);
            let compare = Compare {
                at,
                sum,
                answer: false,
            };
            self.send(owner, Body::Compare(compare), cx);
        }
    }

    /// The primary's sum at a place of the stream.
    pub(super) fn on_compare(&mut self, from: Member, compare: Compare, cx: &Cx<'_>) {
        let Compare { at, sum, answer } = compare;
        if !self.stands_at(from, at, cx) {
            return;
        }
        let mine = if at.values {
            self.store.sum_of_values()
        } else {
            self.store.sum()
        };
        let sums = if mine == sum {
            Vec::new()
        } else {
            let parts = sums::parts_for(self.store.len());
            self.store.parts(parts, at.values)
        };
        if answer || mine != sum {
            self.send(from, Body::Compared(Compared { at, sums }), cx);
        }
    }

    /// Whether this owner is where the primary was, once it has committed what all hold.
    fn stands_at(&mut self, from: Member, at: ComparedAt, cx: &Cx<'_>) -> bool {
        let follows = self.primary() == Some(from)
            && self.lead.is_none()
            && self.is_owner()
            && self.log.stream == at.stream;
        if !follows {
            return false;
        }
        if self.settings.full_sync() && self.log.committed.counter < at.counter {
            if self.log.applied < at.counter {
                return false;
            }
            self.commit_to(at.counter, cx);
            self.watch_settling(cx);
            self.unpark(cx);
        }
        self.contents_at(at.values) == at
    }

    /// An owner's copy differs, or is equal where that was asked.
    pub(super) fn on_compared(&mut self, from: Member, compared: Compared, cx: &Cx<'_>) {
        let Compared { at, sums } = compared;
        let parts = sums.len();
        let known = at.stream == self.log.stream && self.may_compare(cx);
        let asked = self.verifying.is_some();
        if !known || at.values != asked || parts > sums::PARTS_MAX {
            return;
        }
        if parts == 0 {
            self.copy_is_equal(from, cx);
            return;
        }
        if !parts.is_power_of_two() {
            return;
        }
        let mine = self.store.parts(parts, at.values);
        let differ = (0u32..).zip(mine.iter().zip(&sums));
        let mut left: Vec<u32> = differ
            .filter(|(_, (mine, theirs))| mine != theirs)
            .map(|(part, _)| part)
            .collect();
        left.reverse();
        let Some(lead) = &mut self.lead else { return };
        let again = cx.now.mono.after(AGAIN);
        lead.compare_at = lead.compare_at.map(|at| at.min(again));
        let round = Round {
            at,
            parts,
            left,
            named: BTreeMap::new(),
        };
        lead.rounds.insert(from, round);
        self.go_on_with(from, cx);
    }

    /// Names the primary's states in the next parts that differ.
    pub(super) fn go_on_with(&mut self, owner: Member, cx: &Cx<'_>) {
        let at = self
            .lead
            .as_ref()
            .and_then(|lead| lead.rounds.get(&owner))
            .map(|round| self.contents_at(round.at.values));
        let asked = self.verifying.is_some();
        let Some(lead) = &mut self.lead else { return };
        let (Some(at), Some(mut round)) = (at, lead.rounds.remove(&owner)) else {
            return;
        };
        if round.left.is_empty() {
            self.copy_is_seen(owner, cx);
            return;
        }
        if let Err(next) = cx.pace.round(cx.now.mono)
            && !asked
        {
            // Others are being repaired: this one comes up again with new sums.
            lead.compare_at = lead.compare_at.map(|at| at.min(next));
            return;
        }
        let mut picked = Vec::new();
        let mut keys = Vec::new();
        while picked.len() < PICKED_MAX
            && keys.len() < NAMED_MAX
            && let Some(part) = round.left.pop()
        {
            keys.extend(self.store.keys_of_parts(round.parts, &[part]));
            picked.push(part);
        }
        let sum = |key: Blob| {
            let entry = self.store.get(&key)?;
            let sum = sums::of(&key, entry, at.values);
            Some((key, sum))
        };
        let states: Vec<(Blob, u64)> = keys.into_iter().filter_map(sum).collect();
        round.at = at;
        round.named = states.iter().cloned().collect();
        let holds = Holds {
            at,
            parts: u32::try_from(round.parts).unwrap_or(1),
            picked,
            states,
            bare: self.verifying.as_ref().is_some_and(|asked| !asked.repair),
        };
        if let Some(lead) = &mut self.lead {
            lead.rounds.insert(owner, round);
        }
        self.send(owner, Body::Holds(holds), cx);
    }

    /// What the primary holds of some parts.
    pub(super) fn on_holds(&mut self, from: Member, holds: Holds, cx: &Cx<'_>) {
        let parts = holds.parts as usize;
        let well = parts.is_power_of_two() && parts <= sums::PARTS_MAX;
        if !well || !self.stands_at(from, holds.at, cx) {
            return;
        }
        let at = holds.at;
        let named: BTreeMap<Blob, u64> = holds.states.into_iter().collect();
        let mut differs = Differs {
            at,
            ..Differs::default()
        };
        let mut bytes = 0;
        for key in self.store.keys_of_parts(parts, &holds.picked) {
            let Some(entry) = self.store.get(&key) else {
                continue;
            };
            let sum = sums::of(&key, entry, at.values);
            if named.get(&key) == Some(&sum) {
                continue;
            }
            if bytes >= ANSWER_BYTES {
                differs.more = true;
                break;
            }
            let mut entry = entry.clone();
            if let Some(live) = entry.live.as_mut().filter(|_| holds.bare) {
                live.value = Blob::default();
            }
            bytes += key.len() + entry.live.as_ref().map_or(0, |live| live.value.len());
            differs.entries.push((key, sum, entry));
        }
        let lacks = |key: &Blob| self.store.get(key).is_none();
        differs.missing = named.into_keys().filter(lacks).collect();
        self.send(from, Body::Differs(differs), cx);
    }

    /// What is otherwise at an owner: each key is judged as it stood when its state was named.
    pub(super) fn on_differs(&mut self, from: Member, differs: Differs, cx: &Cx<'_>) {
        let may = self.may_compare(cx);
        let Some(lead) = &mut self.lead else { return };
        let Some(round) = lead.rounds.get_mut(&from) else {
            return;
        };
        if round.at != differs.at || !may {
            return;
        }
        let named = std::mem::take(&mut round.named);
        let repairs = self.verifying.as_ref().is_none_or(|asked| asked.repair);
        let entries = differs
            .entries
            .into_iter()
            .map(|(key, sum, entry)| (key, Some((sum, entry))));
        let missing = differs.missing.into_iter().map(|key| (key, None));
        let (mut differing, mut repaired) = (0, 0);
        for (key, theirs) in entries.chain(missing) {
            if !self.stands_as_named(&key, &named, differs.at.values) {
                continue;
            }
            differing += 1;
            self.note_difference(from, &key, theirs.as_ref());
            let has_room = self.log.len() < super::log::TAIL_MAX / 2 && cx.shell.has_room(from);
            if repairs && has_room {
                repaired += usize::from(self.repair(key, theirs.map(|(_, entry)| entry), cx));
            }
        }
        cx.tally.differed.add(differing);
        cx.tally.repaired.add(repaired);
        if differing > 0 {
            cx.shell.notice(Notice::CopiesDiffered {
                cache: self.cache,
                partition: self.index,
                owner: from,
                keys: differing as u64,
                repaired: repaired as u64,
            });
        }
        if differs.more && repairs {
            self.verify_again(from, cx);
        } else {
            self.go_on_with(from, cx);
        }
    }

    /// Whether a key is here as it was when the primary named its state, and nothing is pending.
    fn stands_as_named(&self, key: &Blob, named: &BTreeMap<Blob, u64>, values: bool) -> bool {
        let now = self.store.get(key);
        let sum = now.map(|entry| sums::of(key, entry, values));
        !self.log.is_pending(key) && sum.as_ref() == named.get(key)
    }

    /// Streams what prevails. False: nothing is to be done.
    fn repair(&mut self, key: Blob, theirs: Option<Entry>, cx: &Cx<'_>) -> bool {
        let Some(fix) = self.fix(&key, theirs, cx) else {
            return false;
        };
        let effect = match fix {
            Fix::Send(entry) => UpdateEffect::Set { key, entry },
            Fix::Expire(entry) => UpdateEffect::Expire {
                key,
                incarnation: entry.incarnation,
                tombstone: false,
            },
            Fix::Remove(entry) => {
                cx.tally.stale_dropped.add(1);
                let entry = self.dead(&entry);
                UpdateEffect::Set { key, entry }
            }
            Fix::RaiseFloor => UpdateEffect::RaiseFloor {
                floor: self.store.floor,
            },
            Fix::Clear(at) => UpdateEffect::Clear {
                at,
                version: self.store.seen,
            },
        };
        self.append(effect, None, cx);
        true
    }

    fn fix(&self, key: &Blob, theirs: Option<Entry>, cx: &Cx<'_>) -> Option<Fix> {
        let (mine, theirs) = match (self.store.get(key), theirs) {
            (Some(mine), None) => return Some(Fix::Send(mine.clone())),
            (None, Some(theirs)) if self.store.is_cleared(key, &theirs) => {
                return self.store.cleared_at.map(Fix::Clear);
            }
            (None, Some(theirs)) => return Some(self.fix_unknown(theirs, cx)),
            (None, None) => return None,
            (Some(mine), Some(theirs)) => (mine, theirs),
        };
        match super::store::compare(mine, &theirs, self.settings.removes_are_final) {
            Ordering::Less => Some(Fix::Send(theirs)),
            Ordering::Greater => Some(Fix::Send(mine.clone())),
            Ordering::Equal => {
                // One version and two contents: the primary's, under a version that prevails.
                let mut mine = mine.clone();
                mine.version = self.next_version();
                Some(Fix::Send(mine))
            }
        }
    }

    /// What an owner has and the primary does not know.
    fn fix_unknown(&self, theirs: Entry, cx: &Cx<'_>) -> Fix {
        let floor = self.store.floor;
        let Some(live) = &theirs.live else {
            return if theirs.version <= floor {
                Fix::RaiseFloor
            } else {
                Fix::Send(theirs)
            };
        };
        // Clocks of two owners may be so far apart.
        let slack = cx.clock_error_max;
        let cleared = |at: ClusterTime| theirs.created_at <= at.after(slack);
        if live.expired(cx.now.cluster.after(slack)) {
            Fix::Expire(theirs)
        } else if theirs.incarnation <= floor || self.store.cleared_at.is_some_and(cleared) {
            Fix::Remove(theirs)
        } else {
            Fix::Send(theirs)
        }
    }

    /// The end of a life whose own tombstone is gone.
    pub(super) fn dead(&self, entry: &Entry) -> Entry {
        Entry {
            incarnation: entry.incarnation,
            version: self.next_version(),
            created_at: entry.created_at,
            removed_by_key: false,
            live: None,
        }
    }
}
