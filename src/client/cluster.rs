//! Calls on the cluster itself.

use super::retry::Effect;
use super::{Client, cluster_service, request_id};
use crate::error::Result;
use crate::rpc::proto::{
    CacheSettings, CreateCacheRequest, PartitionTableRequest, PartitionTableResponse,
    TopologyRequest, TopologyResponse,
};

impl Client {
    /// The view as the node that is asked knows it.
    ///
    /// # Errors
    ///
    /// As any call.
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
    pub async fn partition_table(&self, cache: &str) -> Result<PartitionTableResponse> {
        let request = PartitionTableRequest {
            cache: cache.to_owned(),
        };
        let send = async |channel, message| cluster_service(channel).partition_table(message).await;
        self.call(Effect::Read, request, send).await
    }

    /// Creates a cache; one that exists with the same settings is a success.
    ///
    /// # Errors
    ///
    /// ALREADY_EXISTS where one of the name has other settings; else as any call.
    pub async fn create_cache(&self, settings: CacheSettings) -> Result<()> {
        let request = CreateCacheRequest {
            settings: Some(settings),
            request_id: bytes::Bytes::copy_from_slice(&request_id()?),
        };
        let send = async |channel, message| cluster_service(channel).create_cache(message).await;
        self.call(Effect::Write, request, send).await?;
        Ok(())
    }
}
