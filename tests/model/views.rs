//! Every order in which three servers can propose, acknowledge, commit and lose primary views, within
//! bounds: a search over states, with the judgement and the memory of the engine itself
//! (`engine::membership::quorum`). Any server proposes any set of living ones, whether or not it
//! should; every message may be lost, which is a step that never comes; servers restart empty, some of
//! them after they left in order, which any of the others may hear.
//!
//! Looked for: a primary view that does not hold a quorum of the last one that was committed; a server
//! that could renew its lease while a view without it is committed, before it has acknowledged one that
//! takes it in again; and a state in which all servers
//! are the ones of the beginning, and yet cannot become primary together.

use embergrid::engine::membership::quorum::{Quorum, is_primary, prune, unite};
use embergrid::types::{
    Incarnation, Member, Monotonic, NodeId, NodeInfo, Primaries, PrimaryView, TopologyVersion, View,
};
use std::collections::{BTreeSet, HashSet};

const SERVERS: usize = 3;
const NOW: Monotonic = Monotonic(1);

/// A set of servers, one bit each.
type Set = u8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Proposal {
    version: TopologyVersion,
    servers: Vec<Member>,
    places: Set,
    known: Primaries,
    collected: Set,
    prepared: Set,
    /// Judged once all have answered.
    primary: Option<bool>,
}

#[derive(Clone)]
struct Server {
    me: Member,
    promised: TopologyVersion,
    view: PrimaryView,
    view_is_primary: bool,
    quorum: Quorum,
    proposal: Option<Proposal>,
}

type ServerKey = (
    Member,
    TopologyVersion,
    PrimaryView,
    bool,
    Primaries,
    Option<Proposal>,
);

/// The version of a primary view, its servers, and who had left by then.
type Committed = (TopologyVersion, Vec<Member>, BTreeSet<Member>);

type StateKey = (
    Vec<ServerKey>,
    BTreeSet<Committed>,
    BTreeSet<Member>,
    u32,
    u32,
);

#[derive(Clone)]
struct State {
    servers: Vec<Server>,
    /// Primary views that all of their servers have acknowledged: they may be committed.
    committed: BTreeSet<Committed>,
    /// Who left in order.
    left: BTreeSet<Member>,
    proposals_left: u32,
    restarts_left: u32,
}

fn member(place: usize, incarnation: u64) -> Member {
    Member {
        id: NodeId(place as u64),
        incarnation: Incarnation(incarnation),
    }
}

fn view(version: TopologyVersion, servers: &[Member], primary: bool) -> View {
    let node = |member: &Member| NodeInfo {
        member: *member,
        ..NodeInfo::default()
    };
    View {
        version,
        nodes: servers.iter().map(node).collect(),
        primary,
        ..View::default()
    }
}

fn has(set: Set, place: usize) -> bool {
    set & (1 << place) != 0
}

impl State {
    /// All servers in one primary view.
    fn first(proposals: u32, restarts: u32) -> Self {
        let servers: Vec<Member> = (0..SERVERS).map(|place| member(place, 1)).collect();
        let version = TopologyVersion {
            number: 1,
            coordinator: servers[0],
        };
        let first = view(version, &servers, true);
        let server = |me: &Member| {
            let mut quorum = Quorum::new(Some(SERVERS as u32));
            quorum.prepare(&first);
            quorum.commit(&first, NOW);
            Server {
                me: *me,
                promised: version,
                view: first.as_primary(),
                view_is_primary: true,
                quorum,
                proposal: None,
            }
        };
        Self {
            servers: servers.iter().map(server).collect(),
            committed: BTreeSet::from([(version, servers.clone(), BTreeSet::new())]),
            left: BTreeSet::new(),
            proposals_left: proposals,
            restarts_left: restarts,
        }
    }

    fn key(&self) -> StateKey {
        let servers = self.servers.iter().map(|server| {
            (
                server.me,
                server.promised,
                server.view.clone(),
                server.view_is_primary,
                server.quorum.known(NOW),
                server.proposal.clone(),
            )
        });
        (
            servers.collect(),
            self.committed.clone(),
            self.left.clone(),
            self.proposals_left,
            self.restarts_left,
        )
    }

    /// Every state that is one step away.
    fn next(&self) -> Vec<Self> {
        let mut next = Vec::new();
        for place in 0..SERVERS {
            if self.proposals_left > 0 {
                let with_me = (1..1 << SERVERS).filter(|set| has(*set, place));
                next.extend(with_me.map(|places| self.proposed(place, places)));
            }
            if self.restarts_left > 0 {
                next.push(self.restarted(place));
                let others = (0..1 << SERVERS).filter(|set| !has(*set, place));
                next.extend(others.map(|hearers| self.left_and_restarted(place, hearers)));
            }
            for other in 0..SERVERS {
                next.extend(self.collected(place, other));
                next.extend(self.prepared(place, other));
                next.extend(self.installed(place, other));
            }
        }
        next
    }

