//! Coming together: when a node forms a cluster, whom it asks to be taken in by, and which of two
//! clusters that meet joins the other.

use super::link::Link;
use super::{Action, Membership};
use crate::engine::planted::{self, Fault};
use crate::engine::shell::{Notice, ProbeOutcome};
use crate::error::{Error, ErrorKind};
use crate::types::message::{Control, Heartbeat, Join};
use crate::types::time::{MILLISECOND, SECOND};
use crate::types::{Member, Micros, Monotonic, NodeInfo, Role, View};
use std::cmp::Reverse;

/// How long a request to join is acted upon; its sender repeats it.
const FRESH: Micros = SECOND;
/// Requests that come together are answered by one view.
const GATHER: Micros = 20 * MILLISECOND;
/// Who was left out of a view while it was alive comes back when its links to all servers of that
/// view have stood for so long, so that a bad link does not change the view again and again.
const STANDS: Micros = 5 * SECOND;
/// The most requests to join that are kept.
const JOINS_MAX: usize = 256;

/// A request to join.
pub struct Asked {
    pub nodes: Vec<NodeInfo>,
    pub number: u64,
    at: Monotonic,
}

impl Asked {
    pub fn is_fresh(&self, mono: Monotonic) -> bool {
        mono.since(self.at) < FRESH
    }
}

/// The greater wins: more servers, then the older coordinator.
type Rank = (u32, Reverse<(u64, u64)>);

fn rank(servers: u32, coordinator: Member) -> Rank {
    (
        servers,
        Reverse((coordinator.incarnation.0, coordinator.id.0)),
    )
}

impl Membership {
    pub fn on_probe(&mut self, endpoint: usize, outcome: ProbeOutcome, mono: Monotonic) {
        if let Some(slot) = self.probes.get_mut(endpoint) {
            *slot = Some(outcome);
        }
        self.consider(mono);
    }

    /// Whether this node tells peers outside of its view of its cluster, and passes on what they
    /// ask its coordinator: every server does.
    pub(super) fn introduces(&self) -> bool {
        !self.is_client() || self.options.force_server_mode
    }

    fn is_linked(&self, member: Member) -> bool {
        self.links.get(&member).is_some_and(|link| link.connected)
    }

    /// Whether a peer is linked and not held dead.
    fn answers(&self, member: Member) -> bool {
        self.is_linked(member) && !self.failed.contains(&member)
    }

    /// Whom to ask to be taken in: the coordinator of the best cluster that linked peers tell of,
    /// or, where this node is in no cluster and no link to that one stands, who told of it. Whoever
    /// fell silent takes in nobody: what it told last may have been the best for a long time.
    fn better_cluster(&self, mono: Monotonic) -> Option<Member> {
        let free = !self.has_view() || self.is_client();
        let mine = rank(self.standing(), self.me);
        let foreign = |heartbeat: &Heartbeat| {
            heartbeat.servers > 0 && !heartbeat.in_view && heartbeat.coordinator != self.me
        };
        self.links
            .values()
            .filter(|link| self.answers(link.info.member))
            .filter(|link| {
                let member = link.info.member;
                !self.view.contains(member) || link.went_on(&self.view)
            })
            .filter_map(|link| Some((link.info.member, link.last()?)))
            .filter(|(_, heartbeat)| foreign(heartbeat))
            .filter(|(_, heartbeat)| self.stale || !self.view.contains(heartbeat.coordinator))
            .filter(|(_, heartbeat)| free || self.reaches_servers_of(heartbeat, mono))
            .map(|(teller, heartbeat)| {
                let theirs = rank(heartbeat.servers, heartbeat.coordinator);
                let linked = self.answers(heartbeat.coordinator);
                let asked = if linked {
                    heartbeat.coordinator
                } else {
                    teller
                };
                (linked, theirs, asked)
            })
            .filter(|(_, theirs, _)| !self.has_view() || self.stale || *theirs > mine)
            .filter(|(linked, ..)| *linked || free)
            .max()
            .map(|(.., asked)| asked)
    }

