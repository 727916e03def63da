//! Watchers of this node: the engine delivers the events of a partition once, and each watcher
//! takes from them what lies behind its own position. A watcher that is too slow is cut off and
//! may resume from its last position; the engine never waits for one.

use crate::error::{Error, ErrorKind, Result};
use crate::types::message::{Event, WatchPosition};
use crate::types::{CacheId, View};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// Events of one partition, without gaps.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchItem {
    /// Which partition.
    pub partition: u32,
    /// Everything up to here has been delivered.
    pub upto: WatchPosition,
    /// In the order in which they happened; may be empty.
    pub events: Vec<Event>,
}

/// What a partition needs of the engine after a watcher came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) partition: u32,
    pub(super) after: Option<WatchPosition>,
}

/// All watchers of a node.
#[derive(Default)]
pub(super) struct Hubs {
    caches: Mutex<BTreeMap<CacheId, Hub>>,
}

/// The watchers of one cache.
struct Hub {
    watchers: Vec<Arc<Watcher>>,
    /// How far the engine has delivered each partition.
    delivered: Vec<Option<WatchPosition>>,
}

/// One watcher as the hubs see it.
pub(super) struct Watcher {
    state: Mutex<State>,
    ready: Notify,
    queue_max: usize,
}

struct State {
    /// By partition; absent: whatever comes first.
    positions: Vec<Option<WatchPosition>>,
    queue: VecDeque<WatchItem>,
    /// Events in the queue.
    queued: usize,
    ended: Option<Error>,
}

impl Hubs {
    /// Adds a watcher; what is returned must be asked of the engine.
    pub(super) fn add(
        &self,
        cache: CacheId,
        partitions: u32,
        from: Option<Vec<WatchPosition>>,
        queue_max: usize,
    ) -> (Arc<Watcher>, Vec<Wanted>) {
        let mut caches = self.caches.lock();
        let hub = caches.entry(cache).or_insert_with(|| Hub {
            watchers: Vec::new(),
            delivered: vec![None; partitions as usize],
        });
        let first = hub.watchers.is_empty();
        let mut positions = Vec::with_capacity(partitions as usize);
        let mut wanted = Vec::new();
        for (partition, delivered) in (0..partitions).zip(&hub.delivered) {
            let asked = from
                .as_ref()
                .and_then(|from| from.get(partition as usize))
                .copied();
            positions.push(asked.or(*delivered));
            // Who watches from now on joins what is delivered already; who resumes needs what
            // lies between, which the others then pass over.
            if first || asked.is_some_and(|asked| *delivered != Some(asked)) {
                wanted.push(Wanted {
                    partition,
                    after: asked,
                });
            }
        }
        let watcher = Arc::new(Watcher {
            state: Mutex::new(State {
                positions,
                queue: VecDeque::new(),
                queued: 0,
                ended: None,
            }),
            ready: Notify::new(),
            queue_max,
        });
        hub.watchers.push(Arc::clone(&watcher));
        (watcher, wanted)
    }

    /// Takes a watcher out. True: it was the last of its cache, and the engine need not deliver
    /// the cache's partitions (so many) any longer.
    pub(super) fn remove(&self, cache: CacheId, watcher: &Arc<Watcher>) -> Option<u32> {
        let mut caches = self.caches.lock();
        let hub = caches.get_mut(&cache)?;
        hub.watchers.retain(|other| !Arc::ptr_eq(other, watcher));
        if !hub.watchers.is_empty() {
            return None;
        }
        let partitions = u32::try_from(hub.delivered.len()).unwrap_or(u32::MAX);
        caches.remove(&cache);
        Some(partitions)
    }

    /// The engine delivers: these events follow the counter `after` and reach up to `upto`.
    pub(super) fn deliver(
        &self,
        cache: CacheId,
        partition: u32,
        after: u64,
        upto: WatchPosition,
        events: &[Event],
    ) {
        let mut caches = self.caches.lock();
        let Some(hub) = caches.get_mut(&cache) else {
            return;
        };
        let Some(delivered) = hub.delivered.get_mut(partition as usize) else {
            return;
        };
        if delivered.is_none_or(|delivered| delivered.counter <= upto.counter) {
            *delivered = Some(upto);
        }
        for watcher in &hub.watchers {
            watcher.deliver(partition, after, upto, events);
        }
    }

    /// The watchers of a partition cannot go on. How many that were.
    pub(super) fn lose(&self, cache: CacheId, partition: u32) -> usize {
        let caches = self.caches.lock();
        let Some(hub) = caches.get(&cache) else {
            return 0;
        };
        for watcher in &hub.watchers {
            watcher.end(stale(partition));
        }
        hub.watchers.len()
    }

    /// Ends the watchers of caches that the view no longer has.
    pub(super) fn keep_to(&self, view: &View) {
        for (id, hub) in self.caches.lock().iter() {
            if view.caches.contains_key(id) {
                continue;
            }
            for watcher in &hub.watchers {
                watcher.end(Error::new(ErrorKind::NotFound, "the cache was dropped"));
            }
        }
    }

    /// Ends all watchers: the node stops.
    pub(super) fn close(&self) {
        for hub in self.caches.lock().values() {
            for watcher in &hub.watchers {
                watcher.end(Error::unavailable("this node stops"));
            }
        }
    }
}

