//! What takes several operations on several partitions, for one caller: a child that is added, a
//! ticket whose session must be asked first, a ticket that is deleted with all that descend from it,
//! the end of a principal. One machine for each of them, on the node that was asked;
//! `grid/errands.rs` carries their steps out.
//!
//! Each step is an operation on one partition like any other: it is forwarded, repeated, parked and
//! answered like one, and ends at the errand's deadline. Steps have request ids made from the
//! errand's (what the caller asked of one ticket has that one itself), so that one that is doubled
//! or late changes nothing. A node that dies in the middle
//! leaves a ticket that is ending, or links of a parent that does not live: whoever is primary there
//! finds that work and begins an errand of its own (`Errand::chore`). An errand that meets an error
//! ends with it; what it has begun is finished so as well.

use super::partition::tickets::evaluate::{ENDING, OUTDATED, UNSURE, not_found, parent_gone};
use crate::error::{Applied, Error, ErrorKind, Result};
use crate::types::cache::partition_of;
use crate::types::ticket::note::{self, ADOPTION};
use crate::types::ticket::operation::{Bounds, ParentView};
use crate::types::ticket::record::GRANTED_BY_MAX;
use crate::types::ticket::{Link, TicketErrand, TicketOperation, TicketRecord, TicketsOperation};
use crate::types::{
    Blob, CacheId, ClusterTime, KeyOperation, Operation, Reply, Request, RequestId,
};
use narrowing::{Down, Narrowing};
use std::collections::{BTreeMap, VecDeque};
use xxhash_rust::xxh3::xxh3_128;

mod narrowing;

/// The most steps of one errand under way at a time.
const UNDER_WAY_MAX: usize = 32;

/// The most times that a child registers again.
const ROUNDS_MAX: u64 = 8;

/// How many partitions a cache has.
pub type Partitions = BTreeMap<CacheId, u32>;

/// One errand.
pub struct Errand {
    work: Work,
    base: RequestId,
    partitions: Partitions,
    /// Steps to begin, the last first: so that a tree is gone through in depth.
    ready: Vec<Step>,
    under_way: BTreeMap<u64, Step>,
    last: u64,
    error: Option<Error>,
    removed: u64,
    answered: bool,
    /// The ticket whose descendants must go, where nobody asked.
    pub chore: Option<(CacheId, Blob)>,
}

enum Work {
    Add(Adding),
    One(One),
    Delete(Deleting),
}

/// An operation on one ticket. Where that is not sure of what the ticket descends from, the way up
/// is gone until a ticket is: each *look* finds the next one above, each *climb* asks it.
struct One {
    key: Blob,
    operation: TicketOperation,
    /// Where it may be yet, the place asked last not included.
    caches: VecDeque<CacheId>,
    cache: CacheId,
    narrowing: Narrowing,
}

struct Adding {
    cache: CacheId,
    key: Blob,
    add: TicketOperation,
    parent: Blob,
    caches: VecDeque<CacheId>,
    until: Option<ClusterTime>,
    /// Where the parent is.
    found: CacheId,
    /// What the parent was granted by, the nearest first, that it registers with yet. Absent: that is
    /// not known.
    grantors: Option<Vec<Link>>,
    /// How often it was registered again.
    round: u64,
    narrowing: Narrowing,
}

/// A tree of tickets that go; each is visited again when its children have gone.
#[derive(Default)]
struct Deleting {
    nodes: BTreeMap<u64, Node>,
    last: u64,
    /// Partitions in which a principal must end yet.
    ends: VecDeque<(CacheId, u32)>,
    /// Whose; empty: everybody's.
    principal: Blob,
}

struct Node {
    cache: CacheId,
    key: Blob,
    /// The parent in this tree, and the link there.
    above: Option<(u64, Blob)>,
    descends_from: Option<Blob>,
    bar: bool,
    /// Children that have not gone.
    open: usize,
    done: Vec<Blob>,
    round: u64,
    /// A root that did not live counts for nothing, nor does what descends from it.
    counts: bool,
}

