//! What membership wants done: telling what this node holds, preparing and installing views.

use super::empty_copies::Held;
use super::{Cache, Caches, Grid, Locked, Slot};
use crate::engine::membership::{Action, Membership};
use crate::engine::partition::near::NearBytes;
use crate::engine::partition::{Partition, Place};
use crate::engine::planted::{self, Fault};
use crate::engine::shell::{Notice, Shell};
use crate::types::message::{Control, Holdings, Message};
use crate::types::protocol::TRANSACTIONS_SINCE;
use crate::types::view::ViewCache;
use crate::types::{CacheId, CacheMode, Member, Monotonic, TopologyVersion, View};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Grid {
    /// Does all that membership wants done, in order.
    pub(super) fn do_actions(&self, membership: &mut Membership, mono: Monotonic) {
        loop {
            self.report(membership, mono);
            let actions = membership.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.perform(membership, action, mono);
            }
        }
    }

    fn perform(&self, membership: &mut Membership, action: Action, mono: Monotonic) {
        match action {
            Action::Send(to, control) => self.shell.send(to, Message::Control(control)),
            Action::Dial(peer) => self.shell.dial(&peer),
            Action::Collect(to, mut collected) => {
                collected.holdings = self.holdings();
                if to == self.options.me.member {
                    membership.on_collected(to, collected, mono);
                } else {
                    self.shell
                        .send(to, Message::Control(Control::Collected(collected)));
                }
            }
            Action::Prepare(view) => self.prepare(&view),
            Action::Install { view, shift } => self.install(membership, &view, shift, mono),
            Action::ViewChanged { token, result } => self.shell.view_changed(token, result),
            Action::PeerGone(peer) => self.peer_gone(peer),
            Action::Notice(notice) => self.shell.notice(notice),
        }
    }

    /// What this node holds completely, in runs.
    fn holdings(&self) -> Vec<Holdings> {
        let caches = self.caches.load_full();
        let empty = self.empty_copies.lock().clone();
        let replicated = caches
            .values()
            .filter(|cache| cache.settings.mode != CacheMode::Local);
        let of_cache = |cache: &Arc<Cache>| {
            let mut copies = empty.of(cache.id);
            for (index, slot) in (0u32..).zip(&cache.slots) {
                let mut slot = slot.lock();
                if let Some(complete) = slot.partition.tell() {
                    let retired = slot.partition.retired();
                    copies.insert(index, Held { complete, retired });
                }
            }
            in_runs(cache.id, copies)
        };
        let unknown = empty.caches().filter(|id| !caches.contains_key(id));
        let unknown = unknown.map(|id| in_runs(id, empty.of(id)));
        replicated.map(of_cache).chain(unknown).collect()
    }

    fn prepare(&self, view: &View) {
        let own = self.view.load();
        self.empty_copies
            .lock()
            .acknowledge(view, &own, self.options.me.member);
        let me = view.index_of(self.options.me.member);
        for cache in self.caches.load().values() {
            let table = view.caches.get(&cache.id).map(|cache| &cache.table);
            for (index, slot) in cache.slots.iter().enumerate() {
                let owners = table.and_then(|table| table.get(index));
                let owner = owners
                    .zip(me)
                    .is_some_and(|(owners, me)| owners.owners.contains(&me));
                let mut slot = slot.lock();
                slot.partition.on_prepare(owner, view.primary);
                slot.partition.settle_reads();
            }
        }
    }

    fn install(&self, membership: &Membership, view: &Arc<View>, shift: i64, mono: Monotonic) {
        let usurped = planted::is(Fault::TwoPrimaries).then(|| self.usurp(view));
        let view = usurped.as_ref().unwrap_or(view);
        let old = self.view.swap(view.clone());
        let departed = view
            .departed
            .iter()
            .map(|departed| departed.at.0.max(1))
            .max();
        self.departed
            .store(departed.unwrap_or_default(), Ordering::Relaxed);
        let all_know = view.protocol() >= TRANSACTIONS_SINCE;
        self.knows_transactions.store(all_know, Ordering::Relaxed);
        self.publish(membership, mono);
        let caches = self.next_caches(view, mono);
        self.caches.store(caches.clone());
        self.begin_empty_copies(&caches, view);
        for cache in caches.values() {
            let Some(table) = view.caches.get(&cache.id) else {
                continue;
            };
            self.install_cache(cache, table, &old, view, shift, mono);
        }
        let early = std::mem::take(&mut *self.early.lock());
        for (from, data) in early {
            if data.topology >= view.version {
                self.on_data(from, data, mono);
            }
        }
        self.lose_ways(|to| !view.contains(to), mono);
        self.forwards
            .with(|forwards| forwards.keep_peers(|peer| view.contains(peer)));
    }

    /// Makes real copies of those that this node told of, but for what begins in this very view.
    fn begin_empty_copies(&self, caches: &Caches, view: &View) {
        let empty = self.empty_copies.lock().take();
        let me = view.index_of(self.options.me.member);
        for cache in caches.values() {
            let table = view.caches.get(&cache.id).map(|cache| &cache.table);
            for (index, copy) in empty.of(cache.id) {
                let owners = table.and_then(|table| table.get(index as usize));
                let owns = owners
                    .is_some_and(|owners| owners.owners.iter().any(|owner| Some(*owner) == me));
                if let Some(slot) = cache.slots.get(index as usize)
                    && !(owns && view.primary)
                {
                    let mut slot = slot.lock();
                    slot.partition.begin_empty(copy.complete, copy.retired);
                }
            }
        }
    }

    /// The planted fault of a node that takes itself for every primary.
    fn usurp(&self, view: &View) -> Arc<View> {
        let mut view = view.clone();
        let me = view.index_of(self.options.me.member);
        for owners in view.caches.values_mut().flat_map(|cache| &mut cache.table) {
            if let Some(place) = owners.owners.iter().position(|owner| Some(*owner) == me) {
                owners.owners.swap(0, place);
            }
        }
        Arc::new(view)
    }

    /// The caches of the view: those that stay, new ones, and an end for those that are dropped.
    fn next_caches(&self, view: &View, mono: Monotonic) -> Arc<Caches> {
        let old = self.caches.load_full();
        let mut next = Caches::new();
        for (id, cache) in &view.caches {
            let same = old.get(id).filter(|old| {
                *old.settings == cache.settings
                    && view.dropped.get(id).is_none_or(|at| old.created_at > *at)
            });
            let kept = same
                .cloned()
                .unwrap_or_else(|| Arc::new(self.new_cache(*id, cache)));
            next.insert(*id, kept);
        }
        for (id, cache) in old.iter() {
            if !next.get(id).is_some_and(|kept| Arc::ptr_eq(kept, cache)) {
                self.end_cache(cache, mono);
            }
        }
        Arc::new(next)
    }

    fn new_cache(&self, id: CacheId, cache: &ViewCache) -> Cache {
        let settings = Arc::new(cache.settings.clone());
        let near = NearBytes::default();
        let slot = |index| {
            let me = self.options.me.member;
            let partition = Partition::new(id, index, settings.clone(), me, near.clone());
            Locked(Mutex::new(Slot {
                partition,
                armed: None,
            }))
        };
        let slots = (0..cache.settings.partitions).map(slot).collect();
        Cache {
            id,
            settings: settings.clone(),
            created_at: cache.created_at,
            slots,
        }
    }

    fn end_cache(&self, cache: &Cache, mono: Monotonic) {
        let cx = self.cx(mono);
        for (index, slot) in (0u32..).zip(&cache.slots) {
            let mut slot = slot.lock();
            slot.partition.on_drop(&cx);
            slot.partition.unsettle_reads();
            if let Some(armed) = slot.armed.take() {
                self.timers
                    .with(|timers| timers.unset((armed, cache.id, index)));
            }
        }
    }

    fn install_cache(
        &self,
        cache: &Cache,
        in_view: &ViewCache,
        old: &View,
        view: &View,
        shift: i64,
        mono: Monotonic,
    ) {
        let me = self.options.me.member;
        let old_table = old.caches.get(&cache.id).map(|cache| &cache.table);
        let members = |places: &[u16]| -> Vec<Member> {
            places
                .iter()
                .filter_map(|place| view.member(*place))
                .collect()
        };
        let cx = self.cx(mono);
        let departed = view.departed.iter().map(|departed| departed.member);
        let departed: Arc<[Member]> = departed.collect();
        for (index, slot) in (0u32..).zip(&cache.slots) {
            let mut place = Place {
                departed: departed.clone(),
                topology: view.version,
                shift,
                apart: old.time_base != view.time_base,
                cleared_at: view.dropped.get(&cache.id).copied(),
                resting: cache.settings.stops() && !view.primary,
                ..Place::default()
            };
            match in_view.table.get(index as usize) {
                Some(owners) => {
                    place.owners = members(&owners.owners);
                    place.loading = members(&owners.loading);
                    place.sources = members(&owners.sources);
                    let before = old_table.and_then(|table| table.get(index as usize));
                    let gone =
                        |owner: &u16| old.member(*owner).is_some_and(|old| !view.contains(old));
                    place.owner_lost = before.is_some_and(|before| before.owners.iter().any(gone));
                    // What rested says nothing of what is lost.
                    let had = before.is_some_and(|before| !before.owners.is_empty());
                    let rested = cache.settings.stops() && !old.primary && in_view.founded;
                    if place.owners.is_empty() && !place.resting && (had || rested) {
                        let (cache, partition, topology) = (cache.id, index, view.version);
                        self.shell.notice(Notice::Lost {
                            cache,
                            partition,
                            topology,
                        });
                    }
                }
                None => place.owners = vec![me],
            }
            let mut slot = slot.lock();
            slot.partition.on_view(place, &cx);
            slot.partition.watchers_gone(|node| !view.contains(node));
            slot.partition
                .initiators_gone(|initiator| !view.contains(initiator), &cx);
            self.settle(cache, index, slot, mono);
        }
    }

    fn peer_gone(&self, peer: Member) {
        for cache in self.caches.load().values() {
            for slot in &cache.slots {
                let mut slot = slot.lock();
                slot.partition.on_peer_gone(peer);
                slot.partition.settle_reads();
            }
        }
    }
}

/// Copies by partition in runs that are complete as of the same version.
fn in_runs(cache: CacheId, copies: BTreeMap<u32, Held>) -> Holdings {
    let mut complete: Vec<(u32, u32, TopologyVersion)> = Vec::new();
    let mut retired = BTreeSet::new();
    for (index, copy) in copies {
        if copy.retired {
            retired.insert(index);
        }
        match complete.last_mut() {
            Some((first, count, same)) if *first + *count == index && *same == copy.complete => {
                *count += 1;
            }
            _ => complete.push((index, 1, copy.complete)),
        }
    }
    Holdings {
        cache,
        complete,
        retired,
    }
}
