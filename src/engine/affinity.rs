//! Affinity: which servers should own each partition. A function of the servers, the present
//! owners and the settings; computed when the topology changes, never per request.
//!
//! Owners stay where the bound allows, only overflow moves, and the ring says where to. No server
//! holds more than ⌈share × 1.05⌉ partitions, or is primary of more, where zones and filters
//! leave a choice.
//!
//! A copy moves only where it leaves a server that is over the bound for one that is not, so what is over
//! it becomes less with each table: placement comes to rest, and no two tables take turns.

use crate::types::{CacheMode, CacheSettings, Member, NodeInfo, Role};
use hashring::HashRing;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

/// Points of one server on the ring.
const VIRTUAL_NODES: u32 = 128;

#[derive(Clone, Copy)]
struct VirtualNode {
    node: u64,
    replica: u32,
    /// The place in the list of nodes: it changes from view to view and must not move the point.
    index: u16,
}

impl Hash for VirtualNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.node, self.replica).hash(state);
    }
}

/// The places of the servers that should hold a cache: those that it admits and that do not
/// drain, or those that drain as well where it admits no other.
pub fn eligible(
    settings: &CacheSettings,
    nodes: &[NodeInfo],
    draining: &BTreeSet<Member>,
) -> Vec<u16> {
    let admitted = |node: &NodeInfo| {
        let has = |(name, value): (&String, &String)| node.attributes.get(name) == Some(value);
        node.role == Role::Server && settings.node_filter.iter().all(has)
    };
    let (leaving, staying): (Vec<_>, Vec<_>) = (0u16..)
        .zip(nodes)
        .filter(|(_, node)| admitted(node))
        .partition(|(_, node)| draining.contains(&node.member));
    let chosen = if staying.is_empty() { leaving } else { staying };
    chosen.into_iter().map(|(place, _)| place).collect()
}

/// The owners among these servers that each partition should have, the primary first, given the
/// present ones (the primary first).
pub fn assign(
    settings: &CacheSettings,
    nodes: &[NodeInfo],
    servers: &[u16],
    present: &[Vec<u16>],
) -> Vec<Vec<u16>> {
    if servers.is_empty() {
        return present.iter().map(|_| Vec::new()).collect();
    }
    let copies = match settings.mode {
        CacheMode::Partitioned => (settings.backups as usize + 1).min(servers.len()),
        CacheMode::Replicated => servers.len(),
        CacheMode::Local => 1,
    };
    let mut load = Load::new(nodes.len(), present.len(), copies, servers.len());
    let mut owners: Vec<Vec<u16>> = present
        .iter()
        .map(|now| {
            let kept = now.iter().copied().filter(|owner| servers.contains(owner));
            kept.take(copies).collect()
        })
        .collect();
    let zones = Zones::new(settings, nodes, servers);
    owners.iter_mut().for_each(|own| zones.separate(own));
    load.shed(&mut owners, copies, servers);
    let ring = Ring::new(servers, nodes, present.len());
    for (partition, own) in owners.iter_mut().enumerate() {
        let former = present[partition].iter().copied();
        let former: Vec<u16> = former.filter(|owner| servers.contains(owner)).collect();
        fill(
            own,
            copies,
            (&former, ring.from(partition)),
            &zones,
            &mut load,
        );
    }
    choose_primaries(&mut owners, present, &mut load);
    owners
}

struct Load {
    copies: Vec<usize>,
    primaries: Vec<usize>,
    copies_max: usize,
    primaries_max: usize,
}

impl Load {
    fn new(nodes: usize, partitions: usize, copies: usize, servers: usize) -> Self {
        let bound = |total: usize| (total * 105).div_ceil(servers * 100);
        Self {
            copies: vec![0; nodes],
            primaries: vec![0; nodes],
            copies_max: bound(partitions * copies),
            primaries_max: bound(partitions),
        }
    }

    /// Counts the copies that stay and takes those over the bound away: one of a partition at a
    /// time, so that the ring finds another server for each of them, and the primary's last. Where all
    /// servers with room own the partition already, another partition's copy has to go.
    fn shed(&mut self, owners: &mut [Vec<u16>], copies: usize, servers: &[u16]) {
        for owner in owners.iter().flatten() {
            self.copies[usize::from(*owner)] += 1;
        }
        for _ in 0..copies {
            for own in owners.iter_mut() {
                let most = own
                    .iter()
                    .map(|owner| self.copies[usize::from(*owner)])
                    .enumerate()
                    .max_by_key(|(place, held)| (*held, *place));
                let has_room = |server: &&u16| self.copies[usize::from(**server)] < self.copies_max;
                if let Some((place, held)) = most
                    && held > self.copies_max
                    && servers
                        .iter()
                        .filter(has_room)
                        .any(|server| !own.contains(server))
                {
                    self.copies[usize::from(own.remove(place))] -= 1;
                }
            }
        }
    }

