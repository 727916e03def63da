//! One partition on three servers: every order in which views are proposed, prepared and installed,
//! its copies loaded and merged, writes acknowledged and servers restarted, within bounds. Tables are
//! made by the engine (`engine::partition_map`), and so is the judgement of what is primary; what a
//! server does with its copy when it prepares and installs a view is written down here as
//! `engine::partition::roles` does it. A proposal is answered by all of its servers at once: `views`
//! has every order of answers.
//!
//! Looked for, in every state:
//!
//! - two different views, and so two tables, of one version;
//! - an acknowledged write that no copy has, though one of the owners that acknowledged it lives;
//! - a server that serves and lacks what an owner beside it has acknowledged, in whatever view;
//! - where the cache stops in a minority: a server that may serve and does not know every
//!   acknowledged write, or two that may both take writes;
//! - a state in which the network heals and all servers do not come to one view, primary unless
//!   a restart took its majority, whose owners have every acknowledged write.

#[cfg(debug_assertions)]
mod planted;
mod state;

use embergrid::engine::membership::quorum::{Quorum, is_primary, prune, unite};
use embergrid::engine::partition_map::{self, CacheInput, Copies};
use embergrid::types::message::Holdings;
use embergrid::types::{
    CacheMode, CacheSettings, Member, NodeInfo, PartitionOwners, Primaries, TopologyVersion,
    WhenSplit,
};
use state::{Held, Installed, NOW, SERVERS, Server, Set, State, Trail, departed, has, member};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

/// How many views healing may take: one of all, one that has merged, one that has loaded, and one
/// more where what was held back counts only then.
const HEALING_VIEWS: usize = 5;

/// What a search is about, and the tables that were made before.
struct Search {
    settings: CacheSettings,
    /// A fault: a copy that is behind counts also while somebody is out.
    last_resort: bool,
    /// A fault: a copy that has been merged goes at once.
    drops_told: bool,
    /// A fault: what an owner to be had loaded counts in whatever view comes next.
    keeps_loaded: bool,
    /// A fault: who has agreed to own nothing serves again once it has acknowledged another view.
    serves_again: bool,
    /// A fault: a copy counts though a view in which others own it came while it was loaded.
    trusts_late: bool,
    /// A fault: a copy goes when another one is to be loaded in its place.
    drops_kept: bool,
    tables: HashMap<TableKey, PartitionOwners>,
}

type TableKey = (
    Vec<Member>,
    Vec<Option<(TopologyVersion, bool)>>,
    (Option<u16>, bool, bool, bool),
    Primaries,
);

impl Search {
    fn new(when_split: WhenSplit) -> Self {
        Self {
            settings: CacheSettings {
                mode: CacheMode::Partitioned,
                backups: 1,
                partitions: 1,
                when_split,
                ..CacheSettings::named("searched")
            },
            last_resort: false,
            drops_told: false,
            keeps_loaded: false,
            serves_again: false,
            trusts_late: false,
            drops_kept: false,
            tables: HashMap::new(),
        }
    }

    fn stops(&self) -> bool {
        self.settings.stops()
    }

    /// All servers in one primary view, the first two with a copy.
    fn first(&self, [proposals, restarts, writes]: [u32; 3]) -> State {
        let servers: Vec<Member> = (0..SERVERS).map(|place| member(place, 1)).collect();
        let version = TopologyVersion {
            number: 1,
            coordinator: servers[0],
        };
        let view = Rc::new(Installed {
            version,
            servers: servers.clone(),
            primary: true,
            founded: true,
            owners: servers[..2].to_vec(),
            ..Installed::default()
        });
        let server = |me: &Member| {
            let mut quorum = Quorum::new(Some(SERVERS as u32));
            quorum.prepare(&view.as_view());
            quorum.commit(&view.as_view(), NOW);
            let copy = Held {
                complete: version,
                retired: false,
                kept: false,
                load: None,
                writes: 0,
            };
            Server {
                me: *me,
                promised: version,
                view: view.clone(),
                prepared: None,
                quorum,
                copy: view.owners.contains(me).then_some(copy),
                renounced: false,
                told: false,
                vouched: 0,
                took_over: view.leads(*me),
                merged: BTreeSet::new(),
                loads: BTreeMap::new(),
                proposal: None,
            }
        };
        State {
            servers: servers.iter().map(server).collect(),
            committed: BTreeMap::from([(version, view.clone())]),
            acknowledged: 0,
            excused: 0,
            proposals_left: proposals,
            restarts_left: restarts,
            writes_left: writes,
            doubled: false,
            trail: None,
        }
    }

