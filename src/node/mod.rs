//! A running node: it starts and stops the parts, feeds the engine and performs its effects, and
//! owns the one clock. The only place where engine, storage and rpc meet; what is decided is
//! decided in the engine, what is spoken is spoken in rpc.

mod certificates;
mod clock;
mod control;
mod core;
mod dialer;
mod embedded;
mod handle;
mod links;
mod listen;
mod locks;
mod memory;
mod outside;
mod pending;
mod priority;
mod probes;
mod reach;
mod sealing;
mod sessions;
mod start;
mod stats;
mod tickets;
mod timer;
mod watch;

pub use embedded::EmbeddedCache;
pub use handle::{Begun, Handle, Waiting, Watch};
pub use sessions::PeerSession;
pub use start::Node;
pub use stats::{CertificateStats, Stats};
pub use tickets::{ListPlace, Tickets, Wanted};
pub use watch::WatchItem;

/// Faults that tests plant, in debug builds only.
#[cfg(debug_assertions)]
pub use crate::engine::planted::plant_everywhere;
