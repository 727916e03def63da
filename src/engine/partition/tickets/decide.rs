//! What the primary decides about several entries of its partition: a child that registers, a step
//! of a delete, the end of a principal, children of a ticket that is spent. And what every owner
//! answers from its indexes.

use super::super::evaluate::view;
use super::super::primary::SCAN_MAX;
use super::super::{Ask, Caller, Cx, Partition, Submitted};
use super::evaluate::{ENDING, not_found, parent_gone};
use super::index::{ENDED_MAX, State, state};
use super::narrow::bounds_of;
use crate::engine::planted::{self, Fault};
use crate::error::{Error, Result};
use crate::types::message::UpdateEffect;
use crate::types::ticket::operation::ParentView;
use crate::types::ticket::{Link, Stored, TicketFilter, TicketRecord, TicketsOperation, note};
use crate::types::time::SECOND;
use crate::types::{
    Blob, ClusterTime, Entry, EntryVersion, Live, Micros, Monotonic, Operation, Reply,
};

/// The most links that one step down a tree names.
pub(super) const STEP_MAX: usize = 64;
/// The most tickets with descendants that the end of a principal names; what is beyond is found
/// as work that is due.
const ENDED_NAMED_MAX: usize = 4096;
/// How long a link outlives its child.
const LINK_GRACE: Micros = 10 * SECOND;
/// Between two looks at work that is due, and before the first: whoever began it may be about to.
const CHORE_PAUSE: Micros = SECOND;
/// How long a delete that was begun is left to who began it.
const CHORE_PATIENCE: Micros = 4 * SECOND;
/// The most parents of one look.
const CHORES_MAX: usize = 32;

/// One step of a delete; see `TicketsOperation::Delete`.
struct DeleteStep<'a> {
    key: &'a Blob,
    done: &'a [Blob],
    descends_from: Option<&'a Blob>,
    bar: bool,
}

/// What becomes of the children of a ticket that is spent.
pub enum Children {
    /// There are none.
    None,
    /// Their links are gone.
    Gone,
    /// The link of one is on its way to the owners.
    Coming,
}

/// What is behind `Live` for an entry that only stands for itself.
fn mark(at: ClusterTime, until: Option<ClusterTime>) -> Live {
    Live {
        value: Blob::default(),
        flags: 0,
        value_version: 1,
        expires_at: until,
        time_to_idle: None,
        last_access: at,
    }
}

/// The gravestone of an entry, removed by its key.
fn dead(entry: &Entry, version: EntryVersion) -> Entry {
    Entry {
        incarnation: entry.incarnation,
        version,
        created_at: entry.created_at,
        removed_by_key: true,
        live: None,
    }
}

impl Partition {
    /// Decides an operation on the tickets of the partition at the serving primary.
    pub(in super::super) fn decide_tickets(
        &mut self,
        ask: Ask,
        caller: &mut Caller<'_>,
        cx: &Cx<'_>,
    ) -> Submitted {
        let Operation::Tickets(operation) = &ask.operation else {
            return Submitted::Done(Err(not_found()));
        };
        match operation {
            TicketsOperation::Register { .. } => self.decide_register(ask, caller, cx),
            TicketsOperation::Delete { .. }
            | TicketsOperation::EndPrincipal { .. }
            | TicketsOperation::Narrow { .. } => {
                // Links and tickets that are on their way to the owners must be seen.
                if !self.log.is_settled() {
                    return self.park(ask, caller, cx);
                }
                match operation {
                    TicketsOperation::Delete { .. } => self.decide_delete(ask, caller, cx),
                    TicketsOperation::Narrow { .. } => self.decide_narrow(ask, caller, cx),
                    _ => self.decide_end(ask, caller, cx),
                }
            }
            TicketsOperation::List { .. } | TicketsOperation::Count { .. } => {
                let missed = || Err(Error::unavailable("the partition cannot be read"));
                Submitted::Done(self.read(&ask.operation, cx).map_or_else(missed, Ok))
            }
        }
    }

