//! Proves that the harness can catch: nodes with a fault planted in their engine, and the checker
//! that sees it. In debug builds only: no other program has the faults.

use crate::faults::{FaultKind, Profile};
use crate::node::PLANTED;
use crate::run::{Plan, run};
use crate::stage::on_best_ground;
use std::time::Duration;

/// Runs that are tried until a checker finds the fault.
const TRIES: u64 = 10;

/// A fault, what meets it, and who must see it.
struct Case(
    &'static str,
    Profile,
    &'static [FaultKind],
    &'static [&'static str],
);

use FaultKind::{Crash, Pause, SplitHalf, SplitOne};

/// What needs nothing but users to be seen, so that one run will do.
const SURE: &[Case] = &[
    Case("SkipRequestIds", Profile::Undivided, &[], &["8 ", "7 "]),
    Case("SkipUpdates", Profile::Undivided, &[], &["10 "]),
];

/// What needs a fault at the right moment: tried where `EMBERGRID_PLANT` names it, or says `all`.
const REST: &[Case] = &[
    Case(
        "TakeTwice",
        Profile::Undivided,
        &[FaultKind::BadWires],
        &["6 ", "7 "],
    ),
    Case(
        "ServePending",
        Profile::Undivided,
        &[FaultKind::BadWires, FaultKind::BadWires],
        &["7 "],
    ),
    Case(
        "ForgetTombstones",
        Profile::Split,
        &[SplitHalf, SplitOne],
        &["2 ", "3 "],
    ),
    Case(
        "UpdateBeatsRemove",
        Profile::Split,
        &[SplitHalf, SplitOne],
        &["3 "],
    ),
    Case(
        "AckBeforeReplicas",
        Profile::Undivided,
        &[Crash, Crash],
        &["1 ", "7 "],
    ),
    Case(
        "ServeWithoutLease",
        Profile::Undivided,
        &[Pause, Pause],
        &["7 "],
    ),
];

#[test]
fn planted_faults_are_caught() {
    on_best_ground("planted::planted_faults_are_caught", |ground| {
        let wanted = std::env::var("EMBERGRID_PLANT").unwrap_or_default();
        let cases = SURE.iter().map(|case| (case, true));
        for (case, sure) in cases.chain(REST.iter().map(|case| (case, false))) {
            let Case(fault, profile, kinds, checkers) = case;
            let all = wanted == "all" || wanted.is_empty() && sure;
            if !all && wanted != *fault {
                continue;
            }
            let caught = (0..TRIES).find(|seed| {
                let mut plan = Plan::sample(*seed, *profile);
                plan.kinds = kinds.to_vec();
                plan.environment = Some((PLANTED, (*fault).to_owned()));
                plan.workers = 12;
                plan.think = Duration::from_millis(4);
                plan.spans.least = Duration::from_millis(1_500);
                plan.spans.most = Duration::from_secs(3);
                plan.afterwards = Duration::from_secs(2);
                plan.patience = Duration::from_secs(1);
                let report = run(plan, ground);
                report.count(checkers) > 0
            });
            match caught {
                Some(tries) => println!("{fault} was caught by {checkers:?} in run {tries}"),
                None => panic!("{fault} was not caught by {checkers:?} in {TRIES} runs"),
            }
        }
    });
}