    /// Whether this node is linked with every server of another view. One that it cannot reach
    /// would have it left out at once.
    fn reaches_servers_of(&self, heartbeat: &Heartbeat, mono: Monotonic) -> bool {
        let left_out = self.stale && self.doubts_until.is_none();
        let stands = if left_out { STANDS } else { 0 };
        let reached = self.links.values().filter(|link| {
            let heard = link.connected && mono.since(link.heard) < self.options.ack_timeout;
            let member = link
                .last()
                .is_some_and(|last| last.servers > 0 && last.coordinator == heartbeat.coordinator);
            heard && member && link.is_server() && mono.since(link.up_since) >= stands
        });
        reached.count() >= heartbeat.servers as usize
    }

    /// How many servers of the view stand by it; none where this node itself waits to be taken
    /// in, so that nobody waits for it.
    pub(super) fn standing(&self) -> u32 {
        if self.stale || self.done || self.leaving.is_some() {
            return 0;
        }
        let standing = self
            .view
            .servers()
            .filter(|node| self.stands_by(node.member))
            .count();
        u32::try_from(standing).unwrap_or(u32::MAX)
    }

    /// Asks to be taken in, with each heartbeat for as long as there is a reason.
    pub(super) fn ask_to_join(&mut self, mono: Monotonic) {
        let coordinator = self.acting_coordinator();
        let alone = coordinator == Some(self.me) || (self.is_client() && coordinator.is_none());
        let speaks = !self.has_view() || self.stale || alone;
        if !speaks || self.leaving.is_some() || self.done {
            return;
        }
        let Some(target) = self.better_cluster(mono) else {
            return;
        };
        let nodes = if self.has_view() && !self.stale && !self.is_client() {
            let standing = self
                .view
                .nodes
                .iter()
                .filter(|node| self.stands_by(node.member));
            standing.cloned().collect()
        } else {
            vec![self.options.me.clone()]
        };
        let view = View {
            version: self.view.version,
            ..View::default()
        };
        self.send(target, Control::Join(Join { view, nodes }));
        let patience = self.options.network_timeout.saturating_mul(3);
        if let Some(timeout) = self.options.join_timeout.filter(|_| !self.has_view())
            && mono.since(self.started) > timeout.saturating_add(patience)
        {
            let link = self.links.get(&target).and_then(|link| link.last());
            let full = self.options.quorum_of.zip(link);
            if full.is_some_and(|(of, heartbeat)| heartbeat.servers >= of) {
                self.cannot_form("the cluster has as many servers as quorum-of says already");
            } else {
                self.cannot_form("a cluster was found, and did not take this node in");
            }
        }
    }

    /// Somebody asks to be taken in.
    pub(super) fn on_join(&mut self, from: Member, join: Join, mono: Monotonic) {
        let ignores = planted::is(Fault::IgnoreStrangers) && join.view.version.number > 0;
        if !self.coordinates() {
            self.pass_on(from, join);
            return;
        }
        if self.joins.len() >= JOINS_MAX || ignores {
            return;
        }
        let new: Vec<NodeInfo> = join
            .nodes
            .into_iter()
            .filter(|node| self.may_enter(node.member))
            .collect();
        if new.is_empty() {
            return;
        }
        if new.iter().all(|node| node.member != from) {
            // Passed on by another: once the link stands, it asks by itself.
            let strangers = new.into_iter().filter(|node| !self.is_linked(node.member));
            let dials: Vec<Action> = strangers.map(Action::Dial).collect();
            self.actions.extend(dials);
            return;
        }
        let asked = Asked {
            nodes: new,
            number: join.view.version.number,
            at: mono,
        };
        self.joins.insert(from, asked);
        self.propose_at = self.propose_at.max(Some(mono.after(GATHER)));
    }

    /// Tells the coordinator of a node that asks here to be taken in. What was passed on already
    /// goes no further; a lost one is repeated by whoever asks.
    fn pass_on(&mut self, from: Member, join: Join) {
        let own = matches!(join.nodes.as_slice(), [node] if node.member == from);
        let coordinator = self.acting_coordinator();
        if let Some(coordinator) = coordinator.filter(|member| self.is_linked(*member))
            && own
            && !self.stale
            && self.introduces()
        {
            self.send(coordinator, Control::Join(join));
        }
    }