    fn take_copy(&mut self, node: u16) -> bool {
        let load = &mut self.copies[usize::from(node)];
        let room = *load < self.copies_max;
        *load += usize::from(room);
        room
    }
}

/// The servers in the order of the ring, and where on it each partition begins.
struct Ring {
    order: Vec<u16>,
    starts: Vec<usize>,
}

impl Ring {
    fn new(servers: &[u16], nodes: &[NodeInfo], partitions: usize) -> Self {
        let mut ring: HashRing<VirtualNode> = HashRing::new();
        let points = servers.iter().flat_map(|index| {
            let node = nodes[usize::from(*index)].member.id.0;
            (0..VIRTUAL_NODES).map(move |replica| VirtualNode {
                node,
                replica,
                index: *index,
            })
        });
        ring.batch_add(points.collect());
        let firsts: Vec<Option<(u64, u32)>> = (0..partitions as u64)
            .map(|partition| {
                ring.get(&partition)
                    .map(|point| (point.node, point.replica))
            })
            .collect();
        let points: Vec<VirtualNode> = ring.into_iter().collect();
        let places: BTreeMap<(u64, u32), usize> = points
            .iter()
            .enumerate()
            .map(|(at, point)| ((point.node, point.replica), at))
            .collect();
        let place = |first: Option<(u64, u32)>| first.and_then(|first| places.get(&first).copied());
        Self {
            order: points.iter().map(|point| point.index).collect(),
            starts: firsts
                .into_iter()
                .map(|first| place(first).unwrap_or_default())
                .collect(),
        }
    }

    /// All servers, many times each, in the order in which they come for a partition.
    fn from(&self, partition: usize) -> impl Iterator<Item = u16> + Clone {
        let (before, first) = self.order.split_at(self.starts[partition]);
        first.iter().chain(before).copied()
    }
}

/// The zone of each node, where the cache has zones.
struct Zones<'a> {
    of: Vec<Option<&'a String>>,
    /// How many different ones there are among the servers.
    count: usize,
}

impl<'a> Zones<'a> {
    fn new(settings: &CacheSettings, nodes: &'a [NodeInfo], servers: &[u16]) -> Self {
        let zone = |node: &'a NodeInfo| node.attributes.get(settings.backup_zone.as_ref()?);
        let mut zones = Self {
            of: nodes.iter().map(zone).collect(),
            count: 0,
        };
        zones.count = zones.among(servers);
        zones
    }

    fn of(&self, node: u16) -> Option<&'a String> {
        self.of[usize::from(node)]
    }

    fn among(&self, nodes: &[u16]) -> usize {
        let zones = nodes.iter().filter_map(|node| self.of(*node));
        zones.collect::<BTreeSet<_>>().len()
    }

    fn shared(&self, own: &[u16], node: u16) -> bool {
        let zone = self.of(node);
        zone.is_some() && own.iter().any(|owner| self.of(*owner) == zone)
    }

    /// Takes backups away that share a zone with another owner, as many as there are zones without
    /// a copy: those servers may not have been there when the owners were chosen.
    fn separate(&self, own: &mut Vec<u16>) {
        let mut spare = self.count - self.among(own);
        for place in (1..own.len()).rev() {
            let (before, behind) = own.split_at(place);
            if spare > 0 && self.shared(before, behind[0]) {
                own.remove(place);
                spare -= 1;
            }
        }
    }
}

/// Adds owners until there are enough: first from other zones, within the bound if possible, then
/// any, likewise. Where it is not possible, former owners come first: nothing is gained by a move.
fn fill(
    own: &mut Vec<u16>,
    copies: usize,
    (former, ring): (&[u16], impl Iterator<Item = u16> + Clone),
    zones: &Zones<'_>,
    load: &mut Load,
) {
    for (apart, bounded) in [(true, true), (true, false), (false, true), (false, false)] {
        let stay = former.iter().copied().filter(|_| !bounded);
        for node in stay.chain(ring.clone()) {
            if own.len() >= copies {
                return;
            }
            if own.contains(&node) {
                continue;
            }
            if apart && zones.shared(own, node) {
                continue;
            }
            if !bounded {
                load.copies[usize::from(node)] += 1;
                own.push(node);
            } else if load.take_copy(node) {
                own.push(node);
            }
        }
    }
}

