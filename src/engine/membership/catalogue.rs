//! Changes of the catalogue at run time, and the progress of partitions: told to the coordinator
//! again and again until it has acted.

use super::building::Catalogue;
use super::{Action, Membership};
use crate::engine::partition::{NO_MAJORITY, Report};
use crate::engine::shell::Notice;
use crate::error::{Error, ErrorKind, Result};
use crate::types::hello::first_difference;
use crate::types::message::{Control, KnownCache, Progress, ViewChange};
use crate::types::time::{MILLISECOND, SECOND};
use crate::types::view::{PartitionOwners, ViewCache};
use crate::types::{
    CacheId, CacheSettings, ClusterTime, Member, Micros, Monotonic, PartitionLoss, Primaries,
    TopologyVersion,
};
use std::collections::{BTreeMap, BTreeSet};

/// The most changes that wait for one view.
const CHANGES_MAX: usize = 256;
/// The most caches of a cluster.
const CACHES_MAX: usize = 1024;
/// Marks changes that this node makes by itself, beside those that it was asked for.
const RESET: u64 = 1 << 63;
/// Partitions that finish together go into one view: it waits so long for the last ones.
const GATHER: Micros = 20 * MILLISECOND;
/// And so long at most while more and more of them finish. A copy that is loaded has to hear in each
/// view that it still counts, so views that follow each other faster than that help nobody.
const GATHER_MAX: Micros = SECOND;

/// A change that waits for a view.
pub struct Change {
    from: Member,
    id: u64,
    change: ViewChange,
    /// What it came to in the view that is being proposed.
    result: Option<Result<()>>,
}

/// A change that this node was asked for.
pub struct OwnChange {
    change: ViewChange,
    deadline: Monotonic,
}

/// A change that is committed and not yet known to every node.
pub struct Answer {
    from: Member,
    id: u64,
    result: Result<()>,
}

/// Partitions of this node whose state changed.
#[derive(Default)]
pub struct OwnProgress {
    loaded: BTreeSet<(CacheId, u32)>,
    merged: BTreeSet<(CacheId, u32)>,
    /// When the coordinator makes a view of it.
    pub due: Option<Monotonic>,
    /// What it has heard of that, from whom, and since when.
    heard: BTreeMap<Member, usize>,
    since: Option<Monotonic>,
    /// How much of it the view waits for in all; absent: not counted yet.
    awaited: Option<usize>,
}

impl OwnProgress {
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn message(&self, topology: TopologyVersion) -> Option<Progress> {
        let any = !self.loaded.is_empty() || !self.merged.is_empty();
        any.then(|| Progress {
            topology,
            loaded: self.loaded.iter().copied().collect(),
            merged: self.merged.iter().copied().collect(),
        })
    }
}

impl Membership {
    /// A partition of this node changed its state.
    pub fn report(&mut self, cache: CacheId, partition: u32, report: Report, mono: Monotonic) {
        match report {
            Report::Loaded => self.progress.loaded.insert((cache, partition)),
            Report::Merged => self.progress.merged.insert((cache, partition)),
            Report::WritesLost(_) => return,
        };
        let finished = self.progress.loaded.len() + self.progress.merged.len();
        self.gather(self.me, finished, mono);
    }

    pub(super) fn on_progress(&mut self, from: Member, progress: &Progress, mono: Monotonic) {
        if progress.topology == self.view.version {
            self.gather(from, progress.loaded.len() + progress.merged.len(), mono);
        }
    }

    /// So many partitions of a node have finished: when a view is made of it.
    fn gather(&mut self, from: Member, finished: usize, mono: Monotonic) {
        if finished == 0 || !self.coordinates() {
            return;
        }
        let before = self.progress.heard.insert(from, finished);
        if before.is_some_and(|before| before >= finished) {
            // Said again, since nothing came of it.
            self.progress.due.get_or_insert(mono.after(GATHER));
            return;
        }
        let view = &self.view;
        let awaited = *self.progress.awaited.get_or_insert_with(|| {
            let tables = view.caches.values().flat_map(|cache| &cache.table);
            let of = |owners: &PartitionOwners| {
                owners.loading.len() + usize::from(!owners.sources.is_empty())
            };
            tables.map(of).sum()
        });
        let all = self.progress.heard.values().sum::<usize>() >= awaited;
        // A node tells of more with its next heartbeat.
        let wait = match all {
            true => GATHER,
            false => GATHER.max(2 * self.options.heartbeat_interval),
        };
        let since = *self.progress.since.get_or_insert(mono);
        self.progress.due = Some(mono.after(wait).min(since.after(GATHER_MAX)));
    }

