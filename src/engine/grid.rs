//! The machines of one node with their locks: membership behind one, each partition behind its
//! own. Synchronous and free of clocks, so that the simulator runs exactly what a node runs.
//!
//! Locks are taken in this order: membership, one partition, and then the small ones (requests
//! under way, timers, reports), each for a moment. The shell is called under them.

mod due;
mod empty_copies;
mod errands;
mod requests;
mod topology;
mod transactions;

use super::forwarding::Forwards;
use super::membership::Membership;
use super::options::GridOptions;
use super::partition::held::Inquiry;
use super::partition::tickets::access::Access;
use super::partition::{Ask, Asker, Cx, LeftOver, Partition, Report};
use super::planted::{self, Fault};
use super::shell::{Notice, ProbeOutcome, Shell};
use super::tally::{Pace, Tally};
use super::transaction::Transactions;
use crate::types::message::{Control, Data, Message, ViewChange, WatchPosition};
use crate::types::{
    Blob, CacheId, CacheSettings, ClusterTime, Entry, Member, Micros, Monotonic, NodeInfo, Now,
    PartitionId, PrimaryView, View,
};
use arc_swap::ArcSwap;
use due::{Alarm, Timed, Timers};
use empty_copies::EmptyCopies;
use errands::{Errands, Inward};

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use transactions::Asked;

/// The most messages of a view that is not installed yet which are kept for it.
const EARLY_MAX: usize = 16_384;

/// A partition, and when it has a timer: no later than it wants to be called. In this order what
/// every call needs stands beside the lock.
#[repr(C)]
struct Slot {
    armed: Option<Monotonic>,
    partition: Partition,
}

/// A slot behind its lock, where a line of the processor's caches begins.
#[repr(align(64))]
struct Locked(Mutex<Slot>);

impl Locked {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.0.lock()
    }
}

/// The partitions of one cache.
struct Cache {
    id: CacheId,
    settings: Arc<CacheSettings>,
    created_at: ClusterTime,
    slots: Vec<Locked>,
}

type Caches = BTreeMap<CacheId, Arc<Cache>>;

/// How much this node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Live entries, those past their point but not yet removed included.
    pub entries: u64,
    pub tombstones: u64,
    /// What both take in memory: keys, values, and a fixed amount for each.
    pub entry_bytes: u64,
    /// Updates that wait for owners.
    pub waiting: u64,
}

/// The engine of one node.
pub struct Grid {
    shell: Arc<Inward>,
    options: GridOptions,
    membership: Mutex<Membership>,
    view: ArcSwap<View>,
    caches: ArcSwap<Caches>,
    empty_copies: Mutex<EmptyCopies>,
    /// Cluster time less the monotonic clock.
    offset: AtomicI64,
    /// Until when this node may serve.
    lease_until: AtomicU64,
    served: AtomicBool,
    /// The same for caches that stop in a minority: from when on, and until when.
    primary_from: AtomicU64,
    primary_until: AtomicU64,
    served_primary: AtomicBool,
    /// Something waits for the one lease, or for the other.
    waits_for_lease: AtomicBool,
    waits_for_primary: AtomicBool,
    /// This node has said that it leaves: who waits here must ask elsewhere.
    leaving: AtomicBool,
    /// When the last server left that may return with data; 0: none is out.
    departed: AtomicU64,
    /// Every server of the view understands transactions.
    knows_transactions: AtomicBool,
    /// By how much this node's clock is known to be apart from its peers'; 0: it is not.
    clock_apart: AtomicU64,
    membership_due: AtomicU64,
    forwards: Timed<Forwards>,
    timers: Timed<Timers>,
    reports: Mutex<Vec<(CacheId, u32, Report)>>,
    /// Something is in `reports`; set under its lock.
    reported: AtomicBool,
    early: Mutex<VecDeque<(Member, Data)>>,
    pace: Pace,
    tally: Tally,
    errands: Mutex<Errands>,
    transactions: Timed<Transactions>,
    /// What transactions and their participants wait for.
    asked: Mutex<Asked>,
    /// What partitions found to do elsewhere.
    chores: Mutex<Vec<Chore>>,
    /// Something is in `chores`; set under its lock.
    has_chores: AtomicBool,
}

/// What a partition found to do elsewhere.
enum Chore {
    /// Descendants of tickets that do not live, in this cache.
    Descendants(CacheId, Vec<Blob>),
    /// A session whose ticket was used.
    Access(Access),
    /// Something prepared there whose decision must be asked for.
    Decision(PartitionId, Inquiry),
}

