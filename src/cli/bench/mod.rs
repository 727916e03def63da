//! `bench`: the load generator. It drives a cluster, or starts one on this machine, and measures
//! what calls cost: throughput, latency, processor time, memory, errors.
//!
//! | where | what |
//! |---|---|
//! | `plan.rs` | what is asked for: the mix, the sizes, the callers |
//! | `load.rs` | callers at work, in a closed or an open loop |
//! | `transactions.rs` | callers that move amounts from key to key, and what came of it |
//! | `place.rs` | the cluster that is driven, and the floor |
//! | `floor.rs` | the echo that the floor is: a process of its own |
//! | `embedded.rs` | a node inside this process |
//! | `usage.rs` | processor time and memory of processes |
//! | `report.rs`, `compare.rs` | what is printed |

mod compare;
mod embedded;
pub(super) mod floor;
mod load;
mod place;
mod plan;
mod report;
mod transactions;
mod usage;

use super::connection::Connection;
use super::interrupt::interrupted;
use super::outcome::{Answer, Failure, Outcome};
use super::output::{self, Output};
use crate::client::messages::AtomicityMode;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use load::{Counted, Load, Progress};
use place::Place;
use plan::Plan;
use report::{Kept, Measured, Report, Rounds};
use std::path::PathBuf;
use std::time::Duration;

/// How often the live line changes.
const LIVE_INTERVAL: Duration = Duration::from_millis(250);

/// Measure a cluster: throughput, latency, processor time and memory, also against a bare echo
#[derive(Debug, Args)]
#[command(
    after_help = "Without --address, --config or an address list in the environment a cluster is \
                  started on this machine for the measurement, and ended with it.\n\n\
                  Latency is counted from the moment at which a call was due: in an open loop \
                  (--rate) a call that waits for its turn is counted from then on, so that a slow \
                  cluster cannot hide behind a load that slows down with it. The pace has a \
                  resolution of a millisecond.\n\n\
                  A transaction (--transactions) reads two keys, writes both, and moves an amount from \
                  one to the other; at the end it is checked that none was made or lost. Both are \
                  drawn from --hot-keys; of a single hot key the other one is the caller's own. Its \
                  time is that of all its runs.\n\n\
                  Examples:\n  embergrid bench --reads 80 --callers 32 --duration 10s\n  \
                  embergrid bench --floor --reads 100 --rounds 11\n  \
                  embergrid bench --transactional --rounds 11\n  \
                  embergrid bench --pipelining --unary --callers 256 --rounds 11\n  \
                  embergrid bench --transactions --nodes 3 --hot-keys 1,10,1000 --duration 30s\n  \
                  embergrid bench --rate 5000 --address 10.0.0.1:47500 --key client.key.pem \
                  --trust authority.pem\n  \
                  embergrid bench --compare before.json after.json"
)]
pub struct Arguments {
    #[command(flatten)]
    plan: Plan,
    /// Nodes of the cluster that is started
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    nodes: u16,
    /// Measure the bare echo of the same messages over the same stack as well, in turns
    #[arg(long)]
    floor: bool,
    /// Measure the same calls in a TRANSACTIONAL cache as well, in turns
    #[arg(long, conflicts_with_all = ["embedded", "transactions"])]
    transactional: bool,
    /// Measure the same calls one by one, and not in a pipeline, as well, in turns
    #[arg(long, requires = "pipelining", conflicts_with = "transactional")]
    unary: bool,
    /// Measure transactions of two keys instead of calls on one: --duration is shared among the
    /// numbers of hot keys
    #[arg(long, conflicts_with_all = ["floor", "embedded", "rate", "pipelining", "reads", "keys"])]
    transactions: bool,
    /// How many keys all transactions share; several numbers are measured in turns
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [1, 10, 1_000], requires = "transactions", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    hot_keys: Vec<u64>,
    /// Have transactions look for conflicts at commit, instead of taking locks as they go
    #[arg(long, requires = "transactions")]
    optimistic: bool,
    /// How often to measure each; in turns. The median counts
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// A node inside this process, asked by as many threads as there are callers
    #[arg(long, conflicts_with_all = ["floor", "nodes", "rate", "pipelining"])]
    embedded: bool,
    /// Processes of a cluster on this machine that was not started here, for processor time and
    /// memory; repeatable
    #[arg(long = "node-pid", value_name = "PID")]
    node_pids: Vec<u32>,
    /// Compare two reports that were printed with --output json; measures nothing
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"])]
    compare: Option<Vec<PathBuf>>,
    #[command(flatten)]
    connection: Connection,
}