    fn decide_register(&mut self, ask: Ask, caller: &mut Caller<'_>, cx: &Cx<'_>) -> Submitted {
        let Operation::Tickets(TicketsOperation::Register {
            parent,
            cache,
            child,
            until,
        }) = &ask.operation
        else {
            return Submitted::Done(Err(not_found()));
        };
        let key = note::link(parent, *cache, child);
        if self.log.is_pending(parent) || self.log.is_pending(&key) {
            return self.park(ask, caller, cx);
        }
        let now = cx.now.cluster;
        let live = self.store.get(parent).and_then(|entry| entry.live.as_ref());
        let expired = live.is_some_and(|live| live.expired(now));
        let idle = !expired && live.is_some_and(|live| live.idle(now));
        if idle && self.ask_idle(parent, cx) {
            return self.park(ask, caller, cx);
        }
        if (expired || (idle && !self.idle_is_kept(cx))) && self.expire(parent, cx) {
            return Submitted::Done(Err(parent_gone()));
        }
        let ticket = self.store.get(parent).and_then(Stored::of);
        let ends = ticket.as_ref().is_some_and(|ticket| ticket.ending);
        let lives = ticket.filter(|ticket| !ticket.ending && !expired && !idle);
        let (Some(ticket), Some(entry)) = (lives, self.store.get(parent)) else {
            let gone = parent_gone();
            return Submitted::Done(Err(if ends { gone.because(ENDING) } else { gone }));
        };
        let bounds = bounds_of(parent, entry, ticket.sure_until, now);
        let reply = Reply::Registered {
            parent: Box::new(ParentView {
                name: Blob::from(ticket.name),
                limited: ticket.limited(),
                granted_by: ticket.grantors(),
                root: ticket.root.map(Link::from),
                anchor: ticket.anchor.map(Link::from),
                expires_at: bounds.end,
                sure_until: bounds.sure_until,
                at: now,
            }),
        };
        let version = self.next_version();
        let old = self.store.get(&key).filter(|link| link.live.is_some());
        let link = Entry {
            incarnation: old.map_or(version, |old| old.incarnation),
            version,
            created_at: now.max(self.store.cleared_at.map_or(now, |at| at.after(1))),
            removed_by_key: false,
            live: Some(mark(now, until.map(|until| until.after(LINK_GRACE)))),
        };
        let effect = if planted::is(Fault::OrphanChildren) {
            UpdateEffect::Nothing
        } else {
            UpdateEffect::Set { key, entry: link }
        };
        self.write(effect, (ask.request_id, ask.deadline), reply, caller, cx)
    }

    fn decide_delete(&mut self, ask: Ask, caller: &mut Caller<'_>, cx: &Cx<'_>) -> Submitted {
        let Operation::Tickets(TicketsOperation::Delete {
            key,
            done,
            descends_from,
            bar,
        }) = &ask.operation
        else {
            return Submitted::Done(Err(not_found()));
        };
        let now = cx.now.cluster;
        let live = self.store.get(key).and_then(|entry| entry.live.as_ref());
        let expired = live.is_some_and(|live| live.expired(now));
        let idle = !expired && live.is_some_and(|live| live.idle(now));
        if idle && self.ask_idle(key, cx) {
            return self.park(ask, caller, cx);
        }
        if expired || (idle && !self.idle_is_kept(cx)) {
            // It ends by its time, and its descendants with it.
            let ends = self.expire(key, cx);
            if self.log.is_pending(key) {
                return self.park(ask, caller, cx);
            }
            if !ends {
                let full = "too many writes of the partition wait for owners";
                return Submitted::Done(Err(Error::overloaded(full)));
            }
        }
        let step = DeleteStep {
            key,
            done,
            descends_from: descends_from.as_ref(),
            bar: *bar,
        };
        let (effects, reply) = self.delete_step(&step, now);
        self.write_all(effects, &ask, reply, caller, cx)
    }

