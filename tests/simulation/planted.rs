//! Proves each checker by planting a fault in the engine and seeing it caught.
//!
//! The engine's hook is thread-local, so that runs on other threads stay clean:
//!
//! ```text
//! pub mod planted {
//!     pub enum Fault {
//!         AckBeforeReplicas, // a FULL_SYNC write is answered before all owners hold it   → 1, 7
//!         ServeWithoutLease, // reads and acknowledgements do not look at the lease       → 7
//!         ServePending,      // a backup answers with a pending value                     → 7
//!         ForgetTombstones,  // a remove leaves nothing behind                            → 2, 3
//!         UpdateBeatsRemove, // the merge compares versions before life and death         → 3
//!         SkipRequestIds,    // a repeated id is applied again                            → 8
//!         ServeExpired,      // expiry is not looked at by reads                          → 4
//!         WallClockExpiry,   // cluster time follows the wall clock                       → 4
//!         ForgetTouches,     // touches are not sent to the other owners                  → 5
//!         TakeTwice,         // take does not wait for a pending remove                   → 6, 7
//!         DropTail,          // a new primary forgets what is pending                     → 1, 7, 9
//!         SilentLoss,        // WritesLost is not noticed                                 → 9
//!         SkipRepair,        // a gap in the stream is passed over                        → 10
//!         TwoPrimaries,      // a node takes itself for primary at the same version       → 11
//!         IgnoreStrangers,   // clusters that meet do not merge                           → 12, 13
//!         WatchGap,          // events of a fail-over are left out                        → 17
//!     }
//!     pub fn plant(fault: Option<Fault>);
//!     pub fn is(fault: Fault) -> bool; // always false in release builds
//! }
//! ```
