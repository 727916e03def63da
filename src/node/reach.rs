//! What one node asks another about itself, seldom and for people: a connection of its own to the
//! peer, apart from the links, and what this node answers of its copies.

use super::handle::Handle;
use crate::error::{Error, Result};
use crate::rpc::connection::Connection;
use crate::rpc::connector::Purpose;
use crate::rpc::names::split_address;
use crate::types::{CacheId, Copies, NodeInfo};
use std::time::Instant;

impl Handle {
    /// A fresh connection to another node, over the same TLS as links.
    ///
    /// # Errors
    ///
    /// `Unavailable`, saying why the node is not reached by `deadline`.
    pub async fn connect(&self, peer: &NodeInfo, deadline: Instant) -> Result<Connection> {
        let name = &peer.consistent_id;
        let failed = |why: &dyn std::fmt::Display| {
            Error::unavailable(format!("{name} at {} is not reached: {why}", peer.address))
        };
        let (host, port) = split_address(&peer.address).ok_or_else(|| failed(&"no address"))?;
        let core = &self.core;
        let limit = deadline.saturating_duration_since(Instant::now());
        let connecting = async {
            let resolved = core.names.resolve(host, port, limit).await;
            let addresses = resolved.map_err(|why| failed(&why))?;
            let connected = core.connector.connect(&addresses, Purpose::Data).await;
            connected.map_err(|why| failed(&why))
        };
        match tokio::time::timeout_at(deadline.into(), connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(failed(&"no answer within the deadline")),
        }
    }

    /// How many entries this node holds of a cache beside primaries. Looks at each of them, one
    /// partition after another: not for a thread that others wait for.
    pub fn copies(&self, cache: CacheId) -> Copies {
        let near = self.core.grid.near_copies(cache);
        let mut backup = 0;
        let view = self.view();
        let (Some(me), Some(known)) = (view.index_of(self.me().member), view.caches.get(&cache))
        else {
            return Copies { backup, near };
        };
        let now = self.now().cluster;
        for (partition, owners) in (0u32..).zip(&known.table) {
            if owners.owners.iter().skip(1).any(|owner| *owner == me) {
                let contents = self.core.grid.contents(cache, partition);
                let live = contents.iter().filter(|(_, entry)| {
                    let live = entry.live.as_ref();
                    live.is_some_and(|live| !live.expired(now) && !live.idle(now))
                });
                backup += live.count() as u64;
            }
        }
        Copies { backup, near }
    }
}
