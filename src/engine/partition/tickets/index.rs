//! How tickets are found without a scan: by kind, principal, service and attributes, by parent, and
//! by the point at which they end. Derived from the entries wherever they change
//! (`partition/store.rs`), so that every owner has it and it is right after whatever changed them.

use crate::engine::planted::{self, Fault};
use crate::types::ticket::stored::is_ticket;
use crate::types::ticket::{Stored, TicketFilter, note};
use crate::types::{Blob, ClusterTime, Entry, Live};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

/// The most ended principals that a partition remembers at a time. More are refused: they are
/// dropped within seconds, unless a server that held the partition is out.
pub const ENDED_MAX: usize = 4096;

/// Room for so many points is kept, however few there are, if there is one.
const POINTS_KEPT: usize = 16;

const KIND: u8 = b'k';
const PRINCIPAL: u8 = b'p';
const SERVICE: u8 = b's';
const ATTRIBUTE: u8 = b'a';

/// The state of what may be a parent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    Lives,
    Ending,
    Gone,
}

/// What is known of an entry's ticket.
pub fn state(entry: Option<&Entry>) -> State {
    match entry.and_then(Stored::of) {
        Some(ticket) if ticket.ending => State::Ending,
        Some(_) => State::Lives,
        None => State::Gone,
    }
}

/// The indexes of one partition. A ticket that is ending is in none of them but its links'.
#[derive(Debug, Default)]
pub struct Index {
    /// The keys of the tickets that have a term.
    terms: BTreeMap<Blob, BTreeSet<Blob>>,
    /// When a ticket ends at the earliest; what was used since may end later.
    due: BTreeSet<(ClusterTime, Blob)>,
    /// The point in `due` of each ticket with an idle time, whose own moves on; never walked through.
    points: HashMap<Blob, ClusterTime, FixedState>,
    /// The links of each parent.
    links: BTreeMap<Blob, BTreeSet<Blob>>,
    /// The notes of each principal that ended, with their points.
    ended: BTreeMap<Blob, BTreeMap<Blob, ClusterTime>>,
    ended_count: usize,
    /// Parents that do not live and have links, or are ending.
    work: BTreeSet<Blob>,
}

/// The indexes of a partition, which take no room where it holds no tickets.
#[derive(Debug, Default)]
pub struct Tickets(Option<Box<Index>>);

/// What is found where there are none.
static NONE: Index = Index {
    terms: BTreeMap::new(),
    due: BTreeSet::new(),
    points: HashMap::with_hasher(FixedState::with_seed(0)),
    links: BTreeMap::new(),
    ended: BTreeMap::new(),
    ended_count: 0,
    work: BTreeSet::new(),
};

impl Deref for Tickets {
    type Target = Index;
    fn deref(&self) -> &Index {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Tickets {
    fn deref_mut(&mut self) -> &mut Index {
        self.0.get_or_insert_default()
    }
}

fn write_term(into: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    into.clear();
    into.push(tag);
    into.extend_from_slice(bytes);
}

fn write_attribute(into: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    write_term(into, ATTRIBUTE, &(name.len() as u32).to_be_bytes());
    into.extend_from_slice(name);
    into.extend_from_slice(value);
}

fn term(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut term = Vec::with_capacity(1 + bytes.len());
    write_term(&mut term, tag, bytes);
    term
}

fn attribute(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut term = Vec::with_capacity(5 + name.len() + value.len());
    write_attribute(&mut term, name, value);
    term
}

/// Tells the terms of a ticket; one of them may come twice.
fn each_term(ticket: &Stored<'_>, mut tell: impl FnMut(&[u8])) {
    let terms = [(PRINCIPAL, ticket.principal), (SERVICE, ticket.service)];
    let given = terms.into_iter().filter(|(_, bytes)| !bytes.is_empty());
    let mut term = Vec::new();
    for (tag, bytes) in std::iter::once((KIND, ticket.kind)).chain(given) {
        write_term(&mut term, tag, bytes);
        tell(&term);
    }
    for (name, values) in ticket.attributes() {
        for value in values {
            write_attribute(&mut term, name, value);
            tell(&term);
        }
    }
}

/// The ticket of an entry that the indexes show.
fn shown(entry: Option<&Entry>) -> Option<Stored<'_>> {
    entry.and_then(Stored::of).filter(|ticket| !ticket.ending)
}

fn is_of_tickets(entry: Option<&Entry>) -> bool {
    let live = entry.and_then(|entry| entry.live.as_ref());
    live.is_some_and(|live| is_ticket(&live.value))
}

impl Index {
    /// Whether a change of an entry has to be told at all: nothing else is a ticket's, or a
    /// note's, or has children.
    pub fn concerns(&self, key: &[u8], before: Option<&Entry>, after: Option<&Entry>) -> bool {
        note::is_note(key)
            || is_of_tickets(before)
            || is_of_tickets(after)
            || self.links.contains_key(key)
    }