    /// The view that a server makes of what these hold and know.
    fn made(
        &mut self,
        state: &State,
        place: usize,
        version: TopologyVersion,
        of: Set,
    ) -> Installed {
        let members = state.members(of);
        let answers: Vec<&Server> = members
            .iter()
            .filter_map(|member| state.servers.iter().find(|server| server.me == *member))
            .collect();
        let mut known = state.servers[place].quorum.known(NOW);
        for answer in &answers {
            unite(&mut known, &answer.quorum.known(NOW));
        }
        prune(&mut known);
        let primary = !self.stops() || is_primary(SERVERS as u32, &members, &known);
        let departed = departed(&state.servers[place], &answers);
        let founded = answers.iter().any(|answer| answer.view.founded);
        let clustered = answers.iter().any(|answer| answer.view.version.number > 0);
        let fresh = if self.stops() { !founded } else { !clustered };
        let leader = state.servers[place].view.owners.first();
        let leader = leader.and_then(|leader| members.iter().position(|other| other == leader));
        let held = answers.iter().map(|answer| {
            let copy = answer.copy.as_ref();
            copy.map(|copy| (copy.complete, copy.retired || copy.kept))
        });
        let key = (
            members.clone(),
            held.collect(),
            (
                leader.map(|place| place as u16),
                primary,
                departed.is_empty(),
                fresh,
            ),
            known,
        );
        let owners = match self.tables.get(&key) {
            Some(owners) => owners.clone(),
            None => {
                let owners = self.table(&key);
                self.tables.insert(key, owners.clone());
                owners
            }
        };
        let named = |places: &[u16]| {
            places
                .iter()
                .map(|place| members[*place as usize])
                .collect()
        };
        Installed {
            version,
            primary,
            founded: founded || primary,
            owners: named(&owners.owners),
            loading: named(&owners.loading),
            sources: named(&owners.sources),
            departed,
            servers: members,
        }
    }

    /// As `engine::membership::building` asks for it.
    fn table(&self, (members, held, about, known): &TableKey) -> PartitionOwners {
        let (leader, primary, nobody_is_out, fresh) = *about;
        let node = |member: &Member| NodeInfo {
            member: *member,
            ..NodeInfo::default()
        };
        let nodes: Vec<NodeInfo> = members.iter().map(node).collect();
        let holdings: Vec<[Holdings; 1]> = held
            .iter()
            .map(|held| {
                let complete = held.map(|(version, _)| (0, 1, version));
                let retired = held.filter(|(_, retired)| *retired).map(|_| 0);
                [Holdings {
                    cache: self.settings.id(),
                    complete: complete.into_iter().collect(),
                    retired: retired.into_iter().collect(),
                }]
            })
            .collect();
        let holdings: Vec<&[Holdings]> = holdings.iter().map(|held| &held[..]).collect();
        let in_force: Vec<_> = known.last.iter().chain(&known.prepared).cloned().collect();
        let copies = match (self.stops(), primary) {
            (false, _) => Copies::All {
                last_resort: nobody_is_out || self.last_resort,
            },
            (true, false) => Copies::Resting,
            (true, true) => Copies::OfPrimaryViews {
                in_force: &in_force,
                last_resort: nobody_is_out || self.last_resort,
            },
        };
        let table = partition_map::next(&CacheInput {
            id: self.settings.id(),
            settings: &self.settings,
            nodes: &nodes,
            holdings: &holdings,
            primaries: &[leader],
            draining: &BTreeSet::new(),
            fresh,
            copies,
        });
        table.into_iter().next().unwrap_or_default()
    }

