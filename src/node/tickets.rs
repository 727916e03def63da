//! The ticket registry as front ends see it: which cache holds a kind, what holds for tickets that
//! do not say otherwise, and the border between what callers see and what is stored. What happens
//! to tickets is decided by the engine.

use super::handle::{Begun, Handle};
use super::sealing::{Sealing, Term};
use crate::config::tickets::{TicketKind, default_cache};
use crate::error::{Error, ErrorKind, Result};
use crate::types::cache::partition_of;
use crate::types::ticket::{
    Expiration, ID_BYTES_MAX, Link, Ticket, TicketErrand, TicketFilter, TicketOperation,
    TicketRecord, TicketsOperation,
};
use crate::types::{
    Blob, CacheId, CacheSettings, ClusterTime, EntryView, KeyOperation, Operation, Reply, Request,
    RequestId,
};
use futures_util::stream::{self, StreamExt};
use std::collections::BTreeMap;
use std::time::Instant;

/// Partitions that one count asks at a time.
const COUNT_UNDER_WAY_MAX: usize = 32;

/// What a ticket is stored with where it must live on its own part of the cache.
type Place = (CacheId, u32);

/// The registry of a node.
#[derive(Clone)]
pub struct Tickets {
    handle: Handle,
}

/// Where a list of tickets goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPlace {
    pub cache: CacheId,
    pub partition: u32,
    pub after: Option<Blob>,
}

/// Which tickets, as callers say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub kind: String,
    pub principal: Blob,
    pub service: Blob,
    pub attributes: BTreeMap<String, Vec<Blob>>,
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
    pub fn tickets(&self) -> Tickets {
        Tickets {
            handle: self.clone(),
        }
    }
}

impl Tickets {
    fn sealing(&self) -> Option<&Sealing> {
        self.handle.core.sealing.as_ref()
    }

    fn kinds(&self) -> &BTreeMap<String, TicketKind> {
        &self.handle.core.ticket_kinds
    }

    /// The kinds that a cache holds.
    pub fn kinds_in(&self, cache: &str) -> Vec<String> {
        let kinds = self.kinds().iter().filter(|(_, kind)| kind.cache == cache);
        kinds.map(|(name, _)| name.clone()).collect()
    }

    /// Whether digests stand for ids.
    pub fn digests_ids(&self) -> bool {
        self.sealing().is_some()
    }

    /// A kind by its name.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` (UNKNOWN_KIND), naming those that there are.
    pub fn kind(&self, name: &str) -> Result<&TicketKind> {
        self.kinds().get(name).ok_or_else(|| {
            let names: Vec<&str> = self.kinds().keys().map(String::as_str).collect();
            Error::invalid(format!(
                "there is no kind {name:?} of tickets here; [tickets] kinds has {}",
                names.join(", ")
            ))
            .because("UNKNOWN_KIND")
        })
    }

    /// The caches of tickets that exist, that of `kind` first.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a kind that is not known; `Unavailable` before the node has joined.
    pub fn caches(&self, kind: &str) -> Result<Vec<CacheSettings>> {
        let first = if kind.is_empty() {
            None
        } else {
            Some(self.kind(kind)?.cache.as_str())
        };
        let view = self.handle.view();
        if view.version.number == 0 {
            return Err(Error::unavailable(
                "this node has not joined its cluster yet",
            ));
        }
        let mut names: Vec<&str> = self
            .kinds()
            .values()
            .map(|kind| kind.cache.as_str())
            .collect();
        names.sort_unstable_by_key(|name| (Some(*name) != first, *name));
        names.dedup();
        let known = names.into_iter().filter_map(|name| view.cache_named(name));
        Ok(known.map(|cache| cache.settings.clone()).collect())
    }

    fn cache_ids(&self, kind: &str) -> Result<Vec<CacheId>> {
        let caches = self.caches(kind)?;
        Ok(caches.iter().map(CacheSettings::id).collect())
    }

