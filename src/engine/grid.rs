//! The machines of one node with their locks: membership behind one, each partition behind its
//! own. Synchronous and free of clocks, so that the simulator runs exactly what a node runs.

use super::options::GridOptions;
use super::shell::{ProbeOutcome, Shell};
use crate::error::Result;
use crate::types::message::{CacheChange, Message, WatchPosition};
use crate::types::{CacheId, Member, Monotonic, NodeInfo, Now, Reply, Request, View};
use std::sync::Arc;

/// The engine of one node.
pub struct Grid {
    shell: Arc<dyn Shell>,
    options: GridOptions,
}

impl Grid {
    /// A node that looks for its cluster. `wall` is the wall clock in microseconds since the
    /// Unix epoch, used only where no cluster time is known yet.
    pub fn new(options: GridOptions, seed: u64, shell: Arc<dyn Shell>, mono: Monotonic, wall: u64) -> Self {
        let _ = (seed, mono, wall);
        Self { shell, options }
    }

    /// Both clocks at a moment.
    pub fn now(&self, mono: Monotonic) -> Now { let _ = mono; todo!() }

    /// An endpoint of the address list was probed.
    pub fn on_probe(&self, endpoint: usize, outcome: ProbeOutcome, mono: Monotonic) { let _ = (endpoint, outcome, mono); }

    /// Hello was exchanged with a peer.
    pub fn on_link_up(&self, peer: NodeInfo, mono: Monotonic) { let _ = (peer, mono); }

    /// The connection to a peer ended; `refused`: and its port refuses new ones.
    pub fn on_link_down(&self, peer: Member, refused: bool, mono: Monotonic) { let _ = (peer, refused, mono); }

    /// A message came from a peer.
    pub fn on_message(&self, from: Member, message: Message, mono: Monotonic) { let _ = (from, message, mono); }

    /// Asks for an operation. Answers at once where this node can; otherwise takes a token from
    /// `token` and calls `Shell::complete` with it, at the latest soon after `deadline`.
    pub fn submit(
        &self,
        request: Request,
        deadline: Monotonic,
        mono: Monotonic,
        token: &mut dyn FnMut() -> u64,
    ) -> Option<Result<Reply>> { let _ = (request, deadline, mono, token); None }

    /// Creates or drops a cache; `Shell::cache_changed` is called when every node knows.
    pub fn change_cache(&self, change: CacheChange, token: u64, deadline: Monotonic, mono: Monotonic) { let _ = (change, token, deadline, mono); }

    /// Leaves the cluster in order; `Notice::Left` tells when it is done.
    pub fn leave(&self, mono: Monotonic) { let _ = mono; }

    /// Starts (or goes on) delivering the events of one partition to `Shell::events`: those
    /// behind `after`, or from now on. A position that cannot be resumed leads to
    /// `Shell::watch_lost`.
    pub fn watch(&self, cache: CacheId, partition: u32, after: Option<WatchPosition>, mono: Monotonic) { let _ = (cache, partition, after, mono); }

    /// No watcher of this node needs the partition any longer.
    pub fn unwatch(&self, cache: CacheId, partition: u32) { let _ = (cache, partition); }

    /// The partition of a key (or of its affinity key): xxh3 over the bytes, modulo the number of partitions.
    pub fn partition_of(affinity_key: &[u8], partitions: u32) -> u32 {
        (xxhash_rust::xxh3::xxh3_64(affinity_key) % u64::from(partitions.max(1))) as u32
    }

    /// Everything that is due.
    pub fn on_timeout(&self, mono: Monotonic) { let _ = mono; }

    /// When `on_timeout` wants to be called.
    pub fn next_timeout(&self) -> Option<Monotonic> { None }

    /// The committed view; number 0 before the first.
    pub fn view(&self) -> Arc<View> { todo!() }

    /// Who this node is.
    pub fn me(&self) -> &NodeInfo { &self.options.me }

    /// Whether this node is in a view and not fenced.
    pub fn serving(&self, mono: Monotonic) -> bool { let _ = mono; let _ = &self.shell; false }

    /// Every key of one partition as this node holds it, tombstones included, in key order: for
    /// comparing copies.
    pub fn contents(&self, cache: CacheId, partition: u32) -> Vec<(crate::types::Blob, crate::types::Entry)> { let _ = (cache, partition); Vec::new() }

    /// Panics if a machine contradicts itself. For simulation and debug builds.
    pub fn check_invariants(&self) {}
}
