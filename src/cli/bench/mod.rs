//! `bench`: the load generator. It drives a cluster, or starts one on this machine, and measures
//! what calls cost: throughput, latency, processor time, memory, errors.
//!
//! | where | what |
//! |---|---|
//! | `plan.rs` | what is asked for: the mix, the sizes, the callers |
//! | `load.rs` | callers at work, in a closed or an open loop |
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
mod usage;

use super::connection::Connection;
use super::outcome::{Answer, Failure, Outcome};
use super::output::{self, Output};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use load::Load;
use place::Place;
use plan::Plan;
use report::{Against, Measured, Report};
use std::path::PathBuf;
use std::time::Duration;

/// How often the live line changes.
const LIVE_INTERVAL: Duration = Duration::from_millis(250);

/// Measure a cluster: throughput, latency, processor time and memory, also against a bare echo
#[derive(Debug, Args)]
#[command(
    after_help = "Without --address or --config a cluster is started on this machine for the \
                  measurement, and ended with it.\n\n\
                  Latency is counted from the moment at which a call was due: in an open loop \
                  (--rate) a call that waits for its turn is counted from then on, so that a slow \
                  cluster cannot hide behind a load that slows down with it. The pace has a \
                  resolution of a millisecond.\n\n\
                  Examples:\n  embergrid bench --reads 80 --callers 32 --duration 10s\n  \
                  embergrid bench --floor --reads 100 --rounds 11\n  \
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
    /// How often to measure; with --floor, in turns. The median counts
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
        .block_on(measure(&arguments))
}

async fn measure(arguments: &Arguments) -> Outcome {
    let live = live_line();
    live.set_message("starting");
    let plan = &arguments.plan;
    let cluster = if arguments.connection.names_a_cluster() {
        Place::driven(&arguments.connection, plan, &arguments.node_pids).await?
    } else {
        Place::started(arguments.nodes, plan).await?
    };
    let floor = match arguments.floor {
        true => Some(Place::floor(plan).await?),
        false => None,
    };
    cluster.prepare(plan).await?;
    cluster.fill(plan, &live).await?;
    let round_time = plan.duration / arguments.rounds;
    let (mut of_cluster, mut of_floor) = (Vec::new(), Vec::new());
    for round in 1..=arguments.rounds {
        let of = format!("round {round} of {}", arguments.rounds);
        if let Some(floor) = &floor {
            let load = Load::new(plan, round_time);
            of_floor.push(one_round(load, floor, &live, &format!("{of}, floor")).await?);
        }
        let load = Load::new(plan, round_time);
        of_cluster.push(one_round(load, &cluster, &live, &format!("{of}, cluster")).await?);
    }
    live.finish_and_clear();
    let report = Report::of(plan, cluster.about(), of_cluster, of_floor);
    match arguments.connection.output {
        Output::Json => output::json(&report::as_json(&report)?),
        Output::Table => report::print(&report),
    }
    Ok(Answer::Yes)
}

async fn one_round(
    load: Load,
    place: &Place,
    live: &ProgressBar,
    what: &str,
) -> Result<Measured, Failure> {
    let watched = load.progress();
    let begin = std::time::Instant::now();
    let before = place.usage();
    let work = load.run(place.client());
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

/// How the cluster compares with the floor, by round.
fn against(floor: &[Measured], cluster: &[Measured]) -> Option<Against> {
    if floor.is_empty() {
        return None;
    }
    let ratios = |of: fn(&Measured) -> Option<f64>, more_is_better: bool| -> Vec<f64> {
        let pairs = floor.iter().zip(cluster);
        let found = pairs.filter_map(|(floor, cluster)| {
            let (floor, cluster) = (of(floor)?, of(cluster)?);
            let (small, large) = if more_is_better {
                (cluster, floor)
            } else {
                (floor, cluster)
            };
            (large > 0.0).then_some(small / large)
        });
        found.collect()
    };
    Some(Against {
        server_processor_time: report::median(ratios(|round| round.server_micros_per_call, false)),
        throughput: report::median(ratios(|round| Some(round.calls_per_second), true)),
    })
}
