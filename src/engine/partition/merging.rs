//! Becoming primary: what the other owners have is asked for, the most advanced tail is streamed
//! again under the same versions, and other histories are merged in before anything is served.
//!
//! A partition that merges serves nothing until it has merged: the partition as a whole is the
//! unit that is fetched first, not the single key.

use super::lead::{Lead, Phase};
use super::store::Store;
use super::transfer::Incoming;
use super::{Cx, Partition, Report};
use crate::engine::planted::{self, Fault};
use crate::types::message::{Body, Chunk, Tail, TransferKind, UpdateEffect, WatchPosition};
use crate::types::{Blob, Entry, EntryVersion, Live, Member};
use std::collections::{BTreeMap, BTreeSet};

/// The most entries that are ended at a time because they were removed in another history.
const STALE_MAX: usize = 1024;

/// What lives here, was known to both when they last agreed, and is not there any more, where the
/// tombstone may be gone.
fn removed_there(store: &Store, state: &mut Incoming) -> Vec<Blob> {
    let Some(named) = state.named.take() else {
        return Vec::new();
    };
    let agreed = state.agreed;
    let gone = |(key, entry): &(&Blob, &Entry)| {
        entry.live.is_some() && entry.incarnation <= agreed && !named.contains(*key)
    };
    let gone = store.entries().filter(gone);
    let mut gone: Vec<Blob> = gone.map(|(key, _)| key.clone()).collect();
    gone.sort_unstable();
    gone
}

/// Up to which counter all that a source has was here once: everything, where it stands at a place
/// that was behind this history when they parted; up to that, where it has more of the time when
/// both were together; not known, where it went on without this one, perhaps with a third.
fn shared(end: EntryVersion, position: WatchPosition) -> Option<u64> {
    let together = position.topology <= end.topology;
    together.then_some(match position.counter <= end.counter {
        true => u64::MAX,
        false => end.counter,
    })
}

impl Partition {
    /// Takes over: asks the other owners.
    pub(super) fn take_over(&mut self, cx: &Cx<'_>) {
        let me = self.me;
        let missing: BTreeSet<Member> = self
            .place
            .owners
            .iter()
            .copied()
            .filter(|owner| *owner != me)
            .collect();
        let phase = Phase::Asking {
            missing: missing.clone(),
            tails: BTreeMap::new(),
        };
        let mut lead = Lead::new(self.place.topology, phase);
        lead.resend_at = Some(cx.now.mono.after(cx.resend));
        self.lead = Some(Box::new(lead));
        for owner in &missing {
            self.send(*owner, Body::AskTail, cx);
        }
        if missing.is_empty() {
            self.begin_stream(cx);
        }
    }

    /// The primary asks what this owner has.
    pub(super) fn on_ask_tail(&mut self, from: Member, cx: &Cx<'_>) {
        if self.primary() == Some(from) && self.is_owner() {
            self.send(from, Body::Tail(self.log.tail(self.store.floor)), cx);
        }
    }

    /// An owner's answer. A doubled or late one finds nobody who waits for it.
    pub(super) fn on_tail(&mut self, from: Member, tail: Tail, cx: &Cx<'_>) {
        let Some(lead) = &mut self.lead else { return };
        let Phase::Asking { missing, tails } = &mut lead.phase else {
            return;
        };
        if missing.remove(&from) {
            tails.insert(from, tail);
        }
        if missing.is_empty() {
            self.begin_stream(cx);
        }
    }

    /// All owners have answered: the most advanced tail begins the new stream.
    fn begin_stream(&mut self, cx: &Cx<'_>) {
        // Whoever led before has stopped by now: it has answered in this view, or is out of it.
        self.wait_for_old_leases(cx);
        let Some(lead) = &mut self.lead else { return };
        let Phase::Asking { tails, .. } = &mut lead.phase else {
            return;
        };
        let tails = std::mem::take(tails);
        let stream = lead.stream;
        let base = tails
            .values()
            .map(|tail| tail.committed)
            .max()
            .unwrap_or_default();
        let own_floor = self.store.floor;
        let floor = tails
            .values()
            .map(|tail| tail.floor)
            .fold(own_floor, EntryVersion::max);
        let raises = own_floor < floor || tails.values().any(|tail| tail.floor < floor);
        if planted::is(Fault::DropTail) {
            self.log.replace(stream, Vec::new());
        }
        let best = tails
            .values()
            .filter(|_| !planted::is(Fault::DropTail))
            .max_by_key(|tail| (tail.stream, tail.applied));
        let best =
            best.filter(|best| (best.stream, best.applied) > (self.log.stream, self.log.applied));
        let updates = best.map(|best| best.updates.clone());
        // All owners hold what one of them has committed: they are of one history.
        debug_assert!(
            self.log.applied >= base,
            "a new primary lacks what was committed"
        );
        self.commit_to(base, cx);
        let own = self
            .log
            .behind_counter(self.log.committed.counter, usize::MAX);
        let new = self.log.replace(stream, updates.unwrap_or(own));
        if !self.settings.full_sync() {
            for update in new {
                self.apply(update, cx);
            }
        }
        self.drop_lost_waiters(cx);
        let committed = self.log.committed.counter;
        if let Some(lead) = &mut self.lead {
            lead.inherited = self.log.applied;
            lead.acked = tails.keys().map(|owner| (*owner, committed)).collect();
            lead.phase = Phase::Merging {
                incoming: BTreeMap::new(),
            };
        }
        if raises {
            // By the stream, so that all owners drop the same tombstones at the same place.
            self.append(UpdateEffect::RaiseFloor { floor }, None, cx);
        }
        for owner in tails.keys() {
            self.send_reset(*owner, cx);
        }
        self.begin_merge(cx);
        self.advance(cx);
    }

