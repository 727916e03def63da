//! What can be asked about tickets: of one ticket, of one partition, and of several partitions.

use super::super::blob::Blob;
use super::super::cache::CacheId;
use super::super::time::ClusterTime;
use super::record::{Link, TicketRecord};
use super::stored::{Stored, Values};

/// An operation on one ticket, decided on its state alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketOperation {
    /// Stores or replaces.
    Add {
        record: Box<TicketRecord>,
        /// When it was created; absent: now.
        created_at: Option<ClusterTime>,
        hard_expire_at: Option<ClusterTime>,
        /// The end of what it descends from.
        expires_by: Option<ClusterTime>,
        /// Until when that lives for certain, if nobody deletes it; absent: always.
        sure_until: Option<ClusterTime>,
        /// Not carried out later: its parent may have been deleted meanwhile.
        not_after: Option<ClusterTime>,
    },
    /// Reads. An empty kind: any.
    Get {
        kind: Blob,
        /// What it descends from lives: whoever asks has looked. So below.
        vouched: bool,
    },
    /// Replaces what lives.
    Update {
        record: Box<TicketRecord>,
        hard_expire_at: Option<ClusterTime>,
        /// Leaves the expiration as it is.
        keep_expiration: bool,
        expected_version: Option<u64>,
        vouched: bool,
    },
    /// Counts a use. An empty kind: any.
    Use { kind: Blob, vouched: bool },
    /// Idle time begins anew: what descends from it was used.
    Touch,
}

impl TicketErrand {
    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Self::One {
                operation: TicketOperation::Get { .. },
                ..
            }
        )
    }
}

impl TicketOperation {
    /// The same, by somebody who has seen that what the ticket descends from lives.
    pub fn vouched(mut self) -> Self {
        match &mut self {
            Self::Add { .. } | Self::Touch => {}
            Self::Get { vouched, .. }
            | Self::Update { vouched, .. }
            | Self::Use { vouched, .. } => *vouched = true,
        }
        self
    }
}

/// Which tickets; what is empty matches all, and all that is given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TicketFilter {
    pub kind: Blob,
    pub principal: Blob,
    pub service: Blob,
    /// Any of these names has any of the values beside it.
    pub attributes: Vec<(Blob, Vec<Blob>)>,
}

impl TicketFilter {
    /// Whether a ticket is meant.
    pub fn matches(&self, ticket: &Stored<'_>) -> bool {
        let is = |wanted: &Blob, own: &[u8]| wanted.is_empty() || **wanted == *own;
        let any = |name: &[u8], own: Values<'_>| {
            let mut wanted = self
                .attributes
                .iter()
                .filter(|(wanted, _)| **wanted == *name);
            wanted.any(|(_, values)| {
                let has = |wanted: &Blob| own.clone().any(|own| **wanted == *own);
                values.iter().any(has)
            })
        };
        is(&self.kind, ticket.kind)
            && is(&self.principal, ticket.principal)
            && is(&self.service, ticket.service)
            && (self.attributes.is_empty() || ticket.attributes().any(|(name, own)| any(name, own)))
    }
}

/// An operation on the tickets of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketsOperation {
    /// Links a child to a ticket that lives.
    Register {
        parent: Blob,
        cache: CacheId,
        child: Blob,
        /// When the child ends at the latest; absent: never.
        until: Option<ClusterTime>,
    },
    /// One step of a delete: the links in `done` go, for their children have gone; a ticket
    /// without links goes, one with links begins to end.
    Delete {
        key: Blob,
        done: Vec<Blob>,
        /// Only what descends from this ticket, by its key.
        descends_from: Option<Blob>,
        /// Where nothing lives, nothing is stored under this key for a while.
        bar: bool,
    },
    /// One step of the way down from a ticket whose end has come nearer: what descends from it ends
    /// with it. Answers until when this ticket lives, and with a page of its links.
    Narrow {
        key: Blob,
        /// Links behind this one only.
        after: Option<Blob>,
        /// Within which the ticket must live from now on; absent: it is the one that was changed.
        within: Option<Bounds>,
    },
    /// All tickets of a principal are gone.
    EndPrincipal { principal: Blob },
    /// Tickets in the order of their keys, those behind `after` only.
    List {
        filter: TicketFilter,
        after: Option<Blob>,
        limit: u32,
    },
    /// How many live.
    Count { filter: TicketFilter },
}

impl TicketsOperation {
    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(self, Self::List { .. } | Self::Count { .. })
    }
}

/// What takes several operations on several partitions. It is carried out by the node that is
/// asked, and never sent to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketErrand {
    /// Adds a child to a parent in one of these caches.
    AddChild {
        cache: CacheId,
        key: Blob,
        add: TicketOperation,
        parent: Blob,
        parent_caches: Vec<CacheId>,
        until: Option<ClusterTime>,
    },
    /// Reads, updates or uses the ticket in whichever of the caches has it, or adds one without a
    /// parent to the first. Where what it descends from may have been idle for too long, that is asked
    /// first; where its end comes nearer, what descends from it is told.
    One {
        key: Blob,
        operation: TicketOperation,
        caches: Vec<CacheId>,
    },
    /// Deletes the ticket, in whichever of the caches has it, and all that descend from it.
    Delete { key: Blob, caches: Vec<CacheId> },
    /// Deletes all tickets.
    DeleteAll { caches: Vec<CacheId> },
    /// Ends all sessions of a principal.
    DeleteForPrincipal {
        principal: Blob,
        caches: Vec<CacheId>,
    },
}

/// Until when a ticket lives, as it is told to what descends from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The ticket.
    pub of: Blob,
    /// When it ends at the latest; absent: never.
    pub end: Option<ClusterTime>,
    /// Until when it lives for certain, if nobody deletes it; absent: up to its end.
    pub sure_until: Option<ClusterTime>,
    /// When that was so, by the clock of its primary.
    pub at: ClusterTime,
}

/// What a parent is told to a child that registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParentView {
    /// The parent itself; the cache is known to who asks.
    pub name: Blob,
    pub root: Option<Link>,
    /// See `TicketRecord`.
    pub anchor: Option<Link>,
    /// With limited uses: its ancestors up to the anchor, the nearest first.
    pub granted_by: Vec<Link>,
    /// Whether its uses are limited.
    pub limited: bool,
    /// When it ends at the latest.
    pub expires_at: Option<ClusterTime>,
    /// Until when it lives for certain, if nobody deletes it; absent: up to its end.
    pub sure_until: Option<ClusterTime>,
    /// When the child was registered.
    pub at: ClusterTime,
}
