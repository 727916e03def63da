//! Primary views: where `quorum-of` is set, caches that stop in a minority serve in these alone.
//!
//! The first one needs all servers, none of which knows of an earlier one, or `ForcePrimary`. A later
//! view is primary if its servers hold a quorum (a majority, or half with the oldest) of the last
//! primary view, and of every prepared one that any of them knows to be later: that one may have been
//! committed by a coordinator which is out of reach. (One of its own a node forgets when it gives it up:
//! nobody else commits that, so it is none of the views below.) Who left in order is none of the servers of such
//! a view any more, and takes no part in any other from then on. A later life of a node is another
//! member, and counts for nothing that its earlier one knew. The coordinator judges when all servers
//! have answered `Collect`, before it prepares: each of them promised to acknowledge nothing lower,
//! so that what they told is still all that they know when they acknowledge the view.
//!
//! # Why two primary views never exclude each other
//!
//! Let `V` be judged primary and `Q` be the greatest primary view below it that anybody committed.
//! Then `V` holds a quorum of `Q`. By induction over the versions: let `R` be the last primary view
//! that a server of `V` committed. If `R` is `Q`, the judgement says so. Otherwise there are committed
//! views `R = C0 < C1 < … < Ck = Q`, each of which holds a quorum of the one before. `V` holds a quorum
//! of `C0`, and so does `C1`: they share a server. It prepared `C1` before it promised `V`, has
//! committed nothing higher that is primary (that would be above `R`), so it has not forgotten `C1`
//! and told of it. So `V` was judged by `C1` too and holds a quorum of it; and so on, up to `Q`.
//! Servers that left change none of this. Let `V` know that `L` left and `C1` that `M` did. Nobody of
//! either is in `V` or `C1` (one that prepared `C1` before it left told of it as it left), so both are
//! within `C0` without `L` and `M`. Each is at least half of a set that is no smaller than that: they
//! share a server, unless both are exactly half; then `L` is `M`, and both hold the same oldest. (That
//! a leaver counts for every view without it is not enough: it counted for two halves at once.)
//! Where `V` knows of no committed one, `C0` is the first of all: it was prepared by all servers that
//! there are, so that each of those that still live knows of it.
//!
//! # Why who is left out stops before the others go on
//!
//! A lease for caches that stop in a minority counts heartbeats which *vouch*: those of a server all
//! of whose known primary views, prepared ones included, hold the receiver. It needs a quorum of the
//! own view, and of every prepared view that this node knows. Let `V` be committed and `r` be outside
//! of it. If `r` belongs to `Q`, it has prepared it, and its lease needs a quorum of `Q`: that shares
//! a server with `V`, which does not vouch for `r` since it prepared `V`. If it does not belong to `Q`,
//! its lease ended by the same argument for `Q`. So all leases outside of `V` end one lease after the
//! last acknowledgement of `V`, and `V` is closed for so long (for those caches alone) from its
//! installation on, wherever it leaves out somebody who is not known to have stopped. What is left
//! of that time goes on into the next view. (Where servers have leases of different length, the shortest
//! of a view counts in it, and `V` waits for the longest of the views that it leaves somebody of.) Once `r` has acknowledged a later view that takes it in again
//! it may be vouched for before it hears of the commit; it has renounced then what it does not own
//! there, and what it owns there it held as of `V`.
//!
//! # What a copy is worth
//!
//! For such caches a copy is complete as of a *primary* view. Those of the greatest version own the
//! partition, and others load anew: what a branch wrote that was not primary does not exist, for there
//! is no such thing. But a copy may be behind writes that owners of a later primary view acknowledged
//! without it. Its holder was left out of that view, which the judgement knows; or it prepared a view
//! in which it is no owner, maybe before the copy was loaded, and remembers it as *retired*. Neither
//! becomes owner while a server may be out that has more; the partition is Lost until that returns, or
//! has surely ended.
//!
//! Partitions begin empty in the first of all primary views, and what nobody holds later is Lost. A server
//! that has acknowledged that view and not heard of its commit tells of what begins there with it as of
//! an empty copy (`engine::grid::empty_copies`).
//!
//! # When what was written has been founded
//!
//! Partitions of such caches begin empty in the first primary view `W`, and never again: who judges a later
//! one learns from its servers that there was a first. But if `W` is committed by some of its servers
//! alone, a quorum of the others may go on that has acknowledged it and does not know whether anybody
//! committed it; nobody there holds what began with the rest, and it would begin again. So a server
//! serves those caches only once it has heard from all servers of one and the same primary view, itself
//! included, that they have committed it. By the argument above each later primary view has a server that
//! has committed that one or a later one, and tells. It costs the exchange of one heartbeat when a
//! cluster forms, and each server that joins it as much. Rejected: that what nobody holds stays Lost
//! while anybody is out who may have committed `W`, since it would where nobody has.
//!
//! # What is given up on request
//!
//! `ForcePrimary` makes a view primary whatever was before. Its number is greater by 2³² than all that
//! are known, so that whatever the lost majority may have gone on to is below it, in views and in
//! versions of entries. Rejected: an epoch beside every version.