    /// Waits for the sources of the current view, or serves where there are none. A source that
    /// was taken in under an earlier view may have dropped its copy: the view that still names it
    /// was proposed before, so that its coordinator is told once more.
    pub(super) fn begin_merge(&mut self, cx: &Cx<'_>) {
        let Some(lead) = &mut self.lead else { return };
        let named = &self.place.sources;
        let sources: BTreeMap<Member, Incoming> = named
            .iter()
            .filter(|source| **source != self.me && !lead.merged.contains(source))
            .map(|source| (*source, Incoming::default()))
            .collect();
        if sources.is_empty() {
            lead.phase = Phase::Active;
            if !named.is_empty() {
                self.left_over().reports.push(Report::Merged);
            }
            self.begin_serving(cx);
        } else {
            lead.phase = Phase::Merging { incoming: sources };
        }
    }

    fn begin_serving(&mut self, cx: &Cx<'_>) {
        let first = self.first_comparison(cx);
        if let Some(lead) = &mut self.lead {
            lead.compare_at = first;
        }
        let lead = self.lead.as_ref();
        let goes_on = |member: &Member| lead.is_some_and(|lead| lead.loads.contains_key(member));
        let loading = self.place.loading.iter().copied();
        for member in loading.filter(|one| !goes_on(one)).collect::<Vec<_>>() {
            self.begin_load(member, cx);
        }
        self.look_at_chores(cx);
        self.unpark(cx);
    }

    /// A piece of another history. The sender repeats it until it is acknowledged; a source's
    /// last piece is acknowledged only when all owners hold what it brought.
    pub(super) fn on_merge_chunk(&mut self, from: Member, chunk: Chunk, cx: &Cx<'_>) {
        let room = self.log.len() < super::log::TAIL_MAX / 2;
        let Some(lead) = &mut self.lead else { return };
        let (kind, session, seq, last) = (chunk.kind, chunk.session, chunk.seq, chunk.last);
        if lead.merged.contains(&from) {
            // It repeats what every owner holds: it has not heard so.
            self.send(from, Body::ChunkAck { kind, session, seq }, cx);
            return;
        }
        let Phase::Merging { incoming } = &mut lead.phase else {
            return;
        };
        let Some(state) = incoming.get_mut(&from) else {
            return;
        };
        if chunk.seq == 0 && state.session != chunk.session {
            *state = Incoming {
                session: chunk.session,
                ..Incoming::default()
            };
        }
        if state.session != chunk.session || chunk.seq > state.next || !room {
            return;
        }
        if seq == state.next {
            state.next += 1;
            if let Some(header) = &chunk.header {
                let known = self.parted.get(&from).copied().unwrap_or_default();
                // What it agreed on with others of this cluster before this copy came to it.
                let before = header.agreed.topology.number < self.joined.number;
                let said = if before {
                    EntryVersion::default()
                } else {
                    header.agreed
                };
                state.agreed = said.max(known.agreed);
                state.shared = shared(known.end, header.position);
                state.floor = header.floor;
                let forgot = state.agreed < state.floor && !planted::is(Fault::MergeOneWay);
                state.named = forgot.then(BTreeSet::new);
            }
            if let Some(named) = &mut state.named {
                named.extend(chunk.entries.iter().map(|(key, _)| key.clone()));
            }
            if last {
                state.last = Some(seq);
                state.removed = removed_there(&self.store, state);
            }
            let (agreed, shared) = (state.agreed, state.shared);
            self.adopt(chunk, agreed, shared, cx);
        }
        if !last {
            self.send(from, Body::ChunkAck { kind, session, seq }, cx);
        }
        self.merge_settled(cx);
    }