enum Step {
    Register(CacheId, Blob),
    Grantor(CacheId, Blob),
    Anchor(CacheId, Blob, Box<TicketOperation>),
    Store(Box<TicketOperation>),
    Ask(CacheId),
    Look(CacheId, Blob),
    Climb(CacheId, Blob),
    Narrow(Box<Down>),
    Visit(u64),
    End(CacheId, u32),
}

impl Errand {
    /// An errand for a caller. Every cache that it names is among `partitions`.
    pub fn new(errand: TicketErrand, base: RequestId, partitions: Partitions) -> Self {
        let mut ready = Vec::new();
        let work = match errand {
            TicketErrand::AddChild {
                cache,
                key,
                add,
                parent,
                parent_caches,
                until,
            } => {
                let mut caches = VecDeque::from(parent_caches);
                let first = caches.pop_front();
                ready.extend(first.map(|at| Step::Register(at, parent.clone())));
                Work::Add(Adding {
                    cache,
                    key,
                    add,
                    parent,
                    caches,
                    until,
                    found: CacheId::default(),
                    grantors: None,
                    round: 0,
                    narrowing: Narrowing::default(),
                })
            }
            TicketErrand::One {
                key,
                operation,
                caches,
            } => {
                let mut caches = VecDeque::from(caches);
                let cache = caches.pop_front().unwrap_or_default();
                ready.push(Step::Ask(cache));
                Work::One(One {
                    key,
                    operation,
                    caches,
                    cache,
                    narrowing: Narrowing::default(),
                })
            }
            TicketErrand::Delete { key, caches } => {
                let mut deleting = Deleting::default();
                for cache in caches {
                    ready.push(Step::Visit(deleting.root(cache, key.clone(), true)));
                }
                Work::Delete(deleting)
            }
            TicketErrand::DeleteAll { caches } => {
                Work::Delete(Deleting::everywhere(Blob::default(), &caches, &partitions))
            }
            TicketErrand::DeleteForPrincipal { principal, caches } => {
                Work::Delete(Deleting::everywhere(principal, &caches, &partitions))
            }
        };
        Self {
            work,
            base,
            partitions,
            ready,
            under_way: BTreeMap::new(),
            last: 0,
            error: None,
            removed: 0,
            answered: false,
            chore: None,
        }
    }

    /// An errand for work that was left: descendants of a ticket that does not live.
    pub fn chore(cache: CacheId, key: Blob, base: RequestId, partitions: Partitions) -> Self {
        let caches = vec![cache];
        let of = TicketErrand::Delete {
            key: key.clone(),
            caches,
        };
        Self {
            chore: Some((cache, key)),
            ..Self::new(of, base, partitions)
        }
    }

    /// The next steps to carry out, each with its number.
    pub fn take_steps(&mut self) -> Vec<(u64, Request)> {
        let mut requests = Vec::new();
        while self.under_way.len() < UNDER_WAY_MAX {
            let step = match self.ready.pop() {
                Some(step) => step,
                None => match self.next_end() {
                    Some(step) => step,
                    None => break,
                },
            };
            let request = self.request(&step);
            self.last += 1;
            self.under_way.insert(self.last, step);
            requests.push((self.last, request));
        }
        requests
    }

    fn next_end(&mut self) -> Option<Step> {
        let Work::Delete(deleting) = &mut self.work else {
            return None;
        };
        let (cache, partition) = deleting.ends.pop_front()?;
        Some(Step::End(cache, partition))
    }

    /// Whether nothing is left of it.
    pub fn is_over(&self) -> bool {
        let ends = match &self.work {
            Work::Delete(deleting) => deleting.ends.len(),
            _ => 0,
        };
        self.ready.is_empty() && self.under_way.is_empty() && ends == 0
    }

