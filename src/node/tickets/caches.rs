//! Which cache holds a kind of tickets, and that it is there.

use super::{Extent, Tickets};
use crate::config::tickets::{TicketKind, default_cache};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{CacheId, CacheSettings};
use std::collections::BTreeMap;
use std::time::Instant;

impl Tickets {
    pub(super) fn kinds(&self) -> &BTreeMap<String, TicketKind> {
        &self.handle.core.ticket_kinds
    }

    /// The kinds that a cache holds.
    pub fn kinds_in(&self, cache: &str) -> Vec<String> {
        let kinds = self.kinds().iter().filter(|(_, kind)| kind.cache == cache);
        kinds.map(|(name, _)| name.clone()).collect()
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
        self.of_caches(kind, CacheSettings::clone)
    }

    /// The same, each with how many partitions it has, which costs less.
    pub(super) fn extents(&self, kind: &str) -> Result<Vec<Extent>> {
        self.of_caches(kind, |cache| (cache.id(), cache.partitions))
    }

    fn of_caches<T>(&self, kind: &str, tell: impl Fn(&CacheSettings) -> T) -> Result<Vec<T>> {
        let first = if kind.is_empty() {
            None
        } else {
            Some(self.kind(kind)?.cache.as_str())
        };
        let view = self.handle.look_at_view();
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
        Ok(known.map(|cache| tell(&cache.settings)).collect())
    }

    pub(super) fn cache_ids(&self, kind: &str) -> Result<Vec<CacheId>> {
        self.of_caches(kind, CacheSettings::id)
    }

    /// The cache of a kind, which is created where nobody has named it yet.
    pub(super) async fn cache_of(&self, kind: &str, deadline: Instant) -> Result<CacheSettings> {
        let name = self.kind(kind)?.cache.as_str();
        let wanted = default_cache(name);
        let found = self.handle.opened(&wanted, deadline).await?;
        if found.removes_are_final {
            return Ok(found);
        }
        let context = format!(
            "cache {name:?} was not made for tickets: in it, what was removed may come back; name \
             another one in [tickets] kinds"
        );
        Err(Error::new(ErrorKind::FailedPrecondition, context).because("NOT_FOR_TICKETS"))
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
}
