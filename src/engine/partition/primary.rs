//! The primary: decides operations, streams updates, counts acknowledgements and commits.

use super::evaluate::{Evaluated, Given, evaluate, view};
use super::lead::Phase;
use super::tickets::decide::Children;
use super::waiting::Waiter;
use super::{Ask, Caller, Cx, Partition, Submitted};
use crate::engine::planted::{self, Fault};
use crate::error::{Error, ErrorKind, Result};
use crate::types::message::{
    Body, Event, EventKind, Replicate, RequestRecord, Update, UpdateEffect, WatchPosition,
};
use crate::types::ticket::{TicketOperation, TicketsOperation, note};
use crate::types::{
    Blob, ClusterTime, Entry, EntryVersion, EntryView, KeyOperation, Member, Monotonic, Operation,
    Reply, RequestId, TopologyVersion,
};

/// The most entries that one scan page returns, whatever was asked.
pub const SCAN_MAX: u32 = 4096;

/// The same entry, accessed now.
pub(super) fn touched_at(entry: &Entry, now: ClusterTime) -> Entry {
    let mut touched = entry.clone();
    if let Some(live) = &mut touched.live {
        live.last_access = live.last_access.max(now);
    }
    touched
}

/// What a change was, with the entry before it where there was one.
type Change = (EventKind, EntryView, Option<EntryView>);

/// Whether watchers are told of it: the notes of the ticket registry are its own.
fn is_told((kind, entry, _): &Change) -> bool {
    let ends = matches!(kind, EventKind::Removed | EventKind::Expired);
    let silent = ends && planted::is(Fault::SilentEnds);
    !silent && !note::is_note(&entry.key)
}

/// The end of what lived under a key.
fn end(kind: EventKind, key: &Blob, gone: &Entry) -> Option<Change> {
    Some((kind, view(key, gone, false)?, None))
}

/// Whether a use is the last one of a ticket.
fn spends(operation: &KeyOperation, outcome: &Result<Evaluated>) -> bool {
    let used = matches!(operation, KeyOperation::Ticket(TicketOperation::Use { .. }));
    let ends = |evaluated: &Evaluated| {
        let entry = evaluated.entry.as_ref();
        entry.is_some_and(|entry| entry.live.is_none())
    };
    used && outcome.as_ref().is_ok_and(ends)
}

impl Partition {
    /// Decides an operation at the serving primary.
    pub(super) fn decide(&mut self, ask: Ask, caller: &mut Caller<'_>, cx: &Cx<'_>) -> Submitted {
        if let Some(answered) = self.repeated(&ask, caller) {
            return answered;
        }
        if !cx.transactions && ask.operation.is_of_tickets() && !ask.operation.is_read() {
            // An owner that speaks an older protocol could not read the answer, which is streamed.
            return Submitted::Done(Err(super::steps::older_protocol()));
        }
        let inherited = self.lead.as_ref().map_or(0, |lead| lead.inherited);
        let unsettled = self.log.committed.counter < inherited;
        match &ask.operation {
            Operation::Key { key, operation } => {
                let pending = self.settings.full_sync() && self.log.is_pending(key);
                let twice = (planted::is(Fault::TakeTwice)
                    && matches!(operation, KeyOperation::Remove { .. }))
                    || (planted::is(Fault::SpendTwice)
                        && matches!(operation, KeyOperation::Ticket(TicketOperation::Use { .. })));
                let waits = pending && !twice && (unsettled || !operation.is_read());
                let waits = waits || (!operation.is_read() && self.is_reserved(key));
                if waits || self.is_locked(key) {
                    return self.park(ask, caller, cx);
                }
                self.decide_key(ask, caller, cx)
            }
            Operation::Tickets(_) => {
                let waits = (unsettled && self.settings.full_sync())
                    || (self.has_reserved() && !ask.operation.is_read());
                if waits || self.is_locked_under(&[]) {
                    return self.park(ask, caller, cx);
                }
                self.decide_tickets(ask, caller, cx)
            }
            Operation::Clear => {
                if !self.log.is_settled() || self.is_locked_under(&[]) || self.has_reserved() {
                    return self.park(ask, caller, cx);
                }
                self.decide_clear(&ask, caller, cx)
            }
            Operation::Transaction { .. } => self.decide_step(ask, caller, cx),
            Operation::Verify { .. } => self.begin_verify(ask, caller, cx),
            Operation::Lock { .. } => self.decide_lock(ask, caller, cx),
            operation => {
                let locked = matches!(operation, Operation::Scan { prefix, .. }
                    if self.is_locked_under(prefix));
                if locked || (unsettled && self.settings.full_sync()) {
                    return self.park(ask, caller, cx);
                }
                let missed = || Err(Error::unavailable("the partition cannot be read"));
                Submitted::Done(self.read(operation, cx).map_or_else(missed, Ok))
            }
        }
    }

