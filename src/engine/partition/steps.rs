//! A partition as participant of transactions, and as keeper of their decisions. The protocol, and
//! why it is safe, stands in [`crate::engine::transaction`].
//!
//! Every step is known by the id of its transaction, so that one that comes twice finds what the
//! first one left: in the tail, in what is prepared, in what has ended, or in the records. It is
//! answered only when every owner holds what the answer rests on, in all synchronization modes.

use super::evaluate::{Evaluated, Given, holds};
use super::held::{self, Held, Inquiry, Kind, REMEMBERED_FOR, is_step, writes_of};
use super::waiting::Waiter;
use super::{Ask, Caller, Cx, Partition, Submitted};
use crate::engine::planted::{self, Fault};
use crate::error::{Error, ErrorKind, Result};
use crate::types::message::{RequestRecord, UpdateEffect};
use crate::types::time::SECOND;
use crate::types::transaction::{Branch, Part, Prepare, Prepared, Status, TransactionStates};
use crate::types::{
    AtomicityMode, Blob, ClusterTime, Decision, Entry, EntryVersion, EntryView, KeyOperation,
    Micros, Monotonic, Operation, Reply, RequestId, Step, StepReply, TransactionId,
};
use std::collections::BTreeSet;

/// Between two questions for the decision of what is prepared.
const ASK_AGAIN: Micros = SECOND;
/// The reason of a step of an older transaction that was met, or of one that has ended.
pub const CONFLICT: &str = "TRANSACTION_CONFLICT";
/// The reason where a cache takes no part in transactions.
pub const ATOMIC_CACHE: &str = "ATOMIC_CACHE";

/// The reason while a server of the view does not know transactions.
pub const OLDER_PROTOCOL: &str = "OLDER_PROTOCOL";

/// Whether the keys of a transaction may be looked at.
enum Ready {
    /// These lives have ended.
    Now(BTreeSet<Blob>),
    Later,
    Never(Error),
}

pub(super) fn step_reply(reply: StepReply) -> Reply {
    Reply::Step(Box::new(reply))
}

fn prepared_reply(prepared: &Prepared) -> Reply {
    step_reply(StepReply::Prepared {
        held: prepared.held,
        operations: prepared.operations.replies.clone(),
        otherwise: prepared.otherwise.replies.clone(),
    })
}

/// The refusal of a cache that takes no part.
pub fn atomic_cache(name: &str) -> Error {
    let context = format!("cache {name:?} is ATOMIC, so its keys take no part in transactions");
    Error::new(ErrorKind::FailedPrecondition, context).because(ATOMIC_CACHE)
}

/// The refusal while somebody would miss what is streamed.
pub fn older_protocol() -> Error {
    let context =
        "a server of the cluster speaks an older protocol: no tickets, transactions and locks yet";
    Error::unavailable(context)
        .because(OLDER_PROTOCOL)
        .not_applied()
}

impl Partition {
    /// Whether a transaction that is not decided holds a key.
    pub(super) fn is_locked(&self, key: &[u8]) -> bool {
        let held = self.held.as_ref();
        held.is_some_and(|held| held.is_locked(key)) && !planted::is(Fault::ReadPrepared)
    }

    /// Whether it holds any key under a prefix.
    pub(super) fn is_locked_under(&self, prefix: &[u8]) -> bool {
        let held = self.held.as_ref();
        held.is_some_and(|held| held.locks_under(prefix))
    }