impl Watcher {
    fn deliver(&self, partition: u32, after: u64, upto: WatchPosition, events: &[Event]) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        let Some(position) = state.positions.get_mut(partition as usize) else {
            return;
        };
        let behind = position.map_or(after, |position| position.counter);
        if behind > upto.counter {
            return;
        }
        if after > behind {
            drop(state);
            return self.end(stale(partition));
        }
        let moved = *position != Some(upto);
        *position = Some(upto);
        let events: Vec<Event> = events
            .iter()
            .filter(|event| event.counter > behind)
            .cloned()
            .collect();
        if state.queued + events.len() > self.queue_max || state.queue.len() > self.queue_max {
            drop(state);
            return self.end(
                Error::new(
                    ErrorKind::OutOfRange,
                    "the watcher is too slow; resume from where it is",
                )
                .because("WATCHER_TOO_SLOW"),
            );
        }
        if !events.is_empty() || (moved && state.queue.len() < self.queue_max / 2) {
            state.queued += events.len();
            state.queue.push_back(WatchItem {
                partition,
                upto,
                events,
            });
            drop(state);
            self.ready.notify_one();
        }
    }

    /// The positions by partition, unless items wait that lead up to them.
    pub(super) fn positions(&self) -> Option<Vec<Option<WatchPosition>>> {
        let state = self.state.lock();
        state.queue.is_empty().then(|| state.positions.clone())
    }

    fn end(&self, why: Error) {
        self.state.lock().ended.get_or_insert(why);
        self.ready.notify_one();
    }

    /// The next item; an error is the last one.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(super) async fn next(&self) -> Result<WatchItem> {
        loop {
            {
                let mut state = self.state.lock();
                if let Some(item) = state.queue.pop_front() {
                    state.queued -= item.events.len();
                    return Ok(item);
                }
                if let Some(error) = &state.ended {
                    return Err(error.clone());
                }
            }
            self.ready.notified().await;
        }
    }
}

fn stale(partition: u32) -> Error {
    Error::new(
        ErrorKind::OutOfRange,
        format!("partition {partition} cannot be watched from this position on; begin anew"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::message::EventKind;
    use crate::types::{Blob, ClusterTime, EntryView};

    fn event(counter: u64) -> Event {
        let entry = EntryView {
            key: Blob::from("key"),
            value: Blob::from("value"),
            flags: 0,
            version: counter,
            created_at: ClusterTime(1),
            last_access_at: ClusterTime(1),
            expires_at: None,
            idle_expires_at: None,
        };
        Event {
            kind: EventKind::Updated,
            counter,
            entry,
            previous: None,
        }
    }

    fn at(counter: u64) -> WatchPosition {
        WatchPosition {
            counter,
            ..WatchPosition::default()
        }
    }

    async fn counters(watcher: &Watcher) -> Vec<u64> {
        let item = watcher.next().await.expect("an item");
        item.events.iter().map(|event| event.counter).collect()
    }

    #[tokio::test]
    async fn each_watcher_gets_what_lies_behind_its_own_position() {
        let hubs = Hubs::default();
        let cache = CacheId(1);
        let (early, wanted) = hubs.add(cache, 1, None, 16);
        assert_eq!(
            wanted,
            [Wanted {
                partition: 0,
                after: None
            }]
        );
        hubs.deliver(cache, 0, 4, at(5), &[event(5)]);
        let (late, wanted) = hubs.add(cache, 1, Some(vec![at(3)]), 16);
        assert_eq!(
            wanted,
            [Wanted {
                partition: 0,
                after: Some(at(3))
            }]
        );
        let (joined, wanted) = hubs.add(cache, 1, None, 16);
        assert_eq!(wanted, []);
        hubs.deliver(cache, 0, 3, at(6), &[event(4), event(5), event(6)]);
        assert_eq!(counters(&early).await, [5]);
        assert_eq!(counters(&early).await, [6]);
        assert_eq!(late.positions(), None);
        assert_eq!(counters(&late).await, [4, 5, 6]);
        assert_eq!(late.positions(), Some(vec![Some(at(6))]));
        assert_eq!(counters(&joined).await, [6]);
        assert_eq!(hubs.remove(cache, &early), None);
        assert_eq!(hubs.remove(cache, &late), None);
        assert_eq!(hubs.remove(cache, &joined), Some(1));
    }

    #[tokio::test]
    async fn a_gap_and_a_full_queue_end_the_watch() {
        let hubs = Hubs::default();
        let cache = CacheId(1);
        let (gap, _) = hubs.add(cache, 1, Some(vec![at(3)]), 16);
        let (slow, _) = hubs.add(cache, 1, None, 1);
        hubs.deliver(cache, 0, 5, at(6), &[event(6)]);
        assert_eq!(
            gap.next().await.expect_err("a gap").kind,
            ErrorKind::OutOfRange
        );
        hubs.deliver(cache, 0, 6, at(7), &[event(7)]);
        assert_eq!(counters(&slow).await, [6]);
        assert_eq!(
            slow.next().await.expect_err("too slow").reason,
            "WATCHER_TOO_SLOW"
        );
        hubs.lose(cache, 0);
        assert!(slow.next().await.is_err());
    }
}