    fn restarted(&self, place: usize) -> Self {
        let mut state = self.clone();
        state.restarts_left -= 1;
        let me = member(place, self.servers[place].me.incarnation.0 + 1);
        state.servers[place] = Server {
            me,
            promised: TopologyVersion::default(),
            view: PrimaryView::default(),
            view_is_primary: false,
            quorum: Quorum::new(Some(SERVERS as u32)),
            proposal: None,
        };
        state
    }

    /// It tells others that it leaves, and begins again later.
    fn left_and_restarted(&self, place: usize, hearers: Set) -> Self {
        let mut state = self.restarted(place);
        let leaver = &self.servers[place];
        state.left.insert(leaver.me);
        for other in (0..SERVERS).filter(|other| has(hearers, *other)) {
            let hearer = &mut state.servers[other].quorum;
            hearer.leaves(leaver.me, &leaver.quorum.known(NOW));
        }
        state
    }

    /// In the order of age: a server that was restarted is the youngest.
    fn members(&self, places: Set) -> Vec<Member> {
        let mut members: Vec<Member> = (0..SERVERS)
            .filter(|place| has(places, *place))
            .map(|place| self.servers[place].me)
            .collect();
        members.sort_by_key(|member| (member.incarnation, member.id));
        members
    }

    fn proposed(&self, place: usize, places: Set) -> Self {
        let mut state = self.clone();
        state.proposals_left -= 1;
        let servers = self.members(places);
        state.give_up_proposal(place);
        let me = &mut state.servers[place];
        let version = TopologyVersion {
            number: me.promised.number + 1,
            coordinator: me.me,
        };
        me.promised = version;
        let mut proposal = Proposal {
            version,
            servers,
            places,
            known: me.quorum.known(NOW),
            collected: 1 << place,
            prepared: 0,
            primary: None,
        };
        judge(&mut proposal, &mut me.quorum, place);
        me.proposal = Some(proposal);
        state.note_committed(place);
        state
    }

    /// A server proposes no longer what it did; what is committed it has installed before.
    fn give_up_proposal(&mut self, place: usize) {
        let proposal = self.servers[place].proposal.take();
        let mut committed = self.committed.iter();
        let is_committed = |own: Proposal| committed.any(|(version, ..)| *version == own.version);
        if !proposal.is_some_and(is_committed) {
            self.servers[place].quorum.give_up_own();
        }
    }

    /// A server answers `Collect`.
    fn collected(&self, place: usize, other: usize) -> Option<Self> {
        let proposal = self.servers[place].proposal.as_ref()?;
        let asked = &self.servers[other];
        let fits = has(proposal.places, other)
            && !has(proposal.collected, other)
            && proposal.servers.contains(&asked.me)
            && asked.promised < proposal.version;
        if !fits {
            return None;
        }
        let mut state = self.clone();
        state.servers[other].promised = proposal.version;
        // Whoever acknowledges another's proposal gives its own up.
        state.give_up_proposal(other);
        let told = asked.quorum.known(NOW);
        let me = &mut state.servers[place];
        let proposal = me.proposal.as_mut()?;
        proposal.collected |= 1 << other;
        unite(&mut proposal.known, &told);
        prune(&mut proposal.known);
        let mut proposal = proposal.clone();
        judge(&mut proposal, &mut me.quorum, place);
        me.proposal = Some(proposal);
        state.note_committed(place);
        Some(state)
    }

    /// A server acknowledges `Prepare`.
    fn prepared(&self, place: usize, other: usize) -> Option<Self> {
        let proposal = self.servers[place].proposal.as_ref()?;
        let primary = proposal.primary?;
        let asked = &self.servers[other];
        let fits = has(proposal.places, other)
            && !has(proposal.prepared, other)
            && proposal.servers.contains(&asked.me)
            && asked.promised == proposal.version;
        if !fits {
            return None;
        }
        let mut state = self.clone();
        let view = view(proposal.version, &proposal.servers, primary);
        state.servers[other].quorum.prepare(&view);
        state.servers[place].proposal.as_mut()?.prepared |= 1 << other;
        state.note_committed(place);
        Some(state)
    }

    /// All have acknowledged: the proposer commits, which cannot be undone.
    fn note_committed(&mut self, place: usize) {
        let Some(proposal) = &self.servers[place].proposal else {
            return;
        };
        if proposal.primary == Some(true) && proposal.prepared == proposal.places {
            let (version, servers) = (proposal.version, proposal.servers.clone());
            if self.committed.iter().all(|(known, ..)| *known != version) {
                // The proposer installs it at once.
                let installed = view(version, &servers, true);
                self.servers[place].quorum.commit(&installed, NOW);
                let committed = (version, servers, self.left.clone());
                self.committed.insert(committed);
            }
        }
    }

