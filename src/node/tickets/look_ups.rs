//! Lists and counts: partition after partition, from the indexes there.

use super::{Place, Tickets};
use crate::error::{Error, ErrorKind, Result};
use crate::types::ticket::{Ticket, TicketsOperation};
use crate::types::{Blob, CacheId, Operation, Reply};
use futures_util::stream::{self, StreamExt};
use std::collections::BTreeMap;
use std::time::Instant;

/// Partitions that one count asks at a time.
const COUNT_UNDER_WAY_MAX: usize = 32;

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

impl Tickets {
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
}
