//! Whole clusters of engines under seeded faults, in one thread each, thousands of times faster
//! than real time.
//!
//! `cargo test --test simulation` runs a sample; `EMBERGRID_SEEDS=2000` runs that many seeds;
//! `EMBERGRID_SEED=17` replays one of them with every event printed.

mod absence;
mod bank;
mod caches;
mod checkers;
mod clients;
mod clock;
mod contention;
mod crash_points;
mod cuts;
mod deal;
mod ended;
mod faults;
mod forced;
mod founding;
mod history;
mod isolation;
mod linearizability;
mod loan;
mod lockers;
mod log;
mod machine;
mod network;
mod partial;
mod plan;
#[cfg(debug_assertions)]
mod planted;
mod probing;
mod record;
mod repeated;
mod rng;
mod run;
mod sampling;
mod script;
mod session;
mod shell;
mod tickets;
mod totals;
mod unlike;
mod watching;
mod workload;
mod world;
mod writers;

use log::Detail;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use totals::Totals;

/// Seeds of the sample.
const SAMPLE: u64 = 40;
/// Each world has one thread; so many worlds run at a time.
const THREADS: usize = 2;
/// After so many broken seeds the rest is not tried.
const BROKEN_MAX: usize = 10;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .and_then(|text| text.trim().parse().ok())
}

#[test]
fn promises_hold_under_faults() {
    if let Some(seed) = setting("EMBERGRID_SEED") {
        let report = run::run(seed, Detail::Print);
        let mut totals = Totals::default();
        totals.add(&report);
        println!("{totals}");
        assert!(totals.broken.is_empty(), "seed {seed} is broken");
        return;
    }
    let seeds = setting("EMBERGRID_SEEDS").unwrap_or(SAMPLE);
    let first = setting("EMBERGRID_FIRST").unwrap_or(0);
    let next = AtomicU64::new(first);
    let totals = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let enough = totals.lock().unwrap().broken.len() >= BROKEN_MAX;
                    if seed >= first + seeds || enough {
                        return;
                    }
                    let report = run::run(seed, Detail::Terse);
                    totals.lock().unwrap().add(&report);
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap();
    println!("{totals}");
    assert!(
        totals.broken.is_empty(),
        "{} seeds are broken",
        totals.broken.len()
    );
}

/// Seeds that found something, and what they taught.
const TAUGHT: &[(u64, &str)] = &[
    (
        45,
        "an owner to be that has loaded counts as up to date in the view in which others still load",
    ),
    (96, "the same with a copy on every server"),
    (
        56,
        "the end of a principal leaves its tickets that are ending, also where it was known first",
    ),
    (
        35,
        "what ended by its time while a server stood still does not begin again by its return",
    ),
    (
        17,
        "what ends in a cluster that formed apart, by a server that began anew, nobody waits for",
    ),
    (
        243,
        "a cluster that formed apart knows nothing of the moment at which all others were whole",
    ),
    (
        98,
        "the same where two servers are all, for what is written there",
    ),
    (
        157,
        "a copy stays as it was told to who proposes a view until that comes, merged or not",
    ),
    (
        782,
        "what a cluster agreed on before a copy came to it says nothing of what that copy knows",
    ),
    (
        213,
        "a watcher that stood in another history subscribes anew when the histories meet",
    ),
    (
        1768,
        "who left in order votes for neither half: a vote for both made two primary views",
    ),
    (
        880,
        "a view of one's own that was given up is not waited for: who was to be in it may be gone",
    ),
    (
        1171,
        "a child that registers while its parent is spent goes on as the others do",
    ),
    (
        10_028,
        "a node that seeks a cluster asks nobody who fell silent to take it in, however large that one's was",
    ),
    (
        10_124,
        "who takes the locks in the end waits for none whose lease was granted late",
    ),
    (
        10_704,
        "an owner that acknowledged the first primary view and never heard of it holds what began there",
    ),
    (
        1756,
        "keys of a transaction whose record was lost with another cache wait for it: no checker may ask more",
    ),
    (
        3875,
        "nobody makes what is there primary by force while a primary server stands still",
    ),
    (
        40,
        "an end that an update brought nearer leaves a tombstone while a server is out",
    ),
    (28, "the same in half of a cluster"),
    (
        31,
        "what descends from a session that an update ended at once is told so as well",
    ),
    (
        2028,
        "a read in a minority that may be old still tells its client which value a version names",
    ),
    (
        2700,
        "the end of a principal finishes the delete of its session that somebody began and gave up",
    ),
    (3174, "the same where nodes start at the same time"),
    (
        6256,
        "what was prepared at a primary that was left out, and told to nobody, is not prepared elsewhere",
    ),
    (
        9457,
        "a session that was lost with its partition takes nothing with it",
    ),
    (
        7856,
        "a second copy of a request does not do what the first one was refused, and so spends no ticket",
    ),
    (
        7101,
        "what came behind the view without a server that stands still was that one's as well",
    ),
    (
        6175,
        "what is being sent to an owner to be moves with the cluster's clock, as what is stored does",
    ),
];

#[test]
fn what_seeds_taught_is_not_forgotten() {
    for (seed, lesson) in TAUGHT {
        let report = run::run(*seed, Detail::Terse);
        let violations: Vec<_> = report.violations().collect();
        assert!(
            violations.is_empty(),
            "seed {seed} ({lesson}): {violations:?}"
        );
    }
}

/// Promise 23: the same seed gives the same history, to the last byte of the last message.
#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [0, 2, 4] {
        let [one, other] = [(); 2].map(|()| run::run(seed, Detail::Full).record);
        assert_eq!(
            (one.hash, one.events),
            (other.hash, other.events),
            "seed {seed}"
        );
    }
}