impl Grid {
    /// A node that looks for its cluster. `wall` is the wall clock in microseconds since the
    /// Unix epoch, used only where no cluster time is known yet.
    pub fn new(
        options: GridOptions,
        seed: u64,
        shell: Arc<dyn Shell>,
        mono: Monotonic,
        wall: u64,
    ) -> Self {
        let membership = Membership::new(options.clone(), seed, mono, wall);
        Self {
            shell: Arc::new(Inward::new(shell)),
            view: ArcSwap::new(membership.view().clone()),
            offset: AtomicI64::new(membership.clock_offset()),
            membership: Mutex::new(membership),
            options,
            caches: ArcSwap::default(),
            empty_copies: Mutex::default(),
            lease_until: AtomicU64::new(0),
            served: AtomicBool::new(false),
            primary_from: AtomicU64::new(0),
            primary_until: AtomicU64::new(0),
            served_primary: AtomicBool::new(false),
            waits_for_lease: AtomicBool::new(false),
            waits_for_primary: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            departed: AtomicU64::new(0),
            knows_transactions: AtomicBool::new(false),
            clock_apart: AtomicU64::new(0),
            membership_due: AtomicU64::new(mono.0),
            forwards: Timed::default(),
            timers: Timed::default(),
            reports: Mutex::default(),
            reported: AtomicBool::new(false),
            early: Mutex::default(),
            pace: Pace::default(),
            tally: Tally::default(),
            errands: Mutex::default(),
            transactions: Timed::default(),
            asked: Mutex::default(),
            chores: Mutex::default(),
            has_chores: AtomicBool::new(false),
        }
    }

    /// Both clocks at a moment.
    pub fn now(&self, mono: Monotonic) -> Now {
        let offset = self.offset.load(Ordering::Relaxed);
        Now {
            mono,
            cluster: ClusterTime(mono.0).shifted(offset),
        }
    }