    /// Whether a view that is proposed now would hold somebody who asks here: one without a link,
    /// or whose earlier life is not yet out, has to wait.
    pub(super) fn can_admit(&self, asked: &Asked) -> bool {
        let standing = self
            .view
            .servers()
            .filter(|node| self.stands_by(node.member));
        let room = self.quorum.has_room(standing.count());
        let fits = |node: &NodeInfo| room || node.role == Role::Client;
        let mut nodes = asked.nodes.iter();
        nodes.any(|node| fits(node) && self.is_linked(node.member) && self.may_enter(node.member))
    }

    /// Whether a node is new here, and no later life of it is known.
    pub(super) fn may_enter(&self, member: Member) -> bool {
        let known = |node: &NodeInfo| {
            node.member.id == member.id && node.member.incarnation >= member.incarnation
        };
        !self.view.nodes.iter().any(known) && !self.banned.contains_key(&member)
    }

    /// Forms a cluster where there is none to join.
    pub(super) fn consider_forming(&mut self, mono: Monotonic) {
        // Whoever fell silent takes in nobody; a client node may be the last of a cluster.
        let tells_of_one = |link: &&Link| {
            link.last().is_some_and(|heartbeat| {
                heartbeat.servers > 0 || (link.is_server() && heartbeat.view.number > 0)
            })
        };
        let alive = |link: &&Link| !self.failed.contains(&link.info.member);
        if self
            .links
            .values()
            .filter(alive)
            .any(|link| tells_of_one(&link))
        {
            // Whoever told of it may end now, and the cluster go on: it is looked for once more.
            self.looking_since = mono;
            return;
        }
        let late = self
            .options
            .join_timeout
            .is_some_and(|timeout| mono.since(self.looking_since) >= timeout);
        if self.is_client() {
            self.give_up_as_client(mono);
            return;
        }
        if self.probes.contains(&Some(ProbeOutcome::NameTaken)) {
            if late {
                self.cannot_form("another live node has the name of this one");
            }
            return;
        }
        if late && self.probes.contains(&Some(ProbeOutcome::Unlike)) {
            // One of its own, beside that cluster, would serve the same users with other data.
            self.cannot_form("a cluster with other settings does not take this node in");
            return;
        }
        let listed = self.probes.is_empty() || self.probes.contains(&Some(ProbeOutcome::Myself));
        if !listed {
            // What has no outcome yet may be this node, which a starved machine keeps from
            // answering itself. Every probe has its own time limit, so that this wait has an end.
            let mut probes = self.probes.iter().enumerate();
            let settled = probes.all(|(endpoint, outcome)| {
                outcome.is_some() || self.options.elsewhere.contains(&endpoint)
            });
            if late && settled {
                self.cannot_form("this node's own address is not in its address list");
            }
            return;
        }
        let clear = self
            .probes
            .iter()
            .all(|outcome| self.is_clear(outcome.as_ref()));
        if clear || late {
            self.propose(mono);
        }
    }

    fn give_up_as_client(&mut self, mono: Monotonic) {
        // Peers that are there may be about to form one: theirs is the same timeout.
        let peers = self.links.values().any(|link| link.connected);
        let patience = if peers {
            self.options.network_timeout
        } else {
            0
        };
        let waited = mono.since(self.started.after(patience));
        if self
            .options
            .join_timeout
            .is_some_and(|timeout| waited >= timeout)
        {
            self.cannot_form("no cluster was found, and a client node never forms one");
        }
    }

    /// Whether an endpoint gives no reason to wait: nobody is there, or a peer without a cluster
    /// that is younger than this node and waits for it.
    fn is_clear(&self, outcome: Option<&ProbeOutcome>) -> bool {
        match outcome {
            Some(ProbeOutcome::Refused | ProbeOutcome::Myself) => true,
            Some(ProbeOutcome::Peer(peer)) => {
                let heard = self
                    .links
                    .get(peer)
                    .is_some_and(|link| link.view().is_some());
                let older = (self.me.incarnation, self.me.id) < (peer.incarnation, peer.id);
                older && heard
            }
            _ => false,
        }
    }

    fn cannot_form(&mut self, why: &'static str) {
        if !self.done {
            self.done = true;
            let error = Error::new(ErrorKind::Unavailable, why).because("CANNOT_FORM");
            self.notice(Notice::CannotForm(error));
        }
    }
}
