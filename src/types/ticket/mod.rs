//! Tickets: as callers see them, as the registry stores them, and what can be asked of them.
//!
//! A ticket is an entry of an ordinary cache under its id; the value is a [`TicketRecord`] in the
//! bytes of `stored.rs`. Two kinds of *notes* stand beside tickets in the same caches, under keys
//! that no id may have (`note.rs`): links from a parent to its children, and ended principals.

pub mod note;
pub mod operation;
pub mod record;
pub mod stored;

pub use operation::{TicketErrand, TicketFilter, TicketOperation, TicketsOperation};
pub use record::{Link, TicketRecord};
pub use stored::Stored;

use super::blob::Blob;
use super::time::{ClusterTime, Micros};
use std::collections::BTreeMap;

/// The longest id, in bytes.
pub const ID_BYTES_MAX: usize = 512;

/// How long a ticket lives. Absent: not limited so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expiration {
    /// From creation on, whatever updates come.
    pub max_time_to_live: Option<Micros>,
    /// From the last use or update on.
    pub max_time_to_idle: Option<Micros>,
    /// Gone after so many uses.
    pub max_uses: Option<u32>,
    /// Gone past this point in any case.
    pub hard_expire_at: Option<ClusterTime>,
}

/// A ticket as callers see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    pub id: Blob,
    pub kind: String,
    /// Empty: nobody's.
    pub principal: Blob,
    /// Empty: none.
    pub service: Blob,
    /// Empty: none.
    pub parent_id: Blob,
    /// The session that it descends from; empty: it has no parent.
    pub root_id: Blob,
    pub attributes: BTreeMap<String, Vec<Blob>>,
    /// Absent in an update: as it is.
    pub expiration: Option<Expiration>,
    pub payload: Blob,
    pub version: u64,
    pub created_at: Option<ClusterTime>,
    pub last_used_at: Option<ClusterTime>,
    pub expires_at: Option<ClusterTime>,
    pub uses: u32,
    /// Which life of the id.
    pub incarnation: u64,
}
