//! Leases: the right to answer reads and to acknowledge writes.
//!
//! A lease counts from the sending of heartbeats that were acknowledged by a majority of the
//! view's servers, or by half of them with the oldest; the own part of it is renewed only by a
//! tick, so that who stood still finds it lapsed. Then every peer must confirm the view again
//! before this node serves, or be found failed.

use super::Membership;
use crate::engine::planted::{self, Fault};
use crate::types::{Member, Micros, Monotonic};
use std::collections::BTreeSet;

impl Membership {
    /// Until when this node may serve; the beginning of time where it may not.
    pub fn lease_until(&self) -> Monotonic {
        let doubts = self.doubts_until.is_some() || !self.unconfirmed.is_empty();
        // Once it has said that it leaves, the others go on without waiting for a lease.
        let gone = self.stale || self.done || self.leaving.is_some();
        let fenced = !self.has_view() || gone || doubts;
        if fenced {
            return Monotonic::default();
        }
        let Some(confirmed) = self.confirmed_at() else {
            return Monotonic::default();
        };
        confirmed.min(self.last_tick).after(self.lease())
    }

    /// How long a lease lasts: by the shortest that a server of the view has in its settings, or of one
    /// that is prepared. Each is below the `ack-timeout` of its node, so that nobody goes on without a
    /// peer that may still serve, also while those timeouts are changed one node after the other.
    pub(super) fn lease(&self) -> Micros {
        if planted::is(Fault::OwnLease) {
            return self.options.lease;
        }
        let prepared = self.prepared.iter().filter_map(|view| view.lease());
        let told = self.view.lease().into_iter().chain(prepared);
        told.fold(self.options.lease, Micros::min)
    }

    /// The moment at which enough servers are known to have held this node in their view.
    fn confirmed_at(&self) -> Option<Monotonic> {
        let servers: Vec<Member> = self.view.servers().map(|node| node.member).collect();
        self.quorum_at(&servers, |link| link.acked)
    }

    /// The moment at which enough servers of a primary view are known to have vouched for this node.
    pub(super) fn vouched_at(&self, servers: &[Member]) -> Option<Monotonic> {
        self.quorum_at(servers, |link| link.vouched)
    }

    fn quorum_at(
        &self,
        servers: &[Member],
        of: impl Fn(&super::link::Link) -> Option<Monotonic>,
    ) -> Option<Monotonic> {
        let oldest = servers.first().copied();
        let mut acked: Vec<(Monotonic, Member)> = servers
            .iter()
            .filter_map(|server| {
                if *server == self.me {
                    return Some((self.last_tick, *server));
                }
                Some((of(self.links.get(server)?)?, *server))
            })
            .collect();
        acked.sort_unstable_by(|a, b| b.cmp(a));
        let majority = servers.len() / 2 + 1;
        let by_majority = acked.get(majority - 1).map(|(at, _)| *at);
        let half = servers.len() / 2;
        if !servers.len().is_multiple_of(2) {
            return by_majority;
        }
        let with_oldest = acked.iter().find(|(_, server)| Some(*server) == oldest);
        let mut others = acked.iter().filter(|(_, server)| Some(*server) != oldest);
        let by_half = with_oldest.and_then(|(at, _)| match half.checked_sub(2) {
            None => Some(*at),
            Some(rest) => Some(others.nth(rest)?.0.min(*at)),
        });
        by_majority.max(by_half)
    }

    /// The moment of the last standstill's end: only heartbeats sent since then confirm.
    pub(super) fn last_still(&self) -> Monotonic {
        self.stood_still
    }

    /// Longer than a lease since the last tick: the others may have gone on without this node.
    pub(super) fn notice_standstill(&mut self, mono: Monotonic) {
        if self.doubts_until.is_some_and(|until| mono >= until) && !self.is_stale() {
            self.doubts_until = None;
        }
        let stood = mono.since(self.last_tick);
        if stood <= self.lease() {
            return;
        }
        self.last_tick = mono;
        if !self.has_view() {
            // Nobody was asked meanwhile, so that time does not count.
            self.started = self.started.after(stood);
            self.looking_since = self.looking_since.after(stood);
            return;
        }
        self.stood_still = mono;
        let others = self.view.servers().map(|node| node.member);
        let others: BTreeSet<Member> = others.filter(|member| *member != self.me).collect();
        // Where all peers are gone, their later lives may have gone on: they are looked for before
        // this node believes that it is the last.
        self.doubts_until = (!others.is_empty()).then(|| mono.after(self.options.ack_timeout));
        self.unconfirmed = others.difference(&self.failed).copied().collect();
        // What arrived meanwhile has not been read yet: silence during the standstill says
        // nothing about the peers.
        for link in self.links.values_mut() {
            link.heard = mono;
            link.suspected = None;
        }
    }

    /// Whether a peer of the view went on to one without this node; or, after a standstill,
    /// whether there is any later view, be it of later lives of those peers.
    pub(super) fn is_stale(&self) -> bool {
        if self.leaving.is_some() || !self.has_view() {
            return false;
        }
        let links = self.links.iter();
        let connected = links.filter(|(_, link)| link.connected && link.is_server());
        connected.into_iter().any(|(peer, link)| {
            let went_on = link.went_on(&self.view);
            let known = self.view.contains(*peer) && !self.failed.contains(peer);
            let since = self.doubts_until.is_some() && link.heard_since(self.stood_still);
            went_on && (known || since)
        })
    }
}