    /// The answer to a request that came before.
    fn repeated(&mut self, ask: &Ask, caller: &mut Caller<'_>) -> Option<Submitted> {
        let id = ask.request_id.filter(|_| !ask.operation.is_read())?;
        if planted::is(Fault::SkipRequestIds) {
            return None;
        }
        if let Some(reply) = self.store.requests.answer(&id) {
            return Some(Submitted::Done(Ok(reply)));
        }
        let update = self.log.find_request(&id)?;
        let (counter, topology) = (update.counter, update.topology);
        let reply = update.request.as_ref()?.1.reply.clone();
        self.wait_for(
            counter,
            Waiter {
                asker: caller.asker(),
                reply,
                topology,
                deadline: ask.deadline,
            },
        );
        Some(Submitted::Pending)
    }

    fn decide_key(&mut self, ask: Ask, caller: &mut Caller<'_>, cx: &Cx<'_>) -> Submitted {
        let Operation::Key { key, operation } = &ask.operation else {
            let error = Error::new(ErrorKind::Internal, "this is no operation on a key");
            return Submitted::Done(Err(error));
        };
        if note::is_note(key) {
            let context = "keys that begin with \\0\\0\\0ember are the registry's own";
            return Submitted::Done(Err(Error::invalid(context)));
        }
        let now = cx.now.cluster;
        let known = self.store.get(key);
        let live = known.and_then(|entry| entry.live.as_ref());
        let expired =
            live.is_some_and(|live| live.expired(now)) && !planted::is(Fault::ServeExpired);
        let idle = !expired && live.is_some_and(|live| live.idle(now));
        // Mostly nothing has ended, and what was found is what counts.
        let lives_on = !expired && !idle;
        let at_once = lives_on.then(|| self.evaluate_on(known, key, operation, cx));
        if idle && self.ask_idle(key, cx) {
            return self.park(ask, caller, cx);
        }
        let ended = expired || (idle && !self.idle_is_kept(cx));
        // What has ended goes when it is asked for, and its descendants with it; a read waits for nothing.
        let goes = ended && self.expire(key, cx);
        if goes && !operation.is_read() && self.log.is_pending(key) {
            return self.park(ask, caller, cx);
        }
        let mut outcome = match at_once {
            Some(outcome) => outcome,
            None => self.evaluate_key(key, operation, true, cx),
        };
        if spends(operation, &outcome) {
            match self.let_children_go(key, ask.request_id.is_some(), cx) {
                Ok(Children::None) => {}
                // Under the version that follows those of the links.
                Ok(Children::Gone) => {
                    outcome = self.evaluate_key(key, operation, expired || idle, cx);
                }
                Ok(Children::Coming) => return self.park(ask, caller, cx),
                Err(error) => return Submitted::Done(Err(error)),
            }
        }
        let Evaluated {
            reply,
            entry,
            touched,
        } = match outcome {
            Ok(evaluated) => evaluated,
            Err(error) => return Submitted::Done(Err(error)),
        };
        let held = touched && self.touch_must_be_held(key, cx);
        if held && self.log.is_pending(key) {
            return self.park(ask, caller, cx);
        }
        let touch = held.then(|| self.store.get(key)).flatten();
        let touch = touch.map(|entry| touched_at(entry, now));
        if touched && !held {
            self.touch(key, cx);
        }
        let request = ask.request_id.filter(|_| !operation.is_read());
        let effect = match entry.or(touch) {
            Some(entry) => UpdateEffect::Set {
                key: key.clone(),
                entry,
            },
            None if request.is_some() => UpdateEffect::Nothing,
            None => return Submitted::Done(Ok(reply)),
        };
        self.write(effect, (request, ask.deadline), reply, caller, cx)
    }