/// Runs the command, on a runtime of its own.
pub(super) fn run(arguments: Arguments) -> Outcome {
    if let Some([before, after]) = arguments.compare.as_deref() {
        return compare::run(before, after, arguments.connection.output);
    }
    arguments.plan.check()?;
    if arguments.embedded {
        return embedded::run(&arguments.plan, arguments.connection.output);
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.plan.threads.into())
        .enable_all()
        .thread_name("embergrid-bench")
        .build()
        .map_err(|error| Failure::failed(format!("start the runtime: {error}")))?
        .block_on(async {
            let interrupted = interrupted();
            tokio::select! {
                measured = measure(&arguments) => measured,
                // What was started for it ends with it, and its keys go.
                failure = interrupted => Err(failure),
            }
        })
}

async fn measure(arguments: &Arguments) -> Outcome {
    let live = live_line();
    live.set_message("starting");
    let plan = &arguments.plan;
    let unary = arguments.unary.then(|| plan.unary());
    let unary = unary.as_ref();
    let cluster = if arguments.connection.names_a_cluster() {
        Place::driven(&arguments.connection, plan, unary, &arguments.node_pids).await?
    } else {
        Place::started(arguments.nodes, plan, unary).await?
    };
    let floor = match arguments.floor {
        true => Some(Place::floor(plan).await?),
        false => None,
    };
    let report = match arguments.transactions {
        true => transactions::measure(arguments, &cluster, &live).await?,
        false => measure_calls(arguments, &cluster, floor.as_ref(), &live).await?,
    };
    live.finish_and_clear();
    match arguments.connection.output {
        Output::Json => output::json(&report::as_json(&report)?),
        Output::Table => report.print(),
    }
    Ok(Answer::Yes)
}

/// Calls on one key: in turns where there is something to compare them with.
async fn measure_calls(
    arguments: &Arguments,
    cluster: &Place,
    floor: Option<&Place>,
    live: &ProgressBar,
) -> Result<Kept, Failure> {
    let plan = &arguments.plan;
    cluster.prepare(plan, AtomicityMode::Atomic).await?;
    cluster.fill(plan, live).await?;
    let transactional = match arguments.transactional {
        true => {
            let plan = plan.transactional();
            cluster.prepare(&plan, AtomicityMode::Transactional).await?;
            cluster.fill(&plan, live).await?;
            Some(plan)
        }
        false => None,
    };
    let round_time = plan.duration / arguments.rounds;
    let one = async |plan: &Plan, place: &Place, what: String| {
        let load = Load::new(plan, round_time);
        let progress = load.progress();
        let work = load.run(place.client(plan));
        one_round(place, live, &what, &progress, work).await
    };
    let mut rounds = Rounds::default();
    for round in 1..=arguments.rounds {
        let of = format!("round {round} of {}", arguments.rounds);
        if let Some(floor) = floor {
            rounds
                .floor
                .push(one(plan, floor, format!("{of}, floor")).await?);
        }
        if let Some(plan) = &transactional {
            let what = format!("{of}, TRANSACTIONAL");
            rounds.transactional.push(one(plan, cluster, what).await?);
        }
        if arguments.unary {
            let what = format!("{of}, one by one");
            let unary = one(&plan.unary(), cluster, what).await?;
            rounds.unary.push(unary);
        }
        rounds
            .cluster
            .push(one(plan, cluster, format!("{of}, cluster")).await?);
    }
    let report = Report::of(plan, cluster.about(), rounds);
    Ok(Kept::Calls(Box::new(report)))
}

async fn one_round(
    place: &Place,
    live: &ProgressBar,
    what: &str,
    watched: &Progress,
    work: impl Future<Output = Result<Counted, Failure>>,
) -> Result<Measured, Failure> {
    let begin = std::time::Instant::now();
    let before = place.usage();
    tokio::pin!(work);
    let mut tick = tokio::time::interval(LIVE_INTERVAL);
    let counted = loop {
        tokio::select! {
            counted = &mut work => break counted?,
            _ = tick.tick() => {
                let (calls, errors) = watched.so_far();
                let rate = calls as f64 / begin.elapsed().as_secs_f64().max(0.001);
                live.set_message(format!("{what}: {calls} calls, {rate:.0}/s, {errors} errors"));
            }
        }
    };
    Ok(Measured::of(&counted, &before, &place.usage()))
}

/// A line that changes while something runs; nothing where standard error is no terminal.
fn live_line() -> ProgressBar {
    let line = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        line.set_style(style);
    }
    line.enable_steady_tick(LIVE_INTERVAL);
    line
}
