//! A node stands still under load: others wait once, and when it goes on it serves nothing stale and
//! rejoins without overwriting what is newer. `EMBERGRID_PAUSE` sets for how many seconds (30 for
//! the bar; a short one without it).

use crate::clock::{MS, Time};
use crate::faults::{FaultKind, Profile};
use crate::history::Call;
use crate::run::{Plan, Report, run};
use crate::setting;
use crate::stage::on_best_ground;
use crate::table::Table;
use std::time::Duration;

/// A call that waited.
const LONG: Time = 500 * MS;

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

/// How long calls at the other nodes took that were begun while one stood still.
fn tell(report: &Report) {
    let (from, until, paused) = report.record.pauses[0];
    let calls: Vec<&Call> = report
        .calls
        .iter()
        .filter(|call| call.node != paused && call.invoked >= from && call.invoked < until)
        .collect();
    let answered = calls.iter().filter(|call| call.reply().is_some());
    let took = |call: &Call| call.responded - call.invoked;
    let ended = || calls.iter().filter(|call| call.responded < Time::MAX);
    let long: Vec<&&Call> = ended().filter(|call| took(call) > LONG).collect();
    let last_long = long.iter().map(|call| call.invoked - from).max();
    println!(
        "a node stood still for {} ms: {} calls at others meanwhile, {} answered; the longest took \
         {} ms; {} took more than {} ms, the last of them begun {} ms after the pause",
        (until - from) / MS,
        calls.len(),
        answered.count(),
        ended().map(|call| took(call)).max().unwrap_or(0) / MS,
        long.len(),
        LONG / MS,
        last_long.unwrap_or(0) / MS,
    );
}
