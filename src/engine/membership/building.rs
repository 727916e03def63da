//! Making a view out of what was collected: the catalogue, who is out with data, and the
//! partition tables.

use super::Membership;
use super::quorum::{FORCED, Judged};
use crate::engine::partition_map::{self, CacheInput, Copies};
use crate::types::hello::first_difference;
use crate::types::message::{Collected, Holdings, KnownCache};
use crate::types::view::{Departed, ViewCache};
use crate::types::{
    CacheId, ClusterTime, Member, Monotonic, NodeInfo, PrimaryView, Role, TopologyVersion, View,
};
use std::collections::{BTreeMap, BTreeSet};

/// The most servers that are remembered as out.
const DEPARTED_MAX: usize = 256;
/// The most dropped caches that are remembered.
const DROPPED_MAX: usize = 4096;

/// The caches of the new view before they have tables.
#[derive(Default)]
pub(super) struct Catalogue {
    pub caches: BTreeMap<CacheId, KnownCache>,
    pub dropped: BTreeMap<CacheId, ClusterTime>,
    /// The servers of the view to come, and those of them that drain.
    pub servers: BTreeSet<Member>,
    pub draining: BTreeSet<Member>,
    /// Servers that are out and may return with data, and since when.
    pub departed: BTreeMap<Member, ClusterTime>,
    /// Caches whose lost partitions begin anew.
    pub reset: BTreeSet<CacheId>,
    /// Caches that no committed view knows.
    pub fresh: BTreeSet<CacheId>,
    /// Whether the view is primary, and whether that is so because somebody asked for it.
    pub primary: bool,
    pub forced: bool,
}

impl Membership {
    /// Makes the view that is prepared.
    pub(super) fn build(
        &mut self,
        version: TopologyVersion,
        nodes: &[NodeInfo],
        answers: &BTreeMap<Member, Collected>,
        mono: Monotonic,
    ) -> View {
        let now = self.clock.at(mono);
        // The number says whether it was proposed so: a request may have come later.
        let forced = version.number > self.view.version.number.saturating_add(FORCED / 2)
            && self.wants_primary();
        let judged = self.judge(nodes, answers, forced, mono);
        let mut catalogue = unite(nodes, answers, now);
        (catalogue.primary, catalogue.forced) = (judged.primary, forced);
        catalogue.departed = self.departed(nodes, answers);
        self.apply_changes(&mut catalogue, now);
        while catalogue.dropped.len() > DROPPED_MAX {
            let oldest = catalogue
                .dropped
                .iter()
                .min_by_key(|(_, at)| **at)
                .map(|(id, _)| *id);
            oldest.map(|id| catalogue.dropped.remove(&id));
        }
        let caches = self.tables(&mut catalogue, nodes, answers, &judged);
        View {
            version,
            nodes: nodes.to_vec(),
            caches,
            dropped: catalogue.dropped,
            departed: latest(catalogue.departed),
            draining: catalogue.draining,
            time_base: self.clock.base(),
            primary: judged.primary,
            closed_for: judged.closed_for,
        }
    }

    /// The caches of the new view with their tables.
    fn tables(
        &self,
        catalogue: &mut Catalogue,
        nodes: &[NodeInfo],
        answers: &BTreeMap<Member, Collected>,
        judged: &Judged,
    ) -> BTreeMap<CacheId, ViewCache> {
        let holdings: Vec<&[Holdings]> = nodes
            .iter()
            .map(|node| {
                answers
                    .get(&node.member)
                    .map_or(&[][..], |answer| &answer.holdings)
            })
            .collect();
        let in_force: Vec<PrimaryView> = judged
            .known
            .last
            .iter()
            .chain(&judged.known.prepared)
            .cloned()
            .collect();
        // Whoever is out with data may have been a server of any primary view, not of the last alone.
        let last_resort = catalogue.forced || catalogue.departed.is_empty();
        let mut caches = BTreeMap::new();
        for (id, known) in std::mem::take(&mut catalogue.caches) {
            let primaries = self.present_primaries(id, nodes);
            let reset = catalogue.reset.contains(&id);
            let stops = known.settings.stops();
            let copies = match (stops, judged.primary) {
                (false, _) => Copies::All {
                    last_resort: last_resort || reset,
                },
                (true, false) => Copies::Resting,
                (true, true) => Copies::OfPrimaryViews {
                    in_force: &in_force,
                    last_resort: last_resort || reset,
                },
            };
            let fresh = if stops {
                !known.founded
            } else {
                catalogue.fresh.contains(&id)
            };
            let table = partition_map::next(&CacheInput {
                id,
                settings: &known.settings,
                nodes,
                holdings: &holdings,
                primaries: &primaries,
                draining: &catalogue.draining,
                copies,
                fresh: fresh || reset,
            });
            let cache = ViewCache {
                settings: known.settings,
                created_at: known.created_at,
                table,
                founded: known.founded || judged.primary,
            };
            caches.insert(id, cache);
        }
        caches
    }