use super::Membership;
use crate::engine::planted::{self, Fault};
use crate::types::message::Collected;
use crate::types::{Member, Micros, Monotonic, NodeInfo, Primaries, PrimaryView, Role, View};
use std::collections::BTreeMap;

/// The most prepared views that are remembered, one for each set of servers. A view beyond them is
/// not acknowledged: only `ForcePrimary` helps then.
const PREPARED_MAX: usize = 64;
/// By how much the number of a forced view exceeds all others.
pub const FORCED: u64 = 1 << 32;
/// Clocks do not run equally fast: a wait for somebody else's lease is longer by this part of it.
const DRIFT_PART: u64 = 64;

/// What this node knows of primary views.
#[derive(Clone)]
pub struct Quorum {
    /// The number of servers; absent: every view is primary.
    of: Option<u32>,
    known: Primaries,
    /// The view that this node itself proposes. Nobody else commits it, so that it is forgotten when it
    /// is given up: who was to be in it may be gone, and would be missed for ever.
    own: Option<PrimaryView>,
    /// Caches that stop in a minority do not serve before.
    opens_at: Monotonic,
    /// Every server of a primary view is known to have committed it.
    founded: bool,
}

/// What the judgement of a proposal comes to.
pub struct Judged {
    pub primary: bool,
    pub closed_for: Micros,
    /// All that its servers know.
    pub known: Primaries,
}

impl Quorum {
    pub fn new(of: Option<u32>) -> Self {
        Self {
            of,
            known: Primaries::default(),
            own: None,
            opens_at: Monotonic::default(),
            founded: false,
        }
    }

    /// Whether one more server fits into a view with so many.
    pub fn has_room(&self, servers: usize) -> bool {
        self.of.is_none_or(|of| servers < of as usize)
    }

    /// What is told with an acknowledgement.
    pub fn known(&self, mono: Monotonic) -> Primaries {
        let mut known = Primaries {
            closed_for: self.opens_at.since(mono),
            ..self.known.clone()
        };
        if let Some(own) = &self.own {
            add(&mut known.prepared, own.clone());
        }
        known
    }

    /// Every view that this node knows to be primary, or to become so perhaps.
    pub fn views(&self) -> impl Iterator<Item = &PrimaryView> {
        let known = self.known.last.iter().chain(&self.known.prepared);
        known.chain(&self.own)
    }

    /// A view is about to be acknowledged; false where there is no room to remember it.
    pub fn prepare(&mut self, view: &View) -> bool {
        if self.of.is_none() || !view.primary || planted::is(Fault::ForgetPrepared) {
            return true;
        }
        add(&mut self.known.prepared, view.as_primary());
        self.known.prepared.len() <= PREPARED_MAX
    }

    /// A view of this node's own is about to be prepared.
    pub fn prepare_own(&mut self, view: &View) {
        let counts = self.of.is_some() && view.primary && !planted::is(Fault::ForgetPrepared);
        self.own = counts.then(|| view.as_primary());
    }

    /// It is given up without having been committed.
    pub fn give_up_own(&mut self) {
        self.own = None;
    }

    /// A view was committed: what it follows is over.
    pub fn commit(&mut self, view: &View, mono: Monotonic) {
        if self.of.is_none() || !view.primary {
            return;
        }
        self.known.last = Some(view.as_primary());
        prune(&mut self.known);
        self.own = self.own.take().filter(|own| own.version > view.version);
        if view.closed_for > 0 {
            self.opens_at = self.opens_at.max(mono.after(view.closed_for));
        }
    }

    /// Somebody leaves in order.
    pub fn leaves(&mut self, member: Member, known: &Primaries) {
        if self.of.is_none() {
            return;
        }
        let mut united = self.known.clone();
        unite(&mut united, known);
        united.leavers.insert(member);
        prune(&mut united);
        if united.prepared.len() <= PREPARED_MAX {
            self.known = united;
        }
    }