    /// Streams what the other history knows better, under its own versions.
    fn adopt(&mut self, chunk: Chunk, agreed: EntryVersion, shared: Option<u64>, cx: &Cx<'_>) {
        if let Some(header) = chunk.header {
            self.store.see(header.seen);
            if let Some(at) = header.cleared_at
                && self.store.cleared_at.is_none_or(|mine| mine < at)
            {
                let version = header.seen;
                self.append(UpdateEffect::Clear { at, version }, None, cx);
            }
            self.adopt_transactions(header.transactions, cx);
        }
        for (key, entry) in chunk.entries {
            let over = |live: &Live| live.expired(cx.now.cluster);
            let was_here =
                self.was_known(&key, &entry, agreed) || self.was_shared(&key, &entry, shared);
            if was_here && entry.live.as_ref().is_some_and(over) {
                // Its time was over here, which leaves nothing behind: it does not begin again to end
                // again.
            } else if self.was_removed(&key, &entry, agreed) {
                cx.tally
                    .stale_dropped
                    .add(usize::from(entry.live.is_some()));
            } else if self.store.lacks(&key, &entry) {
                self.append(UpdateEffect::Set { key, entry }, None, cx);
            }
        }
        for (id, record) in chunk.requests {
            // Beyond what the table takes of new requests: none is forgotten early, and each
            // history has no more than it takes.
            if !self.store.requests.contains(&id) && self.log.find_request(&id).is_none() {
                self.append(UpdateEffect::Nothing, Some((id, record)), cx);
            }
        }
    }

    /// Whether a state of another history was in this one: the key is unknown here, and both copies
    /// had it when they last agreed.
    fn was_known(&self, key: &Blob, entry: &Entry, agreed: EntryVersion) -> bool {
        self.store.get(key).is_none() && entry.incarnation <= agreed
    }

    /// The same by what is known of the sender alone, also where the two agreed on nothing since
    /// a third was out.
    fn was_shared(&self, key: &Blob, entry: &Entry, shared: Option<u64>) -> bool {
        self.store.get(key).is_none()
            && shared.is_some_and(|upto| entry.incarnation.counter <= upto)
    }

    /// Whether it was removed in this one: they agreed so long ago that the tombstone may be gone.
    fn was_removed(&self, key: &Blob, entry: &Entry, agreed: EntryVersion) -> bool {
        self.was_known(key, entry, agreed)
            && self.store.floor > agreed
            && !planted::is(Fault::TrustReturned)
    }

    /// Ends what lives here and was removed in another history, some of it at a time. False: there
    /// is nothing of that kind any more, and nothing waits for owners.
    fn remove_stale(&mut self, cx: &Cx<'_>) -> bool {
        loop {
            let Some(Phase::Merging { incoming }) = self.lead.as_mut().map(|lead| &mut lead.phase)
            else {
                return false;
            };
            let (mut some, mut floor) = (Vec::new(), self.store.floor);
            for state in incoming.values_mut().filter(|state| state.last.is_some()) {
                let left = state.removed.len().saturating_sub(STALE_MAX - some.len());
                some.extend(state.removed.drain(left..));
                floor = floor.max(state.floor);
            }
            let raises = some.is_empty() && floor > self.store.floor;
            for key in &some {
                let entry = self.store.get(key).filter(|entry| entry.live.is_some());
                if let Some(entry) = entry.map(|entry| self.dead(entry)) {
                    cx.tally.stale_dropped.add(1);
                    let key = key.clone();
                    self.append(UpdateEffect::Set { key, entry }, None, cx);
                }
            }
            if raises {
                // What is forgotten there counts as forgotten here, whoever comes next.
                self.append(UpdateEffect::RaiseFloor { floor }, None, cx);
            }
            if !self.log.is_settled() {
                return true;
            }
            if some.is_empty() {
                return false;
            }
        }
    }

    /// Ends the merge once every source is taken in and every owner holds it.
    pub(super) fn merge_settled(&mut self, cx: &Cx<'_>) {
        if !self.log.is_settled() || self.remove_stale(cx) {
            return;
        }
        let Some(lead) = &mut self.lead else { return };
        let Phase::Merging { incoming } = &mut lead.phase else {
            return;
        };
        let taken = |state: &Incoming| state.last.map(|seq| (state.session, seq));
        let done: Vec<(Member, (u64, u32))> = incoming
            .iter()
            .filter_map(|(from, state)| Some((*from, taken(state)?)))
            .collect();
        let all = done.len() == incoming.len();
        lead.merged.extend(done.iter().map(|(from, _)| *from));
        for (from, (session, seq)) in done {
            self.send(
                from,
                Body::ChunkAck {
                    kind: TransferKind::Merge,
                    session,
                    seq,
                },
                cx,
            );
        }
        if all {
            if let Some(lead) = &mut self.lead {
                lead.phase = Phase::Active;
            }
            self.left_over().reports.push(Report::Merged);
            self.begin_serving(cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TopologyVersion;

    #[test]
    fn what_a_source_has_of_the_time_together_was_here_once() {
        let topology = |number| TopologyVersion {
            number,
            ..TopologyVersion::default()
        };
        let end = EntryVersion {
            topology: topology(5),
            counter: 20,
        };
        let at = |number, counter| {
            let topology = topology(number);
            shared(end, WatchPosition { counter, topology })
        };
        assert_eq!(at(4, 19), Some(u64::MAX));
        assert_eq!(at(5, 20), Some(u64::MAX));
        // It has more of that time, which nobody else had.
        assert_eq!(at(5, 21), Some(20));
        // It went on alone.
        assert_eq!(at(6, 20), None);
    }
}