    /// The cache of a kind, which is created where nobody has named it yet.
    async fn cache_of(&self, kind: &str, deadline: Instant) -> Result<CacheSettings> {
        let name = self.kind(kind)?.cache.as_str();
        let wanted = default_cache(name);
        loop {
            let known = self.caches(kind)?.into_iter();
            if let Some(found) = known.into_iter().find(|cache| cache.name == name) {
                if found.removes_are_final {
                    self.wait_until_installed(found.id(), deadline).await?;
                    return Ok(found);
                }
                let context = format!(
                    "cache {name:?} was not made for tickets: in it, what was removed may come \
                     back; name another one in [tickets] kinds"
                );
                return Err(
                    Error::new(ErrorKind::FailedPrecondition, context).because("NOT_FOR_TICKETS")
                );
            }
            match self.handle.create_cache(wanted.clone(), deadline).await {
                Err(error) if error.kind == ErrorKind::AlreadyExists => {}
                other => other?,
            }
            // The answer may be a moment ahead of the view.
            let mut views = self.handle.views();
            let seen = views.wait_for(|view| view.cache_named(name).is_some());
            if tokio::time::timeout_at(deadline.into(), seen)
                .await
                .is_err()
            {
                let late = "the cache of tickets was not seen within the deadline";
                return Err(Error::new(ErrorKind::DeadlineExceeded, late).not_applied());
            }
        }
    }

