//! The failure detector: a member that is silent for `ack-timeout` is suspected; it is called
//! once more on a fresh connection and other peers are asked, 250 ms for both; there is no second
//! wait. A connection that ended while the port refuses is a crash and is acted on at once.
//!
//! A peer that others reach and this node does not is not dead. The view goes on with the largest set
//! of servers that all reach each other, and its oldest proposes it: whoever finds itself outside
//! waits for that, for [`YIELD`] at most, and then proposes without those that it cannot reach.

use super::{Action, Membership};
use crate::engine::clique;
use crate::engine::planted::{self, Fault};
use crate::engine::shell::Notice;
use crate::types::message::Control;
use crate::types::time::{MILLISECOND, SECOND};
use crate::types::{Member, Micros, Monotonic, NodeInfo};
use std::collections::BTreeSet;

/// How long a suspicion lasts before it is acted on.
const CONFIRM: Micros = 250 * MILLISECOND;
/// How long, or `ack-timeout` where that is longer, those who all reach each other have to propose a view
/// without this node: enough for what two of them say of it to be believed.
const YIELD: Micros = SECOND;

impl Membership {
    pub fn on_link_up(&mut self, peer: NodeInfo, mono: Monotonic) {
        self.notice_standstill(mono);
        let member = peer.member;
        let older: Vec<Member> = self
            .links
            .keys()
            .filter(|known| known.id == member.id && known.incarnation < member.incarnation)
            .copied()
            .collect();
        for known in older {
            // Another life of the same node: this one is over.
            self.links.remove(&known);
            self.fail(known, true);
        }
        match self.links.get_mut(&member) {
            Some(link) => {
                link.connected = true;
                link.info = peer;
            }
            None => {
                self.links
                    .insert(member, super::link::Link::new(peer, mono));
            }
        }
        self.heard(member, mono);
        self.send_heartbeat(member, mono);
        self.consider(mono);
    }

    pub fn on_link_down(&mut self, peer: Member, refused: bool, mono: Monotonic) {
        self.notice_standstill(mono);
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        link.connected = false;
        if refused {
            self.links.remove(&peer);
            self.fail(peer, true);
        } else if link.suspected.is_none() {
            link.suspected = Some(mono);
            link.reached_by_others = false;
            self.call_again(peer);
        }
        self.consider(mono);
    }

