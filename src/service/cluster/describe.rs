//! Views, tables, caches and counters as callers read them. Pure.

use super::super::encode::{duration, micros_timestamp, timestamp};
use super::settings;
use crate::node::{Stats, Tickets};
use crate::rpc::proto as pb;
use crate::types::view::ViewCache;
use crate::types::{
    Incarnation, Member, NodeId, NodeInfo, PartitionOwners, Role, TopologyVersion, View,
};
use std::collections::{BTreeSet, HashMap};

/// A view as `me` knows it.
pub fn topology(view: &View, me: &NodeInfo, cluster_name: &str) -> pb::TopologyResponse {
    pb::TopologyResponse {
        nodes: nodes(view),
        version: version(view.version),
        coordinator: view
            .coordinator()
            .map(|node| node.consistent_id.clone())
            .unwrap_or_default(),
        primary: view.primary,
        self_: me.consistent_id.clone(),
        cluster_name: cluster_name.to_owned(),
    }
}

/// A topology version; absent before the first view.
pub fn version(version: TopologyVersion) -> Option<pb::TopologyVersion> {
    (version.number > 0).then_some(pb::TopologyVersion {
        number: version.number,
        coordinator_id: version.coordinator.id.0,
        coordinator_incarnation: version.coordinator.incarnation.0,
    })
}

fn nodes(view: &View) -> Vec<pb::Node> {
    let loading: BTreeSet<u16> = view
        .caches
        .values()
        .flat_map(|cache| &cache.table)
        .flat_map(|partition| &partition.loading)
        .copied()
        .collect();
    let places = 0u16..;
    places
        .zip(&view.nodes)
        .map(|(place, info)| {
            let state = if view.draining.contains(&info.member) {
                pb::node::State::Leaving
            } else if loading.contains(&place) {
                pb::node::State::Loading
            } else {
                pb::node::State::Alive
            };
            node(info, state)
        })
        .collect()
}

fn node(info: &NodeInfo, state: pb::node::State) -> pb::Node {
    let role = match info.role {
        Role::Server => pb::NodeRole::Server,
        Role::Client => pb::NodeRole::Client,
    };
    let ends = info.certificate_expires_at;
    pb::Node {
        id: info.member.id.0,
        consistent_id: info.consistent_id.clone(),
        address: info.address.clone(),
        role: role.into(),
        state: state.into(),
        attributes: info.attributes.clone().into_iter().collect(),
        incarnation: info.member.incarnation.0,
        version: info.program_version.clone(),
        started_at: Some(micros_timestamp(info.started_at)),
        certificate_expires_at: (ends > 0)
            .then(|| micros_timestamp(ends.saturating_mul(1_000_000))),
        certificate_days_left: None,
    }
}

/// Puts in when the certificates end that the nodes use now: what the view says of it is as old
/// as the node.
pub fn certificates(nodes: &mut [pb::Node], ends: impl Fn(Member) -> Option<(u64, u64)>) {
    for node in nodes {
        let member = Member {
            id: NodeId(node.id),
            incarnation: Incarnation(node.incarnation),
        };
        if let Some((ends, days_left)) = ends(member) {
            node.certificate_expires_at = Some(micros_timestamp(ends.saturating_mul(1_000_000)));
            node.certificate_days_left = Some(days_left);
        }
    }
}

/// Who holds what of some caches.
pub fn tables<'a>(
    view: &View,
    caches: impl Iterator<Item = &'a ViewCache>,
) -> pb::PartitionTableResponse {
    let mut caches: Vec<_> = caches.map(table).collect();
    caches.sort_by(|one, other| one.name.cmp(&other.name));
    pb::PartitionTableResponse {
        version: version(view.version),
        nodes: nodes(view),
        caches,
    }
}

fn table(cache: &ViewCache) -> pb::partition_table_response::Cache {
    let count =
        |of: fn(&PartitionOwners) -> usize| cache.table.iter().map(of).sum::<usize>() as u64;
    pb::partition_table_response::Cache {
        name: cache.settings.name.clone(),
        partitions: cache.table.iter().map(partition).collect(),
        copies_owned: count(|partition| partition.owners.len()),
        copies_loading: count(|partition| partition.loading.len()),
        atomicity_mode: settings::encode_atomicity(cache.settings.atomicity).into(),
    }
}

fn partition(partition: &PartitionOwners) -> pb::partition_table_response::Partition {
    let places = |places: &[u16]| places.iter().copied().map(u32::from).collect();
    let (primary, backups) = match partition.owners.split_first() {
        Some((primary, backups)) => (Some(u32::from(*primary)), backups),
        None => (None, &[][..]),
    };
    pb::partition_table_response::Partition {
        primary,
        backups: places(backups),
        loading: places(&partition.loading),
        merging: !partition.sources.is_empty(),
        lost: primary.is_none(),
    }
}

/// All caches of a view, by name.
pub fn caches(view: &View, tickets: &Tickets) -> Vec<pb::CacheDescription> {
    let mut caches: Vec<&ViewCache> = view.caches.values().collect();
    caches.sort_by(|one, other| one.settings.name.cmp(&other.settings.name));
    let caches = caches.into_iter();
    caches.map(|one| cache(one, tickets)).collect()
}

