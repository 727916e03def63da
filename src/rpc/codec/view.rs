//! Views. The partition table of a cache is two flat lists of numbers for owners, loading ones and
//! sources each: how many places every partition has, and the places one after the other.

use super::limits::{LIST_MAX, PARTITIONS_MAX, at_most};
use super::{list, node, required, settings, version};
use crate::error::{Error, Result};
use crate::rpc::proto::{self, view_cache::Places};
use crate::types::view::{Departed, Primaries, PrimaryView, ViewCache};
use crate::types::{CacheId, ClusterTime, Member, PartitionOwners, Table, View};
use std::collections::BTreeSet;

/// A view.
pub fn encode(view: &View) -> proto::View {
    proto::View {
        version: version::some_topology(view.version),
        nodes: view.nodes.iter().map(node::encode).collect(),
        caches: view.caches.values().map(encode_cache).collect(),
        dropped: view
            .dropped
            .iter()
            .map(|(cache, at)| encode_dropped(*cache, *at))
            .collect(),
        departed: view.departed.iter().map(encode_departed).collect(),
        time_base: version::some_member(view.time_base),
        draining: encode_draining(&view.draining),
        primary: view.primary,
        closed_for: view.closed_for,
    }
}

/// A view.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known, a cache that comes twice, and
/// a table that does not fit its cache or names a place that no node has.
pub fn decode(sent: proto::View) -> Result<View> {
    let nodes = list(sent.nodes, "nodes", node::decode)?;
    at_most(sent.caches.len(), LIST_MAX, "caches", "elements")?;
    let mut view = View {
        version: version::topology(sent.version),
        departed: list(sent.departed, "departed", |sent| Ok(departed(sent)))?,
        dropped: list(sent.dropped, "dropped", |sent| Ok(dropped(sent)))?
            .into_iter()
            .collect(),
        time_base: version::member_or_zero(sent.time_base),
        draining: draining(sent.draining)?,
        primary: sent.primary,
        closed_for: sent.closed_for,
        ..View::default()
    };
    for sent in sent.caches {
        let cache = decode_cache(sent, nodes.len())?;
        if let Some(other) = view.caches.insert(cache.settings.id(), cache) {
            let text = format!("caches: two have the id of {}", other.settings.name);
            return Err(Error::invalid(text));
        }
    }
    view.nodes = nodes;
    Ok(view)
}

/// A cache that was dropped.
pub fn encode_dropped(cache: CacheId, at: ClusterTime) -> proto::DroppedCache {
    proto::DroppedCache {
        cache: cache.0,
        at: at.0,
    }
}

/// A cache that was dropped.
pub fn dropped(sent: proto::DroppedCache) -> (CacheId, ClusterTime) {
    (CacheId(sent.cache), ClusterTime(sent.at))
}

/// A server that is out.
pub fn encode_departed(departed: &Departed) -> proto::Departed {
    proto::Departed {
        member: version::some_member(departed.member),
        at: departed.at.0,
    }
}

/// A server that is out.
pub fn departed(sent: proto::Departed) -> Departed {
    Departed {
        member: version::member_or_zero(sent.member),
        at: ClusterTime(sent.at),
    }
}

/// Servers that hand over what they own.
pub fn encode_draining(draining: &BTreeSet<Member>) -> Vec<proto::Member> {
    let members = draining.iter().copied();
    members.map(version::encode_member).collect()
}

/// Servers that hand over what they own.
///
/// # Errors
///
/// `InvalidArgument` where they are too many.
pub fn draining(sent: Vec<proto::Member>) -> Result<BTreeSet<Member>> {
    let members = list(sent, "draining", |sent| Ok(version::member(sent)))?;
    Ok(members.into_iter().collect())
}

/// What a server knows of primary views.
pub fn encode_primaries(primaries: &Primaries) -> proto::Primaries {
    let view = |view: &PrimaryView| proto::PrimaryView {
        version: version::some_topology(view.version),
        servers: view
            .servers
            .iter()
            .copied()
            .map(version::encode_member)
            .collect(),
        lease: view.lease,
    };
    let leavers = primaries.leavers.iter().copied();
    proto::Primaries {
        last: primaries.last.as_ref().map(view),
        prepared: primaries.prepared.iter().map(view).collect(),
        leavers: leavers.map(version::encode_member).collect(),
        closed_for: primaries.closed_for,
    }
}

/// What a server knows of primary views; nothing where it does not say.
///
/// # Errors
///
/// `InvalidArgument` where a list is too long.
pub fn primaries(sent: Option<proto::Primaries>) -> Result<Primaries> {
    let sent = sent.unwrap_or_default();
    let view = |sent: proto::PrimaryView| {
        Ok(PrimaryView {
            version: version::topology(sent.version),
            servers: list(sent.servers, "servers", |sent| Ok(version::member(sent)))?,
            lease: sent.lease,
        })
    };
    let leavers = list(sent.leavers, "leavers", |sent| Ok(version::member(sent)))?;
    Ok(Primaries {
        last: sent.last.map(view).transpose()?,
        prepared: list(sent.prepared, "prepared", view)?,
        leavers: leavers.into_iter().collect(),
        closed_for: sent.closed_for,
    })
}

