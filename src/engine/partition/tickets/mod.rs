//! Tickets in a partition: what an operation does to one ticket (`evaluate.rs`), what is decided
//! about several entries of one partition (`decide.rs`), what a use does to the session
//! (`access.rs`), what becomes of
//! descendants where a ticket's end comes nearer (`narrow.rs`), and the indexes by which tickets and their descendants are found (`index.rs`).
//!
//! All of it is kept in ordinary entries and changed by ordinary updates, so that replication,
//! fail-over, transfer and merge need nothing of their own for it. The one rule that makes deletes
//! whole, whatever was lost, doubled or came late: **a link whose parent does not live is work to
//! do**. The primary has its children deleted and drops it then, again and again until it is done
//! (`LeftOver::chores`, carried out by `engine/errand.rs`).
//!
//! A ticket knows until when what it descends from lives for certain. Past that it refuses to say
//! anything (`evaluate::UNSURE`) until whoever asks has asked there.
//!
//! Invariants: a child is stored only after its link is with every owner, and at most
//! [`ADOPTION`](crate::types::ticket::note::ADOPTION) later; a ticket that is ending takes no child;
//! the indexes are what a scan of the entries would give.

pub mod access;
pub mod decide;
pub mod evaluate;
pub mod index;
pub mod narrow;