    /// This node was asked to create or drop a cache.
    pub fn change(&mut self, change: ViewChange, token: u64, deadline: Monotonic, mono: Monotonic) {
        if self.own_changes.len() >= CHANGES_MAX {
            let result = Err(Error::overloaded("too many changes of caches wait"));
            self.actions.push(Action::ViewChanged { token, result });
            return;
        }
        self.own_changes
            .insert(token, OwnChange { change, deadline });
        if let Some(coordinator) = self.acting_coordinator() {
            self.repeat_changes(coordinator, mono);
        }
        self.consider(mono);
    }

    /// Tells the coordinator again what is not answered; gives up what is late.
    pub(super) fn repeat_changes(&mut self, coordinator: Member, mono: Monotonic) {
        let changes: Vec<(u64, ViewChange, Monotonic)> = self
            .own_changes
            .iter()
            .map(|(token, own)| (*token, own.change.clone(), own.deadline))
            .collect();
        for (token, change, deadline) in changes {
            if mono >= deadline {
                let context = "the change of the cache was not confirmed within the deadline";
                self.on_changed(token, Err(Error::unknown(context)));
            } else if coordinator == self.me {
                self.on_change(self.me, token, change, mono);
            } else {
                self.send(coordinator, Control::ChangeView { id: token, change });
            }
        }
    }

    pub(super) fn on_change(&mut self, from: Member, id: u64, change: ViewChange, mono: Monotonic) {
        let known = self
            .changes
            .iter()
            .any(|other| (other.from, other.id) == (from, id))
            || self
                .unanswered
                .iter()
                .any(|other| (other.from, other.id) == (from, id));
        // Whoever is outside of the view asked a coordinator of the past, and has asked its own
        // since: the message was held up, and what it wants may have been undone.
        let late = from != self.me && !self.view.contains(from);
        if !self.coordinates() || known || late || self.changes.len() >= CHANGES_MAX {
            return;
        }
        self.changes.push_back(Change {
            from,
            id,
            change,
            result: None,
        });
        self.consider(mono);
    }

    pub(super) fn on_changed(&mut self, id: u64, result: Result<()>) {
        if let Some((cache, partitions)) = self.resets.remove(&id) {
            if result.is_ok() {
                self.notice(Notice::Reset { cache, partitions });
            }
        } else if self.own_changes.remove(&id).is_some() {
            self.actions.push(Action::ViewChanged { token: id, result });
        }
    }

    /// Works the waiting changes into a catalogue.
    pub(super) fn apply_changes(&mut self, catalogue: &mut Catalogue, now: ClusterTime) {
        for waiting in &mut self.changes {
            let result = match &waiting.change {
                ViewChange::ForcePrimary if self.options.quorum_of.is_none() => {
                    let context = "the cluster has no quorum-of: every view is primary";
                    Err(Error::new(ErrorKind::FailedPrecondition, context).because("NO_QUORUM_OF"))
                }
                ViewChange::ForcePrimary if self.view.primary || !catalogue.forced => {
                    let context = "the view is primary already";
                    Err(Error::new(ErrorKind::FailedPrecondition, context).because("PRIMARY"))
                }
                ViewChange::Create(settings)
                    if settings.stops() && self.options.quorum_of.is_none() =>
                {
                    let context = "when-split needs [cluster] quorum-of, the number of servers";
                    Err(Error::new(ErrorKind::FailedPrecondition, context).because("NO_QUORUM_OF"))
                }
                change if !catalogue.primary && catalogue.stops(change) => Err(no_majority()),
                change => apply(change, catalogue, now),
            };
            waiting.result = Some(result);
        }
    }

    /// Whether somebody asks for this view to be primary.
    pub(super) fn wants_primary(&self) -> bool {
        let mut changes = self.changes.iter();
        changes.any(|waiting| waiting.change == ViewChange::ForcePrimary)
    }

