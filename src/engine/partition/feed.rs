//! Watching a partition: while somebody watches, every owner keeps the last events, so that a
//! watcher can resume at whichever becomes primary; a node whose watchers need a partition that it
//! does not own subscribes at the primary.
//!
//! Whether somebody watches, owners tell the primary and the primary the owners, at once and again
//! in each view. Where that is lost nothing is kept, and a watcher who wants to resume is told so.
//!
//! A position is the counter of an update and the topology in which it was first streamed: where
//! both are known here, nothing is missing behind them. A subscription is repeated on a timer
//! until it is answered, and from time to time after that, so that a lost message is made good.

use super::{Cx, Partition};
use crate::engine::planted::{self, Fault};
use crate::types::message::{Body, Event, WatchPosition};
use crate::types::time::SECOND;
use crate::types::{Member, Micros, Monotonic};
use std::collections::VecDeque;

/// The most updates that are kept for watchers who resume.
const RECENT_MAX: usize = 256;
/// The most bytes of keys and values that are kept for them.
const RECENT_BYTES_MAX: usize = 64 << 10;
/// How long events are kept for watchers who left and may return, from the first update that
/// nobody watched.
const KEPT: Micros = 60 * SECOND;

struct Recent {
    position: WatchPosition,
    events: Vec<Event>,
    bytes: usize,
}

/// Whether events are kept.
#[derive(Clone, Copy, Default)]
enum Interest {
    /// Nobody needs them.
    #[default]
    Nobody,
    /// Somebody watches, or has since the last update.
    Somebody,
    /// Somebody did until a while ago; until then.
    Lately(Monotonic),
}

/// What a partition knows of watchers; first what is looked at where there are none.
#[derive(Default)]
#[repr(C)]
pub struct Feed {
    subscribe_at: Option<Monotonic>,
    interest: Interest,
    /// The primary says that somebody watches.
    told: bool,
    /// Somebody on this node watches; the last position that was delivered, once known.
    watched: Option<Option<WatchPosition>>,
    /// The last update.
    last: WatchPosition,
    recent: VecDeque<Recent>,
    recent_bytes: usize,
    /// The place before the oldest of them.
    base: WatchPosition,
}

impl Feed {
    pub fn next(&self) -> Option<Monotonic> {
        self.subscribe_at
    }

    /// The copy is another one from here on: what was kept does not lead up to it.
    pub fn forget(&mut self, position: WatchPosition) {
        self.drop_recent();
        self.last = position;
    }

    fn drop_recent(&mut self) {
        if self.recent.capacity() > 0 {
            self.recent = VecDeque::new();
        }
        self.recent_bytes = 0;
    }

