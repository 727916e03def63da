//! Proves each checker by planting a fault in the engine and seeing it caught, in a run that is
//! sound without it. A fault is planted for the thread of its test only, and in debug builds only:
//! so this file is part of them alone. Plans are short and busy, made for what the fault breaks,
//! so that few seeds are needed whatever else changes.

use crate::checkers::equal_copies;
use crate::clock::{MS, SECOND, Time};
use crate::faults::{FaultKind, Profile};
use crate::log::Detail;
use crate::plan::Plan;
use crate::run::{Report, run_plan};
use crate::script::Planted;
use crate::world::World;
use embergrid::engine::planted::Fault;
use embergrid::types::Reply;

/// Seeds that are tried until the checker finds the fault.
const SEEDS_MAX: u64 = 60;

fn run_with(fault: Fault, plan: Plan) -> Report {
    let _planted = Planted::new(fault);
    run_plan(plan, Detail::Terse)
}

/// Runs seeds from `first` on, with a fault, until one of these checkers (by the beginning of its
/// name) catches it, and does not find the same without it.
fn caught(fault: Fault, plan: fn(u64) -> Plan, first: u64, checkers: &[&str]) {
    let names = |report: &Report| -> Vec<&'static str> {
        let found = report.violations().map(|(name, _)| name);
        found
            .filter(|name| checkers.iter().any(|checker| name.starts_with(checker)))
            .collect()
    };
    for seed in first..first + SEEDS_MAX {
        let report = run_with(fault, plan(seed));
        let found = names(&report);
        let Some(name) = found.first() else {
            continue;
        };
        let sound = run_plan(plan(seed), Detail::Terse);
        if names(&sound).contains(name) {
            println!("{fault:?}: seed {seed} is broken for {name:?} without it");
            continue;
        }
        println!("{fault:?} was caught by {name:?} with seed {seed}");
        return;
    }
    panic!("{fault:?} was not caught by {checkers:?} in {SEEDS_MAX} seeds");
}

/// A short run with many clients.
fn short(seed: u64, profile: Profile, nodes: usize, faults: Vec<(Time, FaultKind)>) -> Plan {
    let mut plan = Plan::of(seed, profile);
    plan.nodes = nodes;
    plan.client_nodes = 0;
    plan.without_stopping();
    plan.two_versions = false;
    plan.unequal = None;
    plan.ticket_percent = 0;
    plan.starts = vec![0; nodes];
    plan.faults = faults;
    plan.clients = 6;
    plan.think = 30 * MS;
    plan.faults_end = 14 * SECOND;
    plan.clients_end = 18 * SECOND;
    plan.compare = 24 * SECOND;
    plan.end = 27 * SECOND;
    plan
}

/// Faults one after the other, again and again.
fn turns(kinds: &[FaultKind], gap: Time) -> Vec<(Time, FaultKind)> {
    let turns = kinds.iter().cycle().zip(0..10);
    turns
        .map(|(kind, place)| (4 * SECOND + place * gap, *kind))
        .collect()
}

/// What the profile draws, in full length.
fn drawn(seed: u64) -> Plan {
    Plan::of(seed, Profile::Undivided)
}

/// Primaries die while messages are late or lost.
fn crashes(seed: u64) -> Plan {
    use FaultKind::{Crash, Delay, Loss};
    let faults = turns(&[Delay, Crash, Loss, Crash], SECOND);
    short(seed, Profile::Undivided, 4, faults)
}

/// One crash, and an early end: for what shows at once, and has nodes send without end.
fn one_crash(seed: u64) -> Plan {
    let faults = vec![(2 * SECOND, FaultKind::Crash)];
    let mut plan = short(seed, Profile::Undivided, 4, faults);
    plan.faults_end = 3 * SECOND;
    plan.clients_end = 3 * SECOND;
    plan.compare = 3 * SECOND + 500 * MS;
    plan.end = 4 * SECOND;
    plan
}

/// Primaries die, and owners do not compare what they hold.
fn crashes_uncompared(seed: u64) -> Plan {
    Plan {
        compare_interval: None,
        ..crashes(seed)
    }
}

/// Messages are late, and nobody dies: much is pending at any time.
fn slow(seed: u64) -> Plan {
    let mut plan = short(
        seed,
        Profile::Undivided,
        3,
        turns(&[FaultKind::Delay], 900 * MS),
    );
    plan.clients = 12;
    plan.think = 10 * MS;
    plan
}

/// The same with fewer clients, and tickets alone.
fn slow_tickets(seed: u64) -> Plan {
    let faults = turns(&[FaultKind::Delay], 900 * MS);
    let mut plan = short(seed, Profile::Undivided, 3, faults);
    plan.ticket_percent = 100;
    plan
}

