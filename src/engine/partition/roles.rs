//! What a change of view does to a partition: its role changes, what was under way is sent again
//! or given up, and what is held is kept, handed over or dropped.

use super::lead::Phase;
use super::{Asker, Cx, Parked, Partition, Place, Report};
use crate::engine::planted::{self, Fault};
use crate::error::{Error, ErrorKind};
use crate::types::message::Parting;
use crate::types::{EntryVersion, Member, TopologyVersion};

impl Partition {
    /// A view has been acknowledged in which this node may no longer be an owner: it stops
    /// serving then, since the new owners may go on before it hears of the commit. It does not begin
    /// again with another view that it acknowledges after that: the first one may be in force.
    pub fn on_prepare(&mut self, owner: bool, primary: bool) {
        self.renounced |= !owner && !self.local();
        if self.settings.stops() && primary && !owner && self.complete.is_some() {
            self.retired = true;
        }
    }

    /// A copy of which this node told while it had none: nothing was ever written to it. It is one from
    /// now on, unless there is another.
    pub fn begin_empty(&mut self, complete: TopologyVersion, retired: bool) {
        if self.complete.is_none() && self.kept.is_none() {
            self.forget();
            (self.complete, self.retired) = (Some(complete), retired);
        }
    }

    /// Tells who proposes a view as of which topology the copy here is complete. The table is made of
    /// that: until a view is installed the copy stays, also where its history has been merged.
    pub fn tell(&mut self) -> Option<TopologyVersion> {
        self.told = true;
        let kept = self.kept.as_ref().map(|kept| kept.complete);
        self.complete.or(kept)
    }

    /// A view was installed.
    pub fn on_view(&mut self, place: Place, cx: &Cx<'_>) {
        let old = std::mem::replace(&mut self.place, place);
        self.first = self.primary() == Some(self.me);
        (self.renounced, self.told) = (false, false);
        self.copies.clear();
        self.give_up_verify("the view changed", cx);
        let counts = self.is_owner() || self.place.sources.contains(&self.me);
        if counts || self.place.resting {
            self.bring_back(self.is_owner());
        }
        if self.place.apart {
            // What was agreed on there says nothing about what was ever known here.
            self.agreed = EntryVersion::default();
            self.parted.clear();
            self.joined = self.place.topology;
            self.kept.iter_mut().for_each(|kept| kept.part(self.joined));
        }
        self.note_parting(&old);
        self.shift(self.place.shift);
        if let Some((kept, at)) = self.kept.as_mut().zip(self.place.cleared_at) {
            kept.clear(at);
        }
        if let Some(at) = self.place.cleared_at
            && self.store.cleared_at.is_none_or(|mine| mine < at)
        {
            self.store.clear(at);
        }
        if self.place.owner_lost {
            self.extend_idle();
        }
        if self.place.resting {
            self.rest(&old, cx);
        } else if self.is_owner() {
            self.become_owner(&old, cx);
        } else {
            self.lead = None;
            self.outgoing = None;
            self.give_up_waiters(cx);
            if self.place.sources.contains(&self.me) && self.complete.is_some() {
                self.incoming = None;
                self.begin_merge_out(cx);
            } else if self.place.loading.contains(&self.me) {
                self.become_loading(&old, cx);
            } else if self.settings.stops()
                && self.place.owners.is_empty()
                && self.complete.is_some()
            {
                // It may be behind, and be the best that is left: that shows when the others return.
                self.incoming = None;
            } else if self.lacks_owners() {
                self.set_aside();
            } else {
                self.forget();
                self.kept = None;
            }
        }
        self.feed_on_view(cx);
        self.unpark(cx);
    }

    /// Cluster time moves by so much: what is stored moves with it.
    fn shift(&mut self, by: i64) {
        if by == 0 {
            return;
        }
        self.store.shift(by);
        self.log.shift(by);
        if let Some(held) = &mut self.held {
            held.shift(by);
        }
        if let Some(kept) = &mut self.kept {
            kept.shift(by);
        }
        if let Some(lead) = &mut self.lead {
            lead.grants.shift(by);
            lead.locks.shift(by);
            lead.loads.values_mut().for_each(|load| load.shift(by));
        }
        self.expiry.shift(by);
        self.note_all_expiries();
    }

    /// The view is not primary: whatever is here stays as it is, complete as of the last primary one.
    fn rest(&mut self, old: &Place, cx: &Cx<'_>) {
        if !old.resting {
            self.note_lost_primary(old);
        }
        self.lead = None;
        self.outgoing = None;
        self.incoming = None;
        self.settle_at = None;
        self.give_up_waiters(cx);
        if self.complete.is_none() {
            self.forget();
        }
    }