    fn present_primaries(&self, id: CacheId, nodes: &[NodeInfo]) -> Vec<Option<u16>> {
        let place = |member: Member| {
            let place = nodes.iter().position(|node| node.member == member)?;
            u16::try_from(place).ok()
        };
        let primary = |owners: &crate::types::PartitionOwners| {
            owners
                .owners
                .first()
                .and_then(|first| self.view.member(*first))
                .and_then(place)
        };
        self.view
            .caches
            .get(&id)
            .map_or_else(Vec::new, |cache| cache.table.iter().map(primary).collect())
    }

    /// Servers that are out of a view that is proposed, as far as this node knows: those that were
    /// out already, and those of its own view. Who proposes knows the latter itself where it has been
    /// in that view, and may know as well that one of them has left since; so it is told of them only
    /// where this node was in a view without it, or went further.
    pub(super) fn out(
        &self,
        proposer: Member,
        nodes: &[NodeInfo],
        mono: Monotonic,
    ) -> Vec<Departed> {
        let mut out = self.view.departed.clone();
        let link = self.links.get(&proposer).and_then(|link| link.view());
        let was_there = link.is_some_and(|view| view >= self.view.version);
        if proposer != self.me && was_there && self.view.contains(proposer) {
            return out;
        }
        let at = self.clock.at(mono);
        let servers = self.view.servers().map(|node| node.member);
        let lacking = servers.filter(|server| {
            !nodes.iter().any(|node| node.member == *server)
                && !self.left.contains(server)
                && !out.iter().any(|departed| departed.member == *server)
        });
        let lacking: Vec<Departed> = lacking.map(|member| Departed { member, at }).collect();
        out.extend(lacking);
        out
    }

    /// Servers that are out and may return with data, by all answers. One whose process is known to
    /// have ended, or that is back in a later life, has none any more.
    fn departed(
        &self,
        nodes: &[NodeInfo],
        answers: &BTreeMap<Member, Collected>,
    ) -> BTreeMap<Member, ClusterTime> {
        let mut out: BTreeMap<Member, ClusterTime> = BTreeMap::new();
        for departed in answers.values().flat_map(|answer| &answer.departed) {
            let at = out.entry(departed.member).or_insert(departed.at);
            *at = (*at).max(departed.at);
        }
        out.retain(|member, _| {
            let back = |node: &NodeInfo| {
                node.member.id == member.id && node.member.incarnation >= member.incarnation
            };
            !self.left.contains(member) && !nodes.iter().any(back)
        });
        out
    }
}

/// Those that left last, as many as are remembered.
fn latest(out: BTreeMap<Member, ClusterTime>) -> Vec<Departed> {
    let mut departed: Vec<Departed> = out
        .into_iter()
        .map(|(member, at)| Departed { member, at })
        .collect();
    departed.sort_by_key(|departed| (std::cmp::Reverse(departed.at), departed.member));
    departed.truncate(DEPARTED_MAX);
    departed
}

/// What differs in a cache that two servers know under one name, with the values of both. One that
/// was dropped since it was created, as anybody knows, does not count.
pub(super) fn difference(
    answers: &BTreeMap<Member, Collected>,
    mine: Member,
    theirs: Member,
) -> Option<String> {
    let dropped = |known: &KnownCache| {
        let id = known.settings.id();
        let drops = answers.values().flat_map(|answer| &answer.dropped);
        known.created_at > ClusterTime::default()
            && drops
                .filter(|(dropped, _)| *dropped == id)
                .any(|(_, at)| known.created_at <= *at)
    };
    let (mine, theirs) = (answers.get(&mine)?, answers.get(&theirs)?);
    let live = mine.caches.iter().filter(|known| !dropped(known));
    live.into_iter().find_map(|known| {
        let other = theirs.caches.iter().find(|other| {
            other.settings.id() == known.settings.id() && other.settings != known.settings
        });
        let other = other.filter(|other| !dropped(other))?;
        let (setting, here, there) = first_difference(&known.settings, &other.settings);
        let name = &known.settings.name;
        Some(format!(
            "setting {setting} of cache {name}: {here} here, {there} there"
        ))
    })
}

