//! The heart of a node: the engine, the clock that it is told, and the outside that it acts on.

use super::clock::Clock;
use super::outside::Outside;
use super::probes::Report;
use super::sealing::Sealing;
use super::sessions::Sessions;
use super::stats::Stats;
use super::timer::Timer;
use crate::config::TicketKind;
use crate::engine::Grid;
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::connector::Connector;
use crate::rpc::names::Names;
use crate::rpc::renewal::Renewal;
use crate::types::NodeInfo;
use crate::types::hello::{Hello, NAME_TAKEN};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What every part of a running node shares.
pub(super) struct Core {
    pub(super) grid: Grid,
    pub(super) outside: Arc<Outside>,
    pub(super) clock: Clock,
    pub(super) timer: Timer,
    pub(super) sessions: Sessions,
    pub(super) report: Report,
    /// Its certificates and those of others; absent without TLS.
    pub(super) renewal: Option<Arc<Renewal>>,
    /// What this node says of itself to peers.
    pub(super) hello: Arc<Hello>,
    /// Dials peers apart from the links.
    pub(super) connector: Connector,
    /// Host names as they were last resolved, for links and for what is dialled apart from them.
    pub(super) names: Names,
    /// Keeps the comings and goings of watchers in one order. Taken before the engine's locks
    /// and never under one.
    pub(super) watching: Mutex<()>,
    /// How many events wait for one watcher.
    pub(super) watch_queue_max: usize,
    /// The kinds of tickets, by name.
    pub(super) ticket_kinds: BTreeMap<String, TicketKind>,
    /// What encrypts tickets; absent: they are stored as they come.
    pub(super) sealing: Option<Sealing>,
    /// The memory for entries.
    pub(super) region_bytes_max: u64,
}

impl Core {
    /// To be called after every input to the engine: it may want to be called back earlier now.
    pub(super) fn wake_timer(&self) {
        if let Some(next) = self.grid.next_timeout() {
            self.timer.want(next);
        }
    }

    /// What this node says on a link that begins now.
    pub(super) fn hello(&self) -> Arc<Hello> {
        let view = self.outside.view();
        if view.version.number == 0 {
            return Arc::clone(&self.hello);
        }
        let caches = view.caches.values();
        Arc::new(Hello {
            in_cluster: true,
            caches: caches.map(|cache| cache.settings.clone()).collect(),
            ..Hello::clone(&self.hello)
        })
    }

    /// Whether a peer may have the name that it has. This node keeps its own; of another name, an
    /// older node keeps it that lives at another address: at the same one it was just restarted.
    ///
    /// # Errors
    ///
    /// `FailedPrecondition`, naming both addresses.
    pub(super) fn check_name(&self, peer: &NodeInfo) -> Result<()> {
        let me = self.grid.me();
        let keeper = if peer.member.id == me.member.id {
            Some(me.address.clone())
        } else {
            let older = self.outside.links.older_life(peer.member);
            let elsewhere = older.filter(|older| older.address != peer.address);
            elsewhere.map(|older| older.address)
        };
        let Some(address) = keeper else {
            return Ok(());
        };
        let context = format!(
            "{} is the name of two nodes, at {address} and at {}: give each its own node-name",
            peer.consistent_id, peer.address
        );
        Err(Error::new(ErrorKind::FailedPrecondition, context).because(NAME_TAKEN))
    }

    pub(super) fn leave(&self) {
        self.grid.leave(self.clock.now());
        self.wake_timer();
    }

    pub(super) fn stats(&self) -> Stats {
        let view = self.grid.view();
        let (mut entries, mut tombstones, mut entry_bytes) = (0, 0, 0);
        for cache in view.caches.keys() {
            let sizes = self.grid.sizes(*cache);
            entries += sizes.entries;
            tombstones += sizes.tombstones;
            entry_bytes += sizes.entry_bytes;
        }
        let tally = self.grid.tally();
        let resident = memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem);
        Stats {
            entries,
            tombstones,
            entry_bytes,
            clock_apart: self.grid.clock_apart(),
            copies_compared: tally.compared.get(),
            keys_differed: tally.differed.get(),
            keys_repaired: tally.repaired.get(),
            tombstones_dropped: tally.tombstones_dropped.get(),
            stale_dropped: tally.stale_dropped.get(),
            pieces_sent: tally.pieces.get(),
            pieces_repeated: tally.pieces_repeated.get(),
            pieces_bytes: self.grid.transfer_bytes() as u64,
            resident_bytes: resident as u64,
            region_bytes_max: self.region_bytes_max,
            requests_waiting: self.outside.replies.waiting() as u64,
            links: self.outside.links.count() as u64,
            uptime: self.clock.now().0,
            certificates: self.renewal.as_deref().map(super::certificates::stats),
            ..self.outside.counters.read()
        }
    }
}
