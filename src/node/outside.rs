//! What the engine acts on: links, callers that wait, watchers, counters and logs. Called from
//! under the engine's locks, so everything here is short and calls nothing back.

use super::links::Links;
use super::pending::Pending;
use super::stats::Counters;
use super::watch::Hubs;
use crate::engine::{Notice, Shell};
use crate::error::{Error, Result};
use crate::types::message::{Event, Message, WatchPosition};
use crate::types::{CacheId, Member, NodeInfo, Reply, View};
use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, watch};

/// The most dials that wait to be begun; the engine asks again for one that was dropped.
pub(super) const DIALS_MAX: usize = 256;

/// A link that is wanted.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// On a fresh connection, whatever stands.
    Fresh(NodeInfo),
    /// Where none stands.
    Missing(NodeInfo),
}

/// Where a node is between start and stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It looks for its cluster or belongs to it.
    Running,
    /// It has left the cluster in order.
    Left,
    /// It can neither join nor form a cluster.
    CannotForm(Error),
}

/// The engine's shell.
pub(super) struct Outside {
    pub(super) counters: Counters,
    pub(super) links: Links,
    pub(super) replies: Arc<Pending<Reply>>,
    /// Messages may wait in queues to go along with others.
    held: AtomicBool,
    pub(super) changes: Arc<Pending<()>>,
    pub(super) hubs: Hubs,
    /// The view, to be looked at with every call.
    view: ArcSwap<View>,
    views: watch::Sender<Arc<View>>,
    life: watch::Sender<Life>,
    stopping: watch::Sender<bool>,
    dials: mpsc::Sender<Wanted>,
}

impl Outside {
    /// At most `waiting_max` calls wait at a time. The receiver gets the peers to dial.
    pub(super) fn new(waiting_max: usize) -> (Arc<Self>, mpsc::Receiver<Wanted>) {
        let (dials, wanted) = mpsc::channel(DIALS_MAX);
        let outside = Self {
            counters: Counters::default(),
            links: Links::default(),
            replies: Arc::new(Pending::new(waiting_max)),
            held: AtomicBool::new(false),
            changes: Arc::new(Pending::new(waiting_max)),
            hubs: Hubs::default(),
            view: ArcSwap::default(),
            views: watch::Sender::new(Arc::default()),
            life: watch::Sender::new(Life::Running),
            stopping: watch::Sender::new(false),
            dials,
        };
        (Arc::new(outside), wanted)
    }

    /// Asks for a link.
    pub(super) fn want(&self, wanted: Wanted) {
        let _ = self.dials.try_send(wanted);
    }