fn encode_cache(cache: &ViewCache) -> proto::ViewCache {
    proto::ViewCache {
        settings: Some(settings::encode(&cache.settings)),
        created_at: cache.created_at.0,
        partitions: u32::try_from(cache.table.len()).unwrap_or(u32::MAX),
        owners: encode_places(&cache.table, |partition| &partition.owners),
        loading: encode_places(&cache.table, |partition| &partition.loading),
        sources: encode_places(&cache.table, |partition| &partition.sources),
        founded: cache.founded,
    }
}

fn encode_places(table: &Table, of: impl Fn(&PartitionOwners) -> &Vec<u16>) -> Option<Places> {
    if table.iter().all(|partition| of(partition).is_empty()) {
        return None;
    }
    Some(Places {
        counts: table
            .iter()
            .map(|partition| u32::try_from(of(partition).len()).unwrap_or(u32::MAX))
            .collect(),
        places: table.iter().flat_map(of).copied().map(u32::from).collect(),
    })
}

fn decode_cache(sent: proto::ViewCache, nodes: usize) -> Result<ViewCache> {
    let settings = settings::decode(required(sent.settings, "settings")?)?;
    if sent.partitions > PARTITIONS_MAX
        || (sent.partitions != 0 && sent.partitions != settings.partitions)
    {
        return Err(Error::invalid(format!(
            "table of {}: {} partitions, and {} in its settings",
            settings.name, sent.partitions, settings.partitions
        )));
    }
    let mut table = vec![PartitionOwners::default(); sent.partitions as usize];
    let name = &settings.name;
    fill(&mut table, sent.owners, nodes, name, |partition| {
        &mut partition.owners
    })?;
    fill(&mut table, sent.loading, nodes, name, |partition| {
        &mut partition.loading
    })?;
    fill(&mut table, sent.sources, nodes, name, |partition| {
        &mut partition.sources
    })?;
    Ok(ViewCache {
        settings,
        created_at: ClusterTime(sent.created_at),
        table,
        founded: sent.founded,
    })
}

/// Deals the places out to the partitions.
fn fill(
    table: &mut Table,
    sent: Option<Places>,
    nodes: usize,
    name: &str,
    of: impl Fn(&mut PartitionOwners) -> &mut Vec<u16>,
) -> Result<()> {
    let Some(Places { counts, places }) = sent else {
        return Ok(());
    };
    let wrong = |what: &str| Error::invalid(format!("table of {name}: {what}"));
    if counts.len() != table.len() {
        return Err(wrong("not one count for each partition"));
    }
    let mut rest = places.as_slice();
    for (partition, count) in table.iter_mut().zip(counts) {
        let (mine, others) = rest
            .split_at_checked(count as usize)
            .ok_or_else(|| wrong("places are missing"))?;
        rest = others;
        let list = of(partition);
        list.reserve_exact(mine.len());
        for place in mine {
            let index = u16::try_from(*place)
                .ok()
                .filter(|index| usize::from(*index) < nodes);
            list.push(index.ok_or_else(|| wrong("a place that no node has"))?);
        }
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(wrong("places are left over"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{CacheSettings, NodeInfo};

    /// A view of two nodes with a cache of three partitions.
    fn view() -> View {
        let settings = CacheSettings {
            partitions: 3,
            ..CacheSettings::named("c")
        };
        let owned = |owners: &[u16]| PartitionOwners {
            owners: owners.to_vec(),
            ..PartitionOwners::default()
        };
        let cache = ViewCache {
            settings,
            created_at: ClusterTime(1),
            table: vec![owned(&[0, 1]), owned(&[]), owned(&[1])],
            founded: true,
        };
        View {
            nodes: vec![NodeInfo::default(), NodeInfo::default()],
            caches: [(cache.settings.id(), cache)].into(),
            ..View::default()
        }
    }

    #[test]
    fn a_table_is_two_flat_lists() {
        let sent = encode(&view());
        let owners = sent.caches[0].owners.clone().expect("some are owned");
        assert_eq!(owners.counts, [2, 0, 1]);
        assert_eq!(owners.places, [0, 1, 1]);
        assert_eq!(sent.caches[0].loading, None);
        assert_eq!(decode(sent), Ok(view()));
    }

    #[test]
    fn a_table_that_does_not_fit_is_refused() {
        let spoiled: [(&str, fn(&mut Places)); 5] = [
            ("one count for each", |places| places.counts.push(0)),
            ("missing", |places| places.counts[1] = 1),
            ("left over", |places| places.counts[0] = 1),
            ("no node has", |places| places.places[2] = 2),
            ("no node has", |places| places.places[2] = 1 << 16),
        ];
        for (word, spoil) in spoiled {
            let mut sent = encode(&view());
            spoil(sent.caches[0].owners.as_mut().expect("some are owned"));
            let error = decode(sent).expect_err(word);
            assert!(error.context.contains(word), "{error}");
        }
        let mut sent = encode(&view());
        sent.caches[0].partitions = 4;
        assert!(decode(sent).is_err());
        let mut sent = encode(&view());
        sent.caches.extend(encode(&view()).caches);
        assert!(decode(sent).is_err());
    }
}