/// A few clients that come back to a session after a while.
fn unhurried_tickets(seed: u64) -> Plan {
    let mut plan = slow_tickets(seed);
    plan.clients = 2;
    plan.think = 300 * MS;
    plan
}

/// Nodes stand still, and with them the ends of the tickets that they lead, while others go on.
fn paused_tickets(seed: u64) -> Plan {
    let mut plan = pauses(seed);
    plan.ticket_percent = 100;
    plan.clients = 8;
    plan
}

/// Primaries die with much on its way to the other owners.
fn busy_crashes(seed: u64) -> Plan {
    let faults = turns(&[FaultKind::Delay, FaultKind::Crash], SECOND);
    let mut plan = short(seed, Profile::Undivided, 4, faults);
    plan.clients = 16;
    plan.think = 5 * MS;
    plan
}

/// The same, with locks.
fn crashed_locks(seed: u64) -> Plan {
    let mut plan = crashes(seed);
    plan.with_locks();
    plan
}

/// Nodes stand still for longer than their lease.
fn pauses(seed: u64) -> Plan {
    let faults = turns(&[FaultKind::Pause], 1200 * MS);
    short(seed, Profile::Undivided, 3, faults)
}

/// One cut, in which the clients fall silent before it heals.
fn split(seed: u64) -> Plan {
    let faults = vec![(5 * SECOND, FaultKind::SplitHalf)];
    let mut plan = short(seed, Profile::Split, 4, faults);
    // Shortly after each half has noticed: what lived before is removed or changed, and not yet both.
    plan.clients_end = 8 * SECOND;
    plan
}

/// Two halves of a cluster that start apart and meet.
fn meeting(seed: u64) -> Plan {
    let faults = vec![(0, FaultKind::SplitHalf), (3 * SECOND, FaultKind::Heal)];
    short(seed, Profile::Start, 4, faults)
}

/// Links break between some of the nodes while all of them reach others, again and again.
fn overlaps(seed: u64) -> Plan {
    use FaultKind::{Heal, LinkReset, Overlap};
    let faults = turns(&[Overlap, Overlap, LinkReset, Heal], 900 * MS);
    let mut plan = short(seed, Profile::Split, 4, faults);
    plan.with_stopping();
    plan.clients = 12;
    plan.think = 10 * MS;
    plan
}

/// One is cut off, again and again, among servers that know their number and have leases of two lengths.
fn unequal(seed: u64) -> Plan {
    let faults = turns(&[FaultKind::SplitOne, FaultKind::Heal], 6 * SECOND);
    let mut plan = short(seed, Profile::Split, 3, faults);
    plan.with_stopping();
    plan.unequal = Some((8 * SECOND, 6 * SECOND));
    plan.clients = 12;
    plan
}

/// Half against half, again and again, among servers that know their number.
fn halves(seed: u64) -> Plan {
    let faults = turns(&[FaultKind::SplitHalf, FaultKind::Heal], 3 * SECOND);
    let mut plan = short(seed, Profile::Split, 4, faults);
    plan.with_stopping();
    plan
}

macro_rules! faults {
    ($($test:ident: $fault:ident, $plan:ident, $first:literal, [$($checker:literal),+];)*) => {
        $(#[test]
        fn $test() {
            caught(Fault::$fault, $plan, $first, &[$($checker),+]);
        })*
    };
}

