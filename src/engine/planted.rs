//! Faults that a test plants in the engine, to see a checker catch them. They are chosen for one
//! thread, exist in debug builds only, and nothing but a test plants one.

/// A fault, and what it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A FULL_SYNC write is answered before all owners hold it.
    AckBeforeReplicas,
    /// Reads and acknowledgements do not look at the lease.
    ServeWithoutLease,
    /// A backup shows pending values.
    ServePending,
    /// A remove leaves nothing behind.
    ForgetTombstones,
    /// The merge compares versions before life and death.
    UpdateBeatsRemove,
    /// A repeated request is applied again.
    SkipRequestIds,
    /// Reads do not look at expiry.
    ServeExpired,
    /// Some nodes are ahead of cluster time.
    ClockAstray,
    /// Last accesses are not told to the other owners, nor asked for.
    ForgetTouches,
    /// A remove does not wait for a pending one.
    TakeTwice,
    /// A new primary forgets what is pending.
    DropTail,
    /// Lost writes are not reported.
    SilentLoss,
    /// A backup leaves updates out.
    SkipUpdates,
    /// A node takes itself for the primary of all that it owns.
    TwoPrimaries,
    /// Clusters that meet do not merge.
    IgnoreStrangers,
    /// Events are left out when a watcher resumes.
    WatchGap,
    /// A near copy outlives a write.
    KeepNear,
    /// Reads do not wait for what is prepared.
    ReadPrepared,
    /// A participant that has lost its initiator rolls back without asking.
    DecideAlone,
}

#[cfg(debug_assertions)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Plants a fault on this thread, or removes it. Without effect in release builds.
pub fn plant(fault: Option<Fault>) {
    #[cfg(debug_assertions)]
    PLANTED.set(fault);
    #[cfg(not(debug_assertions))]
    let _ = fault;
}

/// Whether a fault is planted on this thread.
#[inline]
pub(super) fn is(fault: Fault) -> bool {
    #[cfg(debug_assertions)]
    return PLANTED.get() == Some(fault);
    #[cfg(not(debug_assertions))]
    {
        let _ = fault;
        false
    }
}