    /// Carries out a step at the serving primary.
    pub(super) fn decide_step(
        &mut self,
        ask: Ask,
        caller: &mut Caller<'_>,
        cx: &Cx<'_>,
    ) -> Submitted {
        let Operation::Transaction { id, step } = &ask.operation else {
            let error = Error::new(ErrorKind::Internal, "this is no step of a transaction");
            return Submitted::Done(Err(error));
        };
        let id = *id;
        let takes_part = self.settings.atomicity == AtomicityMode::Transactional;
        if !takes_part && !matches!(step, Step::Look { .. }) {
            return Submitted::Done(Err(atomic_cache(&self.settings.name)));
        }
        if !cx.transactions
            && matches!(
                step,
                Step::Alone(_) | Step::Prepare(_) | Step::Decide(_) | Step::Lock { .. }
            )
        {
            return Submitted::Done(Err(older_protocol()));
        }
        match step {
            Step::Alone(_) => self.alone(id, ask, caller, cx),
            Step::Prepare(_) => self.prepare(id, ask, caller, cx),
            Step::Decide(decide) => {
                let committed = Decision::Committed { held: decide.held };
                let reply = Reply::Executed {
                    held: decide.held,
                    replies: decide.replies.clone(),
                };
                let deadline = decide.deadline;
                let request = ask.request_id.map(|request| (request, reply));
                self.record(id, committed, deadline, request, (&ask, caller), cx)
            }
            Step::Inquire { deadline } => {
                let deadline = *deadline;
                self.record(id, Decision::RolledBack, deadline, None, (&ask, caller), cx)
            }
            Step::Finish { outcome, deadline } => {
                let (outcome, deadline) = (*outcome, *deadline);
                let done = self.finish(id, outcome, deadline, (&ask, caller), cx);
                if let Some(lead) = &mut self.lead {
                    lead.locks.release(id.age());
                }
                self.unpark(cx);
                done
            }
            Step::Forget { deadline } => {
                let until = deadline.after(REMEMBERED_FOR);
                self.forget_status(id, until, cx);
                Submitted::Done(Ok(step_reply(StepReply::Finished)))
            }
            Step::Look { .. } => self.look(ask, caller, cx),
            Step::Lock { .. } => self.lock(id, ask, caller, cx),
            Step::Unlock => {
                self.unlock(id, cx);
                Submitted::Done(Ok(step_reply(StepReply::Finished)))
            }
        }
    }

    fn prepare(
        &mut self,
        id: TransactionId,
        ask: Ask,
        caller: &mut Caller<'_>,
        cx: &Cx<'_>,
    ) -> Submitted {
        let Some(prepare) = prepare_of(&ask) else {
            return Submitted::Done(Err(Error::new(ErrorKind::Internal, "no prepare")));
        };
        let ends = |update: &crate::types::message::Update| is_step(update, id, Kind::Finish);
        let ending = self.log.find(ends).is_some() && !planted::is(Fault::PrepareBehindEnd);
        let held = self.held.get_or_insert_default();
        // One that waited here may come behind its own end: nobody would end it before its deadline.
        if held.has_finished(id) || ending {
            return Submitted::Done(Err(ended()));
        }
        let known = held.prepared(id).map(prepared_reply);
        if let Some(reply) = known {
            return self.wait_for_step(id, Kind::Prepare, reply, (&ask, caller));
        }
        if cx.now.cluster > prepare.deadline {
            return Submitted::Done(Err(ended()));
        }
        let keys: BTreeSet<Blob> = prepare.part.keys().cloned().collect();
        let ended = match self.ready(id, true, &keys, cx) {
            Ready::Now(ended) => ended,
            Ready::Later => return self.park(ask, caller, cx),
            Ready::Never(error) => return Submitted::Done(Err(error)),
        };
        let part = &prepare.part;
        let prepared = Prepared {
            id,
            status: prepare.status,
            deadline: prepare.deadline,
            held: self.all_hold(part, &ended, cx),
            operations: self.branch(&part.operations, &ended, cx),
            otherwise: self.branch(&part.otherwise, &ended, cx),
            keys: keys.into_iter().collect(),
        };
        let held = self.held.get_or_insert_default();
        if !held.has_room(held::weight(&prepared)) {
            let context = "the partition holds as many transactions as it may";
            return Submitted::Done(Err(Error::overloaded(context)));
        }
        let reply = prepared_reply(&prepared);
        let effect = UpdateEffect::Prepare(Box::new(prepared));
        self.hold(effect, None, reply, (&ask, caller), cx)
    }

