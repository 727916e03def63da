//! Views and partition tables: who is alive at one topology version, and who owns what.

use super::cache::{CacheId, CacheSettings};
use super::node::{Member, NodeInfo, Role};
use super::protocol::PROTOCOL_VERSION;
use super::time::{ClusterTime, Micros};
use super::version::TopologyVersion;
use std::collections::{BTreeMap, BTreeSet};

/// Who holds one partition. Members are given by their place in the view's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionOwners {
    /// The primary first, then the backups. Empty: the partition is Lost.
    pub owners: Vec<u16>,
    /// Future owners that load.
    pub loading: Vec<u16>,
    /// Holders of another history, to be merged into the primary's before anything is served.
    pub sources: Vec<u16>,
}

/// The owners of every partition of one cache.
pub type Table = Vec<PartitionOwners>;

/// A cache as the view knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewCache {
    pub settings: CacheSettings,
    /// When it was created, in cluster time.
    pub created_at: ClusterTime,
    /// By partition. Empty for LOCAL caches.
    pub table: Table,
    /// Whether a primary view has held the cache: before that, one whose writes stop in other views
    /// has no owners, and nothing is lost.
    pub founded: bool,
}

/// A server that left the view with data that it may still hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departed {
    pub member: Member,
    pub at: ClusterTime,
}

/// What of a primary view decides which later ones are primary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PrimaryView {
    pub version: TopologyVersion,
    /// Its servers, oldest first.
    pub servers: Vec<Member>,
    /// How long a lease lasts in it; 0: not told.
    pub lease: Micros,
}

impl PrimaryView {
    /// Whether those who are present are a majority of its servers, or half of them with the
    /// oldest. Two such sets always share a server.
    pub fn is_held_by(&self, present: impl Fn(Member) -> bool) -> bool {
        let count = self
            .servers
            .iter()
            .filter(|server| present(**server))
            .count();
        let oldest = self.servers.first().copied().is_some_and(present);
        count * 2 > self.servers.len() || (count * 2 == self.servers.len() && oldest)
    }

    /// The same without servers that left in order.
    pub fn without(&self, leavers: &BTreeSet<Member>) -> Self {
        let servers = self.servers.iter().copied();
        Self {
            version: self.version,
            servers: servers.filter(|server| !leavers.contains(server)).collect(),
            lease: self.lease,
        }
    }
}

/// What a server knows of primary views: a part of each of its acknowledgements.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Primaries {
    /// The last one that was committed, as far as is known.
    pub last: Option<PrimaryView>,
    /// Later ones that were prepared, and may have been committed somewhere.
    pub prepared: Vec<PrimaryView>,
    /// Servers that left in order: nobody asks them any more.
    pub leavers: BTreeSet<Member>,
    /// For how long caches that stop in a minority stay closed yet.
    pub closed_for: Micros,
}

/// The nodes alive at one topology version, their caches and who owns what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub version: TopologyVersion,
    /// Oldest first.
    pub nodes: Vec<NodeInfo>,
    /// By id; never two of one id.
    pub caches: BTreeMap<CacheId, ViewCache>,
    /// Caches that were dropped, and when: a half that did not know must not bring them back.
    pub dropped: BTreeMap<CacheId, ClusterTime>,
    /// Servers that are out and may return with data.
    pub departed: Vec<Departed>,
    /// Servers of the view that hand over what they own, to leave then.
    pub draining: BTreeSet<Member>,
    /// Who formed the cluster whose clock this is; another one means another cluster time.
    pub time_base: Member,
    /// Whether it is primary: caches that stop in a minority serve. Always so without `quorum-of`.
    pub primary: bool,
    /// For how long after its installation they do not serve yet: somebody who is left out may.
    pub closed_for: Micros,
}

impl View {
    /// The place of a member in the list.
    pub fn index_of(&self, member: Member) -> Option<u16> {
        let place = self.nodes.iter().position(|node| node.member == member)?;
        u16::try_from(place).ok()
    }

    /// Whether the member belongs to the view.
    pub fn contains(&self, member: Member) -> bool {
        self.index_of(member).is_some()
    }

    /// The member at a place.
    pub fn member(&self, index: u16) -> Option<Member> {
        self.nodes.get(usize::from(index)).map(|node| node.member)
    }

    /// The servers, oldest first.
    pub fn servers(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.iter().filter(|node| node.role == Role::Server)
    }

    /// What decides about later primary views.
    pub fn as_primary(&self) -> PrimaryView {
        PrimaryView {
            version: self.version,
            servers: self.servers().map(|node| node.member).collect(),
            lease: self.lease().unwrap_or_default(),
        }
    }

    /// How long a lease lasts in this view: as long as the shortest of its servers, so that whoever
    /// has it ends it before any of the others goes on without him. Absent: no server told.
    pub fn lease(&self) -> Option<Micros> {
        let told = self.servers().map(|node| node.lease);
        told.filter(|lease| *lease > 0).min()
    }

    /// The protocol that every server of the view speaks, as far as they are known to.
    pub fn protocol(&self) -> u32 {
        let spoken = self.servers().map(|node| node.protocol.max(1));
        spoken.min().unwrap_or(PROTOCOL_VERSION)
    }

    /// The oldest server.
    pub fn coordinator(&self) -> Option<&NodeInfo> {
        self.servers().next()
    }

    /// The cache under a name.
    pub fn cache_named(&self, name: &str) -> Option<&ViewCache> {
        self.find_named(name).map(|(_, cache)| cache)
    }

    /// The same with its id.
    pub fn find_named(&self, name: &str) -> Option<(CacheId, &ViewCache)> {
        let id = CacheId::of(name);
        let cache = self.caches.get(&id)?;
        (cache.settings.name == name).then_some((id, cache))
    }

    /// Whether a server stays that those who drain can hand over to.
    pub fn has_taker(&self) -> bool {
        let mut servers = self.servers();
        servers.any(|node| !self.draining.contains(&node.member))
    }

    /// Whether a member that drains has handed over all that it owned.
    pub fn is_drained(&self, member: Member) -> bool {
        let Some(place) = self.index_of(member).filter(|_| self.has_taker()) else {
            return false;
        };
        let held = |owners: &PartitionOwners| {
            owners.owners.contains(&place) || owners.sources.contains(&place)
        };
        !self
            .caches
            .values()
            .any(|cache| cache.table.iter().any(held))
    }

    /// The primary of a partition, if it has one.
    pub fn primary(&self, cache: CacheId, partition: u32) -> Option<Member> {
        let owners = self.caches.get(&cache)?.table.get(partition as usize)?;
        self.member(*owners.owners.first()?)
    }
}
