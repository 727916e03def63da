//! Nodes that start at the same time, from nothing, form one cluster. `EMBERGRID_STARTS` sets how
//! often (200 for the bar; a few without it), with 2 to 16 nodes in turn.

use crate::cluster::{Cluster, PATIENCE};
use crate::monitor::Monitor;
use crate::pace::pass;
use crate::rng::Rng;
use crate::setting;
use crate::stage::on_best_ground;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const SIZES: std::ops::RangeInclusive<u64> = 2..=16;
/// Of the sample.
const FEW: &[usize] = &[2, 5];
/// The most between the starts of the first and the last node.
const SPREAD: [u64; 3] = [0, 20, 700];

#[test]
fn nodes_that_start_together_form_one_cluster() {
    on_best_ground(
        "cold_start::nodes_that_start_together_form_one_cluster",
        |ground| {
            let mut rng = Rng::stream(setting("EMBERGRID_SEED").unwrap_or(0), "starts");
            let sizes: Vec<usize> = match setting("EMBERGRID_STARTS") {
                Some(starts) => (0..starts)
                    .map(|start| (SIZES.start() + start % 15) as usize)
                    .collect(),
                None => FEW.to_vec(),
            };
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let mut longest = Duration::ZERO;
            for (number, size) in sizes.iter().enumerate() {
                let cluster = Cluster::prepare(ground, *size, Duration::from_secs(2));
                let spread = SPREAD[rng.index(SPREAD.len())];
                let took = runtime.block_on(start_together(cluster, spread, &mut rng));
                longest = longest.max(took);
                if setting("EMBERGRID_STARTS").is_some() {
                    println!(
                        "    start {number}: {size} nodes within {spread} ms, one cluster after {took:?}"
                    );
                }
            }
            let (least, most) = (sizes.iter().min(), sizes.iter().max());
            println!(
                "{} concurrent starts of {least:?} to {most:?} nodes: one cluster each time, \
             after {longest:?} at most",
                sizes.len()
            );
        },
    );
}

/// How long it took from the last start until all nodes had one view of all.
async fn start_together(mut cluster: Cluster, spread: u64, rng: &mut Rng) -> Duration {
    let begin = Instant::now();
    let nodes = cluster.size();
    let mut starts: Vec<(u64, usize)> = (0..nodes)
        .map(|node| (rng.below(spread + 1), node))
        .collect();
    starts.sort();
    for (at, node) in starts {
        pass(Duration::from_millis(at).saturating_sub(begin.elapsed())).await;
        cluster.start(node);
    }
    let started = Instant::now();
    let monitor = Monitor::start(&cluster, begin).await;
    let whole = monitor.wait_until_whole(PATIENCE).await;
    let took = started.elapsed();
    if let Some(words) = cluster.ended() {
        panic!("{words}");
    }
    assert!(
        whole,
        "{nodes} nodes are not one cluster after {PATIENCE:?}"
    );
    monitor.stop();
    let all: BTreeSet<usize> = (0..nodes).collect();
    for node in all {
        cluster.kill(node);
    }
    took
}