    fn cx(&self, mono: Monotonic) -> Cx<'_> {
        let departed = self.departed.load(Ordering::Relaxed);
        Cx {
            now: self.now(mono),
            serving: self.serving(mono),
            serving_primary: self.serving_primary(mono),
            leaving: self.leaving.load(Ordering::Relaxed),
            shell: &*self.shell,
            departed: (departed > 0).then_some(ClusterTime(departed)),
            transactions: self.knows_transactions.load(Ordering::Relaxed),
            resend: self.options.heartbeat_interval / 2,
            network_timeout: self.options.network_timeout,
            clock_error_max: self.options.clock_error_max,
            compare_interval: self.options.compare_interval,
            pace: &self.pace,
            tally: &self.tally,
        }
    }

    /// Whether this node is in a view and its lease stands.
    pub fn serving(&self, mono: Monotonic) -> bool {
        let until = self.lease_until.load(Ordering::Acquire);
        mono.0 < until
            || (planted::is(Fault::ServeWithoutLease) && self.view.load().version.number > 0)
    }

    /// Whether it also serves caches that stop in a minority.
    pub fn serving_primary(&self, mono: Monotonic) -> bool {
        let until = self.primary_until.load(Ordering::Acquire);
        let from = self.primary_from.load(Ordering::Acquire);
        mono.0 < until && mono.0 >= from
    }

    /// The number of servers, where caches stop in a minority.
    pub fn quorum_of(&self) -> Option<u32> {
        self.options.quorum_of
    }

    /// By how much this node's cluster time is known to differ from that of its peers, where that
    /// is more than `clock_error_max`; else 0.
    pub fn clock_apart(&self) -> Micros {
        self.clock_apart.load(Ordering::Relaxed)
    }

    /// An endpoint of the address list was probed.
    pub fn on_probe(&self, endpoint: usize, outcome: ProbeOutcome, mono: Monotonic) {
        self.with_membership(mono, |membership| {
            membership.on_probe(endpoint, outcome, mono)
        });
    }

    /// Hello was exchanged with a peer.
    pub fn on_link_up(&self, peer: NodeInfo, mono: Monotonic) {
        self.with_membership(mono, |membership| membership.on_link_up(peer, mono));
    }

    /// The connection to a peer ended; `refused`: and its port refuses new ones.
    pub fn on_link_down(&self, peer: Member, refused: bool, mono: Monotonic) {
        self.with_membership(mono, |membership| {
            membership.on_link_down(peer, refused, mono)
        });
        self.lose_ways(|to| to == peer, mono);
        self.go_on_with_errands(mono);
    }

    /// A message came from a peer.
    pub fn on_message(&self, from: Member, message: Message, mono: Monotonic) {
        match message {
            Message::Control(Control::Collected(collected)) => {
                self.with_membership(mono, |membership| {
                    membership.heard(from, mono);
                    membership.on_collected(from, collected, mono);
                });
            }
            Message::Control(control) => {
                self.with_membership(mono, |membership| {
                    membership.on_control(from, control, mono)
                });
            }
            Message::Data(data) => self.on_data(from, data, mono),
            Message::Forward(forward) => self.on_forward(from, forward, mono),
            Message::ForwardReply(reply) => self.on_forward_reply(from, reply, mono),
        }
        self.go_on_with_errands(mono);
    }

    fn on_data(&self, from: Member, data: Data, mono: Monotonic) {
        let caches = self.caches.load();
        let Some(cache) = caches.get(&data.cache) else {
            self.keep_early(from, data);
            return;
        };
        let Some(slot) = cache.slots.get(data.partition as usize) else {
            return;
        };
        let mut slot = slot.lock();
        match data.topology.cmp(&slot.partition.topology()) {
            std::cmp::Ordering::Equal => {
                let cx = self.cx(mono);
                slot.partition.on_message(from, data.body, &cx);
                self.settle(cache, data.partition, slot, mono);
            }
            std::cmp::Ordering::Greater => self.keep_early(from, data),
            std::cmp::Ordering::Less => {}
        }
    }

    /// Keeps a message of a view that is about to be installed.
    fn keep_early(&self, from: Member, data: Data) {
        let mut early = self.early.lock();
        if early.len() < EARLY_MAX {
            early.push_back((from, data));
        }
    }

    fn cache(&self, id: CacheId) -> Option<Arc<Cache>> {
        self.caches.load().get(&id).cloned()
    }

    /// Ends an input to a partition: its timer, what must be routed anew, what must be reported.
    fn settle(&self, cache: &Cache, index: u32, mut slot: MutexGuard<'_, Slot>, mono: Monotonic) {
        if cfg!(debug_assertions) {
            slot.partition.check_invariants();
        }
        let next = slot.partition.next_timeout(self.now(mono));
        // A timer that became superfluous stays: that it fires once for nothing costs less than
        // moving it with every write.
        if let Some(next) = next
            && slot.armed.is_none_or(|armed| next < armed)
        {
            self.timers.with(|timers| {
                if let Some(old) = slot.armed {
                    timers.unset((old, cache.id, index));
                }
                timers.set((next, cache.id, index));
            });
            slot.armed = Some(next);
        }
        if slot.partition.take_waits_for_lease() {
            let waits = match cache.settings.stops() {
                true => &self.waits_for_primary,
                false => &self.waits_for_lease,
            };
            waits.store(true, Ordering::Release);
        }
        slot.partition.settle_reads();
        if slot.partition.has_left_over() {
            self.take_left_over(cache, index, slot, mono);
        }
    }

    /// Routes anew what must be, and hands over reports and what was found to do elsewhere.
    fn take_left_over(
        &self,
        cache: &Cache,
        index: u32,
        mut slot: MutexGuard<'_, Slot>,
        mono: Monotonic,
    ) {
        let LeftOver {
            redirected,
            reports,
            chores: tickets,
            used_below,
        } = slot.partition.take_left_over();
        let mut chores = Vec::new();
        if !tickets.is_empty() {
            chores.push(Chore::Descendants(cache.id, tickets));
        }
        chores.extend(used_below.into_iter().map(Chore::Access));
        let inquiries = slot.partition.take_inquiries().into_iter();
        chores.extend(inquiries.map(|asks| Chore::Decision((cache.id, index), asks)));
        drop(slot);
        if !chores.is_empty() {
            self.chores.lock().extend(chores);
            self.has_chores.store(true, Ordering::Release);
        }
        for (ask, asker) in redirected {
            self.route(cache, index, ask, asker, mono);
        }
        if !reports.is_empty() {
            let mut all = self.reports.lock();
            all.extend(reports.into_iter().map(|report| (cache.id, index, report)));
            self.reported.store(true, Ordering::Release);
        }
    }

    /// Works with membership, does what it wants done, and publishes what others read.
    fn with_membership(&self, mono: Monotonic, input: impl FnOnce(&mut Membership)) {
        let mut membership = self.membership.lock();
        input(&mut membership);
        self.do_actions(&mut membership, mono);
        self.publish(&membership, mono);
    }

    fn publish(&self, membership: &Membership, mono: Monotonic) {
        if cfg!(debug_assertions) {
            membership.check_invariants();
        }
        self.offset
            .store(membership.clock_offset(), Ordering::Relaxed);
        self.lease_until
            .store(membership.lease_until().0, Ordering::Release);
        self.primary_from
            .store(membership.opens_at().0, Ordering::Release);
        self.primary_until
            .store(membership.primary_until().0, Ordering::Release);
        self.membership_due
            .store(membership.next_timeout().0, Ordering::Relaxed);
        let apart = membership.clock_apart();
        let before = self.clock_apart.swap(apart, Ordering::Relaxed);
        if (apart > 0) != (before > 0) {
            self.shell.notice(Notice::ClockApart { by: apart });
        }
        let leaves = membership.leaves();
        if leaves && !self.leaving.swap(true, Ordering::Relaxed) {
            self.for_each_partition(mono, |partition, cx| partition.unpark(cx));
        }
        let (serves, primary) = (self.serving(mono), self.serving_primary(mono));
        let opened = !self.served_primary.swap(primary, Ordering::Relaxed) && primary;
        // A lease may have lapsed and been renewed with nobody looking in between.
        let waited = serves && self.waits_for_lease.swap(false, Ordering::AcqRel);
        let suffices = primary || (serves && !self.view.load().primary);
        let waited = waited || (suffices && self.waits_for_primary.swap(false, Ordering::AcqRel));
        if opened || waited {
            self.for_each_partition(mono, Partition::on_lease);
        }
        if serves != self.served.swap(serves, Ordering::Relaxed) {
            self.shell.notice(if serves {
                Notice::Unfenced
            } else {
                Notice::Fenced
            });
            if serves {
                self.for_each_partition(mono, Partition::on_lease);
            }
        }
    }

    fn for_each_partition(&self, mono: Monotonic, input: impl Fn(&mut Partition, &Cx<'_>)) {
        let caches = self.caches.load_full();
        let cx = self.cx(mono);
        for cache in caches.values() {
            for (index, slot) in (0u32..).zip(&cache.slots) {
                let mut slot = slot.lock();
                input(&mut slot.partition, &cx);
                self.settle(cache, index, slot, mono);
            }
        }
    }

    /// Tells membership what partitions reported.
    fn report(&self, membership: &mut Membership, mono: Monotonic) {
        if !self.reported.load(Ordering::Acquire) {
            return;
        }
        let reports = {
            let mut all = self.reports.lock();
            self.reported.store(false, Ordering::Release);
            std::mem::take(&mut *all)
        };
        for (cache, partition, report) in reports {
            if let Report::WritesLost(at_most) = report {
                self.shell.notice(Notice::WritesLost {
                    cache,
                    partition,
                    at_most,
                });
            }
            membership.report(cache, partition, report, mono);
        }
    }

    fn flush_reports(&self, mono: Monotonic) {
        if self.reported.load(Ordering::Acquire) {
            self.with_membership(mono, |_| {});
        }
    }

    /// Creates or drops a cache; `Shell::view_changed` is called when every node knows.
    pub fn change_view(
        &self,
        change: ViewChange,
        token: u64,
        deadline: Monotonic,
        mono: Monotonic,
    ) {
        self.with_membership(mono, |membership| {
            membership.change(change, token, deadline, mono)
        });
    }

    /// Leaves the cluster in order; `Notice::Left` tells when it is done.
    pub fn leave(&self, mono: Monotonic) {
        self.with_membership(mono, |membership| membership.leave(mono));
    }

    /// Starts (or goes on) delivering the events of one partition to `Shell::events`: those
    /// behind `after`, or from now on. A position that cannot be resumed leads to
    /// `Shell::watch_lost`.
    pub fn watch(
        &self,
        cache: CacheId,
        partition: u32,
        after: Option<WatchPosition>,
        mono: Monotonic,
    ) {
        self.with_partition(cache, partition, mono, |partition, cx| {
            partition.watch(after, cx)
        });
    }

    /// No watcher of this node needs the partition any longer.
    pub fn unwatch(&self, cache: CacheId, partition: u32, mono: Monotonic) {
        self.with_partition(cache, partition, mono, Partition::unwatch);
    }

    fn with_partition(
        &self,
        cache: CacheId,
        partition: u32,
        mono: Monotonic,
        input: impl FnOnce(&mut Partition, &Cx<'_>),
    ) {
        let Some(cache) = self.cache(cache) else {
            return;
        };
        let Some(slot) = cache.slots.get(partition as usize) else {
            return;
        };
        let mut slot = slot.lock();
        input(&mut slot.partition, &self.cx(mono));
        self.settle(&cache, partition, slot, mono);
    }

    /// Everything that is due.
    pub fn on_timeout(&self, mono: Monotonic) {
        if mono.0 >= self.membership_due.load(Ordering::Relaxed) {
            self.with_membership(mono, |membership| membership.on_timeout(mono));
        }
        for alarm in self.timers.with(|timers| timers.take_due(mono)) {
            self.ring(alarm, mono);
        }
        self.forward_timeout(mono);
        self.transactions_timeout(mono);
        self.flush_reports(mono);
        self.go_on_with_errands(mono);
    }

    /// A timer of a partition is due, and has been taken out.
    fn ring(&self, (at, cache, partition): Alarm, mono: Monotonic) {
        let Some(cache) = self.cache(cache) else {
            return;
        };
        let Some(slot) = cache.slots.get(partition as usize) else {
            return;
        };
        let mut slot = slot.lock();
        // Somebody may have set an earlier one meanwhile, which stands.
        slot.armed = slot.armed.filter(|armed| *armed != at);
        slot.partition.on_timeout(&self.cx(mono));
        self.settle(&cache, partition, slot, mono);
    }

    /// When `on_timeout` wants to be called.
    pub fn next_timeout(&self) -> Option<Monotonic> {
        let membership = Monotonic(self.membership_due.load(Ordering::Relaxed));
        let (partition, forward) = (self.timers.due(), self.forwards.due());
        let transaction = self.transactions.due();
        // What was left over by an input that could not go on with it.
        let errand = self.shell.has_answers() || self.has_chores.load(Ordering::Acquire);
        let errand = errand.then_some(Monotonic::default());
        [Some(membership), partition, forward, transaction, errand]
            .into_iter()
            .flatten()
            .min()
    }

    /// The committed view; number 0 before the first.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Every view that this node knows to be primary, or to become so perhaps.
    pub fn primary_views(&self) -> Vec<PrimaryView> {
        self.membership.lock().primary_views()
    }

    /// Who this node is.
    pub fn me(&self) -> &NodeInfo {
        &self.options.me
    }

    /// Every key of one partition as this node holds it, tombstones included, in key order: for
    /// comparing copies.
    pub fn contents(&self, cache: CacheId, partition: u32) -> Vec<(Blob, Entry)> {
        let cache = self.cache(cache);
        let slot = cache
            .as_ref()
            .and_then(|cache| cache.slots.get(partition as usize));
        slot.map_or_else(Vec::new, |slot| slot.lock().partition.contents())
    }

    /// How much this node holds of a cache.
    pub fn sizes(&self, cache: CacheId) -> Sizes {
        let mut sizes = Sizes::default();
        for slot in self.cache(cache).iter().flat_map(|cache| &cache.slots) {
            let slot = slot.lock();
            let (entries, tombstones, waiting) = slot.partition.sizes();
            sizes.entry_bytes += slot.partition.entry_bytes();
            sizes.entries += (entries - tombstones) as u64;
            sizes.tombstones += tombstones as u64;
            sizes.waiting += waiting as u64;
        }
        sizes
    }

    /// What the partitions of this node have counted.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Bytes of transfers that this node has sent and that are not acknowledged.
    pub fn transfer_bytes(&self) -> usize {
        self.pace.transfer_bytes()
    }

    /// How many near copies this node keeps of a cache.
    pub fn near_copies(&self, cache: CacheId) -> u64 {
        let cache = self.cache(cache);
        let slots = cache.iter().flat_map(|cache| &cache.slots);
        slots
            .map(|slot| slot.lock().partition.near_copies() as u64)
            .sum()
    }

    /// Panics if a machine contradicts itself. For simulation and debug builds.
    pub fn check_invariants(&self) {
        self.membership.lock().check_invariants();
        for cache in self.caches.load().values() {
            cache
                .slots
                .iter()
                .for_each(|slot| slot.lock().partition.check_invariants());
        }
    }
}
