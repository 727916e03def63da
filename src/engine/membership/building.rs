//! Making a view out of what was collected: the catalogue, who is out with data, and the
//! partition tables.

use super::Membership;
use super::quorum::{FORCED, Judged};
use crate::engine::partition_map::{self, CacheInput, Copies};
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
        catalogue.departed = self.departed(nodes, answers, now);
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
                (false, _) => Copies::All,
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

    /// Servers that are out and may return with data. One whose process is known to have ended,
    /// or that is back in a later life, has none any more.
    fn departed(
        &self,
        nodes: &[NodeInfo],
        answers: &BTreeMap<Member, Collected>,
        now: ClusterTime,
    ) -> BTreeMap<Member, ClusterTime> {
        let mut out: BTreeMap<Member, ClusterTime> = BTreeMap::new();
        for departed in answers.values().flat_map(|answer| &answer.departed) {
            let at = out.entry(departed.member).or_insert(departed.at);
            *at = (*at).max(departed.at);
        }
        for node in self.view.servers() {
            if !nodes.iter().any(|other| other.member == node.member) {
                out.entry(node.member).or_insert(now);
            }
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
