//! What three servers hold and know, and the steps that need no table.

use embergrid::engine::membership::quorum::Quorum;
use embergrid::types::{
    Incarnation, Member, Monotonic, NodeId, NodeInfo, Primaries, TopologyVersion, View,
};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub const SERVERS: usize = 3;
pub const NOW: Monotonic = Monotonic(1);

/// A set of servers, one bit each.
pub type Set = u8;
/// Acknowledged writes, one bit each.
pub type Writes = u8;

/// What of a view is about one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Installed {
    pub version: TopologyVersion,
    pub servers: Vec<Member>,
    pub primary: bool,
    pub founded: bool,
    /// The primary first.
    pub owners: Vec<Member>,
    pub loading: Vec<Member>,
    pub sources: Vec<Member>,
    pub departed: BTreeSet<Member>,
}

impl Installed {
    pub fn leads(&self, member: Member) -> bool {
        self.owners.first() == Some(&member)
    }

    pub fn as_view(&self) -> View {
        let node = |member: &Member| NodeInfo {
            member: *member,
            ..NodeInfo::default()
        };
        View {
            version: self.version,
            nodes: self.servers.iter().map(node).collect(),
            primary: self.primary,
            ..View::default()
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    pub complete: TopologyVersion,
    pub retired: bool,
    /// It lies aside: others own the partition now, and not all of them are complete.
    pub kept: bool,
    /// It was loaded, and does not own the partition yet: the view in which that load began.
    pub load: Option<TopologyVersion>,
    pub writes: Writes,
}

#[derive(Clone)]
pub struct Server {
    pub me: Member,
    pub promised: TopologyVersion,
    pub view: Rc<Installed>,
    pub prepared: Option<Rc<Installed>>,
    pub quorum: Quorum,
    pub copy: Option<Held>,
    /// A view has been prepared in which it owns nothing.
    pub renounced: bool,
    /// Who proposes the next view was told of its copy.
    pub told: bool,
    /// The writes that it has acknowledged as an owner.
    pub vouched: Writes,
    /// As primary of its view: all owners have told what they have.
    pub took_over: bool,
    pub merged: BTreeSet<Member>,
    /// As primary: owners to be that it has loaded, and has sent every write since.
    pub loads: BTreeMap<Member, TopologyVersion>,
    /// Its own proposal, and who has prepared that.
    pub proposal: Option<(Rc<Installed>, Set)>,
}

pub type ServerKey = (
    (
        Member,
        TopologyVersion,
        Rc<Installed>,
        Option<Rc<Installed>>,
    ),
    (Primaries, Option<Held>, (bool, bool, bool), Writes),
    (
        BTreeSet<Member>,
        BTreeMap<Member, TopologyVersion>,
        Option<(Rc<Installed>, Set)>,
    ),
);

#[derive(Clone)]
pub struct State {
    pub servers: Vec<Server>,
    /// All views that all of their servers have prepared.
    pub committed: BTreeMap<TopologyVersion, Rc<Installed>>,
    pub acknowledged: Writes,
    /// Writes none of whose owners by then is left.
    pub excused: Writes,
    pub proposals_left: u32,
    pub restarts_left: u32,
    pub writes_left: u32,
    /// Two views of one version.
    pub doubled: bool,
    /// How it came about, which makes no other state of it.
    pub trail: Option<Rc<Trail>>,
}

/// The last step to a state, and those before.
pub struct Trail {
    /// What, by whom, and with whom or which set of servers.
    pub step: (&'static str, usize, usize),
    pub before: Option<Rc<Trail>>,
}

pub fn member(place: usize, incarnation: u64) -> Member {
    Member {
        id: NodeId(place as u64),
        incarnation: Incarnation(incarnation),
    }
}

pub fn has(set: Set, place: usize) -> bool {
    set & (1 << place) != 0
}

/// As `engine::membership::building` counts who is out and may return with data.
pub fn departed(proposer: &Server, answers: &[&Server]) -> BTreeSet<Member> {
    let told = answers.iter().flat_map(|answer| &answer.view.departed);
    let own = &proposer.view;
    let knows = |view: &Installed| {
        *view != **own && (view.version > own.version || !view.servers.contains(&proposer.me))
    };
    let others = answers.iter().filter(|answer| knows(&answer.view));
    let others = others.flat_map(|answer| &answer.view.servers);
    let mut out: BTreeSet<Member> = told.chain(&own.servers).chain(others).copied().collect();
    out.retain(|member| {
        let back = |answer: &&Server| {
            answer.me.id == member.id && answer.me.incarnation >= member.incarnation
        };
        !answers.iter().any(back)
    });
    out
}

impl State {
    pub fn key(&self) -> (Vec<ServerKey>, Vec<TopologyVersion>, [u32; 5]) {
        let servers = self.servers.iter().map(|server| {
            let view = (
                server.me,
                server.promised,
                server.view.clone(),
                server.prepared.clone(),
            );
            let copy = (
                server.quorum.known(NOW),
                server.copy.clone(),
                (server.renounced, server.told, server.took_over),
                server.vouched,
            );
            let lead = (
                server.merged.clone(),
                server.loads.clone(),
                server.proposal.clone(),
            );
            (view, copy, lead)
        });
        let counts = [
            u32::from(self.acknowledged),
            u32::from(self.excused),
            self.proposals_left,
            self.restarts_left,
            self.writes_left,
        ];
        let committed = self.committed.keys().copied();
        (servers.collect(), committed.collect(), counts)
    }

    /// All steps from the beginning.
    pub fn steps(&self) -> Vec<(&'static str, usize, usize)> {
        let mut steps = Vec::new();
        let mut last = self.trail.as_ref();
        while let Some(trail) = last {
            steps.push(trail.step);
            last = trail.before.as_ref();
        }
        steps.reverse();
        steps
    }

    /// In the order of age: a server that was restarted is the youngest.
    pub fn members(&self, of: Set) -> Vec<Member> {
        let places = (0..SERVERS).filter(|place| has(of, *place));
        let mut members: Vec<Member> = places.map(|place| self.servers[place].me).collect();
        members.sort_by_key(|member| (member.incarnation, member.id));
        members
    }

    pub fn restarted(&self, place: usize) -> Self {
        let mut state = self.clone();
        state.restarts_left -= 1;
        let me = member(place, self.servers[place].me.incarnation.0 + 1);
        state.servers[place] = Server {
            me,
            promised: TopologyVersion::default(),
            view: Rc::default(),
            prepared: None,
            quorum: Quorum::new(Some(SERVERS as u32)),
            copy: None,
            renounced: false,
            told: false,
            vouched: 0,
            took_over: false,
            merged: BTreeSet::new(),
            loads: BTreeMap::new(),
            proposal: None,
        };
        let owners = state.servers.iter();
        let vouched = owners.fold(0, |all, server| all | server.vouched);
        state.excused |= state.acknowledged & !vouched;
        state
    }

    /// Whether a server has loaded from a primary and got every write since.
    pub fn follows(&self, server: &Server, primary: &Server) -> bool {
        let load = server.copy.as_ref().filter(|copy| !copy.kept);
        let load = load.and_then(|copy| copy.load);
        load.is_some() && load.as_ref() == primary.loads.get(&server.me)
    }

    /// The primary says that a load of an earlier view counts in this one.
    pub fn confirmed(&self, place: usize, other: usize, retires: bool) -> Option<Self> {
        let (primary, server) = (&self.servers[place], &self.servers[other]);
        let view = &primary.view;
        let fits = view.leads(primary.me)
            && primary.took_over
            && server.view == *view
            && view.loading.contains(&server.me)
            && self.follows(server, primary)
            && server.copy.as_ref()?.complete != view.version;
        if !fits {
            return None;
        }
        let mut state = self.clone();
        let server = &mut state.servers[other];
        let retired = retires && server.renounced;
        let copy = server.copy.as_mut()?;
        (copy.complete, copy.retired) = (view.version, retired);
        Some(state)
    }

    /// All owners have told the primary what they have.
    pub fn taken_over(&self, place: usize) -> Option<Self> {
        let primary = &self.servers[place];
        let view = &primary.view;
        let there = |owner: &Member| {
            let mut servers = self.servers.iter();
            servers.any(|server| server.me == *owner && server.view == *view)
        };
        let fits = view.leads(primary.me) && !primary.took_over && view.owners.iter().all(there);
        if !fits {
            return None;
        }
        let mut state = self.clone();
        state.servers[place].took_over = true;
        Some(state)
    }

    /// Whether heartbeats sent now would renew a lease for caches that stop in a minority.
    pub fn renews(&self, server: &Server) -> bool {
        let known = server.quorum.known(NOW);
        let in_force = known
            .last
            .is_some_and(|last| last.version == server.view.version);
        let vouched = |member: Member| {
            let peer = self.servers.iter().find(|peer| peer.me == member);
            member == server.me || peer.is_some_and(|peer| peer.quorum.vouches(server.me))
        };
        let mut views = server.quorum.views();
        in_force && views.all(|view| view.is_held_by(vouched))
    }

    /// Nothing loads or merges, and nobody has prepared what it has not installed.
    pub fn is_settled(&self) -> bool {
        self.servers.iter().all(|server| {
            let view = &server.view;
            view.loading.is_empty() && view.sources.is_empty() && server.prepared.is_none()
        })
    }
}
