//! Faults that a test plants in the engine, to see a checker catch them. They are chosen for one
//! thread or, in a node that is a process of its own, for all of them; exist in debug builds only;
//! and nothing but a test plants one.

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
    /// Whoever cannot reach a peer holds it dead, though others reach it.
    ForgetOthersReach,
    /// A suspected peer is waited for once more.
    WaitTwice,
    /// A source tells of steps of transactions that its owners had not confirmed.
    TellUnconfirmed,
    /// What a server brings that was out counts, though the memory of removes is gone.
    TrustReturned,
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
    /// What was prepared and is rolled back is carried out.
    ApplyRolledBack,
    /// A transaction commits whatever became of what it read.
    ForgetReads,
    /// A lock is granted while another one's lease runs.
    LendTwice,
    /// The token of a lock counts from what is known of the one before.
    CountTokens,
    /// What a transaction prepares is held though its end has come before.
    PrepareBehindEnd,
    /// Caches that stop in a minority open without waiting for the lease of who is left out.
    OpenAtOnce,
    /// A lease lasts as long as the own settings say, whatever those of the others do.
    OwnLease,
    /// The caches of who joins become those of the view, or end, whatever differs.
    UniteUnlike,
    /// They serve before all servers of a primary view are known to have committed it.
    ServeUnfounded,
    /// They go on in every view.
    MinorityGoesOn,
    /// Half of the last primary view is enough, whoever is its oldest.
    HalfIsEnough,
    /// Who left in order votes for every view without it, in two halves at once.
    LeaversVote,
    /// A view that was acknowledged and not heard of again is forgotten.
    ForgetPrepared,
    /// Moved partitions come without the requests that were answered.
    MoveWithoutRequests,
    /// A merge ends nothing here that was removed there so long ago that it is forgotten.
    MergeOneWay,
    /// A use does not wait for a pending one.
    SpendTwice,
    /// A parent does not note its children.
    OrphanChildren,
    /// Indexes keep terms that a ticket no longer has.
    StaleIndex,
    /// The end of a principal ends nothing.
    ForgetEnded,
    /// Nobody asks whether what a ticket descends from lives.
    TrustAbove,
    /// Watchers are not told that a ticket ended.
    SilentEnds,
    /// The use of a ticket is no access to its session.
    ForgetSession,
    /// What descends from a ticket is not told that its end came nearer.
    KeepBounds,
}

/// All of them.
#[cfg(debug_assertions)]
const ALL: &[Fault] = &[
    Fault::AckBeforeReplicas,
    Fault::ServeWithoutLease,
    Fault::ServePending,
    Fault::ForgetTombstones,
    Fault::UpdateBeatsRemove,
    Fault::SkipRequestIds,
    Fault::ServeExpired,
    Fault::ClockAstray,
    Fault::ForgetTouches,
    Fault::TakeTwice,
    Fault::DropTail,
    Fault::SilentLoss,
    Fault::SkipUpdates,
    Fault::TwoPrimaries,
    Fault::ForgetOthersReach,
    Fault::WaitTwice,
    Fault::TellUnconfirmed,
    Fault::TrustReturned,
    Fault::IgnoreStrangers,
    Fault::WatchGap,
    Fault::KeepNear,
    Fault::LendTwice,
    Fault::CountTokens,
    Fault::OpenAtOnce,
    Fault::OwnLease,
    Fault::UniteUnlike,
    Fault::ServeUnfounded,
    Fault::MinorityGoesOn,
    Fault::HalfIsEnough,
    Fault::LeaversVote,
    Fault::ForgetPrepared,
    Fault::MoveWithoutRequests,
    Fault::MergeOneWay,
    Fault::SpendTwice,
    Fault::OrphanChildren,
    Fault::StaleIndex,
    Fault::ForgetEnded,
    Fault::ReadPrepared,
    Fault::DecideAlone,
    Fault::ApplyRolledBack,
    Fault::ForgetReads,
    Fault::PrepareBehindEnd,
    Fault::TrustAbove,
    Fault::SilentEnds,
    Fault::ForgetSession,
    Fault::KeepBounds,
];

#[cfg(debug_assertions)]
static EVERYWHERE: std::sync::OnceLock<Fault> = std::sync::OnceLock::new();

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

/// Plants the fault of this name on all threads of this process, for as long as it lives. False:
/// there is none of the name, or another one is planted.
#[cfg(debug_assertions)]
pub fn plant_everywhere(name: &str) -> bool {
    let mut all = ALL.iter();
    all.find(|fault| format!("{fault:?}") == name)
        .is_some_and(|fault| EVERYWHERE.set(*fault).is_ok())
}

/// Whether a fault is planted on this thread.
#[inline]
pub(super) fn is(fault: Fault) -> bool {
    #[cfg(debug_assertions)]
    return PLANTED.get() == Some(fault) || EVERYWHERE.get() == Some(&fault);
    #[cfg(not(debug_assertions))]
    {
        let _ = fault;
        false
    }
}
