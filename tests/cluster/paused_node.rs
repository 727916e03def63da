//! A node is paused under the default timeouts while users write and read, and goes on later. Prints
//! how long it took until the node was out of the view, and the longest gap in service.

use crate::process::program;
use embergrid::cli::demo::{LocalCluster, Witness, names, wait_for_view};
use embergrid::client::messages::{AtomicityMode, CacheSettings};
use std::process::Command;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);
const NODES: usize = 3;
const CACHE: &str = "kept";

fn signal(process: u32, name: &str) {
    let told = Command::new("kill")
        .arg(name)
        .arg(process.to_string())
        .status();
    assert!(told.expect("kill can be run").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_node_is_left_out_and_comes_back() {
    let mut cluster = LocalCluster::prepare(program(), 3, false).expect("files and ports");
    for index in 0..NODES {
        cluster.start(index).expect("a node starts");
    }
    let mut nodes = Vec::new();
    for index in 0..NODES {
        nodes.push(
            cluster
                .reach(index, LIMIT)
                .await
                .expect("a node is reached"),
        );
    }
    for node in &nodes {
        wait_for_view(node, LIMIT, |view| view.nodes.len() == NODES)
            .await
            .expect("one cluster");
    }
    let settings = CacheSettings {
        name: CACHE.to_owned(),
        atomicity_mode: AtomicityMode::Atomic.into(),
        ..CacheSettings::default()
    };
    nodes[0]
        .create_cache(settings)
        .await
        .expect("a cache is created");
    let paused = 2;
    let process = cluster.process_ids()[paused];
    let name = cluster.name(paused);
    let user = cluster
        .client(&[0, 1])
        .await
        .expect("the others are reached");
    let witness = Witness::start(user, CACHE);
    let begin = Instant::now();
    signal(process, "-STOP");
    let mut left_out = Ok(());
    for node in &nodes[..paused] {
        let view = wait_for_view(node, LIMIT, |view| !names(view).contains(&name)).await;
        left_out = left_out.and(view.map(drop));
    }
    let out = begin.elapsed();
    let report = witness.report().await;
    signal(process, "-CONT");
    left_out.expect("the paused node leaves the view");
    let report = report.expect("no call fails");
    for node in &nodes {
        wait_for_view(node, LIMIT, |view| view.nodes.len() == NODES)
            .await
            .expect("it is taken back");
    }
    println!(
        "paused node, default timeouts: out of the view after {} ms; longest gap in service {} ms; \
         {} calls answered meanwhile",
        out.as_millis(),
        report.longest_gap.as_millis(),
        report.calls
    );
}