    fn keep(&mut self, position: WatchPosition, events: Vec<Event>) {
        let bytes = events
            .iter()
            .map(|event| event.entry.key.len() + event.entry.value.len())
            .sum();
        if self.recent.is_empty() {
            self.base = self.last;
        }
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
            self.base = oldest.position;
        }
    }

    /// The events behind a position, or nothing if it cannot be resumed.
    fn behind(&self, position: WatchPosition, end: WatchPosition) -> Option<Vec<Event>> {
        if position == end {
            return Some(Vec::new());
        }
        self.recent.back().filter(|last| last.position == end)?;
        let first = self.recent.front()?.position.counter;
        let behind = if position == self.base && position.counter + 1 == first {
            0
        } else {
            let mut recent = self.recent.iter();
            1 + recent.position(|recent| recent.position == position)?
        };
        Some(
            self.recent
                .iter()
                .skip(behind + usize::from(planted::is(Fault::WatchGap)))
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

    /// Whether somebody watches, as far as is known here.
    fn is_watched(&self) -> bool {
        let lead = self.lead.as_ref();
        self.feed.watched.is_some()
            || self.feed.told
            || lead.is_some_and(|lead| !lead.subscribers.is_empty() || !lead.watching.is_empty())
    }

    /// Whether the events of the next update are needed.
    pub(super) fn needs_events(&mut self, cx: &Cx<'_>) -> bool {
        let now = cx.now.mono;
        self.feed.interest = match self.feed.interest {
            _ if self.is_watched() => Interest::Somebody,
            Interest::Somebody => Interest::Lately(now.after(KEPT)),
            Interest::Lately(until) if now < until => Interest::Lately(until),
            Interest::Lately(_) | Interest::Nobody => Interest::Nobody,
        };
        !matches!(self.feed.interest, Interest::Nobody)
    }

    /// An update became visible; without events where nobody needs them.
    pub(super) fn publish(
        &mut self,
        position: WatchPosition,
        events: Option<Vec<Event>>,
        cx: &Cx<'_>,
    ) {
        let Some(events) = events else {
            self.feed.forget(position);
            return;
        };
        let after = position.counter - 1;
        // A watch from now on that has not begun begins no earlier by an update.
        let begun = self.feed.watched.flatten();
        if self.is_owner() && begun.is_some_and(|told| told.counter < position.counter) {
            self.feed.watched = Some(Some(position));
            cx.shell
                .events(self.cache, self.index, after, position, &events);
        }
        let mut fresh = Vec::new();
        if let Some(lead) = &mut self.lead {
            for (node, sent) in &mut lead.subscribers {
                if *sent == after {
                    *sent = position.counter;
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
        self.feed.last = position;
    }

    /// Somebody on this node watches from a position, or from now on.
    pub fn watch(&mut self, after: Option<WatchPosition>, cx: &Cx<'_>) {
        self.feed.watched = Some(after);
        self.feed.interest = Interest::Somebody;
        self.tell_watching(cx);
        self.go_on_delivering(cx);
    }

    /// Tells the other owners whether somebody watches: a backup the primary, the primary all.
    fn tell_watching(&self, cx: &Cx<'_>) {
        if !self.is_owner() {
            return;
        }
        let (watched, to) = if self.is_primary() {
            (self.is_watched(), &self.place.owners[..])
        } else {
            let primary = self.place.owners.get(..1).unwrap_or_default();
            (self.feed.watched.is_some(), primary)
        };
        for owner in to.iter().filter(|owner| **owner != self.me) {
            self.send(*owner, Body::Watching { watched }, cx);
        }
    }

    /// An owner has watchers, or none any more; or the primary says so of the whole cluster.
    pub(super) fn on_watching(&mut self, from: Member, watched: bool, cx: &Cx<'_>) {
        if watched {
            self.feed.interest = Interest::Somebody;
        }
        if self.primary() == Some(from) {
            self.feed.told = watched;
            if self.feed.watched == Some(None) {
                self.go_on_delivering(cx);
            }
            return;
        }
        let before = self.is_watched();
        if let Some(lead) = &mut self.lead {
            if watched {
                lead.watching.entry(from).or_default();
            } else {
                lead.watching.remove(&from);
            }
        }
        if self.is_watched() != before {
            self.tell_watching(cx);
            return;
        }
        // All know, but this one may have come late, or not have heard it. It is told once for each
        // time that it asks on its timer: two nodes that took themselves for primary would answer
        // each other without end.
        let lead = self.lead.as_mut();
        let told = lead.and_then(|lead| lead.watching.get_mut(&from));
        if let Some(next) = told.filter(|next| cx.now.mono >= **next) {
            *next = cx.now.mono.after(SECOND / 2);
            self.send(from, Body::Watching { watched }, cx);
        }
    }

    /// Nobody on this node watches any longer.
    pub fn unwatch(&mut self, cx: &Cx<'_>) {
        self.feed.watched = None;
        self.feed.subscribe_at = None;
        if let Some(primary) = self.primary().filter(|_| !self.is_owner()) {
            self.send(primary, Body::Unsubscribe, cx);
        }
        self.tell_watching(cx);
    }

    /// Goes on under the roles of the current view.
    pub(super) fn feed_on_view(&mut self, cx: &Cx<'_>) {
        self.feed.told = false;
        if self.is_watched() {
            self.tell_watching(cx);
        }
        self.go_on_delivering(cx);
    }

    fn go_on_delivering(&mut self, cx: &Cx<'_>) {
        let Some(position) = self.feed.watched else {
            return;
        };
        if !self.is_owner() {
            self.subscribe(cx);
            return;
        }
        self.feed.subscribe_at = None;
        if position.is_none() && !self.is_primary() && !self.feed.told {
            // From now on: that begins when every owner keeps events, so that whoever takes over
            // can go on from the first position that is told.
            self.feed.subscribe_at = Some(cx.now.mono.after(SECOND));
            return;
        }
        let end = self.visible_end();
        let from = position.unwrap_or(end);
        if self.log.holds(from.counter, from.topology) && from.counter > end.counter {
            // The last primary had told it, and this owner does not know yet that all have it.
            self.feed.subscribe_at = Some(cx.now.mono.after(cx.resend));
            return;
        }
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
            self.tell_watching(cx);
            self.go_on_delivering(cx);
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
        if self.log.holds(position.counter, position.topology) && position.counter > end.counter {
            // Likewise; whoever asks repeats it.
            return;
        }
        let Some(events) = self.feed.behind(position, end) else {
            self.send(from, Body::Stale, cx);
            return;
        };
        let before = self.is_watched();
        self.feed.interest = Interest::Somebody;
        if let Some(lead) = &mut self.lead {
            lead.subscribers.insert(from, end.counter);
        }
        if !before {
            self.tell_watching(cx);
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

    pub(super) fn on_unsubscribe(&mut self, from: Member, cx: &Cx<'_>) {
        let before = self.is_watched();
        if let Some(lead) = &mut self.lead {
            lead.subscribers.remove(&from);
        }
        if self.is_watched() != before {
            self.tell_watching(cx);
        }
    }

    /// Nodes are gone, and with them their watchers; the next view tells the owners. Who returns stood
    /// in another history maybe: it subscribes from where it is.
    pub fn watchers_gone(&mut self, gone: impl Fn(Member) -> bool) {
        if let Some(lead) = &mut self.lead {
            lead.subscribers.retain(|node, _| !gone(*node));
            lead.watching.retain(|node, _| !gone(*node));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(counter: u64) -> WatchPosition {
        WatchPosition {
            counter,
            ..WatchPosition::default()
        }
    }

    #[test]
    fn what_is_kept_leads_on_from_the_place_before_it_and_from_nowhere_earlier() {
        let mut feed = Feed::default();
        feed.forget(at(4));
        assert!(feed.behind(at(4), at(4)).is_some());
        assert!(feed.behind(at(3), at(4)).is_none());
        for counter in [5, 6] {
            feed.keep(at(counter), Vec::new());
            feed.last = at(counter);
        }
        for counter in [4, 5, 6] {
            assert!(feed.behind(at(counter), at(6)).is_some(), "{counter}");
        }
        assert!(feed.behind(at(3), at(6)).is_none());
        feed.forget(at(7));
        assert!(feed.behind(at(6), at(7)).is_none());
        feed.keep(at(8), Vec::new());
        assert!(feed.behind(at(6), at(8)).is_none());
        assert!(feed.behind(at(7), at(8)).is_some());
    }
}