/// One cache.
pub fn cache(cache: &ViewCache, tickets: &Tickets) -> pb::CacheDescription {
    pb::CacheDescription {
        ticket_kinds: tickets.kinds_in(&cache.settings.name),
        ticket_ids_digested: tickets.digests_ids(),
        settings: Some(settings::encode(&cache.settings)),
        id: cache.settings.id().0,
        created_at: Some(timestamp(cache.created_at)),
    }
}

/// The counters of this node.
pub fn stats(me: &NodeInfo, serving: bool, stats: &Stats) -> pb::NodeStatsResponse {
    let counters = [
        ("requests", stats.requests),
        ("requests_waited", stats.requests_waited),
        ("requests_refused", stats.requests_refused),
        ("requests_waiting_now", stats.requests_waiting),
        ("messages_sent", stats.messages_sent),
        ("messages_dropped", stats.messages_dropped),
        ("messages_received", stats.messages_received),
        ("links_opened", stats.links_opened),
        ("links_closed", stats.links_closed),
        ("links_now", stats.links),
        ("peers_suspected", stats.peers_suspected),
        ("peers_failed", stats.peers_failed),
        ("views", stats.views),
        ("fenced", stats.fenced),
        ("writes_lost_at_most", stats.writes_lost_at_most),
        ("partitions_lost", stats.partitions_lost),
        ("partitions_reset", stats.partitions_reset),
        ("primaries_forced", stats.primaries_forced),
        ("nodes_forgotten", stats.nodes_forgotten),
        ("watches_lost", stats.watches_lost),
        ("copies_compared", stats.copies_compared),
        ("keys_differed", stats.keys_differed),
        ("keys_repaired", stats.keys_repaired),
        ("tombstones_now", stats.tombstones),
        ("tombstones_dropped", stats.tombstones_dropped),
        ("stale_dropped", stats.stale_dropped),
        ("pieces_sent", stats.pieces_sent),
        ("pieces_repeated", stats.pieces_repeated),
        ("pieces_bytes_now", stats.pieces_bytes),
        ("entries_now", stats.entries),
        ("entry_bytes_now", stats.entry_bytes),
        ("clock_apart_microseconds_now", stats.clock_apart),
        ("resident_bytes_now", stats.resident_bytes),
        ("region_max_bytes_now", stats.region_bytes_max),
    ];
    let of_certificates = stats.certificates.iter().flat_map(|certificates| {
        let own = [
            ("certificate_days_left_now", certificates.days_left),
            ("certificates_renewed", certificates.renewed),
            ("certificates_refused", certificates.refused),
            ("connections_outdated_now", certificates.outdated),
        ];
        let refused = certificates.connections_refused.iter().copied();
        own.into_iter().chain(refused)
    });
    let named = |(name, count): (&str, u64)| (name.to_owned(), count);
    pb::NodeStatsResponse {
        node: me.consistent_id.clone(),
        uptime: Some(duration(stats.uptime)),
        serving,
        counters: HashMap::from_iter(counters.into_iter().chain(of_certificates).map(named)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{CacheSettings, ClusterTime};

    fn view() -> View {
        let info = |id: u64| NodeInfo {
            member: Member {
                id: NodeId(id),
                ..Member::default()
            },
            consistent_id: format!("node-{id}"),
            certificate_expires_at: id,
            ..NodeInfo::default()
        };
        let settings = CacheSettings {
            partitions: 2,
            ..CacheSettings::named("c")
        };
        let table = vec![
            PartitionOwners {
                owners: vec![1, 0],
                loading: vec![0],
                sources: vec![],
            },
            PartitionOwners {
                owners: vec![],
                loading: vec![],
                sources: vec![1],
            },
        ];
        let mut view = View {
            nodes: vec![info(0), info(7)],
            ..View::default()
        };
        view.version.number = 3;
        let cache = ViewCache {
            founded: true,
            created_at: ClusterTime(5),
            table,
            settings,
        };
        view.caches.insert(cache.settings.id(), cache);
        view
    }

    #[test]
    fn a_topology_names_its_nodes_and_their_state() {
        let view = view();
        let said = topology(&view, &view.nodes[1], "embergrid");
        assert_eq!(said.coordinator, "node-0");
        assert_eq!(said.self_, "node-7");
        assert_eq!(said.version.map(|version| version.number), Some(3));
        assert_eq!(said.nodes[0].state(), pb::node::State::Loading);
        assert_eq!(said.nodes[1].state(), pb::node::State::Alive);
        assert_eq!(said.nodes[0].certificate_expires_at, None);
        assert_eq!(
            said.nodes[1].certificate_expires_at.map(|at| at.seconds),
            Some(7)
        );
        assert_eq!(topology(&View::default(), &view.nodes[0], "").version, None);
    }

    #[test]
    fn a_table_tells_primaries_backups_and_losses() {
        let view = view();
        let said = tables(&view, view.caches.values());
        let cache = &said.caches[0];
        assert_eq!((cache.copies_owned, cache.copies_loading), (2, 1));
        assert_eq!(cache.partitions[0].primary, Some(1));
        assert_eq!(cache.partitions[0].backups, [0]);
        assert!(!cache.partitions[0].lost);
        assert!(cache.partitions[1].lost && cache.partitions[1].merging);
        assert_eq!(cache.partitions[1].primary, None);
    }
}
