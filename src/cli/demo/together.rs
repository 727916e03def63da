//! The chapter in which the nodes find each other, keep strangers out and learn their caches.

use super::cluster::{LocalCluster, POLL, wait_for_view};
use super::narrator::Narrator;
use super::sign_on::{SERVICE_TICKETS, SESSIONS};
use super::story::{LIMIT, millis, must};
use crate::cli::outcome::Failure;
use crate::client::messages::{PartitionTableResponse, TopologyResponse};
use crate::client::{Client, Options};
use std::time::{Duration, Instant};

/// Starts all nodes; a client of each, in their order.
pub async fn come_together(
    cluster: &mut LocalCluster,
    narrator: &mut Narrator,
) -> Result<Vec<Client>, Failure> {
    let size = cluster.size();
    narrator.chapter("Three nodes find each other");
    narrator.held(format_args!(
        "an authority, {size} node certificates and a client certificate are made in {}",
        cluster.folder().display()
    ));
    let begin = Instant::now();
    for index in 0..size {
        cluster.start(index)?;
    }
    let mut nodes = Vec::new();
    for index in 0..size {
        nodes.push(cluster.reach(index, LIMIT).await?);
    }
    for node in &nodes {
        wait_for_view(node, LIMIT, |view| view.nodes.len() == size).await?;
    }
    narrator.held(format_args!(
        "{size} nodes started with one address list, {}, see each other after {}",
        cluster.addresses(),
        millis(begin)
    ));
    let coordinator = agreed(&nodes).await?;
    narrator.held(format_args!("all agree that {coordinator} coordinates"));
    turned_away(cluster).await?;
    narrator.held("a client whose certificate another authority signed is turned away");
    for node in &nodes {
        in_balance(node, size).await?;
    }
    narrator.held(format_args!(
        "sessions live in `{SESSIONS}` (on all nodes; 8 h, 2 h idle), service tickets in \
         `{SERVICE_TICKETS}` (on two nodes each; one use, 10 s)"
    ));
    Ok(nodes)
}

/// Waits until all nodes have the same view, and says who coordinates it.
async fn agreed(nodes: &[Client]) -> Result<String, Failure> {
    let begin = Instant::now();
    loop {
        let mut views = Vec::new();
        for node in nodes {
            views.push(node.topology().await?);
        }
        let same = |view: &TopologyResponse| {
            view.version == views[0].version && view.coordinator == views[0].coordinator
        };
        if views.iter().all(same) {
            return Ok(views.swap_remove(0).coordinator);
        }
        must(
            begin.elapsed() < LIMIT,
            "the nodes do not come to the same view",
        )?;
        tokio::time::sleep(POLL).await;
    }
}

/// An error where a stranger gets an answer. With TLS 1.3 the refusal may come with the first
/// call only.
async fn turned_away(cluster: &LocalCluster) -> Result<(), Failure> {
    let options = Options {
        timeout: Duration::from_secs(1),
        attempts_max: 1,
        ..Options::default()
    };
    let answered = match cluster.stranger(0, options).await {
        Ok(stranger) => stranger.topology().await.is_ok(),
        Err(_) => false,
    };
    must(!answered, "a client of another authority gets an answer")
}

/// Waits until no partition loads and each has the owners that it should.
pub async fn in_balance(node: &Client, servers: usize) -> Result<(), Failure> {
    let begin = Instant::now();
    loop {
        let table = node.partition_table("").await?;
        let complete = table.nodes.len() == servers
            && owners(&table, SESSIONS) == Some(servers)
            && owners(&table, SERVICE_TICKETS) == Some(servers.min(2))
            && table.caches.iter().all(|cache| cache.copies_loading == 0);
        if complete {
            return Ok(());
        }
        must(
            begin.elapsed() < LIMIT,
            "the partitions are not all in place in time",
        )?;
        tokio::time::sleep(POLL).await;
    }
}

/// How many owners the partition with the fewest has.
fn owners(table: &PartitionTableResponse, cache: &str) -> Option<usize> {
    let cache = table.caches.iter().find(|found| found.name == cache)?;
    cache
        .partitions
        .iter()
        .map(|partition| usize::from(partition.primary.is_some()) + partition.backups.len())
        .min()
}
