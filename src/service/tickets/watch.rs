//! `Watch`: the events of all caches of tickets in one stream, with places to resume from. It rests
//! on the watches of caches: what they promise holds here, for each ticket.

use super::super::Front;
use super::super::deadline::CallTime;
use super::super::limits::{CHECKPOINT_EVENTS, CHECKPOINT_INTERVAL};
use super::super::streams::{Answers, Out};
use super::super::token::ResumePoint;
use super::encode;
use crate::error::{Error, ErrorKind, Result};
use crate::node::{Tickets, Watch, WatchItem};
use crate::rpc::proto as pb;
use crate::types::message::{EventKind, WatchPosition};
use crate::types::{CacheId, ClusterTime};
use futures_util::future::{FutureExt, select_all};
use pb::ticket_event::Type;
use std::time::Instant;
use tokio::time::{MissedTickBehavior, interval};
use tonic::Response;

/// See `TicketService.Watch`.
pub async fn start(
    front: &Front,
    message: pb::WatchTicketsRequest,
    time: CallTime,
) -> Result<Response<Answers<pb::TicketEvent>>> {
    time.check(Instant::now())?;
    let tickets = front.handle.tickets();
    let mut caches = tickets.open_caches(&message.kind, time.deadline).await?;
    caches.sort_unstable_by_key(|cache| cache.id());
    let view = front.handle.view();
    let mut tokens = split(&message.resume_token, caches.len())?;
    let mut sources = Vec::with_capacity(caches.len());
    for cache in &caches {
        let id = cache.id();
        let gone = || Error::unavailable("the cache of tickets was dropped a moment ago");
        let created_at = view.caches.get(&id).ok_or_else(gone)?.created_at;
        let from = match tokens.as_mut().map(|tokens| tokens.remove(0)) {
            Some(token) => {
                let point = ResumePoint::decode(&token, id, created_at, cache.partitions)?;
                Some(point.positions)
            }
            None => None,
        };
        let positions = match &from {
            Some(from) => from.iter().copied().map(Some).collect(),
            None => vec![None; cache.partitions as usize],
        };
        sources.push(Source {
            cache: id,
            created_at,
            watch: front.handle.watch(id, from)?,
            positions,
        });
    }
    let teller = Teller {
        tickets,
        kind: message.kind,
        sources,
        since_checkpoint: 0,
    };
    front.stream(time, |out| teller.run(out))
}

/// A token is the tokens of all caches, in the order of their ids, each with its length before it.
fn split(token: &[u8], caches: usize) -> Result<Option<Vec<Vec<u8>>>> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || {
        let (mut rest, mut tokens) = (token, Vec::new());
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let (own, behind) = behind.split_at_checked(length)?;
            tokens.push(own.to_vec());
            rest = behind;
        }
        (rest.is_empty() && tokens.len() == caches).then_some(tokens)
    };
    let foreign = "the resume token is not one of a watch on these tickets";
    let tokens = read().ok_or_else(|| Error::new(ErrorKind::OutOfRange, foreign))?;
    Ok(Some(tokens))
}

/// One cache.
struct Source {
    cache: CacheId,
    created_at: ClusterTime,
    watch: Watch,
    /// By partition; absent before the first word of it.
    positions: Vec<Option<WatchPosition>>,
}

struct Teller {
    tickets: Tickets,
    kind: String,
    sources: Vec<Source>,
    since_checkpoint: usize,
}

impl Teller {
    async fn run(mut self, out: Out<pb::TicketEvent>) -> Result<()> {
        let mut ticks = interval(CHECKPOINT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let items = self.sources.iter_mut().map(|one| one.watch.next().boxed());
            let item = tokio::select! {
                (item, from, _) = select_all(items) => Some((from, item)),
                _ = ticks.tick() => None,
            };
            match item {
                Some((from, Some(item))) => {
                    self.tell(from, item?, &out).await?;
                    if self.since_checkpoint >= CHECKPOINT_EVENTS {
                        self.checkpoint(&out).await?;
                    }
                }
                Some((_, None)) => {
                    return Err(Error::unavailable("the events of this node ended"));
                }
                None => self.checkpoint(&out).await?,
            }
        }
    }

    async fn tell(
        &mut self,
        from: usize,
        item: WatchItem,
        out: &Out<pb::TicketEvent>,
    ) -> Result<()> {
        for event in item.events {
            let Some(ticket) = self.tickets.show(&event.entry)? else {
                continue;
            };
            if !self.kind.is_empty() && ticket.kind != self.kind {
                continue;
            }
            let kind = match event.kind {
                EventKind::Created => Type::Added,
                EventKind::Updated => Type::Updated,
                EventKind::Removed => Type::Deleted,
                EventKind::Expired | EventKind::Evicted => Type::Expired,
            };
            out.send(pb::TicketEvent {
                r#type: kind.into(),
                incarnation: ticket.incarnation,
                ticket: Some(encode::ticket(ticket)),
                resume_token: bytes::Bytes::new(),
            })
            .await?;
            self.since_checkpoint += 1;
        }
        let source = self.sources.get_mut(from);
        let position = source.and_then(|one| one.positions.get_mut(item.partition as usize));
        if let Some(position) = position {
            *position = Some(item.upto);
        }
        Ok(())
    }

    /// Sends a checkpoint, once there is a position for every partition of every cache.
    async fn checkpoint(&mut self, out: &Out<pb::TicketEvent>) -> Result<()> {
        let mut token = Vec::new();
        for source in &mut self.sources {
            // Partitions in which nothing happened.
            for (position, known) in source
                .positions
                .iter_mut()
                .zip(source.watch.positions().unwrap_or_default())
            {
                *position = known.or(*position);
            }
            let Some(positions) = source.positions.iter().copied().collect() else {
                return Ok(());
            };
            let point = ResumePoint {
                cache: source.cache,
                created_at: source.created_at,
                positions,
            };
            let own = point.encode();
            let length = u32::try_from(own.len()).unwrap_or(u32::MAX);
            token.extend_from_slice(&length.to_be_bytes());
            token.extend_from_slice(&own);
        }
        self.since_checkpoint = 0;
        out.send(pb::TicketEvent {
            r#type: Type::Checkpoint.into(),
            ticket: None,
            incarnation: 0,
            resume_token: token.into(),
        })
        .await
    }
}
