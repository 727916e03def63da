//! Proves each checker by planting a fault in the engine and seeing it caught. A fault is planted
//! for the thread of its test only.

use crate::faults::Profile;
use crate::log::Detail;
use crate::plan::Plan;
use crate::run::run_plan;
use embergrid::engine::planted::{Fault, plant};

/// Seeds that are tried until the checker finds the fault.
const SEEDS_MAX: u64 = 40;

/// Plants a fault, and runs seeds from `first` on until one of these checkers (by the beginning
/// of its name) catches it.
fn caught(fault: Fault, profile: Profile, first: u64, checkers: &[&str]) {
    plant(Some(fault));
    let hit = (first..first + SEEDS_MAX).find_map(|seed| {
        let report = run_plan(Plan::of(seed, profile), Detail::Terse);
        let mut found = report.violations().map(|(name, _)| name);
        found
            .find(|name| checkers.iter().any(|checker| name.starts_with(checker)))
            .map(|name| (seed, name))
    });
    plant(None);
    let Some((seed, name)) = hit else {
        panic!("{fault:?} was not caught by {checkers:?} in {SEEDS_MAX} seeds")
    };
    println!("{fault:?} was caught by {name:?} with seed {seed}");
    let sound = run_plan(Plan::of(seed, profile), Detail::Terse);
    let found = sound.violations().find(|(found, _)| *found == name);
    assert_eq!(found, None, "seed {seed} is broken without {fault:?}");
}

macro_rules! faults {
    ($($test:ident: $fault:ident, $profile:ident, $first:literal, [$($checker:literal),+];)*) => {
        $(#[test]
        fn $test() {
            caught(Fault::$fault, Profile::$profile, $first, &[$($checker),+]);
        })*
    };
}

faults! {
    an_early_acknowledgement: AckBeforeReplicas, Undivided, 3, ["7 ", "1 "];
    a_lapsed_lease: ServeWithoutLease, Undivided, 20, ["7 "];
    a_pending_value: ServePending, Undivided, 4, ["7 "];
    a_forgotten_tombstone: ForgetTombstones, Split, 0, ["2 "];
    an_update_that_beats_a_remove: UpdateBeatsRemove, Split, 0, ["3 "];
    a_repeated_request: SkipRequestIds, Undivided, 2, ["8 "];
    an_expired_entry: ServeExpired, Undivided, 4, ["4 "];
    a_clock_astray: ClockAstray, Undivided, 0, ["4 "];
    a_forgotten_touch: ForgetTouches, Undivided, 1, ["5 "];
    a_second_take: TakeTwice, Undivided, 46, ["6 "];
    a_dropped_tail: DropTail, Undivided, 4, ["1 ", "7 ", "9 "];
    a_silent_loss: SilentLoss, Undivided, 37, ["9 "];
    an_update_left_out: SkipUpdates, Undivided, 0, ["10 "];
    two_primaries: TwoPrimaries, Undivided, 0, ["11 "];
    ignored_strangers: IgnoreStrangers, Split, 0, ["12 "];
    ignored_strangers_at_the_start: IgnoreStrangers, Start, 0, ["13 "];
    a_gap_for_watchers: WatchGap, Undivided, 2, ["17 "];
}