    /// A transaction whose keys are all here: decided and done by one update.
    fn alone(
        &mut self,
        id: TransactionId,
        ask: Ask,
        caller: &mut Caller<'_>,
        cx: &Cx<'_>,
    ) -> Submitted {
        let Operation::Transaction {
            step: Step::Alone(part),
            ..
        } = &ask.operation
        else {
            return Submitted::Done(Err(Error::new(ErrorKind::Internal, "not alone")));
        };
        let keys: BTreeSet<Blob> = part.keys().cloned().collect();
        let ended = match self.ready(id, false, &keys, cx) {
            Ready::Now(ended) => ended,
            Ready::Later => return self.park(ask, caller, cx),
            Ready::Never(error) => return Submitted::Done(Err(error)),
        };
        let held = self.all_hold(part, &ended, cx);
        let operations = if held {
            &part.operations
        } else {
            &part.otherwise
        };
        let Branch { writes, replies } = self.branch(operations, &ended, cx);
        let replies = match replies {
            Ok(replies) => replies,
            Err(error) => return Submitted::Done(Err(error)),
        };
        let reply = Reply::Executed { held, replies };
        if writes.is_empty() && ask.request_id.is_none() {
            return Submitted::Done(Ok(reply));
        }
        let request = ask.request_id.map(|request| (request, reply.clone()));
        // Nobody asks for it again by its id, so nothing is remembered under that.
        let until = ClusterTime::default();
        let effect = UpdateEffect::Finish { id, until, writes };
        self.hold(effect, request, reply, (&ask, caller), cx)
    }

    /// Whether nothing stands in the way of a transaction. One that prepares waits for younger
    /// ones that are prepared, passes over locks of younger ones that are not, and gives way to older
    /// ones; one that holds nothing elsewhere waits for all.
    fn ready(
        &mut self,
        id: TransactionId,
        prepares: bool,
        keys: &BTreeSet<Blob>,
        cx: &Cx<'_>,
    ) -> Ready {
        let mut ended = BTreeSet::new();
        for key in keys {
            if self.settings.full_sync() && self.log.is_pending(key) {
                return Ready::Later;
            }
            if self.is_locked(key) {
                let held = self.held.get_or_insert_default();
                let older = |holder: TransactionId| prepares && holder.age() < id.age();
                if held.holders(key).any(older) {
                    return Ready::Never(conflict());
                }
                return Ready::Later;
            }
            match self
                .reserved_by(key)
                .filter(|holder| holder.age() != id.age())
            {
                Some(_) if !prepares => return Ready::Later,
                Some(holder) if holder.age() < id.age() => return Ready::Never(conflict()),
                _ => {}
            }
        }
        for key in keys {
            match self.life_has_ended(key, cx) {
                Some(true) => {
                    ended.insert(key.clone());
                }
                Some(false) => {}
                None => return Ready::Later,
            }
        }
        Ready::Now(ended)
    }

    /// Whether a life is past its point; none where it is only being found out or ended.
    fn life_has_ended(&mut self, key: &Blob, cx: &Cx<'_>) -> Option<bool> {
        let now = cx.now.cluster;
        let live = self.store.get(key).and_then(|entry| entry.live.as_ref());
        let expired = live.is_some_and(|live| live.expired(now));
        let idle = !expired && live.is_some_and(|live| live.idle(now));
        if idle && self.ask_idle(key, cx) {
            return None;
        }
        let ended = expired || (idle && !self.idle_is_kept(cx));
        if ended && self.expire(key, cx) && self.log.is_pending(key) {
            return None;
        }
        Some(expired || idle)
    }

    fn all_hold(&self, part: &Part, ended: &BTreeSet<Blob>, cx: &Cx<'_>) -> bool {
        part.conditions.iter().all(|(key, condition)| {
            let known = self.known(key, ended.contains(key));
            let given: Given<'_> = self.given(key, known, cx);
            holds(&given, condition)
        })
    }

