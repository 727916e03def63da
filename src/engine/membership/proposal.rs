//! Views: collected, prepared, committed.
//!
//! The table of a view rests on what its servers hold, so they are asked first (`Collect`); who
//! answers promises to take no lower version. Then the view is prepared on all, and committed
//! only after all of them have acknowledged it. Who does not answer is left out (after 100 ms
//! where it is suspected already) and a higher number is proposed. When the coordinator fails,
//! the next oldest proposes under a number above all that it has seen; it does not repeat the
//! view of the other.

use super::{Action, Membership, building};
use crate::engine::planted::{self, Fault};
use crate::engine::shell::Notice;
use crate::types::message::{Collected, Control, KnownCache, Refused};
use crate::types::time::{MILLISECOND, SECOND};
use crate::types::{
    CacheId, ClusterTime, Member, Micros, Monotonic, NodeInfo, Role, TopologyVersion, View,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a suspected node may delay a view.
const SUSPECT_DELAY: Micros = 100 * MILLISECOND;
/// Between two sendings of what is not answered.
const RESEND: Micros = 50 * MILLISECOND;
/// How long a node that cannot be taken in is not tried again.
const BAN: Micros = 300 * MILLISECOND;
/// How long one is not asked again whose caches have other settings.
const BAN_UNLIKE: Micros = 5 * SECOND;
/// How long a pair must be broken before it decides who is left out.
pub(super) const BROKEN: Micros = 400 * MILLISECOND;

/// A view on its way.
pub struct Proposal {
    version: TopologyVersion,
    nodes: Vec<NodeInfo>,
    phase: Phase,
    since: Monotonic,
    pub due: Monotonic,
    /// One of its nodes is gone: it cannot be committed any more.
    broken: bool,
}

enum Phase {
    Collecting(BTreeMap<Member, Collected>),
    Preparing {
        view: Arc<View>,
        accepted: BTreeSet<Member>,
    },
}

impl Proposal {
    /// Who has a voice in it: a client node is told, and never waited for.
    fn servers(&self) -> impl Iterator<Item = &NodeInfo> {
        let nodes = self.nodes.iter();
        nodes.filter(|node| node.role == Role::Server)
    }

    /// A server is gone.
    pub fn lost(&mut self, peer: Member) {
        if self.servers().any(|node| node.member == peer) {
            self.broken = true;
        }
    }

    fn missing(&self) -> Vec<Member> {
        let answered = |member: &Member| match &self.phase {
            Phase::Collecting(answers) => answers.contains_key(member),
            Phase::Preparing { accepted, .. } => accepted.contains(member),
        };
        self.servers()
            .map(|node| node.member)
            .filter(|member| !answered(member))
            .collect()
    }
}

/// The servers among some nodes.
fn count(nodes: &[NodeInfo]) -> usize {
    let servers = nodes.iter().filter(|node| node.role == Role::Server);
    servers.count()
}

impl Membership {
    /// Proposes a view of all who stand by the present one and all who ask to join.
    pub(super) fn propose(&mut self, mono: Monotonic) {
        let out = self.outside_clique();
        let mut nodes: Vec<NodeInfo> = self
            .view
            .nodes
            .iter()
            .filter(|node| self.stands_by(node.member) && !out.contains(&node.member))
            .map(|node| self.told_of(node))
            .collect();
        if !self.has_view() {
            nodes.push(self.options.me.clone());
        }
        let mut number = self.promised.number.max(self.view.version.number);
        for asked in self.joins.values().filter(|asked| asked.is_fresh(mono)) {
            number = number.max(asked.number);
            for node in &asked.nodes {
                let linked = self
                    .links
                    .get(&node.member)
                    .is_some_and(|link| link.connected);
                let twice = nodes.iter().any(|other| other.member.id == node.member.id);
                let fits = node.role == Role::Client || self.quorum.has_room(count(&nodes));
                if linked && !twice && fits && self.may_enter(node.member) {
                    nodes.push(node.clone());
                }
            }
        }
        let seen = self
            .links
            .values()
            .filter_map(|link| link.view())
            .map(|view| view.number)
            .max();
        number = number.max(seen.unwrap_or_default());
        let version = TopologyVersion {
            number: self.forced_number(number),
            coordinator: self.me,
        };
        self.promised = version;
        self.propose_at = None;
        self.progress.due = None;
        self.proposal = Some(Proposal {
            version,
            nodes: nodes.clone(),
            phase: Phase::Collecting(BTreeMap::new()),
            since: mono,
            due: mono.after(RESEND),
            broken: false,
        });
        for node in &nodes {
            if node.member != self.me && node.role == Role::Server {
                self.send(
                    node.member,
                    Control::Collect {
                        version,
                        nodes: nodes.clone(),
                    },
                );
            }
        }
        let own = self.collected(self.me, version, &nodes, mono);
        self.actions.push(Action::Collect(self.me, own));
    }

    /// What a node of the view tells of itself. A view that a server of an older protocol proposed lacks
    /// what that one does not know.
    fn told_of(&self, node: &NodeInfo) -> NodeInfo {
        if node.member == self.me {
            return self.options.me.clone();
        }
        let link = self.links.get(&node.member);
        link.map_or(node, |link| &link.info).clone()
    }

    /// What this node knows, less what it holds, for who proposes a view of these nodes.
    fn collected(
        &self,
        proposer: Member,
        version: TopologyVersion,
        nodes: &[NodeInfo],
        mono: Monotonic,
    ) -> Collected {
        let caches = if self.has_view() {
            let known = self.view.caches.values();
            let known = known.map(|cache| KnownCache {
                settings: cache.settings.clone(),
                created_at: cache.created_at,
                founded: cache.founded,
            });
            known.collect()
        } else {
            let own = self.options.caches.iter();
            let own = own.map(|settings| KnownCache {
                settings: settings.clone(),
                created_at: ClusterTime::default(),
                founded: false,
            });
            own.collect()
        };
        let dropped: Vec<(CacheId, ClusterTime)> = self
            .view
            .dropped
            .iter()
            .map(|(id, at)| (*id, *at))
            .collect();
        Collected {
            version,
            committed: self.view.version,
            holdings: Vec::new(),
            caches,
            dropped,
            departed: self.out(proposer, nodes, mono),
            draining: self.view.draining.clone(),
            primaries: self.quorum.known(mono),
        }
    }

    /// Somebody proposes a view.
    pub(super) fn on_collect(
        &mut self,
        from: Member,
        version: TopologyVersion,
        nodes: &[NodeInfo],
        mono: Monotonic,
    ) {
        if !nodes.iter().any(|node| node.member == self.me) || self.done || self.leaving.is_some() {
            return;
        }
        if version < self.promised || (version == self.promised && version == self.view.version) {
            let refused = Refused {
                version,
                promised: self.promised,
                unreachable: Vec::new(),
            };
            self.send(from, Control::Refused(refused));
            return;
        }
        let mut unreachable = Vec::new();
        for node in nodes.iter().filter(|node| node.member != self.me) {
            if !self
                .links
                .get(&node.member)
                .is_some_and(|link| link.connected)
            {
                unreachable.push(node.member);
                self.actions.push(Action::Dial(node.clone()));
            }
        }
        let base = self
            .links
            .get(&from)
            .and_then(|link| Some(link.last()?.time_base));
        if base.is_none_or(|base| !self.knows_time_of(from, base)) {
            unreachable.push(from);
        }
        if !unreachable.is_empty() {
            let refused = Refused {
                version,
                promised: self.promised,
                unreachable,
            };
            self.send(from, Control::Refused(refused));
            return;
        }
        self.promised = version;
        self.give_up_proposal();
        let own = self.collected(from, version, nodes, mono);
        self.actions.push(Action::Collect(from, own));
    }

    /// An answer to the own proposal; a doubled or late one changes nothing.
    pub fn on_collected(&mut self, from: Member, collected: Collected, mono: Monotonic) {
        let Some(proposal) = &mut self.proposal else {
            return;
        };
        if proposal.version != collected.version || proposal.broken {
            return;
        }
        let Phase::Collecting(answers) = &mut proposal.phase else {
            return;
        };
        answers.insert(from, collected);
        if !proposal.missing().is_empty() {
            return;
        }
        let Phase::Collecting(answers) = &mut proposal.phase else {
            return;
        };
        let answers = std::mem::take(answers);
        let (version, nodes) = (proposal.version, proposal.nodes.clone());
        if self.refuse_unlike(&answers, mono) {
            return;
        }
        let view = Arc::new(self.build(version, &nodes, &answers, mono));
        self.quorum.prepare_own(&view);
        for node in &nodes {
            if node.member != self.me {
                let view = View::clone(&view);
                self.send(node.member, Control::Prepare { view });
            }
        }
        if let Some(proposal) = &mut self.proposal {
            let accepted = BTreeSet::from([self.me]);
            proposal.phase = Phase::Preparing {
                view: view.clone(),
                accepted,
            };
            proposal.since = mono;
            proposal.due = mono.after(RESEND);
        }
        self.prepared = Some(view.clone());
        self.actions.push(Action::Prepare(view));
        self.commit_if_accepted(mono);
    }

    /// Whether somebody who is not in this view yet has a cache of other settings than it has here. A
    /// view has one cache of a name, so the other one would end, and all that it holds.
    fn refuse_unlike(&mut self, answers: &BTreeMap<Member, Collected>, mono: Monotonic) -> bool {
        let newcomers = |member: &&Member| **member != self.me && !self.view.contains(**member);
        let unlike: Vec<(Member, String)> = answers
            .keys()
            .filter(newcomers)
            .filter(|_| !planted::is(Fault::UniteUnlike))
            .filter_map(|member| Some((*member, building::difference(answers, self.me, *member)?)))
            .collect();
        for (peer, difference) in &unlike {
            self.banned.insert(*peer, mono.after(BAN_UNLIKE));
            let (peer, difference) = (*peer, difference.clone());
            self.notice(Notice::SettingsDiffer { peer, difference });
        }
        if !unlike.is_empty() {
            self.give_up_proposal();
            self.propose_at = Some(mono.after(RESEND));
        }
        !unlike.is_empty()
    }

    /// First phase.
    pub(super) fn on_prepare(&mut self, from: Member, view: View) {
        let version = view.version;
        if self.leaving.is_some() {
            return;
        }
        if version == self.view.version {
            self.send(from, Control::Prepared { version });
            return;
        }
        if self.is_client() {
            // Nobody waits for a client node, and nobody asked what it promised before.
            let knows_time = self.knows_time_of(from, view.time_base);
            if version > self.promised && view.contains(self.me) && knows_time {
                self.promised = version;
                self.prepared = Some(Arc::new(view));
            }
            return;
        }
        let fits = version == self.promised && view.contains(self.me);
        if !fits || !self.quorum.prepare(&view) {
            let refused = Refused {
                version,
                promised: self.promised,
                unreachable: Vec::new(),
            };
            self.send(from, Control::Refused(refused));
            return;
        }
        if self
            .prepared
            .as_ref()
            .is_none_or(|prepared| prepared.version != version)
        {
            let view = Arc::new(view);
            self.prepared = Some(view.clone());
            self.actions.push(Action::Prepare(view));
        }
        self.send(from, Control::Prepared { version });
    }

    pub(super) fn on_prepared(&mut self, from: Member, version: TopologyVersion, mono: Monotonic) {
        if let Some(proposal) = self.proposal.as_mut().filter(|own| own.version == version)
            && let Phase::Preparing { accepted, .. } = &mut proposal.phase
        {
            accepted.insert(from);
            self.commit_if_accepted(mono);
        }
    }

    fn commit_if_accepted(&mut self, mono: Monotonic) {
        let Some(proposal) = &self.proposal else {
            return;
        };
        let Phase::Preparing { view, .. } = &proposal.phase else {
            return;
        };
        if proposal.broken || !proposal.missing().is_empty() {
            return;
        }
        let (view, version) = (view.clone(), proposal.version);
        for node in &view.nodes {
            if node.member != self.me {
                self.send(node.member, Control::Commit { version });
            }
        }
        self.proposal = None;
        self.note_answers();
        self.install(view, mono);
    }

    /// The proposal comes to nothing: it is not committed, and will not be.
    pub(super) fn give_up_proposal(&mut self) {
        self.proposal = None;
        self.quorum.give_up_own();
    }

    /// The proposal was not taken: back off, and leave out who cannot be linked.
    pub(super) fn on_refused(&mut self, from: Member, refused: &Refused, mono: Monotonic) {
        if self
            .proposal
            .as_ref()
            .is_none_or(|own| own.version != refused.version)
        {
            return;
        }
        self.give_up_proposal();
        self.restore_changes();
        self.promised.number = self.promised.number.max(refused.promised.number);
        let pause = 5 * MILLISECOND + self.random.below(30 * MILLISECOND);
        self.propose_at = Some(mono.after(pause));
        for peer in &refused.unreachable {
            self.propose_at = Some(mono.after(2 * RESEND));
            if self.view.contains(from) && self.view.contains(*peer) {
                self.note_broken(from, *peer, mono);
            } else {
                let newcomer = if self.view.contains(from) {
                    *peer
                } else {
                    from
                };
                self.banned.insert(newcomer, mono.after(BAN));
            }
        }
    }

    /// A client node missed a view: it is told once more.
    pub(super) fn remind_client(&mut self, client: Member) {
        let view = View::clone(&self.view);
        let version = view.version;
        self.send(client, Control::Prepare { view });
        self.send(client, Control::Commit { version });
    }

    /// Second phase: only the view that was prepared last, under the version promised last.
    pub(super) fn on_commit(&mut self, version: TopologyVersion, mono: Monotonic) {
        let prepared = self
            .prepared
            .as_ref()
            .filter(|view| view.version == version);
        if let Some(view) = prepared.filter(|_| self.promised == version).cloned() {
            self.install(view, mono);
        }
    }

    fn install(&mut self, view: Arc<View>, mono: Monotonic) {
        let shift = self.take_time(view.time_base, view.version.coordinator);
        self.view = view.clone();
        self.quorum.commit(&view, mono);
        self.prepared = None;
        self.stale = false;
        self.joins
            .retain(|_, asked| asked.nodes.iter().any(|node| !view.contains(node.member)));
        self.unconfirmed.retain(|member| view.contains(*member));
        self.failed.retain(|member| view.contains(*member));
        self.broken.clear();
        (self.outside_since, self.yields) = (None, false);
        let links = &self.links;
        self.left
            .retain(|member| links.contains_key(member) || view.contains(*member));
        self.progress.clear();
        for link in self.links.values_mut() {
            link.behind_since = mono;
        }
        self.actions.push(Action::Install {
            view: view.clone(),
            shift,
        });
        self.notice(Notice::View(view));
        let peers: Vec<Member> = self.connected().collect();
        for peer in peers {
            self.send_heartbeat(peer, mono);
        }
        self.look_whether_founded();
        self.answer_changes(mono);
        self.leave_when_drained(mono);
    }

    /// Repeats what is not answered, and leaves out who stays silent.
    pub(super) fn proposal_timeout(&mut self, mono: Monotonic) {
        if self
            .proposal
            .as_ref()
            .is_some_and(|proposal| proposal.broken)
        {
            self.give_up_proposal();
            self.restore_changes();
        }
        let Some(proposal) = self.proposal.as_mut().filter(|own| mono >= own.due) else {
            return;
        };
        proposal.due = mono.after(RESEND);
        let waited = mono.since(proposal.since);
        let missing = proposal.missing();
        let version = proposal.version;
        let message = match &proposal.phase {
            Phase::Collecting(_) => Control::Collect {
                version,
                nodes: proposal.nodes.clone(),
            },
            Phase::Preparing { view, .. } => Control::Prepare {
                view: View::clone(view),
            },
        };
        for member in missing {
            let suspected = self
                .links
                .get(&member)
                .is_none_or(|link| link.suspected.is_some());
            let patience = if suspected {
                SUSPECT_DELAY
            } else {
                self.options.ack_timeout
            };
            if waited < patience {
                self.send(member, message.clone());
            } else if self.view.contains(member) {
                self.fail(member, false);
            } else {
                self.banned.insert(member, mono.after(BAN));
                if let Some(proposal) = &mut self.proposal {
                    proposal.broken = true;
                }
            }
        }
        if self
            .proposal
            .as_ref()
            .is_some_and(|proposal| proposal.broken)
        {
            self.give_up_proposal();
            self.restore_changes();
        }
    }

    pub(super) fn note_broken(&mut self, from: Member, to: Member, mono: Monotonic) {
        self.broken.entry((from, to)).or_insert((mono, mono)).1 = mono;
    }
}
