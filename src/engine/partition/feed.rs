//! Watching a partition: every owner keeps the last events, so that a watcher can resume at
//! whichever becomes primary; a node whose watchers need a partition that it does not own
//! subscribes at the primary.
//!
//! A position is the counter of an update and the topology in which it was first streamed: where
//! both are known here, nothing is missing behind them. A subscription is repeated on a timer
//! until it is answered, and from time to time after that, so that a lost message is made good.

use super::{Cx, Partition};
use crate::engine::planted::{self, Fault};
use crate::types::message::{Body, Event, Update, WatchPosition};
use crate::types::time::SECOND;
use crate::types::{Member, Monotonic};
use std::collections::VecDeque;

/// The most updates that are kept for watchers who resume.
const RECENT_MAX: usize = 256;
/// The most bytes of keys and values that are kept for them.
const RECENT_BYTES_MAX: usize = 64 << 10;

struct Recent {
    position: WatchPosition,
    events: Vec<Event>,
    bytes: usize,
}

/// What a partition knows of watchers.
#[derive(Default)]
pub struct Feed {
    recent: VecDeque<Recent>,
    recent_bytes: usize,
    /// Somebody on this node watches; the last position that was delivered, once known.
    watched: Option<Option<WatchPosition>>,
    subscribe_at: Option<Monotonic>,
}

impl Feed {
    pub fn next(&self) -> Option<Monotonic> {
        self.subscribe_at
    }

    /// The copy is another one from here on: what was kept does not lead up to it.
    pub fn forget(&mut self) {
        self.recent.clear();
        self.recent_bytes = 0;
    }

    fn keep(&mut self, position: WatchPosition, events: Vec<Event>) {
        let bytes = events
            .iter()
            .map(|event| event.entry.key.len() + event.entry.value.len())
            .sum();
        self.recent_bytes += bytes;
        self.recent.push_back(Recent {
            position,
            events,
            bytes,
        });
        while self.recent.len() > RECENT_MAX || self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else {
                break;
            };
            self.recent_bytes -= oldest.bytes;
        }
    }

    /// The events behind a position, or nothing if it cannot be resumed.
    fn behind(&self, position: WatchPosition, end: WatchPosition) -> Option<Vec<Event>> {
        if position == end {
            return Some(Vec::new());
        }
        self.recent.back().filter(|last| last.position == end)?;
        let place = self
            .recent
            .iter()
            .position(|recent| recent.position == position)?;
        Some(
            self.recent
                .iter()
                .skip(place + 1 + usize::from(planted::is(Fault::WatchGap)))
                .flat_map(|recent| recent.events.clone())
                .collect(),
        )
    }
}

impl Partition {
    /// The last update whose events are out: the committed one, or under the other modes the
    /// last applied.
    fn visible_end(&self) -> WatchPosition {
        if self.settings.full_sync() {
            self.log.committed
        } else {
            self.log.end()
        }
    }

    /// An update became visible.
    pub(super) fn publish(&mut self, update: &Update, events: Vec<Event>, cx: &Cx<'_>) {
        let position = WatchPosition {
            counter: update.counter,
            topology: update.topology,
        };
        let after = update.counter - 1;
        if self.is_owner() && self.feed.watched.is_some() {
            self.feed.watched = Some(Some(position));
            cx.shell
                .events(self.cache, self.index, after, position, &events);
        }
        let mut fresh = Vec::new();
        if let Some(lead) = &mut self.lead {
            for (node, sent) in &mut lead.subscribers {
                if *sent == after {
                    *sent = update.counter;
                    fresh.push(*node);
                }
            }
        }
        for node in fresh {
            let events = events.clone();
            self.send(
                node,
                Body::Events {
                    after,
                    upto: position,
                    events,
                },
                cx,
            );
        }
        self.feed.keep(position, events);
    }

