//! What a node counts of itself. Nothing is decided by these numbers.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A counter that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many parts a counter of all threads has.
const PARTS: usize = 16;

/// A counter that every thread raises with every call: in parts, so that processors seldom take
/// its memory from each other.
#[derive(Debug, Default)]
pub struct SpreadCounter([Part; PARTS]);

/// Alone on the memory that processors hand to each other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part(Counter);

impl SpreadCounter {
    /// One more.
    pub fn add_one(&self) {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static PLACE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % PARTS;
        }
        // A thread that ends has no place any more, and any will do.
        let place = PLACE.try_with(|place| *place).unwrap_or_default();
        if let Some(Part(counter)) = self.0.get(place) {
            counter.add_one();
        }
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.iter().map(|Part(counter)| counter.get()).sum()
    }
}

/// The counters of a node.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) requests: SpreadCounter,
    pub(crate) requests_waited: Counter,
    pub(crate) requests_refused: Counter,
    pub(crate) messages_sent: Counter,
    pub(crate) messages_dropped: Counter,
    pub(crate) messages_received: Counter,
    pub(crate) links_opened: Counter,
    pub(crate) links_closed: Counter,
    pub(crate) peers_suspected: Counter,
    pub(crate) peers_failed: Counter,
    pub(crate) views: Counter,
    pub(crate) fenced: Counter,
    pub(crate) writes_lost_at_most: Counter,
    pub(crate) partitions_lost: Counter,
    pub(crate) partitions_reset: Counter,
    pub(crate) primaries_forced: Counter,
    pub(crate) nodes_forgotten: Counter,
    pub(crate) watches_lost: Counter,
}

/// A reading of the counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Operations that were asked of this node.
    pub requests: u64,
    /// Of these, how many could not be answered at once.
    pub requests_waited: u64,
    /// Of these, how many were refused because too many waited.
    pub requests_refused: u64,
    /// Operations that wait for an answer now.
    pub requests_waiting: u64,
    /// Messages queued for peers.
    pub messages_sent: u64,
    /// Messages that had no link, or no room in its queue.
    pub messages_dropped: u64,
    /// Messages that came from peers.
    pub messages_received: u64,
    /// Links that came up.
    pub links_opened: u64,
    /// Links that ended.
    pub links_closed: u64,
    /// Links that are up now.
    pub links: u64,
    /// How often a peer was suspected.
    pub peers_suspected: u64,
    /// How often a peer was held to be dead.
    pub peers_failed: u64,
    /// Views that were installed.
    pub views: u64,
    /// How often this node had to stop serving until its view was confirmed.
    pub fenced: u64,
    /// At most so many writes were lost in caches that do not wait for every owner.
    pub writes_lost_at_most: u64,
    /// How often a partition lost all of its owners.
    pub partitions_lost: u64,
    /// Lost partitions that began anew: because this node was asked for it, or by themselves while
    /// it coordinated.
    pub partitions_reset: u64,
    /// Views that were made primary because this node was asked for it.
    pub primaries_forced: u64,
    /// Servers that are not waited for any longer because this node was asked for it.
    pub nodes_forgotten: u64,
    /// Watches that could not go on.
    pub watches_lost: u64,
    /// Copies that were compared with those of this node, which is the primary of them.
    pub copies_compared: u64,
    /// Keys whose copies differed.
    pub keys_differed: u64,
    /// Of these, how many were sent to where they were missing or old.
    pub keys_repaired: u64,
    /// Tombstones that this node holds now, in all caches.
    pub tombstones: u64,
    /// Tombstones that nobody needed any longer.
    pub tombstones_dropped: u64,
    /// Entries that a merge found to have been removed on the other side.
    pub stale_dropped: u64,
    /// Pieces of partitions that were sent to other nodes, and how many of them again.
    pub pieces_sent: u64,
    pub pieces_repeated: u64,
    /// Bytes of pieces that are under way now.
    pub pieces_bytes: u64,
    /// Entries that this node holds now, in all caches, copies included.
    pub entries: u64,
    /// What they and their tombstones take in memory: keys, values, and a fixed amount for each.
    pub entry_bytes: u64,
    /// Microseconds by which this node's clock is apart from those of its peers, where that is more
    /// than `clock-error-max`; else 0.
    pub clock_apart: u64,
    /// Memory that this process takes now.
    pub resident_bytes: u64,
    /// Memory for entries, as the settings have it.
    pub region_bytes_max: u64,
    /// Microseconds since this node was started.
    pub uptime: u64,
    /// Absent without TLS.
    pub certificates: Option<CertificateStats>,
}

/// Certificates: this node's own and those that others have shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateStats {
    /// Whole days until this node's certificate ends; 0 also where it has ended.
    pub days_left: u64,
    /// How often renewed files were taken into use.
    pub renewed: u64,
    /// How often renewed files were bad, and the old ones stayed in use.
    pub refused: u64,
    /// Connections that were accepted under earlier certificates and still stand.
    pub outdated: u64,
    /// Connections that were refused, by the name of the reason.
    pub connections_refused: Vec<(&'static str, u64)>,
}

impl Counters {
    /// A reading of what only rises; the rest is zero.
    pub fn read(&self) -> Stats {
        Stats {
            requests: self.requests.get(),
            requests_waited: self.requests_waited.get(),
            requests_refused: self.requests_refused.get(),
            messages_sent: self.messages_sent.get(),
            messages_dropped: self.messages_dropped.get(),
            messages_received: self.messages_received.get(),
            links_opened: self.links_opened.get(),
            links_closed: self.links_closed.get(),
            peers_suspected: self.peers_suspected.get(),
            peers_failed: self.peers_failed.get(),
            views: self.views.get(),
            fenced: self.fenced.get(),
            writes_lost_at_most: self.writes_lost_at_most.get(),
            partitions_lost: self.partitions_lost.get(),
            partitions_reset: self.partitions_reset.get(),
            primaries_forced: self.primaries_forced.get(),
            nodes_forgotten: self.nodes_forgotten.get(),
            watches_lost: self.watches_lost.get(),
            ..Stats::default()
        }
    }
}
