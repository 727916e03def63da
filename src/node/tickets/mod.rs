//! The ticket registry as front ends see it: what can be asked of it. Which cache holds a kind is in
//! `caches.rs`, the border between what callers see and what is stored in `border.rs`, lists and
//! counts in `look_ups.rs`. What happens to tickets is decided by the engine.

mod border;
mod caches;
mod look_ups;

pub use look_ups::{ListPlace, Wanted};

use super::handle::{Begun, Handle};
use super::sealing::Term;
use crate::engine::UNSURE;
use crate::error::{Error, ErrorKind, Result};
use crate::types::cache::partition_of;
use crate::types::ticket::{Expiration, ID_BYTES_MAX, Ticket, TicketErrand, TicketOperation};
use crate::types::{
    Blob, CacheId, ClusterTime, KeyOperation, Operation, Reply, Request, RequestId,
};
use std::time::Instant;

/// A partition of a cache.
type Place = (CacheId, u32);

/// A cache, and how many partitions it has.
type Extent = (CacheId, u32);

/// The registry of a node.
#[derive(Clone)]
pub struct Tickets {
    handle: Handle,
}

fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such ticket")
}

/// Whether nothing can have this id.
fn is_none(id: &[u8]) -> bool {
    id.len() > ID_BYTES_MAX || id.iter().all(u8::is_ascii_whitespace)
}

impl Handle {
    /// The ticket registry.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(handle: embergrid::node::Handle) -> embergrid::error::Result<()> {
    /// use embergrid::types::ticket::Ticket;
    /// use std::time::{Duration, Instant};
    ///
    /// let tickets = handle.tickets();
    /// let deadline = Instant::now() + Duration::from_secs(5);
    /// // alice logs in.
    /// let session = Ticket {
    ///     id: "TGT-1".into(),
    ///     kind: "TGT".into(),
    ///     principal: "alice".into(),
    ///     ..Ticket::default()
    /// };
    /// let (stored, _version) = tickets.add(session, None, deadline).await?;
    /// assert!(stored);
    /// let session = tickets.get(b"TGT-1", "TGT", deadline).await?;
    /// assert!(&*session.principal == b"alice");
    /// # Ok(())
    /// # }
    /// ```
    pub fn tickets(&self) -> Tickets {
        Tickets {
            handle: self.clone(),
        }
    }
}

impl Tickets {
    /// Stores a ticket, or replaces the one that lives. Whether it was stored (it was not where it
    /// has expired already), and its version.
    ///
    /// # Errors
    ///
    /// `ParentGone`, `AlreadyExists` (the id was deleted), `InvalidArgument`, and what a write may end
    /// in.
    ///
    /// # Cancel safety
    ///
    /// A ticket whose future is dropped may be stored or not.
    pub async fn add(
        &self,
        ticket: Ticket,
        id: Option<RequestId>,
        deadline: Instant,
    ) -> Result<(bool, u64)> {
        let cache = self.cache_of(&ticket.kind, deadline).await?;
        let expiration = Self::completed(self.kind(&ticket.kind)?, ticket.expiration);
        let key = self.key(&ticket.id);
        let add = TicketOperation::Add {
            record: Box::new(self.record(&ticket, &key, expiration)?),
            created_at: ticket.created_at,
            hard_expire_at: expiration.hard_expire_at,
            expires_by: None,
            sure_until: None,
            not_after: None,
        };
        let stored = if ticket.parent_id.is_empty() {
            let extent = (cache.id(), cache.partitions);
            self.find(key, &[extent], add, id, deadline).await
        } else {
            let now = self.handle.now().cluster;
            let created = ticket.created_at.map_or(now, |at| at.min(now));
            let live = expiration.max_time_to_live.map(|ttl| created.after(ttl));
            let ends = [live, expiration.hard_expire_at].into_iter().flatten();
            let errand = TicketErrand::AddChild {
                cache: cache.id(),
                key,
                add,
                parent: self.key(&ticket.parent_id),
                parent_caches: self.cache_ids("")?,
                until: ends.min(),
            };
            self.run(errand, id, deadline).await
        };
        match stored? {
            Reply::Put {
                applied, version, ..
            } => Ok((applied, version)),
            _ => Err(Error::unknown("the node answered another question")),
        }
    }

    async fn ask(
        &self,
        (cache, partition): Place,
        operation: Operation,
        request_id: Option<RequestId>,
        deadline: Instant,
    ) -> Result<Reply> {
        let request = Request {
            cache,
            partition,
            operation,
            request_id,
        };
        match self.handle.begin(request, deadline) {
            Begun::Done(result) => result,
            Begun::Waiting(waiting) => waiting.end().await,
        }
    }

    /// Asks one cache after the other until one has the ticket. Where that is not all (what it
    /// descends from must be asked first; or its end came nearer, and what descends from it must
    /// know), it becomes an errand, in which this step has the same id and is not done again.
    async fn find(
        &self,
        key: Blob,
        caches: &[Extent],
        operation: TicketOperation,
        request_id: Option<RequestId>,
        deadline: Instant,
    ) -> Result<Reply> {
        let errand = |caches, operation| TicketErrand::One {
            key: key.clone(),
            operation,
            caches,
        };
        if request_id.is_none() && !matches!(operation, TicketOperation::Get { .. }) {
            // It is given one.
            let caches: Vec<CacheId> = caches.iter().map(|(id, _)| *id).collect();
            if caches.is_empty() {
                return Err(not_found());
            }
            let errand = errand(caches, operation);
            return self.run(errand, request_id, deadline).await;
        }
        for (cache, partitions) in caches {
            let place = (*cache, partition_of(&key, *partitions));
            let on_key = Operation::Key {
                key: key.clone(),
                operation: KeyOperation::Ticket(operation.clone()),
            };
            match self.ask(place, on_key, request_id, deadline).await {
                Ok(Reply::Got { entry: None }) => continue,
                Err(error) if error.kind == ErrorKind::NotFound => continue,
                Ok(Reply::Put { previous, .. }) if previous.is_some() => {}
                Err(error) if error.reason == UNSURE => {}
                other => return other,
            }
            let errand = errand(vec![*cache], operation);
            return self.run(errand, request_id, deadline).await;
        }
        Err(not_found())
    }

