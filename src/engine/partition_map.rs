//! The partition map of the next view: from what every server holds and what affinity wants.
//!
//! A copy is complete as of a topology version. Those of the greatest version own the partition;
//! complete ones of another version are another history and become sources of a merge. What
//! affinity wants beyond the owners loads, and owners change to what it wants only when all of it
//! is complete: so a primary that lives changes only by handing over.
//!
//! In a cache that stops in a minority there is one history: membership's `quorum` says which copies
//! are of it.
//!
//! A holder tells of some copies that they may be behind (`engine::partition::kept`, and owners to be
//! whose load is not known to count). Those count where a partition has no other copy and nobody is
//! out who may have more. No two of them are alike, so that the first of the greatest version owns
//! alone and the others are sources.

use super::affinity;
use crate::types::message::Holdings;
use crate::types::{
    CacheId, CacheMode, CacheSettings, Member, NodeInfo, PartitionOwners, PrimaryView, Table,
    TopologyVersion,
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
    /// Which copies count.
    pub copies: Copies<'a>,
}

/// Which copies of a cache count in a view.
#[derive(Clone, Copy)]
pub enum Copies<'a> {
    /// All; those of another history are merged.
    All {
        /// Nobody else may hold more: where a partition has no other copy, those that may be behind
        /// count.
        last_resort: bool,
    },
    /// All, and nothing moves: the view is not primary, and the cache stops in such.
    Resting,
    /// Those that are not behind a primary view which may be in force. Others are loaded anew.
    OfPrimaryViews {
        in_force: &'a [PrimaryView],
        /// Nobody else may hold more: where a partition has no such copy, any other counts.
        last_resort: bool,
    },
}

/// Copies by partition: (holder, complete as of, not behind).
type Held = Vec<Vec<(u16, TopologyVersion, bool)>>;

fn held(input: &CacheInput<'_>) -> Held {
    let mut copies: Held = vec![Vec::new(); input.settings.partitions as usize];
    for (place, holdings) in (0u16..).zip(input.holdings) {
        let holder = input.nodes.get(usize::from(place)).map(|node| node.member);
        let own = holdings
            .iter()
            .filter(|holdings| holdings.cache == input.id);
        let runs = own.flat_map(|own| own.complete.iter().map(move |run| (own, run)));
        for (own, (first, count, version)) in runs {
            let from = (*first as usize).min(copies.len());
            let to = from.saturating_add(*count as usize).min(copies.len());
            // Who was left out of a later primary view does not know what was written there.
            let left_out = |view: &PrimaryView| {
                *version < view.version
                    && !holder.is_some_and(|holder| view.servers.contains(&holder))
            };
            let behind = match input.copies {
                Copies::OfPrimaryViews { in_force, .. } => in_force.iter().any(left_out),
                Copies::All { .. } | Copies::Resting => false,
            };
            for (index, partition) in (*first..).zip(&mut copies[from..to]) {
                let sound = !behind && !own.retired.contains(&index);
                partition.push((place, *version, sound));
            }
        }
    }
    copies
}

/// The copies that count: (the greatest version's, those of other histories).
fn counted(held: &[(u16, TopologyVersion, bool)], copies: Copies<'_>) -> (Vec<u16>, Vec<u16>) {
    let any = held.iter().any(|(.., sound)| *sound);
    let counts = |sound: bool| match copies {
        Copies::Resting => true,
        Copies::All { last_resort } | Copies::OfPrimaryViews { last_resort, .. } => {
            sound || (last_resort && !any)
        }
    };
    let counting = || held.iter().filter(|(.., sound)| counts(*sound));
    let newest = counting().map(|(_, version, _)| *version).max();
    let all = matches!(copies, Copies::All { .. });
    let alike = any || matches!(copies, Copies::Resting);
    let (mut owners, mut others) = (Vec::new(), Vec::new());
    for (holder, version, _) in counting() {
        let is_newest = Some(*version) == newest;
        if is_newest && (alike || owners.is_empty()) {
            owners.push(*holder);
        } else if all || (is_newest && !alike) {
            others.push(*holder);
        }
    }
    (owners, others)
}

/// The table of one cache in the new view.
pub fn next(input: &CacheInput<'_>) -> Table {
    if input.settings.mode == CacheMode::Local {
        return Table::new();
    }
    let copies = held(input);
    let eligible = affinity::eligible(input.settings, input.nodes, input.draining);
    let mut present = Vec::with_capacity(copies.len());
    let mut sources = Vec::with_capacity(copies.len());
    for (partition, held) in copies.iter().enumerate() {
        let (mut owners, others) = counted(held, input.copies);
        let primary = input.primaries.get(partition).copied().flatten();
        owners.sort_by_key(|owner| (Some(*owner) != primary, !eligible.contains(owner), *owner));
        present.push(owners);
        sources.push(others);
    }
    if matches!(input.copies, Copies::Resting) {
        let resting = |owners| PartitionOwners {
            owners,
            ..PartitionOwners::default()
        };
        return present.into_iter().map(resting).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64) -> TopologyVersion {
        TopologyVersion {
            number,
            ..TopologyVersion::default()
        }
    }

    #[test]
    fn a_copy_that_may_be_behind_counts_as_a_last_resort_only() {
        let primary = |last_resort| Copies::OfPrimaryViews {
            in_force: &[],
            last_resort,
        };
        let behind = [(4, version(7), false)];
        assert_eq!(counted(&behind, primary(false)), (vec![], vec![]));
        assert_eq!(counted(&behind, primary(true)), (vec![4], vec![]));
        let both = [(1, version(3), true), (4, version(7), false)];
        assert_eq!(counted(&both, primary(true)), (vec![1], vec![]));
        let all = |last_resort| Copies::All { last_resort };
        assert_eq!(counted(&behind, all(false)), (vec![], vec![]));
        assert_eq!(counted(&behind, all(true)), (vec![4], vec![]));
        assert_eq!(counted(&both, all(true)), (vec![1], vec![]));
        let apart = [(1, version(3), true), (4, version(7), true)];
        assert_eq!(counted(&apart, all(false)), (vec![4], vec![1]));
    }

    #[test]
    fn no_two_copies_that_may_be_behind_are_alike() {
        let at = |place, number| (place, version(number), false);
        let held = [at(1, 7), at(2, 3), at(3, 7)];
        let all = Copies::All { last_resort: true };
        assert_eq!(counted(&held, all), (vec![1], vec![2, 3]));
        let primary = Copies::OfPrimaryViews {
            in_force: &[],
            last_resort: true,
        };
        // There is one history: an older copy has nothing that counts.
        assert_eq!(counted(&held, primary), (vec![1], vec![3]));
        let resting = (vec![1, 3], vec![]);
        assert_eq!(counted(&held, Copies::Resting), resting);
    }

    #[test]
    fn in_a_cache_that_stops_older_copies_are_no_sources() {
        let held = [(1, version(3), true), (2, version(7), true)];
        let copies = Copies::OfPrimaryViews {
            in_force: &[],
            last_resort: false,
        };
        assert_eq!(counted(&held, copies), (vec![2], vec![]));
        assert_eq!(counted(&held, Copies::Resting), (vec![2], vec![]));
    }
}
