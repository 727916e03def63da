//! Clusters of real processes over mutual TLS under faults, and the checkers of the simulator on
//! what their clients saw. See "How it was tried" in README.
//!
//! | command | what it does |
//! |---|---|
//! | `cargo test --test chaos` | a sample: each kind of fault once |
//! | `EMBERGRID_RUNS=50 EMBERGRID_RUN_TIME=120 cargo test --test chaos faults -- --nocapture` | so many runs with so many seconds of faults each, and their table |
//! | `EMBERGRID_SEED=7 ...` | the run of one seed |
//! | `EMBERGRID_NETWORK=proxies ...` | on loopback behind proxies, also where there could be namespaces |

mod bank;
mod clients;
mod cluster;
mod cold_start;
mod cycles;
mod faults;
mod judge;
mod monitor;
mod namespaces;
mod node;
mod pace;
mod paused;
#[cfg(debug_assertions)]
mod planted;
mod proxies;
mod run;
mod stage;
mod table;
mod wire;

// What is shared with the simulator, which uses all of it.
#[path = "../simulation/caches.rs"]
#[allow(dead_code)]
mod caches;
#[path = "../simulation/checkers/mod.rs"]
#[allow(dead_code)]
mod checkers;
#[path = "../simulation/clock.rs"]
#[allow(dead_code)]
mod clock;
#[path = "../simulation/deal.rs"]
#[allow(dead_code)]
mod deal;
#[path = "../simulation/history.rs"]
#[allow(dead_code)]
mod history;
#[path = "../simulation/linearizability.rs"]
mod linearizability;
#[path = "../simulation/loan.rs"]
#[allow(dead_code)]
mod loan;
#[path = "../simulation/record.rs"]
#[allow(dead_code)]
mod record;
#[path = "../simulation/rng.rs"]
#[allow(dead_code)]
mod rng;
#[path = "../simulation/session.rs"]
#[allow(dead_code)]
mod session;
#[path = "../simulation/shell.rs"]
#[allow(dead_code)]
mod shell;
#[path = "../simulation/tickets.rs"]
mod tickets;
#[path = "../simulation/workload.rs"]
#[allow(dead_code)]
mod workload;

use faults::Profile;
use run::Plan;
use std::time::Duration;
use table::Table;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    text.trim().parse().ok()
}

/// Seconds of faults in a long run.
const RUN_TIME: u64 = 120;

#[test]
fn promises_hold_under_faults() {
    stage::on_best_ground("promises_hold_under_faults", |ground| {
        let mut table = Table::default();
        let time = Duration::from_secs(setting("EMBERGRID_RUN_TIME").unwrap_or(RUN_TIME));
        let seeds = match (setting("EMBERGRID_SEED"), setting("EMBERGRID_RUNS")) {
            (Some(seed), _) => seed..seed + 1,
            (None, runs) => {
                let first = setting("EMBERGRID_FIRST").unwrap_or(0);
                first..first + runs.unwrap_or(0)
            }
        };
        if seeds.is_empty() {
            table.add(&run::run(Plan::sample(0, Profile::Undivided), ground));
        }
        for seed in seeds {
            table.add(&run::run(Plan::long(seed, time), ground));
        }
        table.print();
        assert_eq!(table.broken, 0, "runs are broken");
    });
}

#[test]
fn promises_hold_behind_proxies() {
    stage::behind_proxies(|ground| {
        let mut table = Table::default();
        table.add(&run::run(Plan::sample(1, Profile::Split), ground));
        table.print();
        assert_eq!(table.broken, 0, "the run is broken");
    });
}