/// The union of all catalogues. A cache that was dropped stays so, unless it was created later.
fn unite(nodes: &[NodeInfo], answers: &BTreeMap<Member, Collected>, now: ClusterTime) -> Catalogue {
    let mut united = Catalogue::default();
    let mut known = BTreeSet::new();
    let servers = nodes.iter().filter(|node| node.role == Role::Server);
    united.servers = servers.map(|node| node.member).collect();
    let drain = answers.values().flat_map(|answer| &answer.draining);
    united.draining = drain
        .filter(|member| united.servers.contains(member))
        .copied()
        .collect();
    let ordered = || nodes.iter().filter_map(|node| answers.get(&node.member));
    for (id, at) in ordered().flat_map(|answer| &answer.dropped) {
        let latest = united.dropped.entry(*id).or_insert(*at);
        *latest = (*latest).max(*at);
    }
    // Nodes of a cluster first: what they know outweighs the file of a node that joins.
    for clustered in [true, false] {
        let some = ordered().filter(|answer| (answer.committed.number > 0) == clustered);
        for told in some.flat_map(|answer| &answer.caches) {
            let id = told.settings.id();
            let created = if clustered { told.created_at } else { now };
            if clustered && united.dropped.get(&id).is_some_and(|at| created <= *at) {
                continue;
            }
            if clustered {
                known.insert(id);
            }
            let entry = united.caches.entry(id).or_insert_with(|| KnownCache {
                created_at: created,
                ..told.clone()
            });
            if clustered && entry.settings == told.settings {
                entry.created_at = entry.created_at.min(created);
                entry.founded |= told.founded;
            }
        }
    }
    united.fresh = united
        .caches
        .keys()
        .filter(|id| !known.contains(id))
        .copied()
        .collect();
    united
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::options::GridOptions;
    use crate::types::{CacheMode, CacheSettings, Incarnation, NodeId, Primaries, WhenSplit};

    fn member(id: u64) -> Member {
        Member {
            id: NodeId(id),
            incarnation: Incarnation(1),
        }
    }

    fn version(number: u64) -> TopologyVersion {
        TopologyVersion {
            number,
            coordinator: member(1),
        }
    }

    /// The owners that a partition of a cache that stops gets in a view of the first two of three
    /// servers. Those were a primary view before, without the third one, and the second has a copy
    /// that it knew to be behind by then.
    fn owners_while(departed: Vec<Departed>) -> Vec<u16> {
        let settings = CacheSettings {
            mode: CacheMode::Replicated,
            when_split: WhenSplit::DenyReadWrites,
            partitions: 1,
            ..CacheSettings::named("stops")
        };
        let node = |id| NodeInfo {
            member: member(id),
            ..NodeInfo::default()
        };
        let nodes = [node(1), node(2)];
        let last = PrimaryView {
            version: version(6),
            servers: vec![member(1), member(2)],
            lease: 0,
        };
        let holds = |holdings| Collected {
            committed: last.version,
            holdings,
            caches: vec![KnownCache {
                settings: settings.clone(),
                created_at: ClusterTime(1),
                founded: true,
            }],
            departed: departed.clone(),
            primaries: Primaries {
                last: Some(last.clone()),
                ..Primaries::default()
            },
            ..Collected::default()
        };
        let behind = Holdings {
            cache: settings.id(),
            complete: vec![(0, 1, version(4))],
            retired: BTreeSet::from([0]),
        };
        let answers = [(member(1), vec![]), (member(2), vec![behind])];
        let answers = answers.map(|(member, holdings)| (member, holds(holdings)));
        let options = GridOptions {
            quorum_of: Some(3),
            ..GridOptions::of(node(1))
        };
        let mut coordinator = Membership::new(options, 7, Monotonic(1), 0);
        let view = coordinator.build(version(7), &nodes, &answers.into(), Monotonic(1));
        assert!(view.primary);
        view.caches[&settings.id()].table[0].owners.clone()
    }

    #[test]
    fn a_copy_that_is_behind_owns_nothing_while_anybody_is_out_who_may_have_more() {
        let out = Departed {
            member: member(3),
            at: ClusterTime(5),
        };
        assert_eq!(owners_while(vec![out]), Vec::<u16>::new());
        assert_eq!(owners_while(Vec::new()), [1]);
    }

    /// Whom a server in a view of these, version 5, names as out to server 1, which proposes a view of
    /// both and was last heard to be in a view of this number.
    fn out_of(servers: &[u64], heard: u64) -> Vec<u64> {
        let node = |id: &u64| NodeInfo {
            member: member(*id),
            ..NodeInfo::default()
        };
        let mut server = Membership::new(GridOptions::of(node(&2)), 7, Monotonic(1), 0);
        server.view = std::sync::Arc::new(View {
            version: version(5),
            nodes: servers.iter().map(node).collect(),
            ..View::default()
        });
        server.on_link_up(node(&1), Monotonic(1));
        let heartbeat = crate::types::message::Heartbeat {
            sent: 1,
            view: version(heard),
            ..Default::default()
        };
        if let Some(link) = server.links.get_mut(&member(1)) {
            link.take_heartbeat(heartbeat, Monotonic(1));
        }
        let out = server.out(member(1), &[node(&1), node(&2)], Monotonic(2));
        out.iter().map(|departed| departed.member.id.0).collect()
    }

    #[test]
    fn who_was_in_a_view_of_a_server_that_the_proposer_does_not_know_is_out() {
        assert_eq!(out_of(&[2, 3], 9), [3]);
        assert_eq!(out_of(&[1, 2, 3], 4), [3]);
        // It knows by itself, and maybe better.
        assert_eq!(out_of(&[1, 2, 3], 5), Vec::<u64>::new());
    }
}