    /// Whether the last access that moves now must be with every owner before it is answered:
    /// what they know of the key is so old that a batch would come too late.
    pub(super) fn touch_must_be_held(&self, key: &Blob, cx: &Cx<'_>) -> bool {
        let live = self.store.get(key).and_then(|entry| entry.live.as_ref());
        self.settings.full_sync()
            && !self.local()
            && !planted::is(Fault::ForgetTouches)
            && live.is_some_and(|live| {
                live.time_to_idle.is_some()
                    && cx.now.cluster.since(live.last_access)
                        > self.touch_batch(live.time_to_idle) / 2
            })
    }

    pub(super) fn evaluate_key(
        &self,
        key: &Blob,
        operation: &KeyOperation,
        ended: bool,
        cx: &Cx<'_>,
    ) -> Result<Evaluated> {
        self.evaluate_on(self.known(key, ended), key, operation, cx)
    }

    /// The state of a key, but for a life that has ended.
    pub(super) fn known(&self, key: &Blob, ended: bool) -> Option<&Entry> {
        let known = self.store.get(key);
        known.filter(|entry| !(ended && entry.live.is_some()))
    }

    /// The same on a state that was found already.
    fn evaluate_on(
        &self,
        entry: Option<&Entry>,
        key: &Blob,
        operation: &KeyOperation,
        cx: &Cx<'_>,
    ) -> Result<Evaluated> {
        let given = Given {
            created_after: self.created_after(operation),
            ..self.given(key, entry, cx)
        };
        evaluate(&given, operation)
    }

