//! Keeps the partition table up to date: one task for each client, from the second call on a cache
//! on. It watches the topology at one node, and asks anew for the tables in use whenever the version
//! changes. What is lost (the watch, the node) is begun again elsewhere; calls go on meanwhile.

use super::nodes::{Address, Connections};
use super::retry::{BACKOFF_FIRST, backoff, jitter};
use super::{Client, cluster_service};
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::proto as pb;
use crate::rpc::status::from_status;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::AbortHandle;

/// How long a table that could not be read is left as it is. Bounds also how long it takes to find
/// out that a node no longer says anything.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Starts to follow; ends with the client.
pub(super) fn start(connections: &Arc<Connections>) -> AbortHandle {
    tokio::spawn(follow(Arc::downgrade(connections))).abort_handle()
}

async fn follow(client: Weak<Connections>) {
    let mut failures = 0;
    loop {
        match watch(&client).await {
            Ok(()) => failures = 0,
            Err(_) => failures += 1,
        }
        if client.strong_count() == 0 {
            return;
        }
        tokio::time::sleep(backoff(failures, jitter()).max(BACKOFF_FIRST)).await;
    }
}

/// Follows one node for as long as it answers.
async fn watch(client: &Weak<Connections>) -> Result<()> {
    let Some(connections) = client.upgrade() else {
        return Ok(());
    };
    let wanted = Arc::clone(&connections.routes.more_wanted);
    let connection = connections.connection(&[], &[]).await?;
    let mut service = cluster_service(connection.channel.clone());
    let open = service.watch_topology(pb::WatchTopologyRequest {});
    let opened = tokio::time::timeout(connections.options.attempt_timeout, open).await;
    let opened = match opened {
        Ok(opened) => opened.map_err(|status| from_status(&status)),
        Err(_) => Err(Error::unavailable("no stream of views in time")),
    };
    let mut views = match opened {
        Ok(views) => views.into_inner(),
        Err(error) => {
            connections.broken(&connection, &error.context);
            return Err(error);
        }
    };
    drop((connections, connection));
    let mut complete = true;
    // The number of the last view that was told.
    let mut told = 0;
    loop {
        let view = tokio::select! {
            view = views.message() => Some(view),
            () = wanted.notified() => None,
            () = tokio::time::sleep(LOOK_AGAIN), if !complete => None,
        };
        match view {
            Some(Ok(None)) => return Ok(()),
            Some(Err(status)) => return Err(from_status(&status)),
            Some(Ok(Some(view))) => told = view.version.map_or(told, |version| version.number),
            None => {}
        }
        let Some(connections) = client.upgrade() else {
            return Ok(());
        };
        complete = refresh(&Client { connections }, told).await;
    }
}

/// Reads all tables that are kept anew. True: all could be read, and none is of an older view than
/// this one; another node than the one that told it may not have it yet.
async fn refresh(client: &Client, told: u64) -> bool {
    let connections = &client.connections;
    let mut complete = true;
    if connections.routes.wants_kinds() {
        match client.list_caches().await {
            Ok(caches) => connections.routes.learn_kinds(&caches),
            Err(_) => complete = false,
        }
    }
    for cache in connections.routes.kept() {
        let answer = match client.partition_table(&cache).await {
            Ok(answer) => {
                let version = answer.version.as_ref();
                complete &= version.is_none_or(|version| version.number >= told);
                Some(answer)
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                complete = false;
                None
            }
            Err(_) => {
                complete = false;
                continue;
            }
        };
        connections
            .routes
            .learn(&cache, answer, |address| connections.known(address));
    }
    complete
}

impl Connections {
    /// The address that a node tells, or the same place as the user named it.
    fn known(&self, told: &str) -> Option<Address> {
        let told = Address::told(told)?;
        let named = self.named.iter().find(|named| named.is_same_place(&told));
        Some(named.cloned().unwrap_or(told))
    }
}
