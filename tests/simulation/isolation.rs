//! What each isolation level lets through: anomalies are looked for in the lists of each, found at none
//! that excludes them, and found where they are allowed, so that the search is known to work. The table
//! of README stands on this.

use crate::checkers::serial::{Anomaly, anomalies};
use crate::faults::Profile;
use crate::log::Detail;
use crate::plan::Plan;
use crate::run::run_plan;
use crate::session::{End, STRICT};
use embergrid::types::transaction::Concurrency;
use std::collections::{BTreeMap, BTreeSet};

/// Runs of each kind that are looked through.
const SEEDS: u64 = 3;
/// So many that they meet all the time.
const WRITERS: usize = 10;
/// What READ_COMMITTED lets through, whoever writes.
const ALLOWED: [&str; 2] = ["G-single: read skew", "G2: write skew"];
/// The same where locks are taken at commit only: by `Modify` too.
const LOST: &str = "lost update";

/// A run in which many write the lists, with faults or without any.
fn plan(seed: u64, locking: Option<Concurrency>, faults: bool) -> Plan {
    let mut plan = Plan::of(seed, Profile::Undivided);
    plan.two_versions = false;
    plan.clients = 1;
    plan.writers = WRITERS;
    plan.writers_lock = locking;
    if !faults {
        plan.faults = Vec::new();
    }
    plan
}

/// In how many runs each anomaly was found, in the lists of REPEATABLE_READ and SERIALIZABLE (which are
/// one and the same, so their transactions share them) and in those of READ_COMMITTED.
fn found(plans: impl Iterator<Item = Plan>) -> BTreeMap<(bool, &'static str), u64> {
    let mut found = BTreeMap::new();
    let mut judged = 0;
    let mut wrote = BTreeSet::new();
    for plan in plans {
        let report = run_plan(plan, Detail::Terse);
        let violations: Vec<_> = report.violations().collect();
        assert!(
            violations.is_empty(),
            "seed {}: {violations:?}",
            report.seed
        );
        let bank = &report.record.bank;
        if bank.is_empty() || !bank.iter().all(|cache| report.record.undivided(*cache)) {
            continue;
        }
        judged += 1;
        let sessions = &report.record.sessions;
        let committed = sessions
            .iter()
            .filter(|one| one.end == End::Committed && !one.last);
        wrote.extend(committed.map(|one| (one.isolation, one.concurrency)));
        for strict in [true, false] {
            let of = |list: usize| (list < STRICT) == strict;
            let all = anomalies(sessions, of);
            let names: BTreeSet<_> = all.iter().map(Anomaly::name).collect();
            for name in names {
                *found.entry((strict, name)).or_default() += 1;
            }
        }
    }
    let levels: BTreeSet<_> = wrote.iter().map(|(isolation, _)| isolation).collect();
    assert_eq!(levels.len(), 3, "of {judged} runs: {wrote:?}");
    for ((strict, name), count) in &found {
        let level = if *strict {
            "REPEATABLE_READ, SERIALIZABLE"
        } else {
            "READ_COMMITTED"
        };
        println!("{level}: {name} in {count} of {judged} runs");
    }
    found
}

#[test]
fn anomalies_are_found_where_they_are_allowed_and_nowhere_else() {
    let plans = (0..2 * SEEDS).map(|seed| plan(seed, None, seed >= SEEDS));
    let found = found(plans);
    let allowed = [ALLOWED[0], ALLOWED[1], LOST].map(|name| (false, name));
    is_just(&found, &allowed);
}

#[test]
fn who_locks_what_it_modifies_loses_no_update_at_any_level() {
    let pessimistic = Some(Concurrency::Pessimistic);
    let plans = (0..2 * SEEDS).map(|seed| plan(seed, pessimistic, seed >= SEEDS));
    let found = found(plans);
    let allowed = ALLOWED.map(|name| (false, name));
    is_just(&found, &allowed);
}

/// All that is allowed is found, and nothing else.
fn is_just(found: &BTreeMap<(bool, &'static str), u64>, allowed: &[(bool, &'static str)]) {
    let found: BTreeSet<_> = found.keys().copied().collect();
    assert_eq!(found, allowed.iter().copied().collect());
}