    /// Whether no primary view that may be in force leaves a peer out.
    pub fn vouches(&self, peer: Member) -> bool {
        let mut views = self.views().peekable();
        views.peek().is_some() && views.all(|view| view.servers.contains(&peer))
    }
}

/// One for each set of servers, the latest.
fn add(views: &mut Vec<PrimaryView>, view: PrimaryView) {
    match views.iter_mut().find(|old| old.servers == view.servers) {
        Some(old) => old.version = old.version.max(view.version),
        None => views.push(view),
    }
}

/// Adds what another server told.
pub fn unite(known: &mut Primaries, told: &Primaries) {
    let later = |last: &PrimaryView| {
        let mine = known.last.as_ref().map(|mine| mine.version);
        mine.is_none_or(|mine| mine < last.version)
    };
    if let Some(last) = told.last.as_ref().filter(|last| later(last)) {
        known.last = Some(last.clone());
    }
    for view in &told.prepared {
        add(&mut known.prepared, view.clone());
    }
    known.leavers.extend(&told.leavers);
    known.closed_for = known.closed_for.max(told.closed_for);
}

/// Forgets what a later committed view has made superfluous.
pub fn prune(known: &mut Primaries) {
    let Primaries {
        last,
        prepared,
        leavers,
        ..
    } = known;
    if let Some(last) = last {
        prepared.retain(|view| view.version > last.version);
    }
    let mut views = last.iter().chain(prepared.iter());
    let servers: Vec<Member> = views
        .by_ref()
        .flat_map(|view| &view.servers)
        .copied()
        .collect();
    leavers.retain(|leaver| servers.contains(leaver));
}

/// Whether these servers are a primary view, by all that they know; `of`: how many there are in all.
pub fn is_primary(of: u32, servers: &[Member], known: &Primaries) -> bool {
    let present = |member| servers.contains(&member);
    let held = |view: &PrimaryView| {
        if planted::is(Fault::HalfIsEnough) {
            let count = view
                .servers
                .iter()
                .filter(|server| present(**server))
                .count();
            return count * 2 >= view.servers.len();
        }
        if planted::is(Fault::LeaversVote) {
            return view.is_held_by(|one| present(one) || known.leavers.contains(&one));
        }
        view.without(&known.leavers).is_held_by(present)
    };
    if known.prepared.len() > PREPARED_MAX {
        return false;
    }
    if known.last.is_none() && known.prepared.is_empty() {
        return servers.len() >= of as usize;
    }
    known.last.iter().chain(&known.prepared).all(held)
}

impl Membership {
    /// Judges a proposal by what all of its servers have answered.
    pub(super) fn judge(
        &self,
        nodes: &[NodeInfo],
        answers: &BTreeMap<Member, Collected>,
        forced: bool,
        mono: Monotonic,
    ) -> Judged {
        let Some(of) = self.quorum.of else {
            return Judged {
                primary: true,
                closed_for: 0,
                known: Primaries::default(),
            };
        };
        let mut known = self.quorum.known(mono);
        for answer in answers.values() {
            unite(&mut known, &answer.primaries);
        }
        prune(&mut known);
        let servers = nodes.iter().filter(|node| node.role == Role::Server);
        let servers: Vec<Member> = servers.map(|node| node.member).collect();
        let views = || known.last.iter().chain(&known.prepared);
        // Whoever may still serve under one of these, or return with what it wrote there.
        let out = |member: &Member| {
            let over = self.has_ended(*member, nodes) || known.leavers.contains(member);
            !servers.contains(member) && !over
        };
        let left_out = views().filter(|view| view.servers.iter().any(out));
        let lease = left_out.map(|view| match view.lease {
            _ if planted::is(Fault::OwnLease) => self.options.lease,
            0 => self.options.lease,
            lease => lease,
        });
        let primary =
            forced || is_primary(of, &servers, &known) || planted::is(Fault::MinorityGoesOn);
        let lease = lease.max().filter(|_| !planted::is(Fault::OpenAtOnce));
        let wait = lease.map_or(0, |lease| lease + lease / DRIFT_PART + 1);
        let closed_for = wait.max(known.closed_for);
        Judged {
            primary,
            closed_for: if primary { closed_for } else { 0 },
            known,
        }
    }

    /// Whether the process of a member is known to have ended.
    fn has_ended(&self, member: Member, nodes: &[NodeInfo]) -> bool {
        let later = |node: &NodeInfo| {
            node.member.id == member.id && node.member.incarnation > member.incarnation
        };
        self.left.contains(&member) || nodes.iter().any(later)
    }

