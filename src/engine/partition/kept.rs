//! A copy that others have gone beyond: its holder missed a view and is to load anew, or the primary
//! has taken its history in. It is kept beside what is loaded in its place until the partition has
//! all its owners. Where those that have more end before that, it is what is left of the writes that
//! this node acknowledged as an owner.
//!
//! Who proposes a view is told of it as of a copy that may be behind: it counts where no other one
//! does and nobody is out who may have more. What was loaded since goes into it then: removes above
//! all, so that what was ended while it lay aside does not return with it. Such a copy is like no
//! other one, so that it owns the partition alone, and others of its kind are merged into it.
//!
//! Its tombstones, and what fell under those of others, need no care meanwhile: no floor rises while
//! owners load or histories merge.
//!
//! Both copies are counted as memory. No message changes what lies aside, but for last accesses: only
//! views do, and a load that begins or ends. One of each kind is the most that a partition has.

use super::Partition;
use super::held::Held;
use super::log::Log;
use super::store::Store;
use super::transfer::Incoming;
use crate::types::message::{Parting, Update, UpdateEffect, WatchPosition};
use crate::types::{Blob, ClusterTime, EntryVersion, Member, TopologyVersion};
use std::collections::BTreeMap;

/// All that a complete copy is.
pub struct Kept {
    pub complete: TopologyVersion,
    pub store: Store,
    log: Log,
    held: Option<Box<Held>>,
    agreed: EntryVersion,
    parted: BTreeMap<Member, Parting>,
    joined: TopologyVersion,
}

impl Kept {
    /// Cluster time moved.
    pub fn shift(&mut self, by: i64) {
        self.store.shift(by);
        self.log.shift(by);
        if let Some(held) = &mut self.held {
            held.shift(by);
        }
    }

    /// What it holds was accessed.
    pub fn access(&mut self, key: &Blob, incarnation: EntryVersion, at: ClusterTime) {
        let entry = self.store.get_mut(key);
        let same = entry.filter(|entry| entry.incarnation == incarnation);
        if let Some(live) = same.and_then(|entry| entry.live.as_mut()) {
            live.last_access = live.last_access.max(at);
        }
    }

    /// A cache of this name was dropped.
    pub fn clear(&mut self, at: ClusterTime) {
        if self.store.cleared_at.is_none_or(|mine| mine < at) {
            self.store.clear(at);
        }
    }

    /// The cluster is another one: what was agreed on says nothing there.
    pub fn part(&mut self, joined: TopologyVersion) {
        self.agreed = EntryVersion::default();
        self.parted.clear();
        self.joined = joined;
    }
}

impl Partition {
    /// Puts the copy aside, and begins with nothing. What was loaded beside one that lies aside goes
    /// into that.
    pub(super) fn set_aside(&mut self) {
        // Where there is a primary, it knows all that was decided.
        self.bring_back(self.place.owners.is_empty());
        if let Some(complete) = self.complete {
            self.kept = Some(Box::new(Kept {
                complete,
                store: self.take_store(),
                log: std::mem::take(&mut self.log),
                held: self.held.take(),
                agreed: self.agreed,
                parted: std::mem::take(&mut self.parted),
                joined: self.joined,
            }));
        }
        self.forget();
    }

    /// The copy that lies aside is the one in use again, with what was loaded since; `decisions`: also
    /// with decisions about transactions that may not have been confirmed.
    pub(super) fn bring_back(&mut self, decisions: bool) {
        debug_assert!(self.kept.is_none() || self.complete.is_none());
        let Some(kept) = self.kept.take() else { return };
        let loaded = self.incoming.take();
        let store = self.take_store();
        let log = std::mem::take(&mut self.log);
        let held = self.held.take();
        self.forget();
        let kept = *kept;
        (self.store, self.log, self.held) = (kept.store, kept.log, kept.held);
        (self.agreed, self.parted) = (kept.agreed, kept.parted);
        self.joined = match loaded {
            Some(_) => kept.joined.max(self.joined),
            None => kept.joined,
        };
        (self.complete, self.retired) = (Some(kept.complete), true);
        self.feed.forget(self.log.committed);
        if let Some(loaded) = loaded {
            self.take_in(loaded, store, log, held, decisions);
        }
        self.expiry.reset();
        self.note_all_expiries();
    }

    /// What was loaded: states of keys, ends of lives, requests, transactions.
    fn take_in(
        &mut self,
        loaded: Incoming,
        store: Store,
        log: Log,
        held: Option<Box<Held>>,
        decisions: bool,
    ) {
        let own = std::mem::take(&mut self.log);
        let (stream, counter) = (own.stream, own.applied.max(log.applied));
        self.settle_tail(own, decisions);
        self.store.see(store.seen);
        if let Some(at) = store.cleared_at
            && self.store.cleared_at.is_none_or(|mine| mine < at)
        {
            self.store.clear(at);
        }
        for key in store.keys() {
            if let Some(entry) = store.get(&key) {
                self.store.set(&key, entry.clone());
            }
        }
        for (id, record) in store.requests.all() {
            self.store.requests.insert(id, record);
        }
        if let Some(other) = held {
            self.held.get_or_insert_default().take_in(*other);
        }
        self.settle_tail(log, decisions);
        for (key, incarnation, tombstone) in loaded.expired {
            self.end_life(&key, incarnation, tombstone);
        }
        self.store.raise_floor(store.floor);
        self.store.take_killed();
        // No watcher was told how it came to be as it is.
        let topology = self.place.topology;
        self.log = Log::behind(stream, WatchPosition { counter, topology });
        self.feed.forget(WatchPosition::default());
    }

    /// What waits for owners may have been answered to somebody: it is there from now on.
    fn settle_tail(&mut self, log: Log, decisions: bool) {
        for update in log.behind_counter(log.committed.counter, usize::MAX) {
            let Update {
                effect, request, ..
            } = update;
            match effect {
                UpdateEffect::Status(_) if !decisions => continue,
                UpdateEffect::Status(status) => self.apply_status(status),
                UpdateEffect::Nothing => {}
                UpdateEffect::Set { key, entry } => {
                    self.store.set(&key, entry);
                }
                UpdateEffect::Prepare(prepared) => {
                    let held = self.held.get_or_insert_default();
                    if !held.has_finished(prepared.id) {
                        held.hold(*prepared);
                    }
                }
                UpdateEffect::Finish { id, until, writes } => {
                    for (key, entry) in writes {
                        self.store.set(&key, entry);
                    }
                    self.apply_finish(id, until);
                }
                UpdateEffect::Expire {
                    key,
                    incarnation,
                    tombstone,
                } => {
                    self.end_life(&key, incarnation, tombstone);
                }
                UpdateEffect::Clear { at, version } => {
                    self.store.see(version);
                    self.store.clear(at);
                }
                UpdateEffect::RaiseFloor { floor } => {
                    self.store.raise_floor(floor);
                }
            }
            if let Some((id, record)) = request {
                self.store.requests.insert(id, record);
            }
        }
    }

    fn take_store(&mut self) -> Store {
        let empty = Store::new(self.settings.removes_are_final);
        std::mem::replace(&mut self.store, empty)
    }

    /// Whether the partition lacks an owner that it is to have, so that copies are worth keeping.
    pub(super) fn lacks_owners(&self) -> bool {
        let place = &self.place;
        place.owners.is_empty() || !place.loading.is_empty() || !place.sources.is_empty()
    }
}