    /// The view is told of a moment before its new caches are in place.
    async fn wait_until_installed(&self, cache: CacheId, deadline: Instant) -> Result<()> {
        while !self.handle.is_installed(cache) {
            if Instant::now() >= deadline {
                let late = "the cache of tickets was not in place within the deadline";
                return Err(Error::new(ErrorKind::DeadlineExceeded, late).not_applied());
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Sees to it that every cache of tickets exists.
    ///
    /// # Errors
    ///
    /// As of creating a cache.
    pub async fn open_caches(&self, kind: &str, deadline: Instant) -> Result<Vec<CacheSettings>> {
        if !kind.is_empty() {
            return Ok(vec![self.cache_of(kind, deadline).await?]);
        }
        let mut opened: BTreeMap<String, CacheSettings> = BTreeMap::new();
        for (name, kind) in self.kinds() {
            if !opened.contains_key(&kind.cache) {
                let cache = self.cache_of(name, deadline).await?;
                opened.insert(cache.name.clone(), cache);
            }
        }
        Ok(opened.into_values().collect())
    }

    /// The key of an id.
    fn key(&self, id: &[u8]) -> Blob {
        match self.sealing() {
            Some(sealing) => sealing.digest(Term::Id, id),
            None => Blob::from(id),
        }
    }

    fn term(&self, term: Term, bytes: &Blob) -> Blob {
        match self.sealing() {
            Some(sealing) => sealing.digest(term, bytes),
            None => bytes.clone(),
        }
    }

    fn attributes<'a>(
        &self,
        attributes: impl IntoIterator<Item = (&'a String, &'a Vec<Blob>)>,
    ) -> impl Iterator<Item = (Blob, Vec<Blob>)> {
        attributes.into_iter().map(|(name, values)| {
            let name = self.term(Term::AttributeName, &Blob::from(name.as_str()));
            let values = values.iter();
            let values = values.map(|value| self.term(Term::AttributeValue, value));
            (name, values.collect())
        })
    }

    /// What is stored of a ticket.
    fn record(&self, ticket: &Ticket, key: &Blob, expiration: Expiration) -> Result<TicketRecord> {
        let mut record = TicketRecord {
            kind: Blob::from(ticket.kind.as_str()),
            principal: self.term(Term::Principal, &ticket.principal),
            service: self.term(Term::Service, &ticket.service),
            attributes: self.attributes(&ticket.attributes).collect(),
            payload: ticket.payload.clone(),
            time_to_live: expiration.max_time_to_live,
            time_to_idle: expiration.max_time_to_idle,
            max_uses: expiration.max_uses,
            ..TicketRecord::default()
        };
        if let Some(sealing) = self.sealing() {
            let attributes = ticket.attributes.iter();
            let attributes =
                attributes.map(|(name, values)| (Blob::from(name.as_str()), values.clone()));
            let clear = TicketRecord {
                principal: ticket.principal.clone(),
                service: ticket.service.clone(),
                attributes: attributes.collect(),
                payload: ticket.payload.clone(),
                ..TicketRecord::default()
            };
            record.payload = sealing.seal(&clear.encode(), key)?;
            record.name = sealing.seal(&ticket.id, key)?;
        }
        Ok(record)
    }

    fn named(&self, key: &Blob, name: &Blob) -> Result<Blob> {
        match self.sealing() {
            Some(sealing) if !name.is_empty() => Ok(Blob::from(sealing.open(name, key)?)),
            _ => Ok(key.clone()),
        }
    }

    /// A ticket as callers see it; none where the entry is something else.
    ///
    /// # Errors
    ///
    /// `DataLoss` where it cannot be decrypted.
    pub fn show(&self, entry: &EntryView) -> Result<Option<Ticket>> {
        let Some(record) = TicketRecord::decode(&entry.value) else {
            return Ok(None);
        };
        let link = |link: &Option<Link>| match link {
            Some(link) => self.named(&link.key, &link.name),
            None => Ok(Blob::default()),
        };
        let (parent_id, root_id) = (link(&record.parent)?, link(&record.root)?);
        let id = self.named(&entry.key, &record.name)?;
        let said = match self.sealing() {
            Some(sealing) => {
                let clear = sealing.open(&record.payload, &entry.key)?;
                TicketRecord::decode(&clear).ok_or_else(|| {
                    Error::new(ErrorKind::DataLoss, "the encrypted ticket is damaged")
                })?
            }
            None => record.clone(),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let attributes = said.attributes.into_iter();
        let at = |distance: i64| entry.created_at.shifted(distance);
        Ok(Some(Ticket {
            id,
            kind: text(&record.kind),
            principal: said.principal,
            service: said.service,
            parent_id,
            root_id,
            attributes: attributes
                .map(|(name, values)| (text(&name), values))
                .collect(),
            expiration: Some(Expiration {
                max_time_to_live: record.time_to_live,
                max_time_to_idle: record.time_to_idle,
                max_uses: record.max_uses,
                hard_expire_at: record.hard_end.map(at),
            }),
            payload: said.payload,
            version: entry.version,
            created_at: Some(at(record.created)),
            last_used_at: Some(entry.last_access_at),
            expires_at: [entry.expires_at, entry.idle_expires_at]
                .into_iter()
                .flatten()
                .min(),
            uses: record.uses,
            incarnation: record.incarnation,
        }))
    }

    fn shown(&self, reply: Reply) -> Result<Ticket> {
        let Reply::Got { entry } = reply else {
            return Err(Error::new(
                ErrorKind::Internal,
                "the node answered another question",
            ));
        };
        let entry = entry.ok_or_else(not_found)?;
        self.show(&entry)?.ok_or_else(not_found)
    }

    /// What holds for a ticket: what it says, and the defaults of its kind for the rest.
    fn completed(kind: &TicketKind, given: Option<Expiration>) -> Expiration {
        let given = given.unwrap_or_default();
        Expiration {
            max_time_to_live: given.max_time_to_live.or(kind.max_time_to_live),
            max_time_to_idle: given.max_time_to_idle.or(kind.max_time_to_idle),
            max_uses: given.max_uses.or(kind.max_uses),
            hard_expire_at: given.hard_expire_at,
        }
    }

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
            not_after: None,
        };
        let place = (cache.id(), partition_of(&key, cache.partitions));
        let operation = if ticket.parent_id.is_empty() {
            let operation = KeyOperation::Ticket(add);
            Operation::Key { key, operation }
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
            Operation::Errand(Box::new(errand))
        };
        match self.ask(place, operation, id, deadline).await? {
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

    /// Asks one cache after the other until one has the ticket.
    async fn find(
        &self,
        id: &[u8],
        kind: &str,
        operation: KeyOperation,
        request_id: Option<RequestId>,
        deadline: Instant,
    ) -> Result<Reply> {
        let key = self.key(id);
        for cache in self.caches(kind)? {
            let place = (cache.id(), partition_of(&key, cache.partitions));
            let on_key = Operation::Key {
                key: key.clone(),
                operation: operation.clone(),
            };
            match self.ask(place, on_key, request_id, deadline).await {
                Ok(Reply::Got { entry: None }) => {}
                Err(error) if error.kind == ErrorKind::NotFound => {}
                other => return other,
            }
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
        let get = TicketOperation::Get {
            kind: Blob::from(kind),
        };
        let operation = KeyOperation::Ticket(get);
        self.shown(self.find(id, kind, operation, None, deadline).await?)
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
        let operation = KeyOperation::Ticket(TicketOperation::Update {
            record: Box::new(self.record(&ticket, &key, expiration)?),
            hard_expire_at: expiration.hard_expire_at,
            keep_expiration: ticket.expiration.is_none(),
            expected_version,
        });
        let found = self.find(&ticket.id, &ticket.kind, operation, id, deadline);
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
        let caches = self.cache_ids(kind)?;
        if is_none(id) || caches.is_empty() {
            return Err(not_found());
        }
        let errand = TicketErrand::Use {
            key: self.key(id),
            kind: Blob::from(kind),
            caches,
        };
        self.shown(self.run(errand, request_id, deadline).await?)
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

    fn filter(&self, wanted: &Wanted) -> TicketFilter {
        TicketFilter {
            kind: Blob::from(wanted.kind.as_str()),
            principal: self.term(Term::Principal, &wanted.principal),
            service: self.term(Term::Service, &wanted.service),
            attributes: self.attributes(&wanted.attributes).collect(),
        }
    }

    /// Some of the tickets of one partition, each with its place, and whether more follow.
    ///
    /// # Errors
    ///
    /// What a read may end in; `DataLoss` where one cannot be decrypted.
    pub async fn list(
        &self,
        wanted: &Wanted,
        place: &ListPlace,
        limit: u32,
        deadline: Instant,
    ) -> Result<(Vec<(Ticket, Blob)>, bool)> {
        let operation = Operation::Tickets(TicketsOperation::List {
            filter: self.filter(wanted),
            after: place.after.clone(),
            limit,
        });
        let at = (place.cache, place.partition);
        let Reply::Scanned { entries, more } = self.ask(at, operation, None, deadline).await?
        else {
            return Err(Error::new(
                ErrorKind::Internal,
                "the node answered another question",
            ));
        };
        let mut tickets = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(ticket) = self.show(&entry)? {
                tickets.push((ticket, entry.key));
            }
        }
        Ok((tickets, more))
    }

    /// How many tickets live and match.
    ///
    /// # Errors
    ///
    /// What a read may end in: nothing is estimated.
    pub async fn count(&self, wanted: &Wanted, deadline: Instant) -> Result<u64> {
        let filter = self.filter(wanted);
        let caches = self.caches(&wanted.kind)?;
        let places: Vec<Place> = caches
            .iter()
            .flat_map(|cache| {
                let id = cache.id();
                (0..cache.partitions).map(move |partition| (id, partition))
            })
            .collect();
        let asked = places.into_iter().map(|place| {
            let (tickets, filter) = (self.clone(), filter.clone());
            let operation = Operation::Tickets(TicketsOperation::Count { filter });
            async move { tickets.ask(place, operation, None, deadline).await }
        });
        let mut answers = stream::iter(asked).buffer_unordered(COUNT_UNDER_WAY_MAX);
        let mut count = 0;
        while let Some(answer) = answers.next().await {
            match answer? {
                Reply::Size { live } => count += live,
                _ => {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        "the node answered another question",
                    ));
                }
            }
        }
        Ok(count)
    }

    /// Cluster time, for whoever says when a ticket ends.
    pub fn now(&self) -> ClusterTime {
        self.handle.now().cluster
    }
}