    /// An entry changed. `of_parent` tells the state of another key.
    pub fn change(
        &mut self,
        key: &Blob,
        before: Option<&Entry>,
        after: Option<&Entry>,
        of_parent: impl Fn(&[u8]) -> State,
    ) {
        if note::is_note(key) {
            let lives = |entry: Option<&Entry>| entry.is_some_and(|entry| entry.live.is_some());
            let (before, after) = (lives(before), after.filter(|_| lives(after)));
            if let Some(link) = note::read_link(key) {
                self.change_link(key, &link.parent, before, after.is_some());
                let state = of_parent(&link.parent);
                self.judge(&link.parent, state);
            } else if let Some(principal) = note::read_ended(key) {
                self.change_ended(key, &Blob::from(principal), before, after);
            }
            self.give_back();
            return;
        }
        if !self.concerns(key, before, after) {
            return;
        }
        self.change_ticket(key, before, after);
        self.judge(key, state(after));
        self.give_back();
    }

    /// A tree that was emptied keeps a leaf, which a thousand partitions need not.
    fn give_back(&mut self) {
        if self.terms.is_empty() {
            debug_assert!(self.due.is_empty(), "every ticket has a term");
            self.terms = BTreeMap::new();
            self.due = BTreeSet::new();
        }
        if self.links.is_empty() {
            self.links = BTreeMap::new();
        }
        if self.work.is_empty() {
            self.work = BTreeSet::new();
        }
        if self.ended.is_empty() {
            self.ended = BTreeMap::new();
        }
    }

    fn change_link(&mut self, key: &Blob, parent: &Blob, before: bool, after: bool) {
        if after {
            self.links
                .entry(parent.clone())
                .or_default()
                .insert(key.clone());
        } else if before && let Some(links) = self.links.get_mut(parent) {
            links.remove(key);
            if links.is_empty() {
                self.links.remove(parent);
            }
        }
    }

    fn change_ended(&mut self, key: &Blob, principal: &Blob, before: bool, after: Option<&Entry>) {
        if before && let Some(notes) = self.ended.get_mut(principal) {
            self.ended_count -= usize::from(notes.remove(key).is_some());
            if notes.is_empty() {
                self.ended.remove(principal);
            }
        }
        if let Some(after) = after {
            let notes = self.ended.entry(principal.clone()).or_default();
            let new = notes.insert(key.clone(), after.created_at).is_none();
            self.ended_count += usize::from(new);
        }
    }

    fn change_ticket(&mut self, key: &Blob, before: Option<&Entry>, after: Option<&Entry>) {
        let (old, new) = (shown(before), shown(after));
        let both = old.as_ref().zip(new.as_ref());
        if !both.is_some_and(|(old, new)| old.has_terms_of(new)) {
            self.change_terms(key, old.as_ref(), new.as_ref());
        }
        let before = before.filter(|_| old.is_some());
        let before = before.and_then(|before| before.live.as_ref());
        let after = after.filter(|_| new.is_some());
        let after = after.and_then(|after| after.live.as_ref());
        self.change_point(key, before, after);
    }

    fn change_terms(&mut self, key: &Blob, old: Option<&Stored<'_>>, new: Option<&Stored<'_>>) {
        if let Some(old) = old.filter(|_| !planted::is(Fault::StaleIndex)) {
            each_term(old, |term| {
                if let Some(keys) = self.terms.get_mut(term) {
                    keys.remove(key);
                    if keys.is_empty() {
                        self.terms.remove(term);
                    }
                }
            });
        }
        if let Some(new) = new {
            each_term(new, |term| match self.terms.get_mut(term) {
                Some(keys) => {
                    keys.insert(key.clone());
                }
                None => {
                    let keys = BTreeSet::from([key.clone()]);
                    self.terms.insert(Blob::from(term), keys);
                }
            });
        }
    }