    /// Lost partitions of caches that want it so begin anew after a while.
    pub(super) fn reset_what_is_lost(&mut self, mono: Monotonic) {
        let lost = |cache: &ViewCache| {
            let settings = &cache.settings;
            let rests = settings.stops() && !(self.view.primary && cache.founded);
            if settings.partition_loss != PartitionLoss::Reset || rests || !self.coordinates() {
                return 0;
            }
            let lost = cache.table.iter().filter(|owners| owners.owners.is_empty());
            lost.count() as u64
        };
        let caches = self.view.caches.iter();
        let mut now: BTreeMap<CacheId, u64> =
            caches.map(|(id, cache)| (*id, lost(cache))).collect();
        now.retain(|_, partitions| *partitions > 0);
        self.lost_since.retain(|id, _| now.contains_key(id));
        let patience = self.options.network_timeout.saturating_mul(2);
        for (id, partitions) in now {
            let since = *self.lost_since.entry(id).or_insert(mono);
            if mono.since(since) >= patience {
                self.lost_since.remove(&id);
                let token = RESET | u64::from(id.0.cast_unsigned());
                self.resets.insert(token, (id, partitions));
                self.on_change(self.me, token, ViewChange::ResetLost(id), mono);
            }
        }
    }

    /// The view with the changes is committed: they are answered once every server knows.
    pub(super) fn note_answers(&mut self) {
        for waiting in std::mem::take(&mut self.changes) {
            match waiting.result {
                Some(result) => {
                    self.unanswered.push(Answer {
                        from: waiting.from,
                        id: waiting.id,
                        result,
                    });
                }
                None => self.changes.push_back(waiting),
            }
        }
    }

    /// The proposal came to nothing: its changes wait for the next one.
    pub(super) fn restore_changes(&mut self) {
        for waiting in &mut self.changes {
            waiting.result = None;
        }
    }

    pub(super) fn answer_changes(&mut self, mono: Monotonic) {
        if let Some(coordinator) = self.acting_coordinator().filter(|own| *own == self.me) {
            self.repeat_changes(coordinator, mono);
        }
        if self.unanswered.is_empty() {
            return;
        }
        let version = self.view.version;
        let known = self.view.servers().map(|node| node.member).all(|member| {
            let view = self.links.get(&member).and_then(|link| link.view());
            member == self.me || !self.stands_by(member) || view.is_some_and(|view| view >= version)
        });
        if known {
            for Answer { from, id, result } in std::mem::take(&mut self.unanswered) {
                if from == self.me {
                    self.on_changed(id, result);
                } else {
                    self.send(from, Control::ViewChanged { id, result });
                }
            }
        }
    }
}

impl Catalogue {
    /// Whether a change is a write to a cache whose writes stop outside of primary views.
    fn stops(&self, change: &ViewChange) -> bool {
        let stops = |id: &CacheId| {
            self.caches
                .get(id)
                .is_some_and(|known| known.settings.stops())
        };
        match change {
            ViewChange::Create(settings) => settings.stops(),
            ViewChange::Drop(id) | ViewChange::ResetLost(id) => stops(id),
            ViewChange::Drain(_) | ViewChange::Forget(_) | ViewChange::ForcePrimary => false,
        }
    }
}

/// The answer to a write where writes stop.
fn no_majority() -> Error {
    Error::unavailable("this part of the cluster is not primary, and the cache stops in a minority")
        .because(NO_MAJORITY)
        .not_applied()
}