    /// Somebody on this node watches from a position, or from now on.
    pub fn watch(&mut self, after: Option<WatchPosition>, cx: &Cx<'_>) {
        self.feed.watched = Some(after);
        self.feed_on_view(cx);
    }

    /// Nobody on this node watches any longer.
    pub fn unwatch(&mut self, cx: &Cx<'_>) {
        self.feed.watched = None;
        self.feed.subscribe_at = None;
        if let Some(primary) = self.primary().filter(|_| !self.is_owner()) {
            self.send(primary, Body::Unsubscribe, cx);
        }
    }

    /// Goes on delivering under the roles of the current view.
    pub(super) fn feed_on_view(&mut self, cx: &Cx<'_>) {
        let Some(position) = self.feed.watched else {
            return;
        };
        if !self.is_owner() {
            self.subscribe(cx);
            return;
        }
        self.feed.subscribe_at = None;
        let end = self.visible_end();
        let from = position.unwrap_or(end);
        match self.feed.behind(from, end) {
            Some(events) => {
                self.feed.watched = Some(Some(end));
                cx.shell
                    .events(self.cache, self.index, from.counter, end, &events);
            }
            None => self.lose_watch(cx),
        }
    }

    fn lose_watch(&mut self, cx: &Cx<'_>) {
        self.feed.watched = None;
        self.feed.subscribe_at = None;
        cx.shell.watch_lost(self.cache, self.index);
    }

    fn subscribe(&mut self, cx: &Cx<'_>) {
        let Some(after) = self.feed.watched else {
            return;
        };
        self.feed.subscribe_at = Some(cx.now.mono.after(SECOND));
        if let Some(primary) = self.primary() {
            self.send(primary, Body::Subscribe { after }, cx);
        }
    }

    pub(super) fn on_feed_timeout(&mut self, cx: &Cx<'_>) {
        if self.feed.subscribe_at.is_some_and(|at| cx.now.mono >= at) {
            self.subscribe(cx);
        }
    }

    /// Another node's watchers want events behind a position. A repeated subscription is
    /// answered again: its sender skips what it has.
    pub(super) fn on_subscribe(&mut self, from: Member, after: Option<WatchPosition>, cx: &Cx<'_>) {
        if !self.lead.as_ref().is_some_and(|lead| lead.is_active()) {
            return;
        }
        let end = self.visible_end();
        let position = after.unwrap_or(end);
        let Some(events) = self.feed.behind(position, end) else {
            self.send(from, Body::Stale, cx);
            return;
        };
        if let Some(lead) = &mut self.lead {
            lead.subscribers.insert(from, end.counter);
        }
        self.send(
            from,
            Body::Events {
                after: position.counter,
                upto: end,
                events,
            },
            cx,
        );
    }

    pub(super) fn on_unsubscribe(&mut self, from: Member) {
        if let Some(lead) = &mut self.lead {
            lead.subscribers.remove(&from);
        }
    }

    /// Events from the primary. What is known already is skipped, a gap is asked for again.
    pub(super) fn on_events(
        &mut self,
        from: Member,
        after: u64,
        upto: WatchPosition,
        events: &[Event],
        cx: &Cx<'_>,
    ) {
        if self.primary() != Some(from) || self.is_owner() {
            return;
        }
        let Some(position) = self.feed.watched else {
            return;
        };
        let known = position.map_or(after, |position| position.counter);
        if after > known {
            self.subscribe(cx);
        } else if upto.counter > known || position.is_none() {
            let new: Vec<Event> = events
                .iter()
                .filter(|event| event.counter > known)
                .cloned()
                .collect();
            self.feed.watched = Some(Some(upto));
            cx.shell.events(self.cache, self.index, known, upto, &new);
        }
    }

    /// The primary cannot go on from where the watchers of this node are.
    pub(super) fn on_stale(&mut self, from: Member, cx: &Cx<'_>) {
        if self.primary() == Some(from) && self.feed.watched.is_some() {
            self.lose_watch(cx);
        }
    }
}