    pub(super) fn view(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    pub(super) fn views(&self) -> watch::Receiver<Arc<View>> {
        self.views.subscribe()
    }

    pub(super) fn life(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    /// From now on nothing is dialled, delivered or kept up.
    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Returns when the node stops.
    pub(super) async fn stopped(&self) {
        let _ = self
            .stopping
            .subscribe()
            .wait_for(|stopping| *stopping)
            .await;
    }

    /// Where no call waits any more, nothing may come for messages to go along with.
    fn flush_when_idle(&self) {
        if self.replies.waiting() == 0
            && self.held.load(Ordering::SeqCst)
            && self.held.swap(false, Ordering::SeqCst)
        {
            self.links.flush();
        }
    }

    /// Ends the life of the node, unless it has ended.
    pub(super) fn end(&self, how: Life) {
        self.life.send_if_modified(|life| {
            let running = *life == Life::Running;
            if running {
                *life = how;
            }
            running
        });
    }
}

impl Shell for Outside {
    fn send(&self, to: Member, message: Message) {
        if self.links.send(to, message) {
            self.counters.messages_sent.add_one();
        } else {
            self.counters.messages_dropped.add_one();
        }
    }

    /// While calls wait here, answers are to come and more messages to go, so this one need not go
    /// alone; with the last of them it goes. (A call that is dropped is not looked at: who misses
    /// what waits here asks for it.)
    fn send_along(&self, to: Member, message: Message) {
        if self.replies.waiting() == 0 {
            return self.send(to, message);
        }
        if self.links.send_along(to, message) {
            self.counters.messages_sent.add_one();
        } else {
            self.counters.messages_dropped.add_one();
        }
        self.held.store(true, Ordering::SeqCst);
        self.flush_when_idle();
    }

    fn has_room(&self, to: Member) -> bool {
        self.links.has_room(to)
    }

    fn knows(&self, peer: Member, since: u32) -> bool {
        self.links.knows(peer, since)
    }

    fn complete(&self, token: u64, result: Result<Reply>) {
        self.replies.complete(token, result);
        self.flush_when_idle();
    }

    fn view_changed(&self, token: u64, result: Result<()>) {
        self.changes.complete(token, result);
    }

    fn dial(&self, peer: &NodeInfo) {
        self.want(Wanted::Fresh(peer.clone()));
    }

    fn events(
        &self,
        cache: CacheId,
        partition: u32,
        after: u64,
        upto: WatchPosition,
        events: &[Event],
    ) {
        self.hubs.deliver(cache, partition, after, upto, events);
    }

    fn watch_lost(&self, cache: CacheId, partition: u32) {
        let lost = self.hubs.lose(cache, partition);
        self.counters.watches_lost.add(lost as u64);
    }

    fn notice(&self, notice: Notice) {
        let counters = &self.counters;
        match notice {
            Notice::View(view) => {
                counters.views.add_one();
                let nodes: Vec<&str> = view
                    .nodes
                    .iter()
                    .map(|node| node.consistent_id.as_str())
                    .collect();
                tracing::info!(
                    version = view.version.number,
                    ?nodes,
                    "a view was installed"
                );
                self.hubs.keep_to(&view);
                self.view.store(Arc::clone(&view));
                self.views.send_replace(view);
            }
            Notice::Suspected(peer) => {
                counters.peers_suspected.add_one();
                tracing::warn!(%peer, "a peer is suspected");
            }
            Notice::Failed(peer) => {
                counters.peers_failed.add_one();
                tracing::warn!(%peer, "a peer is held to be dead");
            }
            Notice::CannotForm(error) => {
                tracing::error!(%error, "no cluster can be joined or formed");
                self.end(Life::CannotForm(error));
            }
            Notice::Fenced => {
                counters.fenced.add_one();
                tracing::warn!("serving nothing until the peers have confirmed the view");
            }
            Notice::Unfenced => tracing::info!("serving again"),
            Notice::ClockApart { by } => tell_clock(by),
            Notice::SettingsDiffer { peer, difference } => {
                tracing::warn!(%peer, difference, "not taken in: drop the cache on one side");
            }
            lost @ (Notice::WritesLost { .. } | Notice::Reset { .. } | Notice::Lost { .. }) => {
                note_loss(counters, lost);
            }
            other @ Notice::CopiesDiffered { .. } => tracing::warn!("copies differed: {other:?}"),
            Notice::Left => {
                tracing::info!("left the cluster");
                self.end(Life::Left);
            }
        }
    }
}

/// Something is lost, or given up.
fn note_loss(counters: &Counters, notice: Notice) {
    match notice {
        Notice::WritesLost {
            cache,
            partition,
            at_most,
        } => {
            counters.writes_lost_at_most.add(at_most);
            tracing::warn!(
                cache = cache.0,
                partition,
                at_most,
                "writes may have been lost"
            );
        }
        Notice::Reset { cache, partitions } => {
            counters.partitions_reset.add(partitions);
            tracing::warn!(
                cache = cache.0,
                partitions,
                "lost partitions begin anew, as the settings of the cache have it"
            );
        }
        Notice::Lost {
            cache,
            partition,
            topology,
        } => {
            counters.partitions_lost.add_one();
            tracing::error!(
                cache = cache.0,
                partition,
                topology = topology.number,
                "all owners of a partition are gone"
            );
        }
        _ => {}
    }
}

/// Logs that the clock is apart from those of the peers by so many microseconds, or (0) is not any
/// longer.
fn tell_clock(by: u64) {
    if by == 0 {
        tracing::info!("the clock agrees with those of the peers again");
        return;
    }
    tracing::error!(
        microseconds = by,
        "the clock is apart from those of the peers by more than clock-error-max; this node \
         reports that it does not serve"
    );
}