    /// Until when caches that stop in a minority may serve here.
    pub fn primary_until(&self) -> Monotonic {
        let until = self.lease_until();
        if self.quorum.of.is_none() || planted::is(Fault::MinorityGoesOn) {
            return until;
        }
        if !self.view.primary || until == Monotonic::default() {
            return Monotonic::default();
        }
        if self.is_client() {
            return until;
        }
        if !self.quorum.founded && !planted::is(Fault::ServeUnfounded) {
            return Monotonic::default();
        }
        let own = self.view.version;
        let in_force = |view: &PrimaryView| view.version == own;
        if !self.quorum.known.last.as_ref().is_some_and(in_force) {
            return Monotonic::default();
        }
        let confirmed = self
            .quorum
            .views()
            .map(|view| self.vouched_at(&view.servers));
        let confirmed = confirmed.min().flatten();
        confirmed.map_or_else(Monotonic::default, |confirmed| {
            let lease = confirmed.min(self.last_tick).after(self.lease());
            lease.min(until)
        })
    }

    /// Looks whether all servers of the view, which is primary, have committed it.
    pub(super) fn look_whether_founded(&mut self) {
        if self.quorum.founded || !self.view.primary {
            return;
        }
        let version = self.view.version;
        self.quorum.founded = self.view.servers().map(|node| node.member).all(|member| {
            let link = self.links.get(&member);
            member == self.me || link.and_then(super::link::Link::view) == Some(version)
        });
    }

    /// Before this moment they may not.
    pub fn opens_at(&self) -> Monotonic {
        self.quorum.opens_at
    }

    /// Every view that this node knows to be primary, or to become so perhaps.
    pub fn primary_views(&self) -> Vec<PrimaryView> {
        self.quorum.views().cloned().collect()
    }

    /// The number of a view that is forced to be primary exceeds all others by far.
    pub(super) fn forced_number(&self, number: u64) -> u64 {
        let forced = self.quorum.of.is_some() && !self.view.primary && self.wants_primary();
        number + if forced { FORCED } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, NodeId, TopologyVersion};

    fn member(id: u64) -> Member {
        Member {
            id: NodeId(id),
            incarnation: Incarnation(1),
        }
    }

    fn view(number: u64, servers: &[u64]) -> PrimaryView {
        PrimaryView {
            version: TopologyVersion {
                number,
                coordinator: member(servers[0]),
            },
            servers: servers.iter().copied().map(member).collect(),
            lease: 0,
        }
    }

    fn judged(servers: &[u64], last: Option<PrimaryView>, prepared: &[PrimaryView]) -> bool {
        let servers: Vec<Member> = servers.iter().copied().map(member).collect();
        let mut known = Primaries {
            last,
            prepared: prepared.to_vec(),
            ..Primaries::default()
        };
        prune(&mut known);
        is_primary(3, &servers, &known)
    }

    #[test]
    fn the_first_one_needs_all_servers() {
        assert!(judged(&[1, 2, 3], None, &[]));
        assert!(!judged(&[1, 2], None, &[]));
    }

    #[test]
    fn a_later_one_needs_a_majority_or_half_with_the_oldest() {
        let last = || Some(view(5, &[1, 2, 3, 4]));
        assert!(judged(&[2, 3, 4], last(), &[]));
        assert!(judged(&[1, 4], last(), &[]));
        assert!(!judged(&[2, 3], last(), &[]));
        assert!(!judged(&[1], last(), &[]));
    }

    #[test]
    fn a_later_life_has_no_vote() {
        let mut restarted = member(2);
        restarted.incarnation = Incarnation(2);
        let known = Primaries {
            last: Some(view(5, &[1, 2, 3])),
            ..Primaries::default()
        };
        assert!(!is_primary(3, &[member(3), restarted], &known));
    }

    #[test]
    fn a_prepared_view_that_may_be_in_force_is_asked_too() {
        let last = || Some(view(5, &[1, 2, 3]));
        assert!(judged(&[2, 3], last(), &[]));
        assert!(!judged(&[2, 3], last(), &[view(6, &[1, 2])]));
        assert!(judged(&[1], Some(view(6, &[1, 2])), &[]));
        assert!(judged(&[2, 3], last(), &[view(4, &[1, 2])]));
    }

