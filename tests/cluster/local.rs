//! A cluster of processes on this machine, as the tests of this folder start it.

use crate::process::program;
use embergrid::cli::demo::{LocalCluster, wait_for_view};
use embergrid::client::Client;
use embergrid::client::messages::{AtomicityMode, CacheMode, CacheSettings};
use std::time::Duration;

/// How long a node may take to start, and a view to come.
pub const LIMIT: Duration = Duration::from_secs(30);

/// So many nodes in one view, and a client of each.
pub async fn started(nodes: u16) -> (LocalCluster, Vec<Client>) {
    configured(nodes, "").await
}

/// The same with a settings file.
pub async fn configured(nodes: u16, settings: &str) -> (LocalCluster, Vec<Client>) {
    let mut cluster = LocalCluster::prepare(program(), nodes, false).expect("files and ports");
    cluster.configure(settings).expect("a file");
    let nodes = cluster.size();
    for index in 0..nodes {
        cluster.start(index).expect("a node starts");
    }
    let mut clients = Vec::new();
    for index in 0..nodes {
        let client = cluster.reach(index, LIMIT).await;
        clients.push(client.expect("a node is reached"));
    }
    for client in &clients {
        wait_for_view(client, LIMIT, |view| view.nodes.len() == nodes)
            .await
            .expect("one cluster");
    }
    (cluster, clients)
}

/// The settings of an ATOMIC cache.
pub fn atomic(name: &str, mode: CacheMode) -> CacheSettings {
    CacheSettings {
        name: name.to_owned(),
        mode: mode.into(),
        atomicity_mode: AtomicityMode::Atomic.into(),
        ..CacheSettings::default()
    }
}
