//! The current entries at the beginning of a watch, without a gap to the events that follow and
//! without a double.
//!
//! The watch stands before the first entry is read, so no event is missed; but an event may come
//! behind an entry that has its effect already. Only a key that was written shortly before or
//! after the watch began can be in that state: a write moves the last access, so its version is
//! remembered for a while. Every event of a key says what it replaced, so that one can tell which
//! events lead up to the entry that was told (they are passed over) and which lead on from it.

use super::super::deadline::CallTime;
use super::super::limits::{
    DEADLINE_DEFAULT, WATCH_HELD_BYTES_MAX, WATCH_HELD_EVENTS_MAX, WATCH_RECENT_KEYS_MAX,
};
use super::super::streams::Out;
use super::scan::Pages;
use super::watch::{Source, Teller};
use crate::error::{Error, Result};
use crate::node::WatchItem;
use crate::rpc::proto as pb;
use crate::types::message::{Event, EventKind};
use crate::types::time::SECOND;
use crate::types::{Blob, ClusterTime, EntryView, Micros};
use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

/// An entry whose last access is older than this when the watch begins has no event on its way:
/// longer than a write may wait for its owners, events may travel and clocks may differ.
const RECENT: Micros = 10 * SECOND;
/// How long after the last entry an event may still be one that leads up to it.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Between two looks for the first position of every partition.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Versions that the watcher was told as current entries and that an event may tell again.
#[derive(Debug, Default)]
pub(super) struct Told {
    versions: HashMap<(u32, Blob), u64>,
    /// When to forget them all.
    until: Option<Instant>,
}

impl Told {
    fn remember(&mut self, partition: u32, entry: &EntryView) -> Result<()> {
        if self.versions.len() >= WATCH_RECENT_KEYS_MAX {
            return Err(Error::overloaded(format!(
                "more than {WATCH_RECENT_KEYS_MAX} entries changed while the watch began; try \
                 again later, or watch without current entries"
            )));
        }
        self.versions
            .insert((partition, entry.key.clone()), entry.version);
        Ok(())
    }

    /// Whether an event says more than the current entry of its key did.
    pub(super) fn is_news(&mut self, partition: u32, event: &Event) -> bool {
        if self.versions.is_empty() {
            return true;
        }
        let place = (partition, event.entry.key.clone());
        let Some(&told) = self.versions.get(&place) else {
            return true;
        };
        let replaced = event.previous.as_ref().map(|previous| previous.version);
        let (leads_on, told_it) = match event.kind {
            EventKind::Created => (false, event.entry.version == told),
            EventKind::Updated => (replaced == Some(told), event.entry.version == told),
            EventKind::Removed | EventKind::Expired | EventKind::Evicted => {
                (event.entry.version == told, false)
            }
        };
        if leads_on || told_it {
            self.versions.remove(&place);
        }
        leads_on
    }

    /// Events travel a bounded time; what is remembered longer is no use.
    pub(super) fn forget_when_old(&mut self, now: Instant) {
        if self.until.is_some_and(|until| now >= until) {
            self.versions = HashMap::new();
            self.until = None;
        }
    }
}

/// The beginning of a watch.
pub(super) struct Current<'a> {
    source: &'a mut Source,
    teller: &'a mut Teller,
    time: CallTime,
    out: &'a Out<pb::WatchEvent>,
    held: Held,
}

/// Events that came meanwhile, bounded.
#[derive(Default)]
struct Held {
    items: Vec<WatchItem>,
    events: usize,
    bytes: usize,
}

impl Held {
    fn hold(&mut self, item: WatchItem) -> Result<()> {
        self.events += item.events.len();
        self.bytes += item.events.iter().map(weight).sum::<usize>();
        if self.events > WATCH_HELD_EVENTS_MAX || self.bytes > WATCH_HELD_BYTES_MAX {
            return Err(Error::overloaded(
                "too much happens while current entries are sent; take them faster, or try again",
            ));
        }
        if !item.events.is_empty() {
            self.items.push(item);
        }
        Ok(())
    }
}

fn weight(event: &Event) -> usize {
    let of = |entry: &EntryView| entry.key.len() + entry.value.len();
    128 + of(&event.entry) + event.previous.as_ref().map_or(0, of)
}

impl<'a> Current<'a> {
    pub(super) fn new(
        source: &'a mut Source,
        teller: &'a mut Teller,
        time: CallTime,
        out: &'a Out<pb::WatchEvent>,
    ) -> Self {
        Self {
            source,
            teller,
            time,
            out,
            held: Held::default(),
        }
    }