    fn branch(
        &self,
        operations: &[(Blob, KeyOperation)],
        ended: &BTreeSet<Blob>,
        cx: &Cx<'_>,
    ) -> Branch {
        let mut writes = Vec::new();
        let mut replies = Vec::with_capacity(operations.len());
        for (key, operation) in operations {
            let ended = ended.contains(key);
            let Evaluated {
                reply,
                entry,
                touched,
            } = match self.evaluate_key(key, operation, ended, cx) {
                Ok(evaluated) => evaluated,
                Err(error) => {
                    return Branch {
                        writes: Vec::new(),
                        replies: Err(error),
                    };
                }
            };
            let accessed = || {
                let entry = self.store.get(key).filter(|_| touched)?;
                Some(super::primary::touched_at(entry, cx.now.cluster))
            };
            let write = entry.or_else(accessed);
            writes.extend(write.map(|entry| (key.clone(), entry)));
            replies.push(reply);
        }
        Branch {
            writes,
            replies: Ok(replies),
        }
    }

    /// Records a decision, unless there is one, and answers what is recorded then.
    fn record(
        &mut self,
        id: TransactionId,
        decision: Decision,
        deadline: ClusterTime,
        request: Option<(RequestId, Reply)>,
        asks: (&Ask, &mut Caller<'_>),
        cx: &Cx<'_>,
    ) -> Submitted {
        let answer = |decision| step_reply(StepReply::Decided(decision));
        if let Some(update) = self.log.find(|update| is_step(update, id, Kind::Status))
            && let UpdateEffect::Status(status) = &update.effect
        {
            let reply = answer(status.decision);
            return self.wait_for_step(id, Kind::Status, reply, asks);
        }
        let held = self.held.get_or_insert_default();
        if let Some(status) = held.status(id) {
            return Submitted::Done(Ok(answer(status.decision)));
        }
        if held.is_full_of_statuses() {
            let context = "the partition keeps as many decisions as it may";
            return Submitted::Done(Err(Error::overloaded(context)));
        }
        let late = cx.now.cluster > deadline;
        let decision = if late { Decision::RolledBack } else { decision };
        let remembered = deadline.after(REMEMBERED_FOR);
        let until = match decision {
            Decision::RolledBack => remembered.max(cx.now.cluster.after(REMEMBERED_FOR)),
            // Until somebody says that every participant has finished.
            Decision::Committed { .. } => {
                remembered.max(cx.now.cluster.after(self.settings.tombstone_retention))
            }
        };
        let request = request.filter(|_| decision != Decision::RolledBack);
        let effect = UpdateEffect::Status(Status {
            id,
            decision,
            until,
        });
        self.hold(effect, request, answer(decision), asks, cx)
    }

    fn forget_status(&mut self, id: TransactionId, until: ClusterTime, cx: &Cx<'_>) {
        let known = self.held.as_ref().and_then(|held| held.status(id));
        if let Some(status) = known.filter(|status| status.until > until)
            && self.room(false, cx).is_ok()
        {
            self.append(UpdateEffect::Status(Status { until, ..status }), None, cx);
        }
    }

    fn finish(
        &mut self,
        id: TransactionId,
        outcome: Decision,
        deadline: ClusterTime,
        asks: (&Ask, &mut Caller<'_>),
        cx: &Cx<'_>,
    ) -> Submitted {
        let reply = step_reply(StepReply::Finished);
        let known = |update: &crate::types::message::Update| is_step(update, id, Kind::Finish);
        if self.log.find(known).is_some() {
            return self.wait_for_step(id, Kind::Finish, reply, asks);
        }
        let held = self.held.get_or_insert_default();
        // A participant that knows nothing of a committed one finished it long ago.
        if held.has_finished(id)
            || (held.prepared(id).is_none()
                && outcome != Decision::RolledBack
                && self
                    .log
                    .find(|update| is_step(update, id, Kind::Prepare))
                    .is_none())
        {
            return Submitted::Done(Ok(reply));
        }
        let writes = self.writes(id, outcome);
        let until = deadline.after(REMEMBERED_FOR);
        let until = until.max(cx.now.cluster.after(REMEMBERED_FOR));
        let effect = UpdateEffect::Finish { id, until, writes };
        self.hold(effect, None, reply, asks, cx)
    }

    /// The states that a decision leaves here.
    fn writes(&self, id: TransactionId, decision: Decision) -> Vec<(Blob, crate::types::Entry)> {
        let held = self.held.as_ref();
        if let Some(prepared) = held.and_then(|held| held.prepared(id)) {
            return writes_of(prepared, decision);
        }
        let update = self.log.find(|update| is_step(update, id, Kind::Prepare));
        match update.map(|update| &update.effect) {
            Some(UpdateEffect::Prepare(prepared)) => writes_of(prepared, decision),
            _ => Vec::new(),
        }
    }

    /// Keys as they are, at the primary; waits for whoever may be changing them.
    fn look(&mut self, ask: Ask, caller: &mut Caller<'_>, cx: &Cx<'_>) -> Submitted {
        let Operation::Transaction {
            step: Step::Look { keys, omit_values },
            ..
        } = &ask.operation
        else {
            return Submitted::Done(Err(Error::new(ErrorKind::Internal, "nothing to look at")));
        };
        let omit_values = *omit_values;
        let keys = keys.clone();
        match self.look_at(&keys, omit_values, cx) {
            Some(looked) => Submitted::Done(Ok(step_reply(StepReply::Looked(looked)))),
            None => self.park(ask, caller, cx),
        }
    }

    /// Keys as they are; none where one of them may be changing.
    pub(super) fn look_at(
        &mut self,
        keys: &[Blob],
        omit_values: bool,
        cx: &Cx<'_>,
    ) -> Option<Vec<(Option<EntryView>, u64)>> {
        let inherited = self.lead.as_ref().map_or(0, |lead| lead.inherited);
        let unsettled = self.log.committed.counter < inherited && self.settings.full_sync();
        let mut looked = Vec::with_capacity(keys.len());
        for key in keys {
            if self.is_locked(key) || (unsettled && self.log.is_pending(key)) {
                return None;
            }
            let live = self.store.get(key).and_then(|entry| entry.live.as_ref());
            let expired = live.is_some_and(|live| live.expired(cx.now.cluster));
            let idle = !expired && live.is_some_and(|live| live.idle(cx.now.cluster));
            if idle && self.ask_idle(key, cx) {
                return None;
            }
            let get = KeyOperation::Get {
                touch: None,
                omit_value: omit_values,
            };
            let entry = match self.evaluate_key(key, &get, expired || idle, cx) {
                Ok(Evaluated {
                    reply: Reply::Got { entry },
                    ..
                }) => entry,
                _ => None,
            };
            looked.push((entry, self.stamp(key)));
        }
        Some(looked)
    }

    /// Another one whenever the state of a key is another one. Of a key that is not known, it says
    /// which tombstones may be gone.
    fn stamp(&self, key: &Blob) -> u64 {
        let absent = || {
            let cleared = self.store.cleared_at.map_or(0, |at| at.0);
            EntryVersion {
                counter: self.store.floor.counter ^ cleared,
                ..self.store.floor
            }
        };
        let state = self.store.get(key).map(|entry| entry.version);
        state.unwrap_or_else(absent).digest()
    }

    /// Streams what a step leaves, and answers when every owner holds it.
    fn hold(
        &mut self,
        effect: UpdateEffect,
        request: Option<(RequestId, Reply)>,
        reply: Reply,
        (ask, caller): (&Ask, &mut Caller<'_>),
        cx: &Cx<'_>,
    ) -> Submitted {
        if let Err(error) = self.room(request.is_some(), cx) {
            return Submitted::Done(Err(error));
        }
        let at = cx.now.cluster;
        let record = request.map(|(id, reply)| (id, RequestRecord { at, reply }));
        let counter = self.append(effect, record, cx);
        if self.log.committed.counter >= counter {
            return Submitted::Done(Ok(reply));
        }
        let waiter = Waiter {
            asker: caller.asker(),
            reply,
            topology: self.place.topology,
            deadline: ask.deadline,
        };
        self.wait_for(counter, waiter);
        Submitted::Pending
    }

    /// Answers a step that came before once every owner holds what it left.
    fn wait_for_step(
        &mut self,
        id: TransactionId,
        kind: Kind,
        reply: Reply,
        (ask, caller): (&Ask, &mut Caller<'_>),
    ) -> Submitted {
        let Some(update) = self.log.find(|update| is_step(update, id, kind)) else {
            return Submitted::Done(Ok(reply));
        };
        let (counter, topology) = (update.counter, update.topology);
        let waiter = Waiter {
            asker: caller.asker(),
            reply,
            topology,
            deadline: ask.deadline,
        };
        self.wait_for(counter, waiter);
        Submitted::Pending
    }

    /// Applies what is prepared, recorded, or has ended, at every owner.
    pub(super) fn apply_prepare(&mut self, prepared: Prepared) {
        self.held.get_or_insert_default().hold(prepared);
    }

    pub(super) fn apply_status(&mut self, status: Status) {
        self.held.get_or_insert_default().record(status);
    }

    pub(super) fn apply_finish(&mut self, id: TransactionId, until: ClusterTime) {
        if until > ClusterTime::default() {
            self.held.get_or_insert_default().finish(id, until);
        }
    }

    /// Whether an initiator is out of the view: what it prepared is asked about.
    pub fn initiators_gone(&mut self, gone: impl Fn(crate::types::Member) -> bool, cx: &Cx<'_>) {
        if let Some(held) = &mut self.held {
            held.initiators_gone(&gone, cx.now.cluster);
        }
        let freed = |lead: &mut Box<super::lead::Lead>| lead.locks.initiators_gone(gone);
        if self.lead.as_mut().is_some_and(freed) {
            self.unpark(cx);
        }
    }

    pub(super) fn on_held_timeout(&mut self, cx: &Cx<'_>) {
        let active = self.lead.as_ref().is_some_and(|lead| lead.is_active());
        let serves = active && !self.renounced && (cx.serving || self.local());
        if let Some(held) = &mut self.held {
            held.on_due(serves, cx.now.cluster, ASK_AGAIN);
            let alone = planted::is(Fault::DecideAlone);
            let asked = alone.then(|| std::mem::take(&mut held.inquiries));
            for inquiry in asked.into_iter().flatten() {
                self.on_decision(inquiry.id, Decision::RolledBack, cx);
            }
        }
        if self.held.as_ref().is_some_and(|held| held.is_empty()) {
            self.held = None;
        }
        let freed = |lead: &mut Box<super::lead::Lead>| lead.locks.on_due(cx.now.cluster);
        if self.lead.as_mut().is_some_and(freed) {
            self.unpark(cx);
        }
    }

    pub(super) fn next_held(&self, now: crate::types::Now) -> Option<Monotonic> {
        let held = self.held.as_ref().and_then(|held| held.next(now));
        let locks = self.lead.as_ref().and_then(|lead| lead.locks.next(now));
        held.into_iter().chain(locks).min()
    }

    /// Transactions whose decision must be asked for.
    pub fn take_inquiries(&mut self) -> Vec<Inquiry> {
        self.held
            .as_mut()
            .map_or_else(Vec::new, |held| std::mem::take(&mut held.inquiries))
    }

    /// The decision that was asked for. One that comes late finds nothing that is prepared.
    pub fn on_decision(&mut self, id: TransactionId, decision: Decision, cx: &Cx<'_>) {
        let active = self.lead.as_ref().is_some_and(|lead| lead.is_active());
        let known = self.held.as_ref().and_then(|held| held.prepared(id));
        let Some(deadline) = known.map(|prepared| prepared.deadline).filter(|_| active) else {
            return;
        };
        let pending = |update: &_| is_step(update, id, Kind::Finish);
        if self.log.find(pending).is_some() || self.room(false, cx).is_err() {
            return;
        }
        let writes = self.writes(id, decision);
        let until = deadline.max(cx.now.cluster).after(REMEMBERED_FOR);
        self.append(UpdateEffect::Finish { id, until, writes }, None, cx);
        self.unpark(cx);
    }

    /// What a transfer carries.
    pub(super) fn transaction_states(&self) -> TransactionStates {
        self.held
            .as_ref()
            .map_or_else(TransactionStates::default, |held| held.states())
    }

    /// A copy begins with what the transfer says.
    pub(super) fn begin_with(&mut self, states: TransactionStates) {
        let held = Held::of(states);
        self.held = (!held.is_empty()).then(|| Box::new(held));
    }

    /// What another history knows of transactions goes into this one. Its prepared ones are asked
    /// about again here, unless they have ended; two that hold the same key both hold it.
    pub(super) fn adopt_transactions(&mut self, states: TransactionStates, cx: &Cx<'_>) {
        for status in states.statuses {
            let known = self.held.as_ref().and_then(|held| held.status(status.id));
            if known.is_none_or(|known| known.decision < status.decision) {
                self.append(UpdateEffect::Status(status), None, cx);
            }
        }
        for prepared in states.prepared {
            let held = self.held.get_or_insert_default();
            let known = held.has_finished(prepared.id) || held.prepared(prepared.id).is_some();
            if !known {
                self.append(UpdateEffect::Prepare(Box::new(prepared)), None, cx);
            }
        }
    }

    /// Before a source tells its history: a step of a transaction that its owners had not confirmed
    /// was told to nobody. Somebody else may have decided otherwise since, and what was prepared or
    /// done on the keys as they were here would undo a part of what was done there.
    pub(super) fn take_back_steps(&mut self) {
        if planted::is(Fault::TellUnconfirmed) {
            return;
        }
        let committed = self.log.committed.counter;
        for update in self.log.behind_counter(committed, usize::MAX) {
            match &update.effect {
                UpdateEffect::Status(status) => {
                    if let Some(held) = &mut self.held {
                        held.take_back(status.id);
                    }
                }
                UpdateEffect::Prepare(prepared) => {
                    if let Some(held) = &mut self.held {
                        held.let_go(prepared.id);
                    }
                }
                // What a decision brought about here, it brings about there as well.
                UpdateEffect::Finish { until, writes, .. } if *until == ClusterTime::default() => {
                    if !self.settings.full_sync() {
                        writes
                            .iter()
                            .for_each(|(key, entry)| self.yield_to_others(key, entry));
                    }
                }
                _ => continue,
            }
            self.log.void(update.counter);
            if let Some((id, _)) = update.request {
                self.store.requests.remove(&id);
            }
        }
    }

    /// A write that was applied and is taken back: any other state of that life prevails. What was
    /// there before it is not known any more; where it was a remove, it stays one.
    fn yield_to_others(&mut self, key: &Blob, entry: &Entry) {
        let is_it = |known: &Entry| known.version == entry.version;
        if entry.live.is_none() || !self.store.get(key).is_some_and(is_it) {
            return;
        }
        if let Some(known) = self.store.take(key)
            && known.version != known.incarnation
        {
            let version = known.incarnation;
            self.store.set(key, Entry { version, ..known });
        }
    }
}

fn prepare_of(ask: &Ask) -> Option<&Prepare> {
    match &ask.operation {
        Operation::Transaction {
            step: Step::Prepare(prepare),
            ..
        } => Some(prepare),
        _ => None,
    }
}

fn conflict() -> Error {
    Error::new(ErrorKind::Conflict, "an older transaction holds the key").because(CONFLICT)
}

pub(super) fn ended() -> Error {
    Error::new(ErrorKind::Conflict, "the transaction has ended").because("TRANSACTION_ENDED")
}

/// Whether an error says that an older transaction was met.
pub fn is_conflict(error: &Error) -> bool {
    error.kind == ErrorKind::Conflict && error.reason == CONFLICT
}

/// What a step was answered.
pub fn step_of(result: Result<Reply>) -> Result<StepReply> {
    match result? {
        Reply::Step(reply) => Ok(*reply),
        _ => Err(Error::new(
            ErrorKind::Internal,
            "the answer is not that of a step",
        )),
    }
}