    /// A server hears of the commit.
    fn installed(&self, place: usize, other: usize) -> Option<Self> {
        let proposal = self.servers[place].proposal.as_ref()?;
        let told = &self.servers[other];
        let fits = proposal.prepared == proposal.places
            && has(proposal.places, other)
            && proposal.servers.contains(&told.me)
            && told.promised == proposal.version
            && told.view.version != proposal.version;
        if !fits {
            return None;
        }
        let mut state = self.clone();
        let view = view(proposal.version, &proposal.servers, proposal.primary?);
        let told = &mut state.servers[other];
        told.quorum.commit(&view, NOW);
        told.view = view.as_primary();
        told.view_is_primary = view.primary;
        Some(state)
    }

    /// What must not be.
    fn violation(&self) -> Option<String> {
        let mut last: Option<&Vec<Member>> = None;
        for (version, servers, left) in &self.committed {
            if let Some(last) = last {
                let before = PrimaryView {
                    version: *version,
                    servers: last.clone(),
                    lease: 0,
                }
                .without(left);
                if !before.is_held_by(|member| servers.contains(&member)) {
                    return Some(format!("{servers:?} is primary after {last:?}"));
                }
            }
            last = Some(servers);
        }
        for server in &self.servers {
            // Who has acknowledged a later view that it belongs to has renounced what it does not own
            // there, and may be vouched for again before it hears of the commit.
            let back = |version: &TopologyVersion| {
                let mut views = server.quorum.views();
                views.any(|view| view.version > *version && view.servers.contains(&server.me))
            };
            let later = |(version, servers, _): &&Committed| {
                let outside = !servers.contains(&server.me) && !back(version);
                *version > server.view.version && outside
            };
            if let Some((_, servers, _)) = self.committed.iter().find(later)
                && self.renews(server)
            {
                return Some(format!(
                    "{:?} renews its lease, and {servers:?} is committed without it",
                    server.me
                ));
            }
        }
        let whole = self
            .servers
            .iter()
            .all(|server| server.me.incarnation.0 == 1);
        let mut known = Primaries::default();
        for server in &self.servers {
            unite(&mut known, &server.quorum.known(NOW));
        }
        prune(&mut known);
        let all = self.members((1 << SERVERS) - 1);
        (whole && !is_primary(SERVERS as u32, &all, &known))
            .then(|| "all servers together cannot be primary".to_owned())
    }

    /// Whether heartbeats sent now would renew a lease for caches that stop in a minority.
    fn renews(&self, server: &Server) -> bool {
        let known = server.quorum.known(NOW);
        let in_force = known
            .last
            .is_some_and(|last| last.version == server.view.version);
        let vouched = |member: Member| {
            let peer = self.servers.iter().find(|peer| peer.me == member);
            member == server.me || peer.is_some_and(|peer| peer.quorum.vouches(server.me))
        };
        let mut views = server.quorum.views();
        server.view_is_primary && in_force && views.all(|view| view.is_held_by(vouched))
    }
}

/// The proposer judges once all have answered, and prepares its own view.
fn judge(proposal: &mut Proposal, own: &mut Quorum, place: usize) {
    if proposal.primary.is_some() || proposal.collected != proposal.places {
        return;
    }
    let primary = is_primary(SERVERS as u32, &proposal.servers, &proposal.known);
    proposal.primary = Some(primary);
    own.prepare_own(&view(proposal.version, &proposal.servers, primary));
    proposal.prepared = 1 << place;
}

/// How many states there are, or what must not be and is.
fn search(proposals: u32, restarts: u32) -> Result<usize, String> {
    let first = State::first(proposals, restarts);
    let mut seen = HashSet::from([first.key()]);
    let mut open = vec![first];
    while let Some(state) = open.pop() {
        if let Some(violation) = state.violation() {
            return Err(violation);
        }
        for next in state.next() {
            if seen.insert(next.key()) {
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn no_two_primary_views() {
    let proposals = crate::proposals().unwrap_or(2);
    for restarts in [0, 1] {
        let states = search(proposals, restarts);
        println!("{proposals} proposals, {restarts} restarts: {states:?} states");
        assert!(states.is_ok(), "{states:?}");
    }
}

#[cfg(debug_assertions)]
mod planted {
    use super::search;
    use embergrid::engine::planted::{Fault, plant};

    /// Looks for what a fault breaks; a search in depth finds it soon.
    fn broken_by(fault: Fault, proposals: u32, restarts: u32) {
        plant(Some(fault));
        let found = search(proposals, restarts);
        plant(None);
        assert!(
            found.is_err(),
            "{fault:?} was not found in {found:?} states"
        );
    }

    #[test]
    fn a_prepared_view_that_is_forgotten() {
        broken_by(Fault::ForgetPrepared, 2, 0);
    }

    #[test]
    fn half_of_the_servers() {
        broken_by(Fault::HalfIsEnough, 3, 0);
    }

    #[test]
    fn a_vote_of_who_has_left() {
        broken_by(Fault::LeaversVote, 2, 1);
    }
}