    /// When a ticket ends at the earliest.
    fn change_point(&mut self, key: &Blob, before: Option<&Live>, after: Option<&Live>) {
        let known = before.and_then(|live| match live.time_to_idle {
            Some(_) => self.points.remove(key),
            None => live.expires_at,
        });
        let point = after.and_then(|live| {
            let points = [live.expires_at, live.idle_expires_at()];
            points.into_iter().flatten().min()
        });
        if let Some(point) = point
            && after.is_some_and(|live| live.time_to_idle.is_some())
        {
            self.points.insert(key.clone(), point);
        }
        if known != point {
            if let Some(known) = known {
                self.due.remove(&(known, key.clone()));
            }
            if let Some(point) = point {
                self.due.insert((point, key.clone()));
            }
        }
        // What many tickets took need not stay when few are left.
        let (capacity, left) = (self.points.capacity(), self.points.len());
        if left == 0 || (capacity > POINTS_KEPT && capacity / 4 > left) {
            self.points.shrink_to(2 * left);
        }
    }

    fn judge(&mut self, parent: &Blob, state: State) {
        let work = match state {
            State::Lives => false,
            State::Ending => true,
            State::Gone => self.links.contains_key(parent),
        };
        if !work {
            self.work.remove(parent);
        } else if !self.work.contains(parent) {
            self.work.insert(parent.clone());
        }
    }

    /// Parents whose descendants must go, in key order.
    pub fn work(&self) -> &BTreeSet<Blob> {
        &self.work
    }

    /// The links of a parent, in key order.
    pub fn links(&self, parent: &[u8]) -> impl Iterator<Item = &Blob> {
        self.links.get(parent).into_iter().flatten()
    }

    /// The latest point at which a principal ended, as far as it is remembered.
    pub fn ended_at(&self, principal: &[u8]) -> Option<ClusterTime> {
        self.ended.get(principal)?.values().max().copied()
    }

    /// The notes of a principal that ended.
    pub fn ended_notes(&self, principal: &[u8]) -> impl Iterator<Item = &Blob> {
        self.ended
            .get(principal)
            .into_iter()
            .flat_map(BTreeMap::keys)
    }

    /// All notes of principals that ended.
    pub fn all_ended(&self) -> impl Iterator<Item = &Blob> {
        self.ended.values().flat_map(BTreeMap::keys)
    }

    pub fn ended_count(&self) -> usize {
        self.ended_count
    }

    /// The tickets of a principal, in key order, those past their point included.
    pub fn of_principal(&self, principal: &[u8]) -> impl Iterator<Item = &Blob> {
        self.terms
            .get(term(PRINCIPAL, principal).as_slice())
            .into_iter()
            .flatten()
    }

    /// The sets of keys in one of which each match is, the smallest choice of them.
    fn candidates(&self, filter: &TicketFilter) -> Vec<&BTreeSet<Blob>> {
        let of = |tag, bytes: &Blob| -> Option<Vec<&BTreeSet<Blob>>> {
            let set = self.terms.get(term(tag, bytes).as_slice());
            (!bytes.is_empty()).then(|| set.into_iter().collect())
        };
        let given = !filter.attributes.is_empty();
        let attributes = given.then(|| {
            let values = filter.attributes.iter().flat_map(|(name, values)| {
                values
                    .iter()
                    .filter_map(|value| self.terms.get(attribute(name, value).as_slice()))
            });
            values.collect()
        });
        let size = |sets: &Vec<&BTreeSet<Blob>>| sets.iter().map(|set| set.len()).sum::<usize>();
        let all = || {
            let kinds = Blob::from(term(KIND, &[]))..Blob::from(term(KIND + 1, &[]));
            self.terms.range(kinds).map(|(_, set)| set).collect()
        };
        [
            of(PRINCIPAL, &filter.principal),
            of(SERVICE, &filter.service),
            of(KIND, &filter.kind),
            attributes,
        ]
        .into_iter()
        .flatten()
        .min_by_key(size)
        .unwrap_or_else(all)
    }

