//! Errands under way on this node: their steps are requests of its own, whose answers come back
//! here and not to the shell.

use super::transactions::is_for_transaction;
use super::{Chore, Grid, Shell};
use crate::engine::errand::Errand;
use crate::engine::partition::tickets::access::Access;
use crate::engine::shell::Notice;
use crate::error::{Error, ErrorKind, Result};
use crate::types::cache::partition_of;
use crate::types::message::{Event, Message, WatchPosition};
use crate::types::ticket::{Link, TicketErrand, TicketOperation};
use crate::types::time::SECOND;
use crate::types::{
    Blob, CacheId, KeyOperation, Member, Micros, Monotonic, NodeInfo, Operation, Reply, Request,
    RequestId,
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use xxhash_rust::xxh3::xxh3_128;

/// Tokens with this bit are steps of errands; the shell gives out none of them.
pub(super) const OWN: u64 = 1 << 63;
/// The most errands under way on one node.
const ERRANDS_MAX: usize = 16_384;
/// The most of them that nobody asked for.
const CHORES_MAX: usize = 256;
/// How long one of these may take before it is begun anew.
const CHORE_TIME: Micros = 5 * SECOND;

/// What is under way.
#[derive(Default)]
pub struct Errands {
    last: u64,
    running: BTreeMap<u64, Running>,
    /// By the token of a step: the errand, and the step's number there.
    steps: BTreeMap<u64, (u64, u64)>,
    chores: BTreeSet<(CacheId, Blob)>,
}

struct Running {
    errand: Errand,
    /// Who waits for the answer.
    token: Option<u64>,
    deadline: Monotonic,
}

/// A step to carry out: its token, its request, and until when.
type Due = (u64, Request, Monotonic);

impl Errands {
    fn id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn begin(&mut self, errand: Errand, token: Option<u64>, deadline: Monotonic) -> Vec<Due> {
        let id = self.id();
        self.running.insert(
            id,
            Running {
                errand,
                token,
                deadline,
            },
        );
        self.go_on(id)
    }

    fn go_on(&mut self, id: u64) -> Vec<Due> {
        let Some(running) = self.running.get_mut(&id) else {
            return Vec::new();
        };
        let (next, deadline) = (running.errand.take_steps(), running.deadline);
        if next.is_empty() && running.errand.is_over() {
            if let Some(ended) = self.running.remove(&id)
                && let Some(chore) = ended.errand.chore
            {
                self.chores.remove(&chore);
            }
            return Vec::new();
        }
        let due = next.into_iter().map(|(number, request)| {
            self.last += 1;
            let token = OWN | self.last;
            self.steps.insert(token, (id, number));
            (token, request, deadline)
        });
        due.collect()
    }

    /// A step was answered: what follows it, and the answer of the whole for whoever waits.
    fn answered(
        &mut self,
        token: u64,
        result: Result<Reply>,
    ) -> (Vec<Due>, Option<(u64, Result<Reply>)>) {
        let Some((id, number)) = self.steps.remove(&token) else {
            return (Vec::new(), None);
        };
        let Some(running) = self.running.get_mut(&id) else {
            return (Vec::new(), None);
        };
        let answer = running.errand.on_reply(number, result);
        let answer = running.token.zip(answer);
        (self.go_on(id), answer)
    }
}

/// The way out of the engine, which keeps answers to the engine's own questions.
pub struct Inward {
    outer: Arc<dyn Shell>,
    answers: Mutex<Vec<(u64, Result<Reply>)>>,
    any: AtomicBool,
}

impl Inward {
    pub fn new(outer: Arc<dyn Shell>) -> Self {
        Self {
            outer,
            answers: Mutex::default(),
            any: AtomicBool::new(false),
        }
    }

    pub fn has_answers(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    fn take(&self) -> Vec<(u64, Result<Reply>)> {
        let mut answers = self.answers.lock();
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut *answers)
    }
}

impl Shell for Inward {
    fn send(&self, to: Member, message: Message) {
        self.outer.send(to, message);
    }

    fn send_along(&self, to: Member, message: Message) {
        self.outer.send_along(to, message);
    }

    fn has_room(&self, to: Member) -> bool {
        self.outer.has_room(to)
    }

    fn knows(&self, peer: Member, since: u32) -> bool {
        self.outer.knows(peer, since)
    }

    fn complete(&self, token: u64, result: Result<Reply>) {
        if token & OWN == 0 {
            return self.outer.complete(token, result);
        }
        let mut answers = self.answers.lock();
        answers.push((token, result));
        self.any.store(true, Ordering::Release);
    }

    fn view_changed(&self, token: u64, result: Result<()>) {
        self.outer.view_changed(token, result);
    }

    fn dial(&self, peer: &NodeInfo) {
        self.outer.dial(peer);
    }

    fn events(
        &self,
        cache: CacheId,
        partition: u32,
        after: u64,
        upto: WatchPosition,
        events: &[Event],
    ) {
        self.outer.events(cache, partition, after, upto, events);
    }

    fn watch_lost(&self, cache: CacheId, partition: u32) {
        self.outer.watch_lost(cache, partition);
    }

    fn notice(&self, notice: Notice) {
        self.outer.notice(notice);
    }
}

impl Grid {
    /// Begins an errand of a caller, who hears of it by `Shell::complete`.
    pub(super) fn begin_errand(
        &self,
        errand: TicketErrand,
        id: Option<RequestId>,
        deadline: Monotonic,
        mono: Monotonic,
        token: &mut dyn FnMut() -> u64,
    ) -> Option<Result<Reply>> {
        let caches = self.caches.load();
        let partitions = caches
            .iter()
            .map(|(id, cache)| (*id, cache.slots.len() as u32))
            .collect::<BTreeMap<_, _>>();
        let named = match &errand {
            TicketErrand::AddChild { parent_caches, .. } => parent_caches,
            TicketErrand::One { caches, .. }
            | TicketErrand::Delete { caches, .. }
            | TicketErrand::DeleteAll { caches }
            | TicketErrand::DeleteForPrincipal { caches, .. } => caches,
        };
        if named.is_empty() || named.iter().any(|cache| !partitions.contains_key(cache)) {
            let error = Error::new(ErrorKind::NotFound, "the cache does not exist");
            return Some(Err(error));
        }
        let mut errands = self.errands.lock();
        if errands.running.len() >= ERRANDS_MAX {
            return Some(Err(Error::overloaded(
                "too many changes of tickets are under way here",
            )));
        }
        let base = id.unwrap_or_else(|| self.own_id(errands.id()));
        let machine = Errand::new(errand, base, partitions);
        let due = errands.begin(machine, Some(token()), deadline);
        drop(errands);
        self.carry_out(due, mono);
        None
    }

    /// An id that no other node and no other life of this one makes.
    fn own_id(&self, number: u64) -> RequestId {
        let me = self.options.me.member;
        let mut bytes = [0u8; 24];
        bytes[..8].copy_from_slice(&me.id.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&me.incarnation.0.to_le_bytes());
        bytes[16..].copy_from_slice(&number.to_le_bytes());
        xxh3_128(&bytes).to_le_bytes()
    }

    /// Begins errands for work that a partition found; one that is under way is left to go on.
    pub(super) fn begin_chores(&self, cache: CacheId, keys: Vec<Blob>, mono: Monotonic) {
        let caches = self.caches.load();
        let partitions: BTreeMap<_, _> = caches
            .iter()
            .map(|(id, cache)| (*id, cache.slots.len() as u32))
            .collect();
        let mut due = Vec::new();
        let mut errands = self.errands.lock();
        for key in keys {
            if errands.chores.len() >= CHORES_MAX || !errands.chores.insert((cache, key.clone())) {
                continue;
            }
            let base = self.own_id(errands.id());
            let errand = Errand::chore(cache, key, base, partitions.clone());
            due.extend(errands.begin(errand, None, mono.after(CHORE_TIME)));
        }
        drop(errands);
        self.carry_out(due, mono);
    }

    /// A ticket was used: its session is accessed.
    fn access_session(&self, access: &Access, mono: Monotonic) {
        let Link { cache, key, .. } = &access.session;
        let Some(of) = self.cache(*cache) else {
            return;
        };
        let partition = partition_of(key, of.slots.len() as u32);
        if access.here
            && let Some(slot) = of.slots.get(partition as usize)
        {
            // A life that goes on longer needs no other timer: an early one finds nothing to do.
            let mut slot = slot.lock();
            if slot.partition.on_used_below(access, &self.cx(mono)) {
                self.settle(&of, partition, slot, mono);
            }
        }
        if !access.tell {
            return;
        }
        let key = key.clone();
        let operation = KeyOperation::Ticket(TicketOperation::Touch);
        let request = Request {
            cache: *cache,
            partition,
            operation: Operation::Key { key, operation },
            // Doubled it changes nothing, and without an id it is mostly no write.
            request_id: None,
        };
        // The answer is for nobody, and finds nobody.
        let token = OWN | self.errands.lock().id();
        let _ = self.submit_step(request, mono.after(CHORE_TIME), mono, &mut || token);
    }

    /// Carries out what was answered to the engine itself. To be called at the end of every input,
    /// with no lock held.
    pub(super) fn go_on_with_errands(&self, mono: Monotonic) {
        while self.shell.has_answers() || self.has_chores.load(Ordering::Acquire) {
            let chores = {
                let mut chores = self.chores.lock();
                self.has_chores.store(false, Ordering::Release);
                std::mem::take(&mut *chores)
            };
            for chore in chores {
                match chore {
                    Chore::Descendants(cache, keys) => self.begin_chores(cache, keys, mono),
                    Chore::Access(access) => self.access_session(&access, mono),
                    Chore::Decision(about, inquiry) => self.inquire(about, inquiry, mono),
                }
            }
            for (token, result) in self.shell.take() {
                if is_for_transaction(token) {
                    self.on_asked(token, result, mono);
                    continue;
                }
                let due = self.on_step(token, result);
                self.carry_out(due, mono);
            }
        }
    }

    fn on_step(&self, token: u64, result: Result<Reply>) -> Vec<Due> {
        let (due, answer) = self.errands.lock().answered(token, result);
        if let Some((token, result)) = answer {
            self.shell.complete(token, result);
        }
        due
    }

    fn carry_out(&self, due: Vec<Due>, mono: Monotonic) {
        let mut due = VecDeque::from(due);
        while let Some((token, request, deadline)) = due.pop_front() {
            let done = self.submit_step(request, deadline, mono, &mut || token);
            if let Some(result) = done {
                due.extend(self.on_step(token, result));
            }
        }
    }
}