    /// Reads a ticket.
    ///
    /// # Errors
    ///
    /// `NotFound`, `WrongKind`, and what a read may end in.
    pub async fn get(&self, id: &[u8], kind: &str, deadline: Instant) -> Result<Ticket> {
        if is_none(id) {
            return Err(not_found());
        }
        let operation = TicketOperation::Get {
            kind: Blob::from(kind),
            vouched: false,
        };
        let (key, caches) = (self.key(id), self.extents(kind)?);
        self.shown(self.find(key, &caches, operation, None, deadline).await?)
    }

    /// Replaces a ticket that lives; returns its new version.
    ///
    /// # Errors
    ///
    /// `NotFound`, `WrongKind`, `Conflict` where it has another version, and what a write may end in.
    pub async fn update(
        &self,
        ticket: Ticket,
        expected_version: Option<u64>,
        id: Option<RequestId>,
        deadline: Instant,
    ) -> Result<u64> {
        if is_none(&ticket.id) {
            return Err(not_found());
        }
        let key = self.key(&ticket.id);
        let mut kind = ticket.kind.clone();
        if kind.is_empty() && ticket.expiration.is_some() {
            // The defaults of its kind complete what it says.
            kind = self.get(&ticket.id, "", deadline).await?.kind;
        }
        let expiration = match (&ticket.expiration, kind.is_empty()) {
            (Some(_), false) => Self::completed(self.kind(&kind)?, ticket.expiration),
            _ => Expiration::default(),
        };
        let operation = TicketOperation::Update {
            record: Box::new(self.record(&ticket, &key, expiration)?),
            hard_expire_at: expiration.hard_expire_at,
            keep_expiration: ticket.expiration.is_none(),
            expected_version,
            vouched: false,
        };
        let caches = self.extents(&ticket.kind)?;
        let found = self.find(key, &caches, operation, id, deadline);
        match found.await? {
            Reply::Put { version, .. } => Ok(version),
            _ => Err(Error::unknown("the node answered another question")),
        }
    }

    /// Counts a use; returns the ticket after it.
    ///
    /// # Errors
    ///
    /// `NotFound`, also where its uses are spent, `WrongKind`, and what a write may end in.
    pub async fn use_ticket(
        &self,
        id: &[u8],
        kind: &str,
        request_id: Option<RequestId>,
        deadline: Instant,
    ) -> Result<Ticket> {
        if is_none(id) {
            return Err(not_found());
        }
        let operation = TicketOperation::Use {
            kind: Blob::from(kind),
            vouched: false,
        };
        let (key, caches) = (self.key(id), self.extents(kind)?);
        let found = self.find(key, &caches, operation, request_id, deadline);
        self.shown(found.await?)
    }

    async fn run(
        &self,
        errand: TicketErrand,
        id: Option<RequestId>,
        deadline: Instant,
    ) -> Result<Reply> {
        let operation = Operation::Errand(Box::new(errand));
        self.ask((CacheId::default(), 0), operation, id, deadline)
            .await
    }

    async fn deleted(
        &self,
        errand: TicketErrand,
        id: Option<RequestId>,
        deadline: Instant,
    ) -> Result<u64> {
        match self.run(errand, id, deadline).await? {
            Reply::Cleared { removed } => Ok(removed),
            _ => Err(Error::unknown("the node answered another question")),
        }
    }

    /// Deletes a ticket and all that descend from it; returns how many.
    ///
    /// # Errors
    ///
    /// What a write may end in. What was begun is finished by the cluster also then.
    pub async fn delete(
        &self,
        id: &[u8],
        request_id: Option<RequestId>,
        deadline: Instant,
    ) -> Result<u64> {
        let caches = self.cache_ids("")?;
        if is_none(id) || caches.is_empty() {
            return Ok(0);
        }
        let key = self.key(id);
        self.deleted(TicketErrand::Delete { key, caches }, request_id, deadline)
            .await
    }

    /// Deletes all tickets; returns how many.
    ///
    /// # Errors
    ///
    /// What a write may end in.
    pub async fn delete_all(&self, id: Option<RequestId>, deadline: Instant) -> Result<u64> {
        let caches = self.cache_ids("")?;
        if caches.is_empty() {
            return Ok(0);
        }
        self.deleted(TicketErrand::DeleteAll { caches }, id, deadline)
            .await
    }

    /// Ends all sessions of a principal; returns how many tickets are gone.
    ///
    /// # Errors
    ///
    /// What a write may end in. What was begun is finished by the cluster only as far as it came:
    /// repeat it.
    pub async fn delete_for_principal(
        &self,
        principal: &Blob,
        id: Option<RequestId>,
        deadline: Instant,
    ) -> Result<u64> {
        let caches = self.cache_ids("")?;
        if principal.is_empty() || caches.is_empty() {
            return Ok(0);
        }
        let principal = self.term(Term::Principal, principal);
        let errand = TicketErrand::DeleteForPrincipal { principal, caches };
        self.deleted(errand, id, deadline).await
    }

    /// Cluster time, for whoever says when a ticket ends.
    pub fn now(&self) -> ClusterTime {
        self.handle.now().cluster
    }
}