    /// The answer of a step; a doubled or late one finds none that waits for it. Returns the
    /// answer of the whole, once.
    pub fn on_reply(&mut self, number: u64, result: Result<Reply>) -> Option<Result<Reply>> {
        let step = self.under_way.remove(&number)?;
        let answer = match step {
            Step::Register(cache, _) => self.registered(cache, result),
            Step::Grantor(..) => self.granted(result),
            Step::Anchor(_, _, add) => self.anchored(*add, result),
            Step::Store(_) => self.stored(result),
            Step::Ask(_) => self.asked(result),
            Step::Look(..) => self.looked(result),
            Step::Climb(cache, key) => self.climbed(cache, key, result),
            Step::Narrow(down) => self.narrowed(*down, result),
            Step::Visit(node) => {
                match result {
                    Ok(reply) => self.visited(node, reply),
                    Err(error) => self.fail(error),
                }
                self.deleted()
            }
            Step::End(cache, _) => {
                match result {
                    Ok(reply) => self.ended(cache, reply),
                    Err(error) => self.fail(error),
                }
                self.deleted()
            }
        };
        let answer = answer.filter(|_| !self.answered)?;
        self.answered = true;
        Some(answer)
    }

    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
        self.ready.clear();
        if let Work::Delete(deleting) = &mut self.work {
            deleting.ends.clear();
        }
    }

    fn deleted(&self) -> Option<Result<Reply>> {
        if !self.is_over() {
            return None;
        }
        let removed = self.removed;
        Some(match &self.error {
            None => Ok(Reply::Cleared { removed }),
            // Whatever the step says of itself: others may have been carried out.
            Some(error) => Err(Error {
                applied: Applied::Unknown,
                ..error.clone()
            }),
        })
    }

    fn registered(&mut self, cache: CacheId, result: Result<Reply>) -> Option<Result<Reply>> {
        let Work::Add(adding) = &mut self.work else {
            return None;
        };
        let parent = match result {
            Ok(Reply::Registered { parent }) => *parent,
            Ok(_) => return Some(Err(confused())),
            Err(error) if error.kind == ErrorKind::ParentGone => {
                return match adding.caches.pop_front() {
                    Some(next) => {
                        self.ready.push(Step::Register(next, adding.parent.clone()));
                        None
                    }
                    None => Some(Err(parent_gone())),
                };
            }
            Err(error) => return Some(Err(error)),
        };
        adding.found = cache;
        if adding.grantors.is_none() && !parent.granted_by.is_empty() {
            return self.ask_grantors(parent);
        }
        let own = Link {
            cache,
            key: adding.parent.clone(),
            name: parent.name,
        };
        let mut add = adding.add.clone();
        let TicketOperation::Add {
            record, not_after, ..
        } = &mut add
        else {
            return Some(Err(confused()));
        };
        let anchor = if parent.limited {
            parent.anchor
        } else {
            Some(own.clone())
        };
        record.root = Some(parent.root.unwrap_or_else(|| own.clone()));
        record.parent = Some(own);
        record.anchor.clone_from(&anchor);
        record.granted_by = parent.granted_by;
        *not_after = Some(parent.at.after(ADOPTION));
        let step = match anchor.filter(|_| parent.limited) {
            Some(anchor) => Step::Anchor(anchor.cache, anchor.key, Box::new(add)),
            // What a ticket granted goes on when that is spent: its time is no bound of it.
            None if parent.limited => Step::Store(Box::new(add)),
            None => Step::Store(Box::new(within(add, parent.expires_at, parent.sure_until))),
        };
        self.ready.push(step);
        None
    }

    /// A parent with limited uses may be spent before what granted it is deleted, which must reach this
    /// child all the same: so it registers there too, the farthest first, and then with its parent
    /// again. Where one of those has been deleted meanwhile, the parent has gone with it.
    fn ask_grantors(&mut self, parent: ParentView) -> Option<Result<Reply>> {
        let Work::Add(adding) = &mut self.work else {
            return None;
        };
        if parent.granted_by.len() > GRANTED_BY_MAX {
            let most = GRANTED_BY_MAX + 2;
            let context = format!("more than {most} tickets with limited uses under each other");
            return Some(Err(Error::invalid(context)));
        }
        adding.grantors = Some(parent.granted_by);
        self.next_grantor();
        None
    }

    fn next_grantor(&mut self) {
        let Work::Add(adding) = &mut self.work else {
            return;
        };
        let step = match adding.grantors.as_mut().and_then(Vec::pop) {
            Some(link) => Step::Grantor(link.cache, link.key),
            None => {
                adding.round += 1;
                Step::Register(adding.found, adding.parent.clone())
            }
        };
        self.ready.push(step);
    }

    fn granted(&mut self, result: Result<Reply>) -> Option<Result<Reply>> {
        match result {
            Ok(Reply::Registered { .. }) => self.next_grantor(),
            // Spent; or deleted, and then the parent shows it.
            Err(error) if error.kind == ErrorKind::ParentGone && error.reason != ENDING => {
                self.next_grantor();
            }
            Err(error) if error.kind == ErrorKind::ParentGone => return Some(Err(parent_gone())),
            Ok(_) => return Some(Err(confused())),
            Err(error) => return Some(Err(error)),
        }
        None
    }

    fn anchored(&mut self, add: TicketOperation, result: Result<Reply>) -> Option<Result<Reply>> {
        match result {
            Ok(Reply::Registered { parent }) => {
                let add = within(add, parent.expires_at, parent.sure_until);
                self.ready.push(Step::Store(Box::new(add)));
                None
            }
            Ok(_) => Some(Err(confused())),
            Err(error) => Some(Err(error)),
        }
    }

    fn asked(&mut self, result: Result<Reply>) -> Option<Result<Reply>> {
        let Work::One(one) = &mut self.work else {
            return None;
        };
        let missed = match &result {
            Ok(Reply::Got { entry }) => entry.is_none(),
            Err(error) => error.kind == ErrorKind::NotFound,
            _ => false,
        };
        if missed && let Some(next) = one.caches.pop_front() {
            one.cache = next;
            self.ready.push(Step::Ask(next));
            return None;
        }
        match &result {
            Err(error) if error.reason == UNSURE => {
                self.ready.push(Step::Look(one.cache, one.key.clone()));
                return None;
            }
            _ => {}
        }
        let (cache, key) = (one.cache, one.key.clone());
        self.shortened(cache, key, result)
    }

    fn stored(&mut self, result: Result<Reply>) -> Option<Result<Reply>> {
        let Work::Add(adding) = &mut self.work else {
            return None;
        };
        if let Err(error) = &result
            && error.reason == OUTDATED
            && adding.round < ROUNDS_MAX
        {
            // Its parent has told another end since.
            adding.round += 1;
            let step = Step::Register(adding.found, adding.parent.clone());
            self.ready.push(step);
            return None;
        }
        let (cache, key) = (adding.cache, adding.key.clone());
        self.shortened(cache, key, result)
    }

    /// What the ticket says that it descends from is asked next.
    fn looked(&mut self, result: Result<Reply>) -> Option<Result<Reply>> {
        let entry = match result {
            Ok(Reply::Got { entry: Some(entry) }) => entry,
            Ok(Reply::Got { entry: None }) => return Some(Err(not_found())),
            Ok(_) => return Some(Err(confused())),
            Err(error) => return Some(Err(error)),
        };
        let record = TicketRecord::decode(&entry.value);
        match record.as_ref().and_then(TicketRecord::above) {
            Some(above) => {
                let step = Step::Climb(above.cache, above.key.clone());
                self.ready.push(step);
            }
            None => self.vouch(),
        }
        None
    }

    fn climbed(
        &mut self,
        cache: CacheId,
        key: Blob,
        result: Result<Reply>,
    ) -> Option<Result<Reply>> {
        match result {
            Ok(Reply::Got { entry: Some(_) }) => self.vouch(),
            Ok(Reply::Got { entry: None }) => return Some(Err(not_found())),
            Ok(_) => return Some(Err(confused())),
            Err(error) if error.reason == UNSURE => self.ready.push(Step::Look(cache, key)),
            Err(error) => return Some(Err(error)),
        }
        None
    }

    /// All that the ticket descends from lives.
    fn vouch(&mut self) {
        if let Work::One(one) = &mut self.work {
            one.operation = one.operation.clone().vouched();
            self.ready.push(Step::Ask(one.cache));
        }
    }

    fn visited(&mut self, number: u64, reply: Reply) {
        let Work::Delete(deleting) = &mut self.work else {
            return;
        };
        let Reply::Deleted {
            removed,
            lived,
            left,
            more,
        } = reply
        else {
            return self.fail(confused());
        };
        let Some(node) = deleting.nodes.get_mut(&number) else {
            return;
        };
        if node.round == 0 && node.above.is_none() {
            node.counts &= lived || removed > 0;
        }
        let counts = node.counts;
        self.removed += if counts { removed } else { 0 };
        node.round += 1;
        node.done.clear();
        let parent = node.key.clone();
        let mut open = 0;
        for link in left {
            let Some(child) = note::read_link(&link) else {
                continue;
            };
            open += 1;
            let node = deleting.add(Node {
                cache: child.cache,
                key: child.child,
                above: Some((number, link)),
                descends_from: Some(parent.clone()),
                bar: true,
                open: 0,
                done: Vec::new(),
                round: 0,
                counts,
            });
            self.ready.push(Step::Visit(node));
        }
        if let Some(node) = deleting.nodes.get_mut(&number) {
            node.open = open;
        }
        if open == 0 && !more {
            self.ready.extend(deleting.gone(number));
        } else if open == 0 {
            self.ready.push(Step::Visit(number));
        }
    }

    fn ended(&mut self, cache: CacheId, reply: Reply) {
        let Work::Delete(deleting) = &mut self.work else {
            return;
        };
        let (removed, left) = match reply {
            Reply::Deleted { removed, left, .. } => (removed, left),
            Reply::Cleared { removed } => (removed, Vec::new()),
            _ => return self.fail(confused()),
        };
        self.removed += removed;
        for key in left {
            let node = deleting.root(cache, key, false);
            self.ready.push(Step::Visit(node));
        }
    }

    fn request(&self, step: &Step) -> Request {
        let on_key = |cache: CacheId, key: &Blob, operation| {
            let key = key.clone();
            (
                cache,
                self.partition(cache, &key),
                Operation::Key { key, operation },
            )
        };
        let register = |cache: CacheId, parent: &Blob, adding: &Adding| {
            let operation = TicketsOperation::Register {
                parent: parent.clone(),
                cache: adding.cache,
                child: adding.key.clone(),
                until: adding.until,
            };
            let partition = self.partition(cache, parent);
            (cache, partition, Operation::Tickets(operation))
        };
        let (round, (cache, partition, operation)) = match (step, &self.work) {
            (Step::Register(cache, parent) | Step::Grantor(cache, parent), Work::Add(adding))
            | (Step::Anchor(cache, parent, _), Work::Add(adding)) => {
                (1 + (adding.round << 8), register(*cache, parent, adding))
            }
            (Step::Store(add), Work::Add(adding)) => {
                let operation = KeyOperation::Ticket(TicketOperation::clone(add));
                let round = 2 + (adding.round << 8);
                (round, on_key(adding.cache, &adding.key, operation))
            }
            (Step::Ask(cache), Work::One(one)) => {
                let operation = KeyOperation::Ticket(one.operation.clone());
                (0, on_key(*cache, &one.key, operation))
            }
            (Step::Look(cache, key), _) => (7, on_key(*cache, key, read(true))),
            (Step::Climb(cache, key), _) => (8, on_key(*cache, key, read(false))),
            (Step::Narrow(down), _) => {
                let partition = self.partition(down.cache, &down.key);
                let round = 9 + (down.page << 8);
                (round, (down.cache, partition, down.operation()))
            }
            (Step::Visit(number), Work::Delete(deleting)) => deleting.visit(*number, self),
            (Step::End(cache, partition), Work::Delete(deleting)) => {
                let principal = deleting.principal.clone();
                let operation = if principal.is_empty() {
                    Operation::Clear
                } else {
                    Operation::Tickets(TicketsOperation::EndPrincipal { principal })
                };
                let round = 4 + (u64::from(*partition) << 8);
                (round, (*cache, *partition, operation))
            }
            _ => (0, (CacheId::default(), 0, Operation::Size)),
        };
        let writes = !operation.is_read();
        // The one step that the caller knows of has the caller's id: it may have been asked without an
        // errand before, or be asked so when it is repeated.
        let id = writes.then(|| match step {
            Step::Ask(_) => self.base,
            _ => self.step_id(cache, &operation, round),
        });
        Request {
            cache,
            partition,
            operation,
            request_id: id,
        }
    }

    fn partition(&self, cache: CacheId, key: &[u8]) -> u32 {
        let count = self.partitions.get(&cache).copied().unwrap_or(1);
        partition_of(key, count)
    }

    /// The id of a step: the same for the same step of the same errand.
    fn step_id(&self, cache: CacheId, operation: &Operation, round: u64) -> RequestId {
        let key: &[u8] = match operation {
            Operation::Key { key, .. }
            | Operation::Tickets(
                TicketsOperation::Delete { key, .. }
                | TicketsOperation::Narrow { key, .. }
                | TicketsOperation::Register { parent: key, .. },
            ) => key,
            _ => &[],
        };
        // One ticket may be reached by two links, and each of these is a step of its own.
        let way: &[u8] = match operation {
            Operation::Tickets(TicketsOperation::Delete {
                descends_from: Some(parent),
                ..
            })
            | Operation::Tickets(TicketsOperation::Narrow {
                within: Some(Bounds { of: parent, .. }),
                ..
            }) => parent,
            _ => &[],
        };
        let mut bytes = Vec::with_capacity(48 + key.len() + way.len());
        bytes.extend_from_slice(&self.base);
        bytes.extend_from_slice(&cache.0.to_le_bytes());
        bytes.extend_from_slice(&round.to_le_bytes());
        bytes.extend_from_slice(&(key.len() as u64).to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(way);
        xxh3_128(&bytes).to_le_bytes()
    }
}

