//! The machine that brings nodes together: links and heartbeats, the failure detector, views in
//! two phases, leases and cluster time.
//!
//! Messages: heartbeats are repeated by nature, and a lost, doubled or late one is made good by
//! the next. `Join`, `Unreachable` and `Progress` are repeated with each heartbeat for as long as
//! they are true, and a doubled one changes nothing. `Collect`, `Prepare` and their answers carry
//! the version of the proposal and are ignored by everybody who knows a greater one; the proposer
//! repeats them until it leaves the silent out. A lost `Commit` is made good by any heartbeat
//! that shows the view as committed.
//!
//! Invariants: the promised version only rises; a node installs only the view that it prepared
//! last, under the version that it promised last; a committed view was acknowledged by every one
//! of its servers.

mod building;
mod catalogue;
mod clock;
mod detector;
mod joining;
mod lease;
mod link;
mod proposal;
pub mod quorum;
#[cfg(test)]
mod timing_tests;

use super::options::GridOptions;
use super::shell::{Notice, ProbeOutcome};
use crate::types::message::{Collected, Control, Heartbeat};
use crate::types::{CacheId, Member, Monotonic, NodeInfo, Now, Role, TopologyVersion, View};
use clock::Clock;
use link::Link;
use proposal::Proposal;
use quorum::Quorum;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What membership wants done, in this order.
pub enum Action {
    Send(Member, Control),
    Dial(NodeInfo),
    /// Tell who proposes what this node holds; the answer's other fields are filled in.
    Collect(Member, Collected),
    /// A view was acknowledged: partitions that this node does not own in it stop serving.
    Prepare(Arc<View>),
    /// A view was committed; cluster time moves by so much.
    Install {
        view: Arc<View>,
        shift: i64,
    },
    /// A change of the catalogue is answered.
    ViewChanged {
        token: u64,
        result: crate::error::Result<()>,
    },
    /// A peer is gone for good.
    PeerGone(Member),
    Notice(Notice),
}

/// A seeded generator: SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

/// The membership machine of one node.
pub struct Membership {
    options: GridOptions,
    me: Member,
    random: Random,
    started: Monotonic,
    /// Since when no peer has told of a cluster.
    looking_since: Monotonic,
    clock: Clock,
    links: BTreeMap<Member, Link>,
    probes: Vec<Option<ProbeOutcome>>,
    view: Arc<View>,
    promised: TopologyVersion,
    prepared: Option<Arc<View>>,
    proposal: Option<Proposal>,
    /// Not before this moment is anything proposed again.
    propose_at: Option<Monotonic>,
    /// Members of the view that are held dead.
    failed: BTreeSet<Member>,
    /// Those of them that said they leave, or whose process ended: they hold nothing any more.
    left: BTreeSet<Member>,
    joins: BTreeMap<Member, joining::Asked>,
    banned: BTreeMap<Member, Monotonic>,
    /// Who said that it cannot reach whom, and when.
    broken: BTreeMap<(Member, Member), (Monotonic, Monotonic)>,
    /// Since when this node is outside of the largest set of servers that all reach each other, and
    /// whether it leaves the next view to those within.
    outside_since: Option<Monotonic>,
    yields: bool,
    changes: VecDeque<catalogue::Change>,
    own_changes: BTreeMap<u64, catalogue::OwnChange>,
    unanswered: Vec<catalogue::Answer>,
    progress: catalogue::OwnProgress,
    next_heartbeat: Monotonic,
    last_tick: Monotonic,
    stood_still: Monotonic,
    /// Until when this node, after it stood still, looks for a cluster that went on without it.
    doubts_until: Option<Monotonic>,
    /// This node stood still: peers that have not confirmed the view since.
    unconfirmed: BTreeSet<Member>,
    /// A peer of the view went on to one without this node.
    stale: bool,
    leaving: Option<Monotonic>,
    done: bool,
    quorum: Quorum,
    /// When it was last looked whether caches that stop in a minority open.
    last_open: Monotonic,
    /// Since when caches whose lost partitions begin anew have some.
    lost_since: BTreeMap<CacheId, Monotonic>,
    /// How many of them each change gives up that is under way.
    resets: BTreeMap<u64, (CacheId, u64)>,
    actions: Vec<Action>,
}