/// Puts the primary first: the present one where the bound allows, else the least loaded owner.
fn choose_primaries(owners: &mut [Vec<u16>], present: &[Vec<u16>], load: &mut Load) {
    let mut open = Vec::new();
    for (partition, own) in owners.iter_mut().enumerate() {
        let now = present[partition].first();
        let place = now.and_then(|now| own.iter().position(|owner| owner == now));
        match place {
            Some(place) if load.primaries[usize::from(own[place])] < load.primaries_max => {
                load.primaries[usize::from(own[place])] += 1;
                own.swap(0, place);
            }
            _ => open.push(partition),
        }
    }
    for partition in open {
        let own = &mut owners[partition];
        let least =
            (0..own.len()).min_by_key(|place| (load.primaries[usize::from(own[*place])], *place));
        if let Some(place) = least {
            load.primaries[usize::from(own[place])] += 1;
            own.swap(0, place);
        }
    }
    relieve(owners, load);
}

/// How often primaries are passed on where the server that takes one comes over the bound itself.
const RELIEVE_PASSES: usize = 16;

/// Takes primaries from servers that are over the bound, and gives them to owners with fewer.
fn relieve(owners: &mut [Vec<u16>], load: &mut Load) {
    for _ in 0..RELIEVE_PASSES {
        let mut moved = false;
        for own in owners.iter_mut().filter(|own| own.len() > 1) {
            let led = |place: usize| load.primaries[usize::from(own[place])];
            let least = (1..own.len()).min_by_key(|place| led(*place)).unwrap_or(0);
            if led(0) > load.primaries_max && led(least) + 1 < led(0) {
                load.primaries[usize::from(own[0])] -= 1;
                load.primaries[usize::from(own[least])] += 1;
                own.swap(0, least);
                moved = true;
            }
        }
        if !moved {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Member, NodeId};

    fn nodes(count: u16) -> Vec<NodeInfo> {
        let node = |index: u16| NodeInfo {
            member: Member {
                id: NodeId::of(&format!("node-{index}")),
                ..Member::default()
            },
            ..NodeInfo::default()
        };
        (0..count).map(node).collect()
    }

    /// The owners where nobody drains.
    fn placed(settings: &CacheSettings, nodes: &[NodeInfo], present: &[Vec<u16>]) -> Vec<Vec<u16>> {
        let servers = eligible(settings, nodes, &BTreeSet::new());
        assign(settings, nodes, &servers, present)
    }

    fn cache(mode: CacheMode) -> CacheSettings {
        CacheSettings {
            mode,
            ..CacheSettings::named("test")
        }
    }

    fn check_bounds(settings: &CacheSettings, count: u16, owners: &[Vec<u16>], copies: usize) {
        let bound = |total: usize| (total * 105).div_ceil(usize::from(count) * 100);
        for node in 0..count {
            let held = owners.iter().filter(|own| own.contains(&node)).count();
            let led = owners.iter().filter(|own| own[0] == node).count();
            assert!(
                held <= bound(owners.len() * copies),
                "{settings:?}: {node} holds {held}"
            );
            assert!(
                led <= bound(owners.len()) + 1,
                "{settings:?}: {node} leads {led}"
            );
        }
        for own in owners {
            let mut distinct = own.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), copies, "owners are distinct");
        }
    }

    #[test]
    fn no_server_is_over_the_bound_and_a_join_moves_little() {
        let settings = cache(CacheMode::Partitioned);
        let mut owners = vec![Vec::new(); 1024];
        for count in 1..=8 {
            let before = owners.clone();
            owners = placed(&settings, &nodes(count), &before);
            let copies = 2.min(usize::from(count));
            check_bounds(&settings, count, &owners, copies);
            if count > 2 {
                let moved: usize = owners
                    .iter()
                    .zip(&before)
                    .map(|(new, old)| new.iter().filter(|owner| !old.contains(owner)).count())
                    .sum();
                let must = 2048 / usize::from(count);
                assert!(moved * 10 <= must * 12, "{moved} moved where {must} had to");
            }
        }
    }

    /// What becomes of the complete copies of a partition in the next view: all that is wanted loads
    /// beside what is there, and what is not wanted goes when nothing loads.
    fn step(copies: &mut BTreeSet<u16>, wanted: &[u16]) -> bool {
        let before = copies.clone();
        if wanted.iter().all(|owner| copies.contains(owner)) {
            *copies = wanted.iter().copied().collect();
        } else {
            copies.extend(wanted);
        }
        *copies != before
    }

    #[test]
    fn placement_comes_to_rest_within_the_bound_whatever_is_there() {
        const VIEWS: usize = 50;
        let mut dice = 7u64;
        let mut roll = |below: usize| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005);
            dice = dice.wrapping_add(1);
            (dice >> 33) as usize % below
        };
        for case in 0..1_500 {
            let count = 3 + roll(5);
            let copies = 2 + roll(count - 2);
            let settings = CacheSettings {
                backups: copies as u32 - 1,
                ..cache(CacheMode::Partitioned)
            };
            let nodes = nodes(count as u16);
            let partitions = 8 + 8 * roll(2);
            let mut held: Vec<BTreeSet<u16>> = (0..partitions)
                .map(|_| (0..=roll(copies)).map(|_| roll(count) as u16).collect())
                .collect();
            let mut primaries: Vec<Option<u16>> = vec![None; partitions];
            let rests = (0..VIEWS).any(|_| {
                let present: Vec<Vec<u16>> = held
                    .iter()
                    .zip(&primaries)
                    .map(|(held, primary)| {
                        let mut present: Vec<u16> = held.iter().copied().collect();
                        present.sort_by_key(|owner| (Some(*owner) != *primary, *owner));
                        present
                    })
                    .collect();
                let wanted = placed(&settings, &nodes, &present);
                let mut moved = false;
                for ((held, primary), wanted) in held.iter_mut().zip(&mut primaries).zip(&wanted) {
                    let first = wanted.first().copied();
                    if first.is_some_and(|first| held.contains(&first)) {
                        *primary = first;
                    }
                    moved |= step(held, wanted);
                }
                !moved
            });
            assert!(
                rests,
                "case {case}: {copies} copies on {count} servers: {held:?}"
            );
            let bound = (partitions * copies * 105).div_ceil(count * 100);
            for node in 0..count as u16 {
                let holds = held.iter().filter(|held| held.contains(&node)).count();
                assert!(
                    holds <= bound,
                    "case {case}: {node} holds {holds} of {bound}"
                );
            }
        }
    }

    #[test]
    fn every_server_owns_a_replicated_partition() {
        let owners = placed(
            &cache(CacheMode::Replicated),
            &nodes(3),
            &vec![Vec::new(); 64],
        );
        assert!(owners.iter().all(|own| own.len() == 3));
        check_bounds(&cache(CacheMode::Replicated), 3, &owners, 3);
    }

    #[test]
    fn zones_differ_where_they_can_and_filters_hold() {
        let mut settings = cache(CacheMode::Partitioned);
        settings.backup_zone = Some("zone".to_owned());
        let mut nodes = nodes(4);
        for (index, node) in nodes.iter_mut().enumerate() {
            node.attributes
                .insert("zone".to_owned(), format!("z{}", index % 2));
        }
        let owners = placed(&settings, &nodes, &vec![Vec::new(); 256]);
        assert!(owners.iter().all(|own| own[0] % 2 != own[1] % 2));
        // The servers of the other zone come last.
        let before = vec![vec![0, 2]; 256];
        let owners = placed(&settings, &nodes, &before);
        assert!(owners.iter().all(|own| own[0] % 2 != own[1] % 2));
        settings
            .node_filter
            .insert("zone".to_owned(), "z1".to_owned());
        let owners = placed(&settings, &nodes, &owners);
        assert!(owners.iter().flatten().all(|owner| owner % 2 == 1));
    }

    #[test]
    fn a_server_that_drains_gets_nothing_unless_it_is_the_only_one() {
        let mut settings = cache(CacheMode::Partitioned);
        let mut nodes = nodes(3);
        let draining = BTreeSet::from([nodes[1].member]);
        assert_eq!(eligible(&settings, &nodes, &draining), [0, 2]);
        nodes[1]
            .attributes
            .insert("disk".to_owned(), "fast".to_owned());
        settings
            .node_filter
            .insert("disk".to_owned(), "fast".to_owned());
        assert_eq!(eligible(&settings, &nodes, &draining), [1]);
    }
}