    /// What a step of a delete does, and its answer.
    fn delete_step(&self, step: &DeleteStep<'_>, now: ClusterTime) -> (Vec<UpdateEffect>, Reply) {
        let key = step.key;
        let mut effects = self.drop_links(step.done.iter().filter(|link| note::is_link(link)));
        let links = self.store.tickets.links(key);
        let mut left: Vec<Blob> = links
            .filter(|link| !step.done.contains(link))
            .take(STEP_MAX + 1)
            .cloned()
            .collect();
        let more = left.len() > STEP_MAX;
        left.truncate(STEP_MAX);
        let version = self.version_behind(effects.len());
        let entry = self.store.get(key);
        let (mut removed, mut lived) = (0, false);
        let set = |entry| {
            let key = key.clone();
            UpdateEffect::Set { key, entry }
        };
        match (entry.and_then(TicketRecord::of), entry) {
            (Some(record), _) if !record.ending && !descends(&record, step.descends_from) => {
                left = Vec::new();
            }
            (Some(record), Some(entry)) => {
                lived = !record.ending;
                if left.is_empty() {
                    removed = 1;
                    effects.push(set(dead(entry, version)));
                } else if lived {
                    effects.push(set(ending(entry, record, version)));
                }
            }
            _ => {
                let barred = entry.is_some_and(|entry| entry.removed_by_key);
                let plain = entry.is_some_and(|entry| entry.live.is_some());
                if step.bar && !barred && !plain {
                    effects.push(set(Entry {
                        incarnation: version,
                        version,
                        created_at: now,
                        removed_by_key: true,
                        live: None,
                    }));
                }
            }
        }
        let reply = Reply::Deleted {
            removed,
            lived,
            left,
            more,
        };
        (effects, reply)
    }

