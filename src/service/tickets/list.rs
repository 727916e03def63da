//! `List`: cache after cache, partition after partition, page after page, from the indexes there. No
//! more than a page and the stream's queue is held, however many tickets there are.

use super::super::Front;
use super::super::deadline::CallTime;
use super::super::limits::{SCAN_PAGE_BYTES, SCAN_PAGE_ENTRIES_FIRST, SCAN_PAGE_ENTRIES_MAX};
use super::super::streams::{Answers, Out};
use super::super::token::ScanIdentity;
use super::{decode, encode};
use crate::error::{Error, Result};
use crate::node::{ListPlace, Tickets, Wanted};
use crate::rpc::proto as pb;
use crate::types::{Blob, CacheId, CacheSettings};
use std::time::Instant;
use tonic::Response;

/// See `TicketService.List`.
pub fn start(
    front: &Front,
    message: pb::ListTicketsRequest,
    time: CallTime,
) -> Result<Response<Answers<pb::ListTicketsResponse>>> {
    let wanted = decode::listed(&message)?;
    let tickets = front.handle.tickets();
    let mut caches = tickets.caches(&wanted.kind)?;
    caches.sort_unstable_by_key(CacheSettings::id);
    let identity = identity(&wanted);
    let from = if message.cursor.is_empty() {
        None
    } else {
        Some(place(&message.cursor, &identity)?)
    };
    time.check(Instant::now())?;
    let left = if message.limit == 0 {
        u64::MAX
    } else {
        message.limit
    };
    let plan = Plan {
        tickets,
        wanted,
        identity,
        caches,
        from,
        left,
    };
    front.stream(time, |out| plan.run(time, out))
}

struct Plan {
    tickets: Tickets,
    wanted: Wanted,
    identity: Vec<u8>,
    caches: Vec<CacheSettings>,
    from: Option<ListPlace>,
    left: u64,
}

/// What a cursor belongs to: the filter, in some bytes.
fn identity(wanted: &Wanted) -> Vec<u8> {
    format!("{wanted:?}").into_bytes()
}

fn scan(identity: &[u8]) -> ScanIdentity<'_> {
    ScanIdentity {
        cache: CacheId::default(),
        prefix: identity,
        partition: None,
    }
}

/// The cursor of a ticket: its partition, and as the key its cache and key.
fn cursor(identity: &[u8], at: &ListPlace, key: &[u8]) -> Vec<u8> {
    let place = [&at.cache.0.to_be_bytes()[..], key].concat();
    scan(identity).cursor(at.partition, &place)
}

fn place(cursor: &[u8], identity: &[u8]) -> Result<ListPlace> {
    let found = scan(identity).place(cursor)?;
    let (cache, key) = found
        .after
        .split_first_chunk::<4>()
        .ok_or_else(|| Error::invalid("the cursor is not one of a list").because("BAD_CURSOR"))?;
    Ok(ListPlace {
        cache: CacheId(i32::from_be_bytes(*cache)),
        partition: found.partition,
        after: Some(Blob::from(key)),
    })
}

impl Plan {
    async fn run(mut self, time: CallTime, out: Out<pb::ListTicketsResponse>) -> Result<()> {
        let mut entries = SCAN_PAGE_ENTRIES_FIRST;
        for cache in std::mem::take(&mut self.caches) {
            let id = cache.id();
            let from = self.from.as_ref();
            if from.is_some_and(|from| from.cache > id) {
                continue;
            }
            let from = self.from.take().filter(|from| from.cache == id);
            let first = from.as_ref().map_or(0, |from| from.partition);
            let mut after = from.and_then(|from| from.after);
            for partition in first..cache.partitions {
                let mut at = ListPlace {
                    cache: id,
                    partition,
                    after: after.take(),
                };
                while self.page(&mut at, &mut entries, time, &out).await? {}
                if self.left == 0 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Sends one page; whether another one follows in the partition.
    async fn page(
        &mut self,
        at: &mut ListPlace,
        entries: &mut u32,
        time: CallTime,
        out: &Out<pb::ListTicketsResponse>,
    ) -> Result<bool> {
        let limit = (*entries).min(u32::try_from(self.left).unwrap_or(u32::MAX));
        let deadline = CallTime::within(&time, Instant::now()).deadline;
        let (page, more) = self.tickets.list(&self.wanted, at, limit, deadline).await?;
        let bytes: usize = page.iter().map(|(ticket, _)| ticket.payload.len()).sum();
        if bytes > SCAN_PAGE_BYTES {
            *entries = (*entries / 4).max(1);
        } else if page.len() >= limit as usize && bytes < SCAN_PAGE_BYTES / 8 {
            *entries = (*entries * 4).min(SCAN_PAGE_ENTRIES_MAX);
        }
        at.after = page.last().map(|(_, key)| key.clone());
        for (ticket, key) in page {
            let cursor = cursor(&self.identity, at, &key).into();
            out.send(pb::ListTicketsResponse {
                ticket: Some(encode::ticket(ticket)),
                cursor,
            })
            .await?;
            self.left -= 1;
            if self.left == 0 {
                return Ok(false);
            }
        }
        Ok(more && at.after.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_own_filter_only() {
        let wanted = |kind: &str| Wanted {
            kind: kind.to_owned(),
            ..Wanted::default()
        };
        let at = ListPlace {
            cache: CacheId(-9),
            partition: 7,
            after: None,
        };
        let made = cursor(&identity(&wanted("TGT")), &at, b"TGT-1");
        let read = place(&made, &identity(&wanted("TGT"))).expect("a place");
        assert_eq!((read.cache, read.partition), (at.cache, 7));
        assert_eq!(read.after, Some(Blob::from("TGT-1")));
        assert!(place(&made, &identity(&wanted("ST"))).is_err());
        assert!(place(b"nonsense", &identity(&wanted("ST"))).is_err());
    }
}
