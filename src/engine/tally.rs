//! What all partitions of a node share: how fast they may go on together, and what they count.

use crate::types::time::MILLISECOND;
use crate::types::{Micros, Monotonic};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Between two rounds of repair on a node, whatever partitions they are of.
const ROUND_PAUSE: Micros = 5 * MILLISECOND;
/// The most bytes of transfers that a node has sent and that are not acknowledged.
pub const TRANSFER_BYTES_MAX: usize = 32 << 20;

/// Counters that only rise.
#[derive(Debug, Default)]
pub struct Tally {
    /// Copies that were compared with the primary's.
    pub compared: Count,
    /// Keys whose copies differed.
    pub differed: Count,
    /// Of these, how many were sent to where they were missing or old.
    pub repaired: Count,
    /// Tombstones that nobody needs any longer.
    pub tombstones_dropped: Count,
    /// Entries of another history that had been removed here, or here and removed there.
    pub stale_dropped: Count,
    /// Pieces of transfers that were sent, and how many of them again.
    pub pieces: Count,
    pub pieces_repeated: Count,
}

/// One counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// So many more.
    pub fn add(&self, by: usize) {
        self.0.fetch_add(by as u64, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The pace of what goes on in the background.
#[derive(Debug, Default)]
pub struct Pace {
    next_round: AtomicU64,
    transfer_bytes: Arc<AtomicUsize>,
}

impl Pace {
    /// Takes the right to a round of repair.
    ///
    /// # Errors
    ///
    /// When to ask again.
    pub fn round(&self, now: Monotonic) -> Result<(), Monotonic> {
        let taken = self
            .next_round
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                (next <= now.0).then(|| now.after(ROUND_PAUSE).0)
            });
        taken.map(|_| ()).map_err(Monotonic)
    }

    /// A transfer that has nothing under way yet.
    pub fn transfer(&self) -> UnderWay {
        UnderWay {
            all: Arc::clone(&self.transfer_bytes),
            own: 0,
        }
    }

    /// The bytes of transfers that are under way.
    pub fn transfer_bytes(&self) -> usize {
        self.transfer_bytes.load(Ordering::Relaxed)
    }
}

/// What one transfer has under way, of what all of a node may have.
#[derive(Debug)]
pub struct UnderWay {
    all: Arc<AtomicUsize>,
    own: usize,
}

impl UnderWay {
    /// Whether a piece may be cut: the last one may take the sum past the bound.
    pub fn has_room(&self) -> bool {
        self.all.load(Ordering::Relaxed) < TRANSFER_BYTES_MAX
    }

    /// So many more bytes are under way.
    pub fn add(&mut self, bytes: usize) {
        self.all.fetch_add(bytes, Ordering::Relaxed);
        self.own += bytes;
    }

    /// So many less.
    pub fn sub(&mut self, bytes: usize) {
        let bytes = bytes.min(self.own);
        self.all.fetch_sub(bytes, Ordering::Relaxed);
        self.own -= bytes;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.sub(self.own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_keep_their_distance() {
        let pace = Pace::default();
        assert_eq!(pace.round(Monotonic(100)), Ok(()));
        let next = Monotonic(100 + ROUND_PAUSE);
        assert_eq!(pace.round(Monotonic(101)), Err(next));
        assert_eq!(pace.round(next), Ok(()));
    }

    #[test]
    fn transfers_share_their_room_and_give_it_back() {
        let pace = Pace::default();
        let mut one = pace.transfer();
        let mut other = pace.transfer();
        one.add(TRANSFER_BYTES_MAX - 1);
        assert!(other.has_room());
        other.add(2);
        assert!(!one.has_room() && !other.has_room());
        drop(one);
        assert!(other.has_room());
        other.sub(5);
        assert_eq!(pace.transfer_bytes(), 0);
    }
}