// By test: the fault, the plan, the first seed that is tried, and who must see it.
faults! {
    an_early_acknowledgement: AckBeforeReplicas, crashes, 0, ["1 ", "7 "];
    a_lapsed_lease: ServeWithoutLease, pauses, 5, ["7 "];
    a_pending_value: ServePending, slow, 0, ["7 "];
    a_forgotten_tombstone: ForgetTombstones, crashes, 0, ["2 "];
    an_update_that_beats_a_remove: UpdateBeatsRemove, split, 17, ["3 "];
    a_repeated_request: SkipRequestIds, crashes, 0, ["8 "];
    an_expired_entry: ServeExpired, pauses, 0, ["4 "];
    a_clock_astray: ClockAstray, crashes, 0, ["4 "];
    a_forgotten_touch: ForgetTouches, drawn, 1, ["5 "];
    a_second_take: TakeTwice, slow, 0, ["6 "];
    a_dropped_tail: DropTail, crashes, 29, ["1 ", "7 "];
    a_silent_loss: SilentLoss, busy_crashes, 31, ["9 "];
    an_update_left_out: SkipUpdates, crashes_uncompared, 0, ["10 "];
    an_update_left_out_before_verify: SkipUpdates, crashes_uncompared, 0, ["10b "];
    an_update_left_out_before_a_comparison: SkipUpdates, crashes, 0, ["10a "];
    two_primaries: TwoPrimaries, one_crash, 0, ["11 "];
    ignored_strangers: IgnoreStrangers, split, 0, ["12 "];
    ignored_strangers_at_the_start: IgnoreStrangers, meeting, 0, ["13 "];
    a_kept_near_copy: KeepNear, slow, 0, ["7 "];
    reads_that_commit_forgets: ForgetReads, slow, 0, ["25 "];
    a_read_of_what_is_prepared: ReadPrepared, slow, 0, ["24 "];
    a_rollback_that_is_carried_out: ApplyRolledBack, slow, 0, ["25 "];
    a_gap_for_watchers: WatchGap, crashes, 9, ["17 "];
    a_majority_that_does_not_wait: OpenAtOnce, overlaps, 0, ["7 ", "11 "];
    a_lease_that_is_longer_than_theirs: OwnLease, unequal, 0, ["7 ", "11 "];
    a_minority_that_goes_on: MinorityGoesOn, halves, 0, ["1 ", "7 "];
    two_halves_that_are_primary: HalfIsEnough, halves, 0, ["1 ", "7 ", "11 "];
    a_second_last_use: SpendTwice, slow_tickets, 0, ["tickets"];
    a_child_without_a_link: OrphanChildren, slow_tickets, 0, ["tickets"];
    an_index_out_of_date: StaleIndex, slow_tickets, 0, ["tickets looked up"];
    a_principal_that_goes_on: ForgetEnded, slow_tickets, 0, ["tickets"];
    a_ticket_past_its_time: ServeExpired, paused_tickets, 27, ["4 tickets"];
    a_ticket_whose_session_was_idle: TrustAbove, paused_tickets, 11, ["5 tickets"];
    a_lock_that_is_lent_twice: LendTwice, crashed_locks, 0, ["26 "];
    a_token_that_begins_anew: CountTokens, crashed_locks, 0, ["26 "];
    a_use_that_is_no_access: ForgetSession, unhurried_tickets, 0, ["4 tickets"];
    a_session_cut_short_unsaid: KeepBounds, paused_tickets, 4, ["4 tickets", "5 tickets"];
    an_end_that_nobody_is_told: SilentEnds, slow_tickets, 0, ["17 tickets"];
}

/// What a fault made different is found by the comparison in the background and mended, so that
/// the copies are equal once the fault is gone: while it lasts it spoils repairs as well.
#[test]
fn copies_that_differ_are_repaired() {
    for seed in 0..3 {
        let planted = Planted::new(Fault::SkipUpdates);
        let mut plan = crashes(seed);
        // Copies have ten seconds to become equal.
        plan.compare = plan.clients_end + 10 * SECOND;
        plan.end = plan.compare + 3 * SECOND;
        let mut world = World::new(plan, Detail::Terse);
        world.run_until(world.plan.clients_end);
        drop(planted);
        world.run_until(world.plan.compare);
        let processes = world.nodes.iter().filter_map(|node| node.process.as_ref());
        let repaired: u64 = processes
            .map(|process| process.grid.tally().repaired.get())
            .sum();
        world.record.copies = world.collect_copies();
        let found = equal_copies::check(&world.record);
        assert!(repaired > 0, "seed {seed}: the fault did nothing");
        assert_eq!(found.violations, Vec::<String>::new(), "seed {seed}");
    }
}

/// Who asks is told of each key that differs, and has it repaired.
#[test]
fn verify_finds_and_repairs() {
    let planted = Planted::new(Fault::SkipUpdates);
    let mut world = World::new(crashes_uncompared(0), Detail::Terse);
    world.run_until(world.plan.compare);
    drop(planted);
    let equal = |world: &mut World| {
        world.record.copies = world.collect_copies();
        equal_copies::equal(&world.record)
    };
    assert!(!equal(&mut world), "the fault did nothing");
    let told = |world: &mut World, repair| {
        let before = world.record.history.calls.len();
        world.verify_everything(repair);
        world.run_until(world.now + 4 * SECOND);
        let calls = &world.record.history.calls[before..];
        let counts = calls.iter().map(|call| match call.reply() {
            Some(Reply::Verified(verified)) => {
                assert_eq!(verified.some.is_empty(), verified.keys == 0);
                (verified.keys, verified.repaired)
            }
            other => panic!("{other:?} is no answer to {:?}", call.request),
        });
        counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    let (differing, repaired) = told(&mut world, false);
    assert!(differing > 0 && repaired == 0 && !equal(&mut world));
    // Some may have ended by time meanwhile.
    let (found, repaired) = told(&mut world, true);
    assert!((1..=differing).contains(&found) && repaired == found);
    assert_eq!(told(&mut world, false), (0, 0));
    assert!(equal(&mut world));
    assert_eq!(world.broken, Vec::<String>::new());
}