    /// Sends all current entries; returns the events that came meanwhile, to be told next.
    pub(super) async fn send(mut self) -> Result<Vec<WatchItem>> {
        self.wait_for_positions().await?;
        let recent = ClusterTime(self.source.handle.now().cluster.0.saturating_sub(RECENT));
        let partitions = 0u32..;
        for (partition, _) in partitions.zip(0..self.teller.positions.len()) {
            self.send_partition(partition, recent).await?;
        }
        self.teller.told.until = Some(Instant::now() + REMEMBERED);
        Ok(self.held.items)
    }

    async fn send_partition(&mut self, partition: u32, recent: ClusterTime) -> Result<()> {
        let mut pages = Pages::new(self.source.cache, self.source.prefix.clone(), false);
        let mut after = None;
        loop {
            let (request, most) = pages.request(partition, after.take(), u64::MAX);
            let deadline = CallTime::within(&self.time, Instant::now()).deadline;
            let handle = self.source.handle.clone();
            let reply = self
                .meanwhile(async move { handle.execute(request, deadline).await })
                .await?;
            let (entries, more) = pages.take(reply, most)?;
            after = entries.last().map(|entry| entry.key.clone());
            for entry in entries {
                if entry.last_access_at >= recent {
                    self.teller.told.remember(partition, &entry)?;
                }
                let message = self.teller.current(partition, entry);
                let out = self.out;
                self.meanwhile(out.send(message)).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Waits until every partition has said from where on its events come: what is read behind
    /// that moment has everything before it.
    async fn wait_for_positions(&mut self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE_DEFAULT;
        loop {
            self.teller.learn(&self.source.watch);
            let Some(missing) = self.teller.positions.iter().position(Option::is_none) else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(Error::unavailable(format!(
                    "partition {missing} cannot be watched now; it has no primary that answers"
                )));
            }
            self.meanwhile(async {
                tokio::time::sleep(LOOK_INTERVAL).await;
                Ok(())
            })
            .await?;
        }
    }

    /// Does some work and takes the events that come meanwhile, so that the watch is not cut off
    /// as too slow.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                item = self.source.watch.next() => match item {
                    Some(item) => {
                        let item = item?;
                        self.teller.note(item.partition, item.upto);
                        self.held.hold(item)?;
                    }
                    None => return Err(Error::unavailable("the events of this node ended")),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, version: u64) -> EntryView {
        EntryView {
            key: key.into(),
            value: "v".into(),
            flags: 0,
            version,
            created_at: ClusterTime(1),
            last_access_at: ClusterTime(1),
            expires_at: None,
            idle_expires_at: None,
        }
    }

    fn event(kind: EventKind, version: u64, previous: Option<u64>) -> Event {
        let previous = previous.map(|version| entry("k", version));
        Event {
            kind,
            counter: 1,
            entry: entry("k", version),
            previous,
        }
    }

    fn told(version: u64) -> Told {
        let mut told = Told::default();
        told.remember(3, &entry("k", version)).expect("room");
        told
    }

    #[test]
    fn what_leads_up_to_a_current_entry_is_no_news() {
        let mut told = told(5);
        assert!(!told.is_news(3, &event(EventKind::Created, 3, None)));
        assert!(!told.is_news(3, &event(EventKind::Updated, 4, Some(3))));
        assert!(!told.is_news(3, &event(EventKind::Removed, 4, None)));
        assert!(!told.is_news(3, &event(EventKind::Created, 5, None)));
        assert!(told.is_news(3, &event(EventKind::Updated, 6, Some(5))));
        assert!(told.is_news(3, &event(EventKind::Removed, 6, None)));
    }

    #[test]
    fn what_leads_on_from_it_is_news() {
        assert!(told(5).is_news(3, &event(EventKind::Updated, 6, Some(5))));
        assert!(told(5).is_news(3, &event(EventKind::Removed, 5, None)));
        assert!(told(5).is_news(3, &event(EventKind::Expired, 5, None)));
        // A touch keeps the version.
        assert!(told(5).is_news(3, &event(EventKind::Updated, 5, Some(5))));
    }

    #[test]
    fn other_keys_and_partitions_are_news() {
        let mut told = told(5);
        assert!(told.is_news(4, &event(EventKind::Created, 5, None)));
        let other = Event {
            entry: entry("other", 5),
            ..event(EventKind::Created, 5, None)
        };
        assert!(told.is_news(3, &other));
    }

    #[test]
    fn old_versions_are_forgotten() {
        let mut told = told(5);
        let now = Instant::now();
        told.until = Some(now);
        told.forget_when_old(now);
        assert!(told.is_news(3, &event(EventKind::Updated, 4, Some(3))));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let item = |count| WatchItem {
            partition: 0,
            upto: Default::default(),
            events: vec![event(EventKind::Created, 1, None); count],
        };
        let mut held = Held::default();
        held.hold(item(WATCH_HELD_EVENTS_MAX)).expect("room");
        assert!(held.hold(item(1)).is_err());
    }
}