    fn become_owner(&mut self, old: &Place, cx: &Cx<'_>) {
        // Listed as an owner without a copy: the partition was created in this view.
        let fresh = self.complete.is_none();
        if fresh {
            self.forget();
        }
        self.complete = Some(self.place.topology);
        self.retired = false;
        self.incoming = None;
        self.outgoing = None;
        if !self.is_primary() {
            self.lead = None;
            return;
        }
        let led = self
            .lead
            .as_ref()
            .is_some_and(|lead| !matches!(lead.phase, Phase::Asking { .. }));
        let me = self.me;
        let mut others = self.place.owners.iter().filter(|owner| **owner != me);
        let known = |owner: &Member| {
            self.lead
                .as_ref()
                .is_some_and(|lead| lead.acked.contains_key(owner))
        };
        if led && !fresh && others.all(known) {
            self.go_on_leading(cx);
        } else {
            self.note_lost_primary(old);
            self.take_over(cx);
        }
    }

    /// The primary stays: members that are gone are no longer waited for.
    fn go_on_leading(&mut self, cx: &Cx<'_>) {
        let place = &self.place;
        let Some(lead) = &mut self.lead else { return };
        // A source follows its own history, also where it is to load later.
        let loads =
            |member: &Member| place.loading.contains(member) && !place.sources.contains(member);
        let stays = |member: &Member| place.owners.contains(member) || loads(member);
        lead.acked.retain(|member, _| stays(member));
        lead.joined.retain(stays);
        lead.watching
            .retain(|member, _| place.owners.contains(member));
        lead.repeats.retain(|member, _| stays(member));
        lead.loads.retain(|member, _| loads(member));
        lead.loads
            .values_mut()
            .for_each(super::transfer::Outgoing::confirm);
        lead.idle_asks.clear();
        lead.rounds.clear();
        // Who comes back as a source later has another history to tell.
        lead.merged.retain(|member| place.sources.contains(member));
        if !place.sources.is_empty() {
            // A watcher may have followed one of those, and counters of two histories say nothing of
            // each other: it subscribes anew, with the topology of where it stands.
            lead.subscribers.clear();
        }
        let serves = lead.is_active();
        let new: Vec<Member> = place
            .loading
            .iter()
            .filter(|member| !lead.acked.contains_key(member))
            .copied()
            .collect();
        if !serves || !self.place.sources.is_empty() {
            self.begin_merge(cx);
        } else {
            for member in new {
                self.begin_load(member, cx);
            }
        }
        self.resend_as_primary(true, cx);
        self.advance(cx);
    }

    /// A member that loads keeps what it has only while the same primary goes on. What it has
    /// completely did not count in this view: its report came too late, or it was left out of views
    /// in between, and of writes. The primary knows which: it repeats the last piece of a load whose
    /// receiver it has sent every update since, and begins another load otherwise.
    fn become_loading(&mut self, old: &Place, cx: &Cx<'_>) {
        let same_primary = old.owners.first() == self.place.owners.first();
        let loads = same_primary && old.loading.contains(&self.me);
        let loaded = self.complete.is_some();
        match self.incoming.as_mut().filter(|_| loads) {
            None => {
                self.set_aside();
                self.settle_at = Some(cx.now.mono.after(super::backup::ASK_LOAD));
            }
            Some(state) if loaded => {
                let until = cx.now.mono.after(super::backup::CONFIRM_LOAD);
                state.confirmed_until = Some(until);
                self.retired = true;
                self.watch_settling(cx);
            }
            Some(_) => {}
        }
    }

    /// Those who wait for writes of this former owner cannot be told what became of them.
    fn give_up_waiters(&mut self, cx: &Cx<'_>) {
        for waiter in self.waiters.take_all() {
            let error = Error::unknown("the primary changed while the write was under way");
            self.answer(waiter.asker, Err(error), cx);
        }
    }

    /// The cache is dropped: everybody who waits is told.
    pub fn on_drop(&mut self, cx: &Cx<'_>) {
        self.give_up_waiters(cx);
        self.give_up_verify("the cache was dropped", cx);
        for Parked { asker, .. } in std::mem::take(&mut self.parked) {
            let error = Error::new(ErrorKind::NotFound, "the cache was dropped");
            self.answer(asker, Err(error), cx);
        }
        self.forget();
        self.kept = None;
    }