    /// Keys that may match, in key order and without doubles, those behind `after` only.
    pub fn look_up<'a>(
        &'a self,
        filter: &TicketFilter,
        after: Option<&'a Blob>,
    ) -> impl Iterator<Item = &'a Blob> + use<'a> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let sets = self.candidates(filter);
        let mut heads: Vec<_> = sets
            .into_iter()
            .map(|set| set.range::<Blob, _>((from, Unbounded)).peekable())
            .collect();
        std::iter::from_fn(move || {
            let next = heads.iter_mut().filter_map(|head| head.peek().copied());
            let next = next.min()?;
            for head in &mut heads {
                head.next_if(|key| *key == next);
            }
            Some(next)
        })
    }

    /// How many tickets have the one term that the filter asks for, by the size of its set; absent
    /// where it asks for more than one.
    pub fn counted(&self, filter: &TicketFilter) -> Option<usize> {
        let terms = [&filter.kind, &filter.principal, &filter.service];
        let given = terms.iter().filter(|term| !term.is_empty()).count();
        (given <= 1 && filter.attributes.is_empty())
            .then(|| self.candidates(filter).iter().map(|set| set.len()).sum())
    }

    /// Tickets whose point may have passed.
    pub fn past(&self, now: ClusterTime) -> impl Iterator<Item = &Blob> {
        let due = self.due.iter().take_while(move |(point, _)| *point < now);
        due.map(|(_, key)| key)
    }

    /// Panics where it is not what the entries give.
    pub fn check<'a>(&self, entries: impl Iterator<Item = (&'a Blob, &'a Entry)> + Clone) {
        let mut fresh = Self::default();
        let all: BTreeMap<&[u8], &Entry> = entries
            .clone()
            .map(|(key, entry)| (&**key, entry))
            .collect();
        for (key, entry) in entries {
            fresh.change(key, None, Some(entry), |parent| {
                state(all.get(parent).copied())
            });
        }
        if planted::is(Fault::StaleIndex) {
            return;
        }
        assert_eq!(
            fresh.terms, self.terms,
            "the index of terms is not a scan's"
        );
        assert_eq!(
            fresh.links, self.links,
            "the index of links is not a scan's"
        );
        assert_eq!(fresh.ended, self.ended, "ended principals are not a scan's");
        assert_eq!(fresh.ended_count, self.ended_count);
        assert_eq!(fresh.work, self.work, "work that is due is not a scan's");
        assert_eq!(
            (fresh.points.len(), fresh.due.len()),
            (self.points.len(), self.due.len()),
            "points of tickets are not a scan's"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::EntryVersion;
    use crate::types::ticket::TicketRecord;

    fn ticket(principal: &str, expires: Option<u64>, idle: Option<u64>) -> Entry {
        let record = TicketRecord {
            kind: Blob::from("TGT"),
            principal: Blob::from(principal),
            ..TicketRecord::default()
        };
        Entry {
            incarnation: EntryVersion::default(),
            version: EntryVersion::default(),
            created_at: ClusterTime(1),
            removed_by_key: false,
            live: Some(Live {
                value: record.encode(),
                flags: 0,
                value_version: 1,
                expires_at: expires.map(ClusterTime),
                time_to_idle: idle,
                last_access: ClusterTime(1),
            }),
        }
    }

    #[test]
    fn it_is_what_a_scan_gives_after_every_change_and_takes_nothing_when_all_are_gone() {
        let states = [
            Some(ticket("alice", Some(90), None)),
            Some(ticket("alice", Some(80), None)),
            Some(ticket("alice", Some(80), Some(50))),
            Some(ticket("bob", Some(80), Some(70))),
            Some(ticket("bob", None, Some(70))),
            Some(ticket("bob", None, None)),
            Some(ticket("", Some(90), Some(95))),
            None,
        ];
        let keys: Vec<Blob> = (0..200)
            .map(|number| Blob::from(format!("TGT-{number}").as_str()))
            .collect();
        let mut all: BTreeMap<Blob, Entry> = BTreeMap::new();
        let mut index = Index::default();
        for state in &states {
            for key in &keys {
                let mut before = all.remove(key);
                // An access that came since moves no point here.
                if let Some(live) = before.as_mut().and_then(|entry| entry.live.as_mut()) {
                    live.last_access = ClusterTime(9);
                }
                index.change(key, before.as_ref(), state.as_ref(), |_| State::Gone);
                all.extend(state.clone().map(|entry| (key.clone(), entry)));
            }
            index.check(all.iter());
        }
        assert!(index.due.is_empty() && index.terms.is_empty());
        assert_eq!(index.points.capacity(), 0);
    }
}