    #[test]
    fn who_left_in_order_has_acknowledged_the_view_without_it() {
        let mut known = Primaries {
            last: Some(view(5, &[1, 2])),
            ..Primaries::default()
        };
        assert!(!is_primary(3, &[member(2)], &known));
        known.leavers.insert(member(1));
        assert!(is_primary(3, &[member(2)], &known));
    }

    #[test]
    fn who_left_in_order_counts_for_no_half() {
        let known = |leaver| Primaries {
            last: Some(view(5, &[1, 2, 3, 4, 5])),
            leavers: [member(leaver)].into(),
            ..Primaries::default()
        };
        let holds = |servers: &[u64], leaver| {
            let servers: Vec<Member> = servers.iter().copied().map(member).collect();
            is_primary(5, &servers, &known(leaver))
        };
        assert!(holds(&[1, 2], 3));
        assert!(!holds(&[4, 5], 3));
        // The oldest of those who are left.
        assert!(holds(&[2, 5], 1));
        assert!(!holds(&[3, 4], 1));
        assert!(holds(&[3, 4, 5], 1));
        // Nobody is left who could be asked.
        let mut all = known(1);
        all.leavers.extend([2, 3, 4, 5].map(member));
        assert!(!is_primary(5, &[member(6)], &all));
    }

    #[test]
    fn an_own_view_that_was_given_up_is_not_waited_for() {
        let as_view = |view: PrimaryView| View {
            version: view.version,
            nodes: view
                .servers
                .iter()
                .map(|member| NodeInfo {
                    member: *member,
                    ..NodeInfo::default()
                })
                .collect(),
            primary: true,
            ..View::default()
        };
        let mut quorum = Quorum::new(Some(3));
        quorum.commit(&as_view(view(5, &[1, 2])), Monotonic(1));
        let alone = |quorum: &Quorum| is_primary(3, &[member(1)], &quorum.known(Monotonic(1)));
        assert!(alone(&quorum));
        quorum.prepare_own(&as_view(view(6, &[1, 2, 3])));
        assert!(!alone(&quorum) && !quorum.vouches(member(4)));
        quorum.give_up_own();
        assert!(alone(&quorum));
        // Another's may be in force.
        assert!(quorum.prepare(&as_view(view(7, &[1, 2, 3]))));
        quorum.give_up_own();
        assert!(!alone(&quorum));
    }

    #[test]
    fn nobody_vouches_for_whom_a_prepared_view_leaves_out() {
        let mut quorum = Quorum::new(Some(3));
        assert!(!quorum.vouches(member(1)));
        quorum.known.last = Some(view(5, &[1, 2, 3]));
        assert!(quorum.vouches(member(3)));
        quorum.known.prepared.push(view(6, &[1, 2]));
        assert!(quorum.vouches(member(1)));
        assert!(!quorum.vouches(member(3)));
    }

    /// Whether server 1 serves in a primary view of three, once it has heard that each of the others
    /// has committed the view of this number.
    fn serves_after(heard: &[(u64, u64)]) -> bool {
        let node = |id: u64| NodeInfo {
            member: member(id),
            ..NodeInfo::default()
        };
        let options = crate::engine::options::GridOptions {
            quorum_of: Some(3),
            ..crate::engine::options::GridOptions::of(node(1))
        };
        let mut own = Membership::new(options, 7, Monotonic(1), 0);
        let first = view(5, &[1, 2, 3]);
        own.view = std::sync::Arc::new(View {
            version: first.version,
            nodes: [1, 2, 3].map(node).to_vec(),
            primary: true,
            ..View::default()
        });
        own.quorum.known.last = Some(first);
        for id in [2, 3] {
            own.on_link_up(node(id), Monotonic(1));
        }
        for (id, number) in heard {
            let heartbeat = crate::types::message::Heartbeat {
                sent: 1,
                echo: 1,
                view: view(*number, &[1]).version,
                in_view: true,
                vouches: true,
                ..Default::default()
            };
            let heartbeat = crate::types::message::Control::Heartbeat(heartbeat);
            own.on_control(member(*id), heartbeat, Monotonic(2));
        }
        own.primary_until() > Monotonic::default()
    }

    #[test]
    fn nobody_serves_before_all_servers_of_one_primary_view_have_committed_it() {
        assert!(!serves_after(&[(2, 5)]));
        assert!(!serves_after(&[(2, 5), (3, 4)]));
        assert!(serves_after(&[(2, 5), (3, 5)]));
        // Known once, it is known for good.
        assert!(serves_after(&[(2, 5), (3, 5), (3, 4)]));
    }
}
