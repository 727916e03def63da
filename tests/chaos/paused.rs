//! A node stands still under load: others wait once, and when it goes on it serves nothing stale and
//! rejoins without overwriting what is newer. `EMBERGRID_PAUSE` sets for how many seconds (30 for
//! the bar; a short one without it).

use crate::clock::{MS, Time};
use crate::faults::{FaultKind, Profile};
use crate::history::Outcome;
use crate::run::{Plan, Report, run};
use crate::setting;
use crate::stage::on_best_ground;
use crate::table::Table;
use std::time::Duration;

#[test]
fn a_node_that_stood_still_serves_nothing_stale() {
    on_best_ground(
        "paused::a_node_that_stood_still_serves_nothing_stale",
        |ground| {
            let mut plan = Plan::sample(2, Profile::Undivided);
            plan.kinds = vec![FaultKind::Pause];
            plan.workers = 12;
            if let Some(seconds) = setting("EMBERGRID_PAUSE") {
                plan.ack_timeout = Duration::from_secs(2);
                plan.spans.pause = Duration::from_secs(seconds);
            }
            plan.spans.pause_least = plan.spans.pause;
            let report = run(plan, ground);
            let mut table = Table::default();
            table.add(&report);
            tell(&report);
            assert_eq!(table.broken, 0, "the run is broken");
        },
    );
}

/// How long calls at the other nodes took while one stood still.
fn tell(report: &Report) {
    let (from, until, paused) = report.record.pauses[0];
    let calls = report.record.history.calls.iter();
    let during: Vec<(Time, Time, bool)> = calls
        .filter(|call| call.node != paused && call.invoked < until && call.responded > from)
        .map(|call| {
            let answered = matches!(call.outcome, Outcome::Ok(_));
            (call.invoked, call.responded, answered)
        })
        .collect();
    let long = |(invoked, responded, _): &&(Time, Time, bool)| responded - invoked > 500 * MS;
    let longest = during.iter().filter(|call| call.1 < Time::MAX);
    let longest = longest.map(|call| call.1 - call.0).max().unwrap_or(0);
    let last_long = during
        .iter()
        .filter(long)
        .map(|call| call.0 - call.0.min(from))
        .max();
    println!(
        "a node stood still for {} ms: {} calls at the others meanwhile, {} answered; the longest \
         took {} ms; {} took more than 500 ms, the last of them begun {} ms after the pause began",
        (until - from) / MS,
        during.len(),
        during.iter().filter(|call| call.2).count(),
        longest / MS,
        during.iter().filter(long).count(),
        last_long.unwrap_or(0) / MS,
    );
}