impl Membership {
    pub fn new(mut options: GridOptions, seed: u64, mono: Monotonic, wall: u64) -> Self {
        let me = options.me.member;
        options.me.lease = options.lease;
        Self {
            me,
            random: Random(seed),
            started: mono,
            looking_since: mono,
            clock: Clock::new(mono, wall, me),
            links: BTreeMap::new(),
            probes: vec![None; options.endpoints],
            view: Arc::new(View::default()),
            promised: TopologyVersion::default(),
            prepared: None,
            proposal: None,
            propose_at: None,
            failed: BTreeSet::new(),
            left: BTreeSet::new(),
            joins: BTreeMap::new(),
            banned: BTreeMap::new(),
            broken: BTreeMap::new(),
            outside_since: None,
            yields: false,
            changes: VecDeque::new(),
            own_changes: BTreeMap::new(),
            unanswered: Vec::new(),
            progress: catalogue::OwnProgress::default(),
            next_heartbeat: mono,
            last_tick: mono,
            stood_still: mono,
            doubts_until: None,
            unconfirmed: BTreeSet::new(),
            stale: false,
            leaving: None,
            done: false,
            quorum: Quorum::new(options.quorum_of),
            last_open: Monotonic::default(),
            lost_since: BTreeMap::new(),
            resets: BTreeMap::new(),
            actions: Vec::new(),
            options,
        }
    }

    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    pub fn now(&self, mono: Monotonic) -> Now {
        Now {
            mono,
            cluster: self.clock.at(mono),
        }
    }

    /// The difference of cluster time to the monotonic clock.
    pub fn clock_offset(&self) -> i64 {
        self.clock.offset()
    }

