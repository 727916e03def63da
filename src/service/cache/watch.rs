//! `Watch`: the events of a cache as they leave, with places to resume from.
//!
//! What a watcher may rely on:
//!
//! - Events of one key come in their order, without a gap: behind a resume token, or from the
//!   moment on at which the watch began. Where that cannot be kept the stream ends with
//!   OUT_OF_RANGE.
//! - A checkpoint comes with the first positions of all partitions, then at least every second or
//!   1000 events, also when nothing happens. Its token stands for everything sent before it.
//! - With current entries: the watch is begun first, then the entries are read and sent as CREATED
//!   with counter 0, then what happened meanwhile. What the entries already say is not said again
//!   (see `current.rs`). The first checkpoint comes behind the last current entry; a stream that
//!   ends before it has to be begun anew.

use super::super::Front;
use super::super::deadline::CallTime;
use super::super::decode;
use super::super::encode;
use super::super::limits::{CHECKPOINT_EVENTS, CHECKPOINT_INTERVAL};
use super::super::streams::{Answers, Out};
use super::super::token::ResumePoint;
use super::current::{Current, Told};
use crate::error::{Error, Result};
use crate::node::{Handle, Watch, WatchItem};
use crate::rpc::proto as pb;
use crate::types::message::{Event, EventKind, WatchPosition};
use crate::types::{Blob, CacheId, ClusterTime, EntryView};
use pb::watch_event::Type;
use std::time::Instant;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::Response;

/// See `CacheService.Watch`.
pub fn start(
    front: &Front,
    message: pb::WatchRequest,
    time: CallTime,
) -> Result<Response<Answers<pb::WatchEvent>>> {
    let view = front.handle.view();
    let cache = decode::known(&view, &message.cache)?;
    let prefix = decode::prefix(&message.key_prefix)?;
    let id = cache.settings.id();
    let partitions = cache.settings.partitions;
    let from = if message.resume_token.is_empty() {
        None
    } else if message.with_current {
        return Err(Error::invalid(
            "resume_token and with_current exclude each other",
        ));
    } else {
        let token = &message.resume_token;
        Some(ResumePoint::decode(token, id, cache.created_at, partitions)?.positions)
    };
    time.check(Instant::now())?;
    let positions = match &from {
        Some(from) => from.iter().copied().map(Some).collect(),
        None => vec![None; partitions as usize],
    };
    let handle = front.handle.clone();
    // Before anything is read, so that nothing is missed.
    let watch = handle.watch(id, from)?;
    let source = Source {
        handle,
        cache: id,
        prefix,
        watch,
    };
    let teller = Teller {
        cache: id,
        created_at: cache.created_at,
        positions,
        prefix: source.prefix.clone(),
        with_previous: message.with_previous,
        told: Told::default(),
        since_checkpoint: 0,
    };
    let with_current = message.with_current;
    front.stream(time, |out| run(source, teller, with_current, time, out))
}

/// Where events and entries come from.
pub(super) struct Source {
    pub(super) handle: Handle,
    pub(super) cache: CacheId,
    pub(super) prefix: Blob,
    pub(super) watch: Watch,
}

async fn run(
    mut source: Source,
    mut teller: Teller,
    with_current: bool,
    time: CallTime,
    out: Out<pb::WatchEvent>,
) -> Result<()> {
    if with_current {
        let held = Current::new(&mut source, &mut teller, time, &out)
            .send()
            .await?;
        for item in held {
            teller.tell(item, &out).await?;
        }
    }
    let mut ticks = ticks();
    loop {
        tokio::select! {
            item = source.watch.next() => match item {
                Some(item) => {
                    teller.tell(item?, &out).await?;
                    if teller.since_checkpoint >= CHECKPOINT_EVENTS {
                        teller.checkpoint(&source.watch, &out).await?;
                    }
                }
                None => return Err(Error::unavailable("the events of this node ended")),
            },
            _ = ticks.tick() => {
                teller.told.forget_when_old(Instant::now());
                teller.checkpoint(&source.watch, &out).await?;
            }
        }
    }
}

/// The first tick is at once, so that a watcher soon has a place to resume from.
fn ticks() -> Interval {
    let mut ticks = interval(CHECKPOINT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Turns events into messages, and knows how far the watcher has been told.
pub(super) struct Teller {
    cache: CacheId,
    created_at: ClusterTime,
    /// By partition; absent before the first word of it.
    pub(super) positions: Vec<Option<WatchPosition>>,
    prefix: Blob,
    with_previous: bool,
    pub(super) told: Told,
    since_checkpoint: usize,
}

impl Teller {
    /// An entry that lived before.
    pub(super) fn current(&self, partition: u32, entry: EntryView) -> pb::WatchEvent {
        pb::WatchEvent {
            r#type: Type::Created.into(),
            entry: Some(encode::entry(entry)),
            previous: None,
            partition,
            counter: 0,
            resume_token: bytes::Bytes::new(),
        }
    }

    /// Notes a position without telling anything.
    pub(super) fn note(&mut self, partition: u32, upto: WatchPosition) {
        if let Some(position) = self.positions.get_mut(partition as usize) {
            *position = Some(upto);
        }
    }

    /// Tells the events of an item that the watcher wants and has not been told.
    async fn tell(&mut self, item: WatchItem, out: &Out<pb::WatchEvent>) -> Result<()> {
        for event in item.events {
            if event.entry.key.starts_with(&self.prefix)
                && self.told.is_news(item.partition, &event)
            {
                out.send(self.event(item.partition, event)).await?;
                self.since_checkpoint += 1;
            }
        }
        self.note(item.partition, item.upto);
        Ok(())
    }

    fn event(&self, partition: u32, event: Event) -> pb::WatchEvent {
        let kind = match event.kind {
            EventKind::Created => Type::Created,
            EventKind::Updated => Type::Updated,
            EventKind::Removed => Type::Removed,
            EventKind::Expired => Type::Expired,
            EventKind::Evicted => Type::Evicted,
        };
        pb::WatchEvent {
            r#type: kind.into(),
            entry: Some(encode::entry(event.entry)),
            previous: event
                .previous
                .filter(|_| self.with_previous)
                .map(encode::entry),
            partition,
            counter: event.counter,
            resume_token: bytes::Bytes::new(),
        }
    }

    /// Sends a checkpoint, once there is a position for every partition.
    async fn checkpoint(&mut self, watch: &Watch, out: &Out<pb::WatchEvent>) -> Result<()> {
        self.learn(watch);
        let Some(positions) = self.positions.iter().copied().collect() else {
            return Ok(());
        };
        let point = ResumePoint {
            cache: self.cache,
            created_at: self.created_at,
            positions,
        };
        self.since_checkpoint = 0;
        out.send(pb::WatchEvent {
            r#type: Type::Checkpoint.into(),
            entry: None,
            previous: None,
            partition: 0,
            counter: 0,
            resume_token: point.encode().into(),
        })
        .await
    }

    /// Takes over positions of partitions in which nothing happened.
    pub(super) fn learn(&mut self, watch: &Watch) {
        let Some(known) = watch.positions() else {
            return;
        };
        for (position, known) in self.positions.iter_mut().zip(known) {
            *position = known.or(*position);
        }
    }
}