    /// Ends notes that live, without a trace.
    fn drop_links<'a>(&self, notes: impl Iterator<Item = &'a Blob>) -> Vec<UpdateEffect> {
        let lives = notes.filter_map(|key| {
            let note = self.store.get(key).filter(|note| note.live.is_some())?;
            Some(UpdateEffect::Expire {
                key: key.clone(),
                incarnation: note.incarnation,
                tombstone: false,
            })
        });
        lives.collect()
    }

    /// The version of the update behind so many that come first.
    pub(super) fn version_behind(&self, updates: usize) -> EntryVersion {
        EntryVersion {
            topology: self.place.topology,
            counter: self.log.applied + 1 + updates as u64,
        }
    }

    /// Streams several updates as one: the answer comes with the last of them.
    pub(super) fn write_all(
        &mut self,
        mut effects: Vec<UpdateEffect>,
        ask: &Ask,
        reply: Reply,
        caller: &mut Caller<'_>,
        cx: &Cx<'_>,
    ) -> Submitted {
        let Some(last) = effects.pop() else {
            return Submitted::Done(Ok(reply));
        };
        if let Err(error) = self.room(ask.request_id.is_some(), cx) {
            return Submitted::Done(Err(error));
        }
        for effect in effects {
            self.append(effect, None, cx);
        }
        self.write(last, (ask.request_id, ask.deadline), reply, caller, cx)
    }

    fn decide_end(&mut self, ask: Ask, caller: &mut Caller<'_>, cx: &Cx<'_>) -> Submitted {
        let Operation::Tickets(TicketsOperation::EndPrincipal { principal }) = &ask.operation
        else {
            return Submitted::Done(Err(not_found()));
        };
        let now = cx.now.cluster;
        let (mut at, mut removed, mut left) = (now, 0, Vec::new());
        let mut any = false;
        for key in self.store.tickets.of_principal(principal) {
            let Some(entry) = self.store.get(key) else {
                continue;
            };
            any = true;
            at = at.max(entry.created_at);
            let lives = |live: &Live| !live.expired(now) && !live.idle(now);
            removed += u64::from(entry.live.as_ref().is_some_and(lives));
            let linked = self.store.tickets.links(key).next().is_some();
            if linked && left.len() < ENDED_NAMED_MAX {
                left.push(key.clone());
            }
        }
        let older: Vec<Blob> = self.store.tickets.ended_notes(principal).cloned().collect();
        self.name_begun(principal, !older.is_empty(), &mut left);
        let reply = Reply::Deleted {
            removed,
            lived: removed > 0,
            left,
            more: false,
        };
        // What only a server that is out knows must die when it returns.
        if !any && cx.departed.is_none() {
            return Submitted::Done(Ok(reply));
        }
        if older.is_empty() && self.store.tickets.ended_count() >= ENDED_MAX {
            return Submitted::Done(Err(Error::overloaded(
                "the partition remembers as many ended principals as it may, since a server is \
                 out that may return with their tickets; try again when it is back or forgotten",
            )));
        }
        let mut effects = self.drop_links(older.iter());
        let version = self.version_behind(effects.len());
        effects.push(UpdateEffect::Set {
            key: note::ended(principal, version),
            entry: Entry {
                incarnation: version,
                version,
                created_at: at,
                removed_by_key: false,
                live: Some(mark(at, None)),
            },
        });
        self.write_all(effects, &ask, reply, caller, cx)
    }

    /// What is behind an end that others began, and may have given up. A ticket of the principal
    /// that is being deleted is in the index of principals no more. Where the principal ended a
    /// moment ago, its tickets are gone and what descends from them may not be: whose a ticket was
    /// that is gone nobody knows, so all such work is done then.
    fn name_begun(&self, principal: &Blob, again: bool, left: &mut Vec<Blob>) {
        for key in self.store.tickets.work() {
            if left.len() >= ENDED_NAMED_MAX {
                return;
            }
            let due = match self.store.get(key).and_then(Stored::of) {
                Some(ticket) => ticket.ending && *ticket.principal == **principal,
                None => again,
            };
            if due {
                left.push(key.clone());
            }
        }
    }

    /// The children of a ticket whose uses are spent go on: they have a link at its anchor as
    /// well, or none that they depend on.
    pub(in super::super) fn let_children_go(
        &mut self,
        key: &Blob,
        with_id: bool,
        cx: &Cx<'_>,
    ) -> Result<Children> {
        // One that registered a moment ago goes on as well.
        if !self.log.is_settled() && self.log.is_pending_below(&note::links_of(key)) {
            return Ok(Children::Coming);
        }
        if self.store.tickets.links(key).next().is_none() {
            return Ok(Children::None);
        }
        self.room(with_id, cx)?;
        self.release_children(key, cx);
        Ok(Children::Gone)
    }

    fn release_children(&mut self, key: &Blob, cx: &Cx<'_>) {
        let links: Vec<Blob> = self.store.tickets.links(key).cloned().collect();
        for link in links {
            if self.log.is_full() {
                return;
            }
            if let Some(entry) = self.store.get(&link) {
                let entry = dead(entry, self.next_version());
                self.append(UpdateEffect::Set { key: link, entry }, None, cx);
            }
        }
    }

    /// Tickets from the indexes.
    pub(in super::super) fn list_tickets(
        &self,
        filter: &TicketFilter,
        after: Option<&Blob>,
        limit: u32,
        lives: impl Fn(&Entry) -> bool,
    ) -> Reply {
        let limit = limit.clamp(1, SCAN_MAX) as usize;
        let mut entries = Vec::new();
        for key in self.store.tickets.look_up(filter, after) {
            let Some(entry) = self.store.get(key).filter(|entry| lives(entry)) else {
                continue;
            };
            if !Stored::of(entry).is_some_and(|ticket| filter.matches(&ticket)) {
                continue;
            }
            if entries.len() == limit {
                return Reply::Scanned {
                    entries,
                    more: true,
                };
            }
            entries.extend(view(key, entry, false));
        }
        Reply::Scanned {
            entries,
            more: false,
        }
    }

    /// How many tickets live and match: of one term by the size of its set, less those whose time
    /// is over and that nobody has removed yet.
    pub(in super::super) fn count_tickets(
        &self,
        filter: &TicketFilter,
        now: ClusterTime,
        lives: impl Fn(&Entry) -> bool,
    ) -> Reply {
        let index = &self.store.tickets;
        let matches = |entry: &Entry| {
            Stored::of(entry).is_some_and(|ticket| !ticket.ending && filter.matches(&ticket))
        };
        let live = match index.counted(filter) {
            Some(all) => {
                let gone = index.past(now).filter(|key| {
                    let entry = self.store.get(key);
                    entry.is_some_and(|entry| !lives(entry) && matches(entry))
                });
                all.saturating_sub(gone.count())
            }
            None => index
                .look_up(filter, None)
                .filter(|key| {
                    let entry = self.store.get(key);
                    entry.is_some_and(|entry| lives(entry) && matches(entry))
                })
                .count(),
        };
        Reply::Size { live: live as u64 }
    }

    /// Work that is due: parents that do not live any more and whose descendants must go.
    pub(in super::super) fn look_at_chores(&mut self, cx: &Cx<'_>) {
        let active = self.lead.as_ref().is_some_and(|lead| lead.is_active());
        if self.store.tickets.work().is_empty() || !active {
            self.chores_at = None;
            return;
        }
        let at = *self.chores_at.get_or_insert(cx.now.mono.after(CHORE_PAUSE));
        if cx.now.mono < at {
            return;
        }
        self.chores_at = Some(cx.now.mono.after(CHORE_PAUSE));
        if self.renounced || !(cx.serving || self.local()) {
            return;
        }
        // Each look goes on behind the last one, so that none that cannot be done holds up others.
        let after = self.chores_after.take();
        let behind = self
            .store
            .tickets
            .work()
            .iter()
            .filter(|key| after.as_ref().is_none_or(|after| *key > after));
        let chores: Vec<Blob> = behind.take(CHORES_MAX).cloned().collect();
        self.chores_after = chores.last().cloned();
        // A ticket that somebody is deleting is left to them for a while.
        for key in chores {
            let since = *self.chores_since.entry(key.clone()).or_insert(cx.now.mono);
            let patience = match state(self.store.get(&key)) {
                State::Ending => CHORE_PATIENCE,
                _ => 0,
            };
            if cx.now.mono.since(since) >= patience {
                self.left_over().chores.push(key);
            }
        }
        let work = self.store.tickets.work();
        self.chores_since.retain(|key, _| work.contains(key));
    }

    /// A ticket's time was over: what descends from it goes at once.
    pub(in super::super) fn end_descendants(&mut self, key: &Blob, cx: &Cx<'_>) {
        let active = self.lead.as_ref().is_some_and(|lead| lead.is_active());
        let serves = active && !self.renounced && (cx.serving || self.local());
        if serves && self.store.tickets.links(key).next().is_some() {
            self.left_over().chores.push(key.clone());
        }
    }

    pub(in super::super) fn next_chores(&self) -> Option<Monotonic> {
        self.chores_at
    }
}

fn descends(record: &TicketRecord, from: Option<&Blob>) -> bool {
    let mut above = [&record.parent, &record.anchor]
        .into_iter()
        .flatten()
        .chain(&record.granted_by);
    from.is_none_or(|key| above.any(|link| link.key == *key))
}

/// The same ticket, living for nobody any more; no event yet, and no new version.
fn ending(entry: &Entry, record: TicketRecord, version: EntryVersion) -> Entry {
    let record = TicketRecord {
        ending: true,
        ..record
    };
    let mut entry = entry.clone();
    entry.version = version;
    if let Some(live) = &mut entry.live {
        live.value = record.encode();
    }
    entry
}