fn apply(change: &ViewChange, catalogue: &mut Catalogue, now: ClusterTime) -> Result<()> {
    match change {
        ViewChange::Create(settings) => create(settings, catalogue, now),
        ViewChange::ResetLost(id) if catalogue.caches.contains_key(id) => {
            catalogue.reset.insert(*id);
            Ok(())
        }
        ViewChange::ForcePrimary => Ok(()),
        ViewChange::ResetLost(_) => {
            Err(Error::new(ErrorKind::NotFound, "the cache does not exist"))
        }
        ViewChange::Forget(node) => {
            if catalogue.servers.iter().any(|server| server.id == *node) {
                let context = "the server is in the cluster; drain it instead";
                return Err(Error::new(ErrorKind::FailedPrecondition, context));
            }
            let known = catalogue.departed.len();
            catalogue.departed.retain(|member, _| member.id != *node);
            if catalogue.departed.len() == known {
                let context = "no server of this name is out that might return with data";
                return Err(Error::new(ErrorKind::NotFound, context));
            }
            Ok(())
        }
        ViewChange::Drain(member) => {
            let stays = |other: &&Member| *other != member && !catalogue.draining.contains(other);
            if !catalogue.servers.contains(member) {
                let context = "the server is not in the cluster any more";
                return Err(Error::new(ErrorKind::NotFound, context));
            }
            if !catalogue.servers.iter().any(|other| stays(&other)) {
                let context = "no other server stays that could take over";
                return Err(Error::new(ErrorKind::FailedPrecondition, context).because("NO_TAKER"));
            }
            catalogue.draining.insert(*member);
            Ok(())
        }
        ViewChange::Drop(id) => match catalogue.caches.remove(id) {
            Some(known) => {
                catalogue.fresh.remove(id);
                catalogue.dropped.insert(*id, now.max(known.created_at));
                Ok(())
            }
            None => Err(Error::new(ErrorKind::NotFound, "the cache does not exist")),
        },
    }
}

fn create(settings: &CacheSettings, catalogue: &mut Catalogue, now: ClusterTime) -> Result<()> {
    let id = settings.id();
    match catalogue.caches.get(&id).map(|known| &known.settings) {
        Some(existing) if existing == settings => Ok(()),
        Some(existing) if existing.name != settings.name => Err(Error::new(
            ErrorKind::AlreadyExists,
            format!(
                "cache {} has the same id as {}",
                existing.name, settings.name
            ),
        )
        .because("ID_COLLISION")),
        Some(existing) => {
            let (name, here, there) = first_difference(existing, settings);
            let context = format!(
                "cache {} exists with {name} {here}, asked for {there}",
                settings.name
            );
            Err(Error::new(ErrorKind::AlreadyExists, context))
        }
        None if catalogue.caches.len() >= CACHES_MAX => Err(Error::overloaded(format!(
            "the cluster has {CACHES_MAX} caches, the limit"
        ))),
        None => {
            let after = catalogue.dropped.get(&id).map(|at| at.after(1));
            let created_at = after.map_or(now, |after| now.max(after));
            let cache = KnownCache {
                settings: settings.clone(),
                created_at,
                founded: false,
            };
            catalogue.caches.insert(id, cache);
            catalogue.fresh.insert(id);
            Ok(())
        }
    }
}

impl Membership {
    /// A server that drains leaves once it owns nothing any more, and others have what it had.
    pub(super) fn leave_when_drained(&mut self, mono: Monotonic) {
        if self.view.draining.contains(&self.me) && self.view.is_drained(self.me) {
            self.leave(mono);
        }
    }

    /// Whether this node has said that it leaves.
    pub fn leaves(&self) -> bool {
        self.leaving.is_some()
    }

    /// This node leaves in order: it tells everybody until a view without it is there.
    pub fn leave(&mut self, mono: Monotonic) {
        if self.leaving.is_none() {
            self.leaving = Some(mono);
            // From here on nothing is acknowledged but views without this node.
            self.give_up_proposal();
            self.restore_changes();
            self.repeat_leave(mono);
        }
    }

    pub(super) fn repeat_leave(&mut self, mono: Monotonic) {
        let others: Vec<Member> = self
            .view
            .nodes
            .iter()
            .map(|node| node.member)
            .filter(|member| *member != self.me && !self.failed.contains(member))
            .collect();
        let gone_on = others.iter().any(|member| !self.stands_by(*member));
        let patience = self.options.ack_timeout;
        let late = self
            .leaving
            .is_some_and(|since| mono.since(since) > patience);
        if others.is_empty() || gone_on || late {
            if !self.done {
                self.done = true;
                self.notice(Notice::Left);
            }
            return;
        }
        for member in others {
            let primaries = self.quorum.known(mono);
            self.send(member, Control::Leave(primaries));
        }
    }

    /// A member leaves in order, and takes its data with it.
    pub(super) fn on_leave(&mut self, from: Member, primaries: &Primaries) {
        self.quorum.leaves(from, primaries);
        self.fail(from, true);
        self.actions.push(Action::PeerGone(from));
    }
}
