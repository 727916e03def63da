//! What a transaction of several calls saw and wrote, for the checker: see `writers.rs`.

use crate::clock::Time;
use embergrid::types::transaction::{Concurrency, Isolation};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Committed,
    /// Nothing of it was done: so it was told.
    Aborted,
    Unknown,
}

/// A transaction over lists: it reads them, and appends elements that nobody else does.
#[derive(Clone, Debug)]
pub struct Session {
    pub concurrency: Concurrency,
    pub isolation: Isolation,
    /// The list, and what was seen in it before anything of its own.
    pub reads: Vec<(usize, Vec<u64>)>,
    /// The list, and what was appended.
    pub appends: Vec<(usize, u64)>,
    pub end: End,
    pub invoked: Time,
    pub responded: Time,
    /// It looked at all lists at the end, when nothing disturbs any more.
    pub last: bool,
}

/// Lists that REPEATABLE_READ and SERIALIZABLE transactions write; behind them come those of
/// READ_COMMITTED ones.
pub const STRICT: usize = 6;