    /// Every state that is one step away.
    fn next(&mut self, state: &State) -> Vec<State> {
        let mut next = Vec::new();
        for place in 0..SERVERS {
            let mut step = |name: &'static str, other: usize, to: Option<State>| {
                next.extend(to.map(|to| State {
                    trail: Some(Rc::new(Trail {
                        step: (name, place, other),
                        before: state.trail.clone(),
                    })),
                    ..to
                }));
            };
            if state.proposals_left > 0 {
                for of in (1..1 << SERVERS).filter(|of| has(*of, place)) {
                    step("proposes", of.into(), self.proposed(state, place, of));
                }
            }
            if state.restarts_left > 0 {
                step("restarts", place, Some(state.restarted(place)));
            }
            if state.writes_left > 0 {
                step("writes", place, self.written(state, place));
            }
            step("installs", place, self.installed(state, place));
            step("takes over", place, state.taken_over(place));
            for other in 0..SERVERS {
                step("is prepared by", other, self.prepared(state, place, other));
                step("loads", other, self.loaded(state, place, other));
                step("merges", other, self.merged(state, place, other));
                step("confirms", other, self.confirmed(state, place, other));
            }
        }
        next
    }

    /// A server proposes, and all that it wants answer: they promise it to take nothing lower.
    fn proposed(&mut self, state: &State, place: usize, of: Set) -> Option<State> {
        let version = TopologyVersion {
            number: state.servers[place].promised.number + 1,
            coordinator: state.servers[place].me,
        };
        let mut others = (0..SERVERS).filter(|other| has(of, *other) && *other != place);
        if others.any(|other| state.servers[other].promised >= version) {
            return None;
        }
        let view = Rc::new(self.made(state, place, version, of));
        let mut state = state.clone();
        state.proposals_left = state.proposals_left.saturating_sub(1);
        for server in (0..SERVERS).filter(|other| has(of, *other)) {
            state.servers[server].promised = version;
            let own = state.servers[server].proposal.take();
            if own.is_some_and(|(own, _)| !state.committed.contains_key(&own.version)) {
                state.servers[server].quorum.give_up_own();
            }
            state.servers[server].told = true;
        }
        state.servers[place].proposal = Some((view, 0));
        self.prepared(&state, place, place)
    }

    /// A server acknowledges another's view, or its own.
    fn prepared(&self, state: &State, place: usize, other: usize) -> Option<State> {
        let (view, done) = state.servers[place].proposal.as_ref()?;
        let asked = &state.servers[other];
        let fits = !has(*done, other)
            && view.servers.contains(&asked.me)
            && asked.promised == view.version
            && state.servers[place].promised == view.version;
        if !fits {
            return None;
        }
        let (view, done) = (view.clone(), done | 1 << other);
        let mut state = state.clone();
        let asked = &mut state.servers[other];
        if self.stops() {
            match place == other {
                true => asked.quorum.prepare_own(&view.as_view()),
                false => _ = asked.quorum.prepare(&view.as_view()),
            }
        }
        let owner = view.owners.contains(&asked.me);
        asked.renounced = !owner || (asked.renounced && !self.serves_again);
        if let Some(copy) = &mut asked.copy {
            copy.retired |= self.stops() && view.primary && !owner;
        }
        asked.prepared = Some(view.clone());
        state.servers[place].proposal = Some((view.clone(), done));
        if done.count_ones() as usize == view.servers.len() {
            state.doubled |= state.committed.contains_key(&view.version);
            if self.stops() {
                // The proposer knows at once.
                state.servers[place].quorum.commit(&view.as_view(), NOW);
            }
            state.committed.insert(view.version, view);
        }
        Some(state)
    }

    /// A server hears that the view which it has prepared is committed.
    fn installed(&self, state: &State, place: usize) -> Option<State> {
        let server = &state.servers[place];
        let view = server.prepared.clone()?;
        let fits = server.promised == view.version && state.committed.contains_key(&view.version);
        if !fits {
            return None;
        }
        let mut state = state.clone();
        let server = &mut state.servers[place];
        if self.stops() {
            server.quorum.commit(&view.as_view(), NOW);
        }
        self.take_role(server, &view);
        server.view = view;
        server.prepared = None;
        (server.renounced, server.told) = (false, false);
        Some(state)
    }

    /// As `Partition::on_view`.
    fn take_role(&self, server: &mut Server, view: &Installed) {
        let old = server.view.clone();
        let led = old.leads(server.me) && server.took_over;
        let me = server.me;
        (server.took_over, server.merged) = (false, BTreeSet::new());
        let mut loads = std::mem::take(&mut server.loads);
        if self.stops() && !view.primary {
            // It rests as it is.
            if let Some(copy) = &mut server.copy {
                (copy.retired, copy.kept, copy.load) = (copy.retired || copy.kept, false, None);
            }
        } else if view.owners.contains(&me) {
            // Without a copy: the partition was created in this view.
            let fresh = server.copy.is_none();
            let copy = server.copy.get_or_insert(Held {
                complete: view.version,
                retired: false,
                kept: false,
                load: None,
                writes: 0,
            });
            (copy.complete, copy.retired) = (view.version, false);
            (copy.kept, copy.load) = (false, None);
            let known = |owner: &Member| {
                *owner == me || old.owners.contains(owner) || old.loading.contains(owner)
            };
            let rested = self.stops() && !old.primary;
            let goes_on = led && !fresh && !rested && view.owners.iter().all(known);
            server.took_over = view.leads(me) && goes_on;
            if server.took_over {
                loads.retain(|one, _| view.loading.contains(one) && !view.sources.contains(one));
                server.loads = loads;
            }
        } else if let Some(copy) = &mut server.copy {
            let lacks_owners = view.owners.is_empty() || !view.loading.is_empty();
            let same = old.loading.contains(&me) && old.owners.first() == view.owners.first();
            if view.sources.contains(&me) {
                (copy.retired, copy.kept, copy.load) = (copy.retired || copy.kept, false, None);
            } else if view.loading.contains(&me) && same && copy.load.is_some() {
                // It waits for the word of the primary.
                copy.retired = !self.keeps_loaded;
                copy.complete = match self.keeps_loaded {
                    true => view.version,
                    false => copy.complete,
                };
            } else if self.stops() && view.owners.is_empty() {
                copy.load = None;
            } else if (lacks_owners || !view.sources.is_empty()) && !self.drops_kept {
                (copy.kept, copy.load) = (true, None);
            } else {
                server.copy = None;
            }
        }
    }

    /// An owner to be hears that what it has loaded counts.
    fn confirmed(&self, state: &State, place: usize, other: usize) -> Option<State> {
        state.confirmed(place, other, self.stops() && !self.trusts_late)
    }

    /// Whether a server may answer reads of what it has.
    fn serves(&self, state: &State, server: &Server) -> bool {
        let view = &server.view;
        let leased = !self.stops() || (view.primary && state.renews(server));
        let active = server.took_over && view.sources.iter().all(|one| server.merged.contains(one));
        let reads = if view.leads(server.me) {
            active
        } else {
            view.sources.is_empty()
        };
        leased && !server.renounced && view.owners.contains(&server.me) && reads
    }

    /// A write is held by all who must hold it, and acknowledged.
    fn written(&self, state: &State, place: usize) -> Option<State> {
        let primary = &state.servers[place];
        let view = primary.view.clone();
        let leased = !self.stops() || (view.primary && state.renews(primary));
        let merged = view.sources.iter().all(|one| primary.merged.contains(one));
        if !(view.leads(primary.me) && primary.took_over && merged && leased) {
            return None;
        }
        let bit = 1 << (8 - state.acknowledged.leading_zeros());
        let following = state.servers.iter();
        let following = following.filter(|server| state.follows(server, primary));
        let following: BTreeSet<Member> = following.map(|server| server.me).collect();
        let mut state = state.clone();
        // Owners to be take part from when they are asked to load.
        let members: BTreeSet<Member> = view.owners.iter().chain(&view.loading).copied().collect();
        let in_view = state
            .servers
            .iter_mut()
            .filter(|server| server.view == view);
        let mut held = 0;
        for server in in_view.filter(|server| members.contains(&server.me)) {
            held += 1;
            let owns = view.owners.contains(&server.me);
            server.vouched |= if owns { bit } else { 0 };
            let copy = server.copy.as_mut();
            if let Some(copy) = copy.filter(|_| owns || following.contains(&server.me)) {
                copy.writes |= bit;
            }
        }
        state.acknowledged |= bit;
        state.writes_left -= 1;
        (held == members.len()).then_some(state)
    }

    /// An owner to be has all that the primary has.
    fn loaded(&self, state: &State, place: usize, other: usize) -> Option<State> {
        let (primary, server) = (&state.servers[place], &state.servers[other]);
        let view = &primary.view;
        let merged = view.sources.iter().all(|one| primary.merged.contains(one));
        let loads = view.loading.contains(&server.me) && !view.sources.contains(&server.me);
        let fits = view.leads(primary.me)
            && primary.took_over
            && merged
            && loads
            && !state.follows(server, primary)
            && server.view == *view;
        if !fits {
            return None;
        }
        let copy = Held {
            complete: view.version,
            retired: self.stops() && server.renounced && !self.trusts_late,
            kept: false,
            load: Some(view.version),
            writes: primary.copy.as_ref()?.writes,
        };
        let (version, loaded) = (view.version, server.me);
        let mut state = state.clone();
        state.servers[other].copy = Some(copy);
        state.servers[place].loads.insert(loaded, version);
        Some(state)
    }

    /// All owners hold what a source has told.
    fn merged(&self, state: &State, place: usize, other: usize) -> Option<State> {
        let (primary, source) = (&state.servers[place], &state.servers[other]);
        let view = primary.view.clone();
        let there = |owner: &Member| {
            let mut servers = state.servers.iter();
            servers.any(|server| server.me == *owner && server.view == view)
        };
        let fits = view.leads(primary.me)
            && primary.took_over
            && view.sources.contains(&source.me)
            && !primary.merged.contains(&source.me)
            && source.view == view
            && view.owners.iter().chain(primary.loads.keys()).all(there);
        if !fits {
            return None;
        }
        let told = source.copy.as_ref()?.writes;
        let source = source.me;
        let following = state.servers.iter();
        let following = following.filter(|server| state.follows(server, primary));
        let following: BTreeSet<Member> = following.map(|server| server.me).collect();
        let mut state = state.clone();
        for server in &mut state.servers {
            if view.owners.contains(&server.me) || following.contains(&server.me) {
                server.copy.as_mut()?.writes |= told;
            }
        }
        // Its copy has served its purpose, unless the next view counts on it.
        let told = state.servers[other].told;
        if self.drops_told || (self.drops_kept && !told) {
            state.servers[other].copy = None;
        } else if !told {
            let copy = state.servers[other].copy.as_mut()?;
            (copy.kept, copy.load) = (true, None);
        }
        state.servers[place].merged.insert(source);
        Some(state)
    }

    /// What must not be.
    fn violation(&mut self, state: &State) -> Option<String> {
        if state.doubled {
            return Some("two views have one version".to_owned());
        }
        let due = state.acknowledged & !state.excused;
        let copies = state
            .servers
            .iter()
            .filter_map(|server| server.copy.as_ref());
        let held = copies.fold(0, |held, copy| held | copy.writes);
        if due & !held != 0 {
            return Some(format!(
                "acknowledged writes {:#b} are nowhere",
                due & !held
            ));
        }
        let serving = || {
            state
                .servers
                .iter()
                .filter(|server| self.serves(state, server))
        };
        for server in serving() {
            // What any owner that is in this view has acknowledged, in whatever view.
            let here = |owner: &&Server| {
                owner.view == server.view && server.view.owners.contains(&owner.me)
            };
            let owners = state.servers.iter().filter(here);
            let vouched = owners.fold(0, |all, owner| all | owner.vouched);
            let writes = server.copy.as_ref().map_or(0, |copy| copy.writes);
            if vouched & due & !writes != 0 {
                return Some(format!(
                    "{:?} serves and lacks what an owner acknowledged",
                    server.me
                ));
            }
        }
        if self.stops() {
            let knows = |server: &&Server| {
                let copy = server.copy.as_ref();
                copy.is_some_and(|copy| due & !copy.writes == 0)
            };
            if let Some(server) = serving().find(|server| !knows(server)) {
                return Some(format!(
                    "{:?} serves and lacks what was acknowledged",
                    server.me
                ));
            }
            let leaders = serving().filter(|server| server.view.leads(server.me));
            if leaders.count() > 1 {
                return Some("two servers take writes".to_owned());
            }
        }
        self.not_healed(state)
    }

    /// What is wrong once all servers reach each other and nothing happens any more.
    fn not_healed(&mut self, state: &State) -> Option<String> {
        let mut state = state.clone();
        for _ in 0..HEALING_VIEWS {
            state = self.healed(&state);
            if state.is_settled() {
                break;
            }
        }
        let view = state.servers[0].view.clone();
        let one = state.servers.iter().all(|server| server.view == view);
        if !one || view.servers.len() != SERVERS || !state.is_settled() {
            return Some(format!("healing leads to {view:?}"));
        }
        let restarted = view.servers.iter().any(|one| one.incarnation.0 > 1);
        if !view.primary {
            return (!restarted).then(|| "all servers together are not primary".to_owned());
        }
        let due = state.acknowledged & !state.excused;
        let owners = state
            .servers
            .iter()
            .filter(|server| view.owners.contains(&server.me));
        let mut lacking = owners.filter_map(|server| {
            let copy = server.copy.as_ref()?;
            (due & !copy.writes != 0).then_some(server.me)
        });
        if let Some(member) = lacking.next() {
            return Some(format!("{member:?} lacks acknowledged writes for good"));
        }
        (view.owners.is_empty() && due != 0).then(|| "acknowledged writes are lost".to_owned())
    }

    /// The oldest server proposes all of them, and everything that is due is done.
    fn healed(&mut self, state: &State) -> State {
        let mut state = state.clone();
        let everybody = (1 << SERVERS) - 1;
        let oldest = state.members(everybody)[0];
        let place = state.servers.iter().position(|server| server.me == oldest);
        let place = place.unwrap_or_default();
        let highest = state
            .servers
            .iter()
            .map(|server| server.promised.number)
            .max();
        state.servers[place].promised.number = highest.unwrap_or_default();
        if let Some(next) = self.proposed(&state, place, everybody) {
            state = next;
        }
        loop {
            let mut moved = false;
            for one in 0..SERVERS {
                for other in 0..SERVERS {
                    let next = self
                        .prepared(&state, one, other)
                        .or_else(|| self.installed(&state, one))
                        .or_else(|| state.taken_over(one))
                        .or_else(|| self.merged(&state, one, other))
                        .or_else(|| self.confirmed(&state, one, other))
                        .or_else(|| self.loaded(&state, one, other));
                    if let Some(next) = next {
                        (state, moved) = (next, true);
                    }
                }
            }
            if !moved {
                return state;
            }
        }
    }

    /// How many states there are, or what must not be and is.
    fn run(&mut self, bounds: [u32; 3]) -> Result<usize, String> {
        let first = self.first(bounds);
        let mut seen = HashSet::from([first.key()]);
        let mut open = vec![first];
        while let Some(state) = open.pop() {
            if let Some(violation) = self.violation(&state) {
                return Err(format!("{violation}, after {:?}", state.steps()));
            }
            for next in self.next(&state) {
                if seen.insert(next.key()) {
                    open.push(next);
                }
            }
        }
        Ok(seen.len())
    }
}

/// By what a minority may do: proposals, restarts and writes.
const BOUNDS: &[(WhenSplit, [u32; 3])] = &[
    (WhenSplit::DenyReadWrites, [2, 0, 2]),
    (WhenSplit::AllowReadWrites, [2, 0, 2]),
    (WhenSplit::DenyReadWrites, [2, 1, 1]),
    (WhenSplit::AllowReadWrites, [2, 1, 1]),
];

#[test]
fn no_acknowledged_write_is_lost() {
    for (when_split, bounds) in BOUNDS {
        let [proposals, restarts, writes] = *bounds;
        let proposals = crate::proposals().unwrap_or(proposals);
        let states = Search::new(*when_split).run([proposals, restarts, writes]);
        println!(
            "{when_split:?}: {proposals} proposals, {restarts} restarts, {writes} writes: \
             {states:?} states"
        );
        assert!(states.is_ok(), "{states:?}");
    }
}