    /// What there is to evaluate an operation on.
    pub(super) fn given<'a>(
        &'a self,
        key: &'a Blob,
        entry: Option<&'a Entry>,
        cx: &Cx<'_>,
    ) -> Given<'a> {
        Given {
            settings: &self.settings,
            key,
            entry,
            now: cx.now.cluster,
            version: self.next_version(),
            created_after: self.store.cleared_at,
        }
    }

    /// The range tombstone that what an operation creates must not fall under.
    fn created_after(&self, operation: &KeyOperation) -> Option<ClusterTime> {
        let ended = match operation {
            KeyOperation::Ticket(TicketOperation::Add { record, .. }) => {
                self.store.tickets.ended_at(&record.principal)
            }
            _ => None,
        };
        self.store.cleared_at.max(ended)
    }

    pub(super) fn next_version(&self) -> EntryVersion {
        EntryVersion {
            topology: self.place.topology,
            counter: self.log.applied + 1,
        }
    }

    fn decide_clear(&mut self, ask: &Ask, caller: &mut Caller<'_>, cx: &Cx<'_>) -> Submitted {
        let now = cx.now.cluster;
        let (mut at, mut removed) = (now, 0);
        for (key, entry) in self.store.entries() {
            at = at.max(entry.created_at);
            if note::is_note(key) {
                continue;
            }
            let lives = |live: &crate::types::Live| !live.expired(now) && !live.idle(now);
            removed += u64::from(entry.live.as_ref().is_some_and(lives));
        }
        let effect = UpdateEffect::Clear {
            at,
            version: self.next_version(),
        };
        let request = (ask.request_id, ask.deadline);
        self.write(effect, request, Reply::Cleared { removed }, caller, cx)
    }

    /// Streams an update and answers when the write synchronization mode allows it.
    pub(super) fn write(
        &mut self,
        effect: UpdateEffect,
        (request, deadline): (Option<RequestId>, Monotonic),
        reply: Reply,
        caller: &mut Caller<'_>,
        cx: &Cx<'_>,
    ) -> Submitted {
        if let Err(error) = self.room(request.is_some(), cx) {
            return Submitted::Done(Err(error));
        }
        let record = |id| {
            (
                id,
                RequestRecord {
                    at: cx.now.cluster,
                    reply: reply.clone(),
                },
            )
        };
        let counter = self.append(effect, request.map(record), cx);
        let waits = self.settings.full_sync() && !planted::is(Fault::AckBeforeReplicas);
        if !waits || self.log.committed.counter >= counter {
            return Submitted::Done(Ok(reply));
        }
        let topology = self.place.topology;
        self.wait_for(
            counter,
            Waiter {
                asker: caller.asker(),
                reply,
                topology,
                deadline,
            },
        );
        Submitted::Pending
    }

    /// Whether a write finds room wherever it needs it.
    pub(super) fn room(&self, with_id: bool, cx: &Cx<'_>) -> Result<()> {
        if self.log.is_full() {
            return Err(Error::overloaded(
                "too many writes of the partition wait for owners",
            ));
        }
        if with_id && self.store.requests.is_full() {
            return Err(Error::overloaded(
                "the partition remembers as many requests as it may",
            ));
        }
        let members = self.lead.as_ref().map(|lead| lead.acked.keys());
        if members
            .into_iter()
            .flatten()
            .any(|member| !cx.shell.has_room(*member))
        {
            return Err(Error::overloaded("the queue to an owner is full"));
        }
        Ok(())
    }

    /// Gives an update its place and sends it to all members of the stream.
    pub(super) fn append(
        &mut self,
        effect: UpdateEffect,
        request: Option<(RequestId, RequestRecord)>,
        cx: &Cx<'_>,
    ) -> u64 {
        let counter = self.log.applied + 1;
        let topology = self.place.topology;
        let mut update = Update {
            counter,
            topology,
            effect,
            request,
        };
        self.invalidate(counter, &update.effect, cx);
        let alone = self.lead.as_ref().is_none_or(|lead| lead.acked.is_empty());
        let limit = self.near_limit(cx.now.cluster);
        if alone && self.log.is_settled() && counter <= limit {
            self.log.pass(WatchPosition { counter, topology });
            self.apply(update, cx);
            self.note_agreement(cx);
            return counter;
        }
        update.effect.own();
        if !self.settings.full_sync() {
            self.apply(update.clone(), cx);
        }
        let (stream, committed) = (self.log.stream, self.log.committed.counter);
        if let Some(lead) = self.lead.as_mut().filter(|_| !alone) {
            lead.resend_at.get_or_insert(cx.resend_at());
        }
        for member in self.stream_members() {
            let updates = vec![update.clone()];
            self.send(
                member,
                Body::Replicate(Replicate {
                    stream,
                    committed,
                    updates,
                }),
                cx,
            );
        }
        self.log.push(update);
        if alone {
            self.commit_to(counter.min(limit), cx);
        }
        counter
    }

    /// The members of the stream that have acknowledged its beginning.
    fn stream_members(&self) -> impl Iterator<Item = Member> {
        self.lead.iter().flat_map(|lead| {
            let members = lead.acked.keys();
            members
                .filter(|member| lead.joined.contains(member))
                .copied()
        })
    }

    /// Commits what every member holds, answers, and tells the members when idle.
    pub(super) fn advance(&mut self, cx: &Cx<'_>) {
        let Some(lead) = &self.lead else { return };
        if matches!(lead.phase, Phase::Asking { .. }) {
            return;
        }
        if !self.has_lease(cx) && self.settings.stops() {
            // Who was left out may still show what this would replace.
            self.waits_for_lease = true;
            return;
        }
        let held = lead.held_by_all(self.log.applied);
        let upto = held.min(self.near_limit(cx.now.cluster));
        if upto <= self.log.committed.counter {
            return;
        }
        self.commit_to(upto, cx);
        if self.log.is_settled() {
            for member in self.stream_members() {
                // Nobody waits for it: a backup asks the primary for what it has pending.
                cx.shell.send_along(member, self.message(self.committed()));
            }
        }
        self.merge_settled(cx);
        self.unpark(cx);
    }

    /// How far everything is committed, for a member.
    fn committed(&self) -> Body {
        Body::Replicate(Replicate {
            stream: self.log.stream,
            committed: self.log.committed.counter,
            updates: Vec::new(),
        })
    }

    /// Commits up to a counter: makes visible, answers who waits.
    pub(super) fn commit_to(&mut self, upto: u64, cx: &Cx<'_>) {
        while let Some(update) = self.log.commit_next(upto) {
            let (counter, topology) = (update.counter, update.topology);
            self.note_late_update(counter, topology);
            if self.settings.full_sync() {
                self.apply(update, cx);
            }
            while let Some(waiter) = self.waiters.take(counter) {
                let result = if waiter.topology == topology {
                    Ok(waiter.reply)
                } else {
                    Err(Error::unknown("another write took the place of this one"))
                };
                self.answer(waiter.asker, result, cx);
            }
        }
        self.note_agreement(cx);
    }

    /// Applies an update to the store and tells the watchers.
    pub(super) fn apply(&mut self, update: Update, cx: &Cx<'_>) {
        let Update {
            counter,
            topology,
            effect,
            request,
        } = update;
        if planted::is(Fault::SkipUpdates) && self.lead.is_none() && counter.is_multiple_of(7) {
            return;
        }
        if self.lead.is_some() {
            self.note_session_of(&effect, request.as_ref());
        }
        let watched = self.needs_events(cx);
        let mut events = watched.then(Vec::new);
        let mut tell = |change: Option<Change>| {
            let change = change.filter(is_told);
            if let (Some(events), Some((kind, entry, previous))) = (&mut events, change) {
                events.push(Event {
                    kind,
                    counter,
                    entry,
                    previous,
                });
            }
        };
        match effect {
            UpdateEffect::Nothing => {}
            UpdateEffect::Set { key, entry } => tell(self.apply_set(&key, entry, watched)),
            UpdateEffect::Prepare(prepared) => self.apply_prepare(*prepared),
            UpdateEffect::Status(status) => self.apply_status(status),
            UpdateEffect::Finish { id, until, writes } => {
                for (key, entry) in writes {
                    tell(self.apply_set(&key, entry, watched));
                }
                self.apply_finish(id, until);
            }
            UpdateEffect::Expire {
                key,
                incarnation,
                tombstone,
            } => {
                let gone = self.apply_expire(&key, incarnation, tombstone);
                if gone.is_some() {
                    self.end_descendants(&key, cx);
                }
                tell(gone.and_then(|gone| end(EventKind::Expired, &key, &gone)));
            }
            UpdateEffect::Clear { at, version } => {
                self.store.see(version);
                for (key, gone) in self.store.clear(at) {
                    tell(end(EventKind::Removed, &key, &gone));
                }
            }
            UpdateEffect::RaiseFloor { floor } => {
                let dropped = self.store.raise_floor(floor);
                cx.tally.tombstones_dropped.add(dropped);
            }
        }
        for (key, gone) in self.store.take_killed() {
            tell(end(EventKind::Removed, &key, &gone));
        }
        if let Some((id, record)) = request {
            self.expiry
                .note_request(record.at.after(self.settings.request_id_window));
            self.store.requests.insert(id, record);
        }
        self.publish(WatchPosition { counter, topology }, events, cx);
        self.look_at_chores(cx);
    }

    /// Takes a state in; what that was, where there are watchers.
    fn apply_set(&mut self, key: &Blob, entry: Entry, watched: bool) -> Option<Change> {
        self.expiry.note(&entry);
        if note::is_ended(key) {
            self.expiry.note_floor();
        }
        let dead = entry.live.is_none();
        let (changed, before) = match watched {
            true => self.store.set(key, entry),
            false => (self.store.set_over(key, entry), None),
        };
        if planted::is(Fault::ForgetTombstones) && dead {
            self.store.take(key);
        }
        (changed && watched)
            .then(|| self.change_of(key, before.as_ref()))
            .flatten()
    }

    /// What a change of a key was, for watchers.
    fn change_of(&self, key: &Blob, before: Option<&Entry>) -> Option<Change> {
        let before = before.and_then(|before| view(key, before, false));
        let after = self.store.get(key);
        let after = after.and_then(|after| view(key, after, false));
        match (before, after) {
            // Only the last access moved, which is no change of the entry.
            (Some(old), Some(new)) if old.version == new.version => None,
            (Some(gone), None) => Some((EventKind::Removed, gone, None)),
            (None, after) => Some((EventKind::Created, after?, None)),
            (before, after) => Some((EventKind::Updated, after?, before)),
        }
    }

    fn apply_expire(
        &mut self,
        key: &Blob,
        incarnation: EntryVersion,
        tombstone: bool,
    ) -> Option<Entry> {
        if let Some(incoming) = &mut self.incoming {
            incoming.expired.push((key.clone(), incarnation, tombstone));
        }
        self.end_life(key, incarnation, tombstone)
    }

    /// Ends a life by time, if it is the one that is here; returns it.
    pub(super) fn end_life(
        &mut self,
        key: &Blob,
        incarnation: EntryVersion,
        tombstone: bool,
    ) -> Option<Entry> {
        let same = |entry: &&Entry| entry.incarnation == incarnation && entry.live.is_some();
        let gone = self.store.get(key).filter(same)?.clone();
        if tombstone {
            let dead = Entry {
                removed_by_key: false,
                live: None,
                ..gone.clone()
            };
            self.store.set(key, dead);
        } else {
            self.store.take(key);
        }
        Some(gone)
    }

    /// Answers a read from what is committed here.
    pub(super) fn read(&mut self, operation: &Operation, cx: &Cx<'_>) -> Option<Reply> {
        let now = cx.now.cluster;
        let lives = |entry: &Entry| {
            entry
                .live
                .as_ref()
                .is_some_and(|live| !live.expired(now) && !live.idle(now))
                || (planted::is(Fault::ServeExpired) && entry.live.is_some())
        };
        match operation {
            Operation::Key { key, operation } => {
                let ended = self.store.get(key).is_some_and(|entry| !lives(entry));
                let evaluated = self.evaluate_key(key, operation, ended, cx).ok()?;
                if evaluated.touched {
                    self.touch(key, cx);
                }
                Some(evaluated.reply)
            }
            Operation::Scan {
                prefix,
                after,
                limit,
                keys_only,
            } => {
                let limit = (*limit).clamp(1, SCAN_MAX) as usize;
                let page = self.store.page(prefix, after.as_deref(), limit, lives);
                let more = page.len() > limit;
                let seen = |key: &Blob| view(key, self.store.get(key)?, *keys_only);
                let entries = page.into_iter().take(limit).filter_map(seen).collect();
                Some(Reply::Scanned { entries, more })
            }
            Operation::Size => {
                let live = self
                    .store
                    .entries()
                    .filter(|(key, entry)| !note::is_note(key) && lives(entry))
                    .count();
                Some(Reply::Size { live: live as u64 })
            }
            Operation::Tickets(TicketsOperation::List {
                filter,
                after,
                limit,
            }) => Some(self.list_tickets(filter, after.as_ref(), *limit, lives)),
            Operation::Tickets(TicketsOperation::Count { filter }) => {
                Some(self.count_tickets(filter, now, lives))
            }
            Operation::Clear
            | Operation::Transaction { .. }
            | Operation::Verify { .. }
            | Operation::Tickets(_)
            | Operation::Lock { .. }
            | Operation::Errand(_) => None,
        }
    }

    /// A member of the stream holds everything up to a counter.
    pub(super) fn on_ack(&mut self, from: Member, stream: TopologyVersion, upto: u64, cx: &Cx<'_>) {
        let end = self.log.applied;
        let Some(lead) = self.lead.as_mut().filter(|lead| lead.stream == stream) else {
            return;
        };
        let Some(acked) = lead.acked.get_mut(&from) else {
            return;
        };
        let begins = lead.joined.insert(from);
        let repeated = *acked >= upto;
        *acked = (*acked).max(upto.min(end));
        let acked = *acked;
        if !lead.waits(end) {
            lead.resend_at = None;
        }
        let repeat = lead.repeats.get_mut(&from);
        let goes_on = repeat.is_some_and(|repeat| repeat.goes_on(acked));
        if (begins || goes_on) && acked < end {
            let upto = self.repeat_updates(from, acked, cx);
            let lead = self.lead.as_mut();
            if let Some(repeat) = lead.and_then(|lead| lead.repeats.get_mut(&from)) {
                repeat.upto = upto;
            }
        } else if repeated && acked >= self.log.committed.counter {
            self.send(from, self.committed(), cx);
        }
        self.advance(cx);
    }

    /// A member of the stream misses updates; one that names no stream has nothing at all. Each of
    /// the updates behind a gap says so: it is answered once until the timer turns.
    pub(super) fn on_gap(&mut self, from: Member, stream: TopologyVersion, have: u64, cx: &Cx<'_>) {
        if stream == TopologyVersion::default() {
            self.load_again(from, cx);
            return;
        }
        let committed = self.log.committed.counter;
        let Some(lead) = self.lead.as_mut().filter(|lead| lead.stream == stream) else {
            return;
        };
        if lead.joined.contains(&from) && have >= committed {
            let repeat = lead.repeats.entry(from).or_default();
            if repeat.is_new_gap(have) {
                self.repeat_updates(from, have, cx);
            }
        }
    }

    /// An owner to be has nothing, though it may have been loaded in an earlier view. One that has
    /// begun to load in this one acknowledges the pieces and keeps what it has.
    fn load_again(&mut self, to: Member, cx: &Cx<'_>) {
        let Some(lead) = self.lead.as_ref().filter(|lead| lead.is_active()) else {
            return;
        };
        let place = &self.place;
        let now = place.topology.number;
        let under_way = lead.loads.get(&to).is_some_and(|load| load.goes_on(now));
        if !under_way && place.loading.contains(&to) && !place.sources.contains(&to) {
            self.begin_load(to, cx);
        }
    }
}
