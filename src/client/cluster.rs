//! Calls on the cluster itself.

use super::retry::Effect;
use super::{Client, cluster_service, request_id};
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::proto::{
    CacheDescription, CacheSettings, CreateCacheRequest, DescribeCacheRequest, DrainRequest,
    DropCacheRequest, EndTransactionRequest, ForcePrimaryRequest, ForgetNodeRequest,
    ListCachesRequest, ListTransactionsRequest, ListTransactionsResponse, NodeStatsRequest,
    NodeStatsResponse, PartitionTableRequest, PartitionTableResponse, ResetLostPartitionsRequest,
    SafeToStopRequest, SafeToStopResponse, TopologyRequest, TopologyResponse, VerifyRequest,
    VerifyResponse,
};

impl Client {
    /// The view as the node that is asked knows it.
    ///
    /// # Errors
    ///
    /// As any call.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// for node in client.topology().await?.nodes {
    ///     println!("{} at {}", node.consistent_id, node.address);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn topology(&self) -> Result<TopologyResponse> {
        let send = async |channel, message| cluster_service(channel).topology(message).await;
        self.call(Effect::Read, TopologyRequest::default(), send)
            .await
    }

    /// Who holds what of a cache; an empty name means all of them.
    ///
    /// # Errors
    ///
    /// As any call; NOT_FOUND where there is no such cache.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// for cache in client.partition_table("").await?.caches {
    ///     println!("{}: {} copies still load", cache.name, cache.copies_loading);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn partition_table(&self, cache: &str) -> Result<PartitionTableResponse> {
        let request = PartitionTableRequest {
            cache: cache.to_owned(),
        };
        let send = async |channel, message| cluster_service(channel).partition_table(message).await;
        self.call(Effect::Read, request, send).await
    }

    /// Creates a cache and describes it; one that exists with the same settings is a success.
    /// Every node knows it then.
    ///
    /// # Errors
    ///
    /// ALREADY_EXISTS where one of the name has other settings; else as any call.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::{CacheMode, CacheSettings};
    ///
    /// let cache = client.create_cache(CacheSettings {
    ///     name: "service-tickets".into(),
    ///     mode: CacheMode::Partitioned.into(),
    ///     backups: Some(1),
    ///     time_to_live: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
    ///     ..CacheSettings::default()
    /// }).await?;
    /// println!("its id is {}", cache.id);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_cache(&self, settings: CacheSettings) -> Result<CacheDescription> {
        let request = CreateCacheRequest {
            settings: Some(settings),
            request_id: bytes::Bytes::copy_from_slice(&request_id()?),
        };
        let send = async |channel, message| cluster_service(channel).create_cache(message).await;
        let reply = self.call(Effect::Write, request, send).await?;
        described(reply.cache)
    }

    /// The settings of a cache, every default filled in.
    ///
    /// # Errors
    ///
    /// NOT_FOUND where there is no such cache; else as any call.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use embergrid::error::ErrorKind;
    ///
    /// match client.describe_cache("sessions").await {
    ///     Ok(cache) => println!("{:?}", cache.settings),
    ///     Err(error) if error.kind == ErrorKind::NotFound => println!("not there"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn describe_cache(&self, name: &str) -> Result<CacheDescription> {
        let request = DescribeCacheRequest {
            name: name.to_owned(),
        };
        let send = async |channel, message| cluster_service(channel).describe_cache(message).await;
        let reply = self.call(Effect::Read, request, send).await?;
        described(reply.cache)
    }

    /// All caches, by name.
    ///
    /// # Errors
    ///
    /// As any call.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// for cache in client.list_caches().await? {
    ///     println!("{:?}", cache.settings.map(|settings| settings.name));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_caches(&self) -> Result<Vec<CacheDescription>> {
        let send = async |channel, message| cluster_service(channel).list_caches(message).await;
        let request = ListCachesRequest::default();
        Ok(self.call(Effect::Read, request, send).await?.caches)
    }

    /// Drops a cache with all that is in it. Every node knows then.
    ///
    /// # Errors
    ///
    /// NOT_FOUND where there is no such cache; UNKNOWN where it may have been dropped or not; else
    /// as any call.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// client.drop_cache("service-tickets").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn drop_cache(&self, name: &str) -> Result<()> {
        // A node takes any drop of a cache that was dropped a moment ago for a repetition of it, and
        // answers as it did then; whoever drops it anew is told that it is gone.
        self.describe_cache(name).await?;
        let request = DropCacheRequest {
            name: name.to_owned(),
            request_id: bytes::Bytes::copy_from_slice(&request_id()?),
        };
        let send = async |channel, message| cluster_service(channel).drop_cache(message).await;
        self.call(Effect::Write, request, send).await?;
        Ok(())
    }

    /// The counters of a node, by its consistent id; an empty one means the node that is asked.
    ///
    /// # Errors
    ///
    /// NOT_FOUND where the view has no such node; else as any call.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// let stats = client.node_stats("").await?;
    /// println!("{}: {:?} requests", stats.node, stats.counters.get("requests"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn node_stats(&self, node: &str) -> Result<NodeStatsResponse> {
        let request = NodeStatsRequest {
            node: node.to_owned(),
        };
        let send = async |channel, message| cluster_service(channel).node_stats(message).await;
        self.call(Effect::Read, request, send).await
    }

    /// The transactions of several calls that a node, by its name, keeps and that have not ended,
    /// the oldest first. Empty: the node that answers. `limit` 0: 1,000, which is also the most.
    ///
    /// # Errors
    ///
    /// As any call; NOT_FOUND where the view has no such node.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// let open = client.list_transactions("node-1", 0).await?;
    /// for one in &open.transactions {
    ///     println!("{} ({}) knows {} keys", one.transaction, one.label, one.keys);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_transactions(
        &self,
        node: &str,
        limit: u32,
    ) -> Result<ListTransactionsResponse> {
        let request = ListTransactionsRequest {
            node: node.to_owned(),
            limit,
        };
        let send = async |channel, message| {
            let mut service = cluster_service(channel);
            service.list_transactions(message).await
        };
        self.call(Effect::Read, request, send).await
    }

    /// Rolls a transaction back, whichever node keeps it. One that has been rolled back is a
    /// success.
    ///
    /// # Errors
    ///
    /// As any call; NOT_FOUND (`NO_TRANSACTION`) where no node knows it, `FailedPrecondition` where
    /// it is being committed (`TRANSACTION_BUSY`), or has been (`TRANSACTION_COMMITTED`).
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// // What has been open for longer than a minute.
    /// for one in client.list_transactions("node-1", 0).await?.transactions {
    ///     if one.age.is_some_and(|age| age.seconds >= 60) {
    ///         client.end_transaction(&one.transaction).await?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn end_transaction(&self, transaction: &str) -> Result<()> {
        let request = EndTransactionRequest {
            transaction: transaction.to_owned(),
        };
        let send = async |channel, message| cluster_service(channel).end_transaction(message).await;
        self.call(Effect::Write, request, send).await?;
        Ok(())
    }

    /// Whether a node, by its name, may stop without loss. Empty: the node that answers.
    ///
    /// # Errors
    ///
    /// As any call; NOT_FOUND where the view has no such node.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// let answer = client.safe_to_stop("node-1").await?;
    /// for reason in &answer.reasons {
    ///     println!("not now: {reason}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn safe_to_stop(&self, node: &str) -> Result<SafeToStopResponse> {
        let request = SafeToStopRequest {
            node: node.to_owned(),
        };
        let send = async |channel, message| cluster_service(channel).safe_to_stop(message).await;
        self.call(Effect::Read, request, send).await
    }

    /// Has a server, by its name, hand over all that it owns and leave; returns when it has left.
    /// Empty: the node that answers.
    ///
    /// # Errors
    ///
    /// As any call; NOT_FOUND where the view has no such node, FAILED_PRECONDITION (NO_TAKER) where
    /// no other server stays, UNKNOWN where it still hands over at the deadline.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// if client.safe_to_stop("node-1").await?.safe {
    ///     client.drain("node-1").await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn drain(&self, node: &str) -> Result<()> {
        let request = DrainRequest {
            node: node.to_owned(),
        };
        let send = async |channel, message| cluster_service(channel).drain(message).await;
        if node.is_empty() {
            self.call_once(Effect::Write, request, send).await?;
        } else {
            self.call(Effect::Write, request, send).await?;
        }
        Ok(())
    }

    /// Has the lost partitions of these caches begin anew, empty; returns how many they were.
    /// What a server still has of them that returns later is merged in.
    ///
    /// # Errors
    ///
    /// As any call; NOT_FOUND where one of the caches does not exist; UNKNOWN where an attempt was lost
    /// that may have had some of them begin anew, so that nobody knows how many they were.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// let given_up = client.reset_lost_partitions(&["sessions"]).await?;
    /// println!("{given_up} partitions began anew");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reset_lost_partitions(&self, caches: &[&str]) -> Result<u64> {
        let caches = caches.iter().copied().map(str::to_owned).collect();
        let request = ResetLostPartitionsRequest { caches };
        let send = async |channel, message| {
            cluster_service(channel)
                .reset_lost_partitions(message)
                .await
        };
        let options = self.connections.options;
        let answered = self
            .call_with(options, Effect::Write, request, send)
            .await?;
        let partitions = answered.reply.partitions;
        if answered.tainted {
            return Err(Error::unknown(format!(
                "an earlier attempt may have been applied; then {partitions} partitions began anew"
            )));
        }
        Ok(partitions)
    }

    /// Compares all copies of a cache, and repairs what differs where that is asked. A call that is
    /// repeated compares again.
    ///
    /// # Errors
    ///
    /// As any call; NOT_FOUND where the cache does not exist. A partition that cannot be compared is
    /// told in the answer.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// let answer = client.verify("sessions", false).await?;
    /// for difference in &answer.keys {
    ///     println!("{:?} differs at {} owners", difference.key, difference.copies.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn verify(&self, cache: &str, repair: bool) -> Result<VerifyResponse> {
        let request = VerifyRequest {
            cache: cache.to_owned(),
            repair,
        };
        let send = async |channel, message| cluster_service(channel).verify(message).await;
        let effect = if repair { Effect::Write } else { Effect::Read };
        self.call(effect, request, send).await
    }

    /// Gives up waiting for a server, by its name, that is out and may return with data.
    ///
    /// # Errors
    ///
    /// As any call; NOT_FOUND where none of the name is out, FAILED_PRECONDITION where it is in
    /// the view.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// client.forget_node("node-3").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn forget_node(&self, node: &str) -> Result<()> {
        let request = ForgetNodeRequest {
            node: node.to_owned(),
        };
        let send = async |channel, message| cluster_service(channel).forget_node(message).await;
        self.call(Effect::Write, request, send).await?;
        Ok(())
    }

    /// Makes the servers of the view that is asked primary: a majority that is lost for good is
    /// given up, with what it acknowledged without them. Returns the number of the view. One node is
    /// asked, once: in the next one's view other servers may be, and two halves would be primary.
    ///
    /// # Errors
    ///
    /// As any call; where the node did not answer in time, it may have been done.
    /// `FailedPrecondition` where the view is primary already (reason `PRIMARY`) or the cluster has
    /// no `quorum-of` (reason `NO_QUORUM_OF`).
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// let number = client.force_primary().await?;
    /// println!("topology version {number} is primary");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn force_primary(&self) -> Result<u64> {
        let send = async |channel, message| cluster_service(channel).force_primary(message).await;
        let forced = self
            .call_once(Effect::Write, ForcePrimaryRequest {}, send)
            .await?;
        Ok(forced.version.map_or(0, |version| version.number))
    }
}

fn described(cache: Option<CacheDescription>) -> Result<CacheDescription> {
    cache.ok_or_else(|| Error::new(ErrorKind::Internal, "the node did not describe the cache"))
}