impl Deleting {
    /// Everything of a principal, or everything, in all partitions of these caches.
    fn everywhere(principal: Blob, caches: &[CacheId], partitions: &Partitions) -> Self {
        let all = caches.iter().flat_map(|cache| {
            let count = partitions.get(cache).copied().unwrap_or_default();
            (0..count).map(|partition| (*cache, partition))
        });
        Self {
            ends: all.collect(),
            principal,
            ..Self::default()
        }
    }

    fn add(&mut self, node: Node) -> u64 {
        self.last += 1;
        self.nodes.insert(self.last, node);
        self.last
    }

    /// A ticket where a tree begins; with `asked`, it counts only if it lives.
    fn root(&mut self, cache: CacheId, key: Blob, asked: bool) -> u64 {
        self.add(Node {
            cache,
            key,
            above: None,
            descends_from: None,
            bar: false,
            open: 0,
            done: Vec::new(),
            // The end of a principal has counted the ticket itself already.
            round: u64::from(!asked),
            counts: true,
        })
    }

    /// A ticket has gone; its parent is visited again when it was the last one.
    fn gone(&mut self, number: u64) -> Option<Step> {
        let (above, link) = self.nodes.remove(&number)?.above?;
        let parent = self.nodes.get_mut(&above)?;
        parent.done.push(link);
        parent.open = parent.open.saturating_sub(1);
        (parent.open == 0).then_some(Step::Visit(above))
    }