    /// Something came from a peer: it lives.
    pub fn heard(&mut self, peer: Member, mono: Monotonic) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if mono.since(link.heard) >= self.options.ack_timeout {
            link.up_since = mono;
        }
        link.heard = mono;
        if link.connected {
            link.suspected = None;
            link.reached_by_others = false;
        }
        if !self.left.contains(&peer) {
            self.failed.remove(&peer);
        }
    }

    /// Calls a suspect once more on a fresh connection, and asks the others.
    fn call_again(&mut self, suspect: Member) {
        let Some(info) = self.links.get(&suspect).map(|link| link.info.clone()) else {
            return;
        };
        self.actions.push(Action::Dial(info));
        let others: Vec<Member> = self.connected().filter(|peer| *peer != suspect).collect();
        for peer in others {
            if self.view.contains(peer) {
                self.send(peer, Control::AskReach { suspect });
            }
        }
        if self.view.contains(suspect) {
            self.notice(Notice::Suspected(suspect));
        }
    }

    /// A peer's answer. A late one, of a suspicion that is over, says nothing, and neither does that of
    /// a client node, which is in no set of servers.
    pub(super) fn on_reach(&mut self, from: Member, suspect: Member, heard_ago: Option<Micros>) {
        let fresh = heard_ago.is_some_and(|ago| ago < self.options.ack_timeout / 2);
        let counts = fresh && self.view.servers().any(|node| node.member == from);
        if let Some(link) = self.links.get_mut(&suspect).filter(|_| counts) {
            link.reached_by_others |= link.suspected.is_some();
        }
    }

    /// How long a suspicion lasts.
    fn confirm(&self) -> Micros {
        match planted::is(Fault::WaitTwice) {
            true => CONFIRM + self.options.ack_timeout,
            false => CONFIRM,
        }
    }

    /// Looks for silence.
    pub(super) fn detect(&mut self, mono: Monotonic) {
        let silent = |link: &super::link::Link| {
            link.suspected.is_none() && mono.since(link.heard) >= self.options.ack_timeout
        };
        let suspects: Vec<Member> = self
            .links
            .iter()
            .filter(|(_, link)| silent(link))
            .map(|(peer, _)| *peer)
            .collect();
        for suspect in suspects {
            if let Some(link) = self.links.get_mut(&suspect) {
                link.suspected = Some(mono);
                link.reached_by_others = false;
            }
            self.call_again(suspect);
        }
        let confirm = self.confirm();
        let over =
            |link: &super::link::Link| link.suspected.is_some_and(|at| mono.since(at) >= confirm);
        let dead: Vec<Member> = self
            .links
            .iter()
            .filter(|(peer, link)| over(link) && !self.failed.contains(peer))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in dead {
            self.fail(peer, false);
        }
    }

    pub(super) fn next_suspicion(&self) -> Option<Monotonic> {
        self.links
            .iter()
            .filter(|(peer, _)| !self.failed.contains(peer))
            .map(|(_, link)| match link.suspected {
                Some(at) => at.after(self.confirm()),
                None => link.heard.after(self.options.ack_timeout),
            })
            .min()
    }

    /// Holds a peer dead; `ended`: its process is known to have ended, with what it held.
    pub(super) fn fail(&mut self, peer: Member, ended: bool) {
        if ended {
            self.left.insert(peer);
        }
        self.unconfirmed.remove(&peer);
        self.joins.remove(&peer);
        let in_view = self.view.contains(peer);
        if self.failed.insert(peer) && in_view {
            self.notice(Notice::Failed(peer));
        }
        if let Some(proposal) = &mut self.proposal {
            proposal.lost(peer);
        }
    }

    /// A member cannot reach others that this node, as coordinator, may well reach.
    pub(super) fn on_unreachable(&mut self, from: Member, peers: &[Member], mono: Monotonic) {
        for peer in peers {
            if self.view.contains(*peer) && self.view.contains(from) {
                self.note_broken(from, *peer, mono);
            }
        }
    }

    /// Members outside of the largest set of servers that all reach each other.
    pub(super) fn outside_clique(&self) -> Vec<Member> {
        let (out, broken) = self.apart();
        if self.yields || !out.contains(&self.me) {
            return out;
        }
        // Nobody else has proposed: this node stays, and who cannot reach it goes.
        let apart = |member: &Member| {
            broken.contains(&(self.me, *member)) || broken.contains(&(*member, self.me))
        };
        let servers = self.view.servers().map(|node| node.member);
        servers.filter(apart).collect()
    }

    /// Looks whether this node is one of them, and leaves the next view to those who are.
    pub(super) fn look_outside(&mut self, mono: Monotonic) {
        let (out, _) = self.apart();
        if !out.contains(&self.me) {
            (self.outside_since, self.yields) = (None, false);
            return;
        }
        let since = *self.outside_since.get_or_insert(mono);
        self.yields = mono.since(since) < YIELD.max(self.options.ack_timeout);
    }

    /// Servers outside of the largest set, and the pairs that do not reach each other.
    fn apart(&self) -> (Vec<Member>, BTreeSet<(Member, Member)>) {
        let reached = |member: &Member| {
            self.failed.contains(member)
                && !self.left.contains(member)
                && !planted::is(Fault::ForgetOthersReach)
                && self
                    .links
                    .get(member)
                    .is_some_and(|link| link.reached_by_others && !link.went_on(&self.view))
        };
        let only_others = |member: &Member| !self.stands_by(*member) && reached(member);
        if self.broken.is_empty() && !self.failed.iter().any(only_others) {
            return <_>::default();
        }
        let servers: Vec<Member> = self
            .view
            .servers()
            .map(|node| node.member)
            .filter(|member| self.stands_by(*member) || reached(member))
            .collect();
        let said = self
            .broken
            .iter()
            .filter(|(_, (first, last))| last.since(*first) >= super::proposal::BROKEN)
            .map(|(pair, _)| *pair);
        let seen = servers.iter().filter(|member| only_others(member));
        let broken: BTreeSet<(Member, Member)> = said
            .chain(seen.map(|member| (self.me, *member)))
            .filter(|(a, b)| servers.contains(a) && servers.contains(b))
            .collect();
        if broken.is_empty() {
            return <_>::default();
        }
        let kept = clique::largest(&servers, &broken);
        let out = servers.into_iter().filter(|member| !kept.contains(member));
        (out.collect(), broken)
    }
}