    /// The node that asked is gone, and nobody is left to answer.
    pub fn on_peer_gone(&mut self, peer: Member) {
        self.parked
            .retain(|parked| !matches!(parked.asker, Asker::Remote { node, .. } if node == peer));
        self.watchers_gone(|node| node == peer);
    }

    /// What PRIMARY_SYNC and FULL_ASYNC may have lost with a primary: what it had acknowledged
    /// and no survivor was sent. The log bounds it.
    fn note_lost_primary(&mut self, old: &Place) {
        let lost = old
            .owners
            .first()
            .is_some_and(|primary| *primary != self.me)
            && self.place.owner_lost
            && !old
                .owners
                .first()
                .is_some_and(|primary| self.place.owners.contains(primary));
        if lost && !self.settings.full_sync() && !planted::is(Fault::SilentLoss) {
            self.left_over()
                .reports
                .push(Report::WritesLost(super::log::TAIL_MAX as u64));
        }
    }

    /// Remembers the last full agreement: what all holders have, also those that are out, unless
    /// they have been out for longer than tombstones are kept for them.
    pub(super) fn note_agreement(&mut self, cx: &Cx<'_>) {
        let whole = self.all_here(cx) && self.complete.is_some() && self.place.sources.is_empty();
        // What is prepared becomes visible later, under the version that it has already.
        let whole = whole && !self.held.as_ref().is_some_and(|held| held.has_prepared());
        if whole {
            let end = self.log.committed;
            let version = EntryVersion {
                topology: end.topology,
                counter: end.counter,
            };
            self.agreed = self.agreed.max(version);
        }
    }

    /// An update of a view in which a holder still was that is out by now: it came here behind the view
    /// without that one, which may have it too. Before it is committed nothing that it began can end.
    pub(super) fn note_late_update(&mut self, counter: u64, topology: TopologyVersion) {
        for Parting { end, .. } in self.parted.values_mut() {
            if topology <= end.topology {
                end.counter = end.counter.max(counter);
            }
        }
    }

    /// Whether every server is here that tombstones are kept for.
    pub(super) fn all_here(&self, cx: &Cx<'_>) -> bool {
        let retention = self.settings.tombstone_retention;
        cx.departed
            .is_none_or(|at| cx.now.cluster > at.after(retention))
    }

    /// Remembers of each holder that is out what was in common with it, until it is back and its
    /// history is merged: what comes later is without it.
    fn note_parting(&mut self, old: &Place) {
        let place = &self.place;
        let out = |member: &Member| place.departed.contains(member);
        let merging = !place.sources.is_empty();
        self.parted.retain(|member, _| merging || out(member));
        let end = EntryVersion {
            topology: old.topology,
            counter: self.log.applied,
        };
        let parting = Parting {
            agreed: self.agreed,
            end,
        };
        let holders = old.owners.iter().chain(&old.loading).chain(&old.sources);
        for holder in holders.filter(|holder| out(holder)) {
            self.parted.entry(*holder).or_insert(parting);
        }
    }

    /// What this copy and those of the present owners agreed on when they were last one, as far
    /// as it is known here.
    pub(super) fn agreed_with_owners(&self) -> EntryVersion {
        let owners = self.place.owners.iter();
        let known = owners.filter_map(|owner| self.parted.get(owner));
        let known = known.map(|parting| parting.agreed).max();
        // Owners that this node never knew have it from one of those that left.
        let known = known.or_else(|| self.parted.values().map(|parting| parting.agreed).min());
        known.unwrap_or(self.agreed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::partition::near::NearBytes;
    use crate::types::{CacheId, CacheSettings, WhenSplit};
    use std::sync::Arc;

    fn partition() -> Partition {
        let settings = CacheSettings {
            when_split: WhenSplit::DenyReadWrites,
            ..CacheSettings::named("stops")
        };
        let me = Member::default();
        Partition::new(CacheId(1), 0, Arc::new(settings), me, NearBytes::default())
    }

    #[test]
    fn an_owner_that_has_agreed_to_go_does_not_serve_before_a_view_is_installed() {
        let mut partition = partition();
        partition.on_prepare(true, true);
        assert!(!partition.renounced);
        partition.on_prepare(false, true);
        // Its own view of itself alone, say.
        partition.on_prepare(true, false);
        assert!(partition.renounced);
    }

    #[test]
    fn a_load_that_ends_after_others_were_made_owners_leaves_a_copy_that_may_be_behind() {
        let mut partition = partition();
        partition.finish_load();
        assert!(!partition.retired());
        partition.forget();
        partition.on_prepare(false, true);
        partition.finish_load();
        assert!(partition.retired());
    }
}