    fn visit(&self, number: u64, errand: &Errand) -> (u64, (CacheId, u32, Operation)) {
        let Some(node) = self.nodes.get(&number) else {
            return (0, (CacheId::default(), 0, Operation::Size));
        };
        let operation = TicketsOperation::Delete {
            key: node.key.clone(),
            done: node.done.clone(),
            descends_from: node.descends_from.clone(),
            bar: node.bar,
        };
        let partition = errand.partition(node.cache, &node.key);
        let round = 6 + (node.round << 8);
        (
            round,
            (node.cache, partition, Operation::Tickets(operation)),
        )
    }
}

/// Reads a ticket of any kind.
fn read(vouched: bool) -> KeyOperation {
    KeyOperation::Ticket(TicketOperation::Get {
        kind: Blob::default(),
        vouched,
    })
}

/// The same ticket, which ends with what it descends from.
fn within(
    mut add: TicketOperation,
    end: Option<ClusterTime>,
    sure: Option<ClusterTime>,
) -> TicketOperation {
    if let TicketOperation::Add {
        expires_by,
        sure_until,
        ..
    } = &mut add
    {
        *expires_by = [*expires_by, end].into_iter().flatten().min();
        *sure_until = sure;
    }
    add
}

fn confused() -> Error {
    Error::new(
        ErrorKind::Internal,
        "the answer belongs to another question",
    )
}

#[cfg(test)]
mod tests;
