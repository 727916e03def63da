//! The partition map of the next view: from what every server holds and what affinity wants.
//!
//! A copy is complete as of a topology version. Those of the greatest version own the partition;
//! complete ones of another version are another history and become sources of a merge. What
//! affinity wants beyond the owners loads, and owners change to what it wants only when all of it
//! is complete: so a primary that lives changes only by handing over.

use super::affinity;
use crate::types::message::Holdings;
use crate::types::{
    CacheId, CacheMode, CacheSettings, Member, NodeInfo, PartitionOwners, Table, TopologyVersion,
};
use std::collections::BTreeSet;

/// What is known of one cache when a view is made.
pub struct CacheInput<'a> {
    pub id: CacheId,
    pub settings: &'a CacheSettings,
    /// The nodes of the new view.
    pub nodes: &'a [NodeInfo],
    /// What each of them holds, in the same order.
    pub holdings: &'a [&'a [Holdings]],
    /// The present primaries by partition, as places among the new nodes.
    pub primaries: &'a [Option<u16>],
    /// Those of them that hand over what they own.
    pub draining: &'a BTreeSet<Member>,
    /// The cache is created in this view, so that nobody holds anything and nothing is lost, or an
    /// operator gave up what is lost: partitions that nobody holds begin empty.
    pub fresh: bool,
}

/// Copies by partition: (holder, complete as of).
type Copies = Vec<Vec<(u16, TopologyVersion)>>;

fn copies(input: &CacheInput<'_>) -> Copies {
    let mut copies: Copies = vec![Vec::new(); input.settings.partitions as usize];
    for (place, holdings) in (0u16..).zip(input.holdings) {
        let own = holdings
            .iter()
            .filter(|holdings| holdings.cache == input.id);
        for (first, count, version) in own.flat_map(|holdings| &holdings.complete) {
            let from = (*first as usize).min(copies.len());
            let to = from.saturating_add(*count as usize).min(copies.len());
            for partition in &mut copies[from..to] {
                partition.push((place, *version));
            }
        }
    }
    copies
}

/// The table of one cache in the new view.
pub fn next(input: &CacheInput<'_>) -> Table {
    if input.settings.mode == CacheMode::Local {
        return Table::new();
    }
    let copies = copies(input);
    let eligible = affinity::eligible(input.settings, input.nodes, input.draining);
    let mut present = Vec::with_capacity(copies.len());
    let mut sources = Vec::with_capacity(copies.len());
    for (partition, held) in copies.iter().enumerate() {
        let newest = held.iter().map(|(_, version)| *version).max();
        let (mut owners, mut others) = (Vec::new(), Vec::new());
        for (holder, version) in held {
            if Some(*version) == newest {
                owners.push(*holder)
            } else {
                others.push(*holder)
            }
        }
        let primary = input.primaries.get(partition).copied().flatten();
        owners.sort_by_key(|owner| (Some(*owner) != primary, !eligible.contains(owner), *owner));
        present.push(owners);
        sources.push(others);
    }
    let wanted = affinity::assign(input.settings, input.nodes, &eligible, &present);
    let parts = present.into_iter().zip(sources).zip(wanted);
    parts
        .map(|((present, sources), wanted)| place(present, sources, wanted, input.fresh))
        .collect()
}

fn place(
    mut present: Vec<u16>,
    sources: Vec<u16>,
    wanted: Vec<u16>,
    fresh: bool,
) -> PartitionOwners {
    if present.is_empty() {
        // Without `fresh` the partition is Lost until an owner returns with data.
        let owners = if fresh { wanted } else { Vec::new() };
        return PartitionOwners {
            owners,
            ..PartitionOwners::default()
        };
    }
    let loading: Vec<u16> = wanted
        .iter()
        .filter(|owner| !present.contains(owner))
        .copied()
        .collect();
    if loading.is_empty() && sources.is_empty() && !wanted.is_empty() {
        return PartitionOwners {
            owners: wanted,
            loading,
            sources,
        };
    }
    if let Some(place) = wanted
        .first()
        .and_then(|first| present.iter().position(|own| own == first))
        && sources.is_empty()
    {
        present.swap(0, place);
    }
    PartitionOwners {
        owners: present,
        loading,
        sources,
    }
}
