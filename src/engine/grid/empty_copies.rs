//! Empty copies of which this node tells before it has them.
//!
//! The first primary view founds the caches that stop in a minority: their partitions begin empty with
//! the owners of its table, and whoever commits it counts on those. An owner may have acknowledged it
//! and never hear of that, since another view that it promised to take came between. It tells then of
//! an empty copy as of the view that it acknowledged: what it would have if it had installed that one
//! and heard nothing more in it. Otherwise a partition whose owners all fare so were Lost for ever,
//! though nobody ever wrote anything there.
//!
//! Where that view was not committed, nobody else has more, and no harm is done. Where it was, every
//! write waited for this owner, as for one that has installed it: in caches with FULL_SYNC. In others a
//! primary may have acknowledged some alone, so that there only an owner that installed it has a copy.
//!
//! The next view that is installed here makes real copies of them, and gives them their place in it.
//! There is one for each partition at most.

use crate::types::{CacheId, Member, TopologyVersion, View};
use std::collections::BTreeMap;

/// As of when a copy is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub complete: TopologyVersion,
    /// A primary view was acknowledged since in which others own the partition.
    pub retired: bool,
}

#[derive(Clone, Default)]
pub struct EmptyCopies {
    caches: BTreeMap<CacheId, BTreeMap<u32, Held>>,
}

impl EmptyCopies {
    /// A view was acknowledged by a node whose own one is this.
    pub fn acknowledge(&mut self, view: &View, own: &View, me: Member) {
        let Some(me) = view.index_of(me).filter(|_| view.primary) else {
            return;
        };
        for (id, cache) in &view.caches {
            let founded = own.caches.get(id).is_some_and(|known| known.founded);
            if founded || !cache.settings.stops() || !cache.settings.full_sync() {
                continue;
            }
            let copies = self.caches.entry(*id).or_default();
            for (index, owners) in (0u32..).zip(&cache.table) {
                if owners.owners.contains(&me) {
                    copies.entry(index).or_insert(Held {
                        complete: view.version,
                        retired: false,
                    });
                } else if let Some(copy) = copies.get_mut(&index) {
                    copy.retired = true;
                }
            }
        }
        self.caches.retain(|_, copies| !copies.is_empty());
    }

    pub fn caches(&self) -> impl Iterator<Item = CacheId> {
        self.caches.keys().copied()
    }

    pub fn of(&self, cache: CacheId) -> BTreeMap<u32, Held> {
        self.caches.get(&cache).cloned().unwrap_or_default()
    }

    /// A view was installed: those that it knows are real ones from now on. Of a cache that it does
    /// not know nobody in it has heard.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::view::ViewCache;
    use crate::types::{
        CacheSettings, Incarnation, NodeId, NodeInfo, PartitionOwners, WhenSplit,
        WriteSynchronizationMode,
    };

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

    /// A view of two nodes with one partition for each of these owners.
    fn view(number: u64, owners: &[u16], change: impl Fn(&mut ViewCache)) -> View {
        let settings = CacheSettings {
            when_split: WhenSplit::DenyReadWrites,
            ..CacheSettings::named("stops")
        };
        let id = settings.id();
        let table = owners.iter().map(|owner| PartitionOwners {
            owners: vec![*owner],
            ..PartitionOwners::default()
        });
        let mut cache = ViewCache {
            settings,
            created_at: crate::types::ClusterTime(1),
            table: table.collect(),
            founded: true,
        };
        change(&mut cache);
        let node = |id| NodeInfo {
            member: member(id),
            ..NodeInfo::default()
        };
        View {
            version: version(number),
            nodes: vec![node(1), node(2)],
            caches: [(id, cache)].into(),
            primary: true,
            ..View::default()
        }
    }

    fn told(begun: &EmptyCopies) -> Vec<(u32, u64, bool)> {
        let copies = begun.caches().flat_map(|id| begun.of(id));
        let told = copies.map(|(index, copy)| (index, copy.complete.number, copy.retired));
        told.collect()
    }

    #[test]
    fn an_owner_tells_of_what_begins_with_a_view_that_it_has_acknowledged() {
        let mut begun = EmptyCopies::default();
        let unfounded = view(2, &[], |cache| cache.founded = false);
        begun.acknowledge(&view(7, &[1, 0, 1], |_| {}), &unfounded, member(2));
        assert_eq!(told(&begun), [(0, 7, false), (2, 7, false)]);
        // Another one, in which others own one of them.
        begun.acknowledge(&view(9, &[1, 1, 0], |_| {}), &View::default(), member(2));
        assert_eq!(told(&begun), [(0, 7, false), (1, 9, false), (2, 7, true)]);
        let mut view = view(11, &[1, 1, 1], |_| {});
        view.primary = false;
        begun.acknowledge(&view, &View::default(), member(2));
        assert_eq!(told(&begun), [(0, 7, false), (1, 9, false), (2, 7, true)]);
        begun.take();
        assert!(told(&begun).is_empty());
    }

    #[test]
    fn nothing_begins_where_the_cache_is_founded_or_goes_on_or_does_not_wait_for_all() {
        let mut begun = EmptyCopies::default();
        let next = view(7, &[1, 1], |_| {});
        begun.acknowledge(&next, &view(2, &[], |_| {}), member(2));
        begun.acknowledge(&next, &View::default(), member(3));
        let goes_on = |cache: &mut ViewCache| {
            cache.settings.when_split = WhenSplit::AllowReadWrites;
        };
        begun.acknowledge(&view(7, &[1, 1], goes_on), &View::default(), member(2));
        let hurries = |cache: &mut ViewCache| {
            cache.settings.write_synchronization = WriteSynchronizationMode::PrimarySync;
        };
        begun.acknowledge(&view(7, &[1, 1], hurries), &View::default(), member(2));
        assert!(told(&begun).is_empty());
    }
}