    /// What is to be done; the caller does it all, in order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn send(&mut self, to: Member, message: Control) {
        self.actions.push(Action::Send(to, message));
    }

    fn notice(&mut self, notice: Notice) {
        self.actions.push(Action::Notice(notice));
    }

    /// Whether this node holds nothing, has no voice and never forms a cluster.
    fn is_client(&self) -> bool {
        self.options.me.role == Role::Client
    }

    fn has_view(&self) -> bool {
        self.view.version.number > 0
    }

    /// Whether a member of the view is alive and still in this very view, as far as is known.
    fn stands_by(&self, member: Member) -> bool {
        member == self.me
            || (!self.failed.contains(&member)
                && self
                    .links
                    .get(&member)
                    .is_some_and(|link| !link.went_on(&self.view)))
    }

    /// The oldest server of the view that still stands by it, and is one of those that all reach
    /// each other where some do not.
    fn acting_coordinator(&self) -> Option<Member> {
        let out = self.outside_clique();
        self.view
            .servers()
            .map(|node| node.member)
            .find(|member| self.stands_by(*member) && !out.contains(member))
    }

    fn coordinates(&self) -> bool {
        self.has_view() && !self.stale && self.acting_coordinator() == Some(self.me)
    }

    /// A message from a linked peer.
    pub fn on_control(&mut self, from: Member, message: Control, mono: Monotonic) {
        self.notice_standstill(mono);
        self.heard(from, mono);
        match message {
            Control::Heartbeat(heartbeat) => self.on_heartbeat(from, heartbeat, mono),
            Control::AskReach { suspect } => {
                let link = self.links.get(&suspect).filter(|link| link.connected);
                let heard_ago = link.map(|link| mono.since(link.heard));
                self.send(from, Control::Reach { suspect, heard_ago });
            }
            Control::Reach { suspect, heard_ago } => self.on_reach(from, suspect, heard_ago),
            Control::Join(join) => self.on_join(from, join, mono),
            Control::Collect { version, nodes } => self.on_collect(from, version, &nodes, mono),
            Control::Collected(collected) => self.on_collected(from, collected, mono),
            Control::Prepare { view } => self.on_prepare(from, view),
            Control::Prepared { version } => self.on_prepared(from, version, mono),
            Control::Refused(refused) => self.on_refused(from, &refused, mono),
            Control::Commit { version } => self.on_commit(version, mono),
            Control::Leave(primaries) => self.on_leave(from, &primaries),
            Control::Progress(progress) => self.on_progress(from, &progress, mono),
            Control::ChangeView { id, change } => self.on_change(from, id, change, mono),
            Control::ViewChanged { id, result } => self.on_changed(id, result),
            Control::Unreachable { peers } => self.on_unreachable(from, &peers, mono),
        }
        self.consider(mono);
    }

    fn on_heartbeat(&mut self, from: Member, heartbeat: Heartbeat, mono: Monotonic) {
        let version = heartbeat.view;
        let stands_in = heartbeat.in_view && !heartbeat.renounced;
        let Some(link) = self.links.get_mut(&from) else {
            return;
        };
        let news = link.take_heartbeat(heartbeat, mono);
        let confirmed = link.acked.filter(|_| stands_in);
        if confirmed.is_some_and(|sent| sent >= self.last_still()) {
            self.unconfirmed.remove(&from);
            if self.view.contains(from) {
                self.doubts_until = None;
            }
        }
        self.look_whether_founded();
        self.follow_clock(from, mono);
        if version < self.view.version && self.coordinates() && self.is_own_client(from) {
            self.remind_client(from);
        }
        let prepared = self.prepared.as_ref().map(|view| view.version);
        if prepared == Some(version) {
            self.on_commit(version, mono);
        }
        if news {
            self.send_heartbeat(from, mono);
            self.ask_to_join(mono);
            self.answer_changes(mono);
        }
    }

    fn is_own_client(&self, member: Member) -> bool {
        let mut nodes = self.view.nodes.iter();
        nodes.any(|node| node.member == member && node.role == Role::Client)
    }

    /// Everything that is due.
    pub fn on_timeout(&mut self, mono: Monotonic) {
        self.notice_standstill(mono);
        if mono >= self.next_heartbeat {
            self.tick(mono);
        }
        self.last_open = mono;
        self.detect(mono);
        self.proposal_timeout(mono);
        self.consider(mono);
    }

    /// When `on_timeout` wants to be called.
    pub fn next_timeout(&self) -> Monotonic {
        let proposal = self.proposal.as_ref().map(|proposal| proposal.due);
        // What starts a proposal waits while one is under way, or for the end of a pause.
        // Who may not propose is not called for it.
        let free = !self.done && self.leaving.is_none() && self.doubts_until.is_none();
        let due = self.progress.due.filter(|_| self.coordinates());
        let start = proposal.or(self.propose_at.or(due).filter(|_| free));
        let opens = Some(self.opens_at()).filter(|at| *at > self.last_open);
        let moments = [start, self.next_suspicion(), opens];
        moments
            .into_iter()
            .flatten()
            .fold(self.next_heartbeat, Monotonic::min)
    }

    fn tick(&mut self, mono: Monotonic) {
        self.next_heartbeat = mono.after(self.options.heartbeat_interval);
        self.last_tick = mono;
        let peers: Vec<Member> = self.connected().collect();
        for peer in peers {
            self.send_heartbeat(peer, mono);
        }
        self.banned.retain(|_, until| *until > mono);
        let broken_for = self.options.ack_timeout;
        self.broken
            .retain(|_, (_, last)| mono.since(*last) < broken_for);
        self.repeat(mono);
        self.answer_changes(mono);
        self.reset_what_is_lost(mono);
    }

    fn connected(&self) -> impl Iterator<Item = Member> {
        self.links
            .iter()
            .filter(|(_, link)| link.connected)
            .map(|(member, _)| *member)
    }

    fn send_heartbeat(&mut self, to: Member, mono: Monotonic) {
        let Some(link) = self.links.get(&to) else {
            return;
        };
        let (echo, echo_age) = link.echo(mono);
        let heartbeat = Heartbeat {
            sent: mono.0,
            echo,
            echo_age,
            cluster_time: self.clock.at(mono),
            time_base: self.clock.base(),
            view: self.view.version,
            in_view: self.view.contains(to),
            servers: if self.introduces() {
                self.standing()
            } else {
                0
            },
            coordinator: self.acting_coordinator().unwrap_or(self.me),
            renounced: self.renounces(to),
            vouches: self.leaving.is_none() && self.quorum.vouches(to),
        };
        self.send(to, Control::Heartbeat(heartbeat));
    }

    /// Whether a proposal that leaves a peer out has been acknowledged.
    fn renounces(&self, peer: Member) -> bool {
        let prepared = self
            .prepared
            .as_ref()
            .is_some_and(|view| !view.contains(peer));
        prepared && self.view.contains(peer)
    }

    /// Says again what the coordinator must hear.
    fn repeat(&mut self, mono: Monotonic) {
        if self.leaving.is_some() {
            self.repeat_leave(mono);
        }
        self.ask_to_join(mono);
        let Some(coordinator) = self.acting_coordinator() else {
            return;
        };
        if coordinator == self.me {
            return;
        }
        let peers: Vec<Member> = self
            .failed
            .iter()
            .filter(|member| self.view.contains(**member))
            .copied()
            .collect();
        if !peers.is_empty() {
            self.send(coordinator, Control::Unreachable { peers });
        }
        if let Some(progress) = self.progress.message(self.view.version) {
            self.send(coordinator, Control::Progress(progress));
        }
        self.repeat_changes(coordinator, mono);
    }

    /// Proposes a view where there is a reason to.
    fn consider(&mut self, mono: Monotonic) {
        self.stale = self.is_stale();
        self.look_outside(mono);
        if !self.coordinates() {
            self.progress.due = None;
            if self.proposal.is_none() {
                // Whoever wants them asks the coordinator again; here they would come too late.
                self.changes.clear();
            }
        }
        if self.done || self.leaving.is_some() {
            self.propose_at = None;
            return;
        }
        if self.proposal.is_some() {
            return;
        }
        if self.propose_at.is_some_and(|at| mono < at) || self.doubts_until.is_some() {
            return;
        }
        self.propose_at = None;
        if !self.has_view() {
            self.consider_forming(mono);
        } else if self.coordinates() && self.has_reason(mono) {
            self.propose(mono);
        }
    }

    fn has_reason(&self, mono: Monotonic) -> bool {
        let alone = |node: &NodeInfo| !self.stands_by(node.member);
        self.view.nodes.iter().any(alone)
            || self
                .joins
                .values()
                .any(|asked| asked.is_fresh(mono) && self.can_admit(asked))
            || !self.changes.is_empty()
            || self.progress.due.is_some_and(|due| mono >= due)
            || self.someone_lags(mono)
            || !self.outside_clique().is_empty()
    }

    /// A member that knows it is in the view and does not install it has promised a greater
    /// version to somebody.
    fn someone_lags(&self, mono: Monotonic) -> bool {
        let lags = |node: &NodeInfo| {
            self.links.get(&node.member).is_some_and(|link| {
                link.view().is_some_and(|view| view < self.view.version)
                    && mono.since(link.behind_since) > self.options.ack_timeout / 2
            })
        };
        self.view.servers().any(lags)
    }

    pub fn check_invariants(&self) {
        assert!(
            self.view.version <= self.promised,
            "a view was installed that was not promised"
        );
        let mut members: Vec<Member> = self.view.nodes.iter().map(|node| node.member).collect();
        members.sort_unstable();
        members.dedup();
        assert_eq!(
            members.len(),
            self.view.nodes.len(),
            "a member is twice in the view"
        );
        assert!(
            !self.has_view() || self.view.contains(self.me),
            "installed a view without itself"
        );
        for cache in self.view.caches.values() {
            for owners in &cache.table {
                let mut all = owners.owners.clone();
                all.extend(&owners.loading);
                let count = all.len();
                all.sort_unstable();
                all.dedup();
                assert_eq!(all.len(), count, "an owner is twice in a partition");
            }
        }
    }
}
