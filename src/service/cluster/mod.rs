//! `ClusterService`: looking at the cluster and running it, creating and dropping caches.

pub mod describe;
mod given_up;
mod restarts;
pub mod settings;
pub mod transactions;
mod verify;

use super::deadline::CallTime;
use super::decode;
use super::inquiry;
use super::streams::Answers;
use super::{Front, time_of};
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::proto as pb;
use crate::rpc::proto::cluster_service_server::ClusterService;
use crate::rpc::status::to_status;
use crate::types::hello::first_difference;
use crate::types::time::SECOND;
use crate::types::{CacheId, CacheSettings, View};
use std::time::Instant;
use tonic::{Request, Response, Status};

/// How long after a drop a repeated one that carries a request id is answered as the first was.
const DROP_REPEATED: u64 = 60 * SECOND;

/// The cluster.
#[derive(Clone)]
pub struct ClusterFront {
    front: Front,
}

impl ClusterFront {
    /// The service of a node.
    pub fn new(front: Front) -> Self {
        Self { front }
    }

    fn topology(&self) -> pb::TopologyResponse {
        let handle = &self.front.handle;
        let view = handle.view();
        let mut said = describe::topology(&view, handle.me(), &self.front.cluster_name);
        describe::certificates(&mut said.nodes, |node| handle.certificate_end(node));
        said
    }

    fn table(&self, message: &pb::PartitionTableRequest) -> Result<pb::PartitionTableResponse> {
        let view = self.front.handle.view();
        if message.cache.is_empty() {
            return Ok(describe::tables(&view, view.caches.values()));
        }
        Ok(describe::tables(
            &view,
            std::iter::once(decode::known(&view, &message.cache)?),
        ))
    }

    fn cache(&self, name: &str) -> Result<pb::CacheDescription> {
        let view = self.front.handle.view();
        let tickets = self.front.handle.tickets();
        Ok(describe::cache(decode::known(&view, name)?, &tickets))
    }

    async fn create(
        &self,
        request: Request<pb::CreateCacheRequest>,
    ) -> Result<pb::CreateCacheResponse> {
        let time = time_of(&request);
        let message = request.into_inner();
        decode::request_id(&message.request_id)?;
        let wanted = settings::decode(message.settings)?;
        let name = wanted.name.clone();
        if !self.exists(&wanted)? {
            time.check(Instant::now())?;
            let created = self
                .front
                .handle
                .create_cache(wanted.clone(), time.deadline)
                .await;
            match created {
                // Another call was first; with the same settings that is as good.
                Err(error) if error.kind == ErrorKind::AlreadyExists => {
                    if !self.exists(&wanted)? {
                        return Err(error);
                    }
                }
                other => other?,
            }
            self.see(time, |view| view.cache_named(&name).is_some())
                .await?;
        }
        Ok(pb::CreateCacheResponse {
            cache: Some(self.cache(&name)?),
        })
    }

    /// Waits until the calls that follow see what was changed: the answer of the engine may be a
    /// moment ahead of the view.
    async fn see(&self, time: CallTime, changed: impl Fn(&View) -> bool) -> Result<()> {
        let mut views = self.front.handle.views();
        let seen = views.wait_for(|view| changed(view));
        match tokio::time::timeout_at(time.deadline.into(), seen).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::unknown("this node stops")),
            Err(_) => Err(Error::unknown(
                "the change was not seen within the deadline",
            )),
        }
    }

    /// Whether a cache with these settings exists.
    fn exists(&self, wanted: &CacheSettings) -> Result<bool> {
        let view = self.front.handle.view();
        match decode::known(&view, &wanted.name) {
            Ok(cache) if cache.settings == *wanted => Ok(true),
            Ok(cache) => {
                let (setting, wanted_value, here) = first_difference(wanted, &cache.settings);
                Err(Error::new(
                    ErrorKind::AlreadyExists,
                    format!(
                        "cache {:?} exists with {setting} = {here}, not {wanted_value}",
                        wanted.name
                    ),
                ))
            }
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn drop(&self, request: Request<pb::DropCacheRequest>) -> Result<pb::DropCacheResponse> {
        let time = time_of(&request);
        let message = request.into_inner();
        let id = decode::request_id(&message.request_id)?;
        let dropped = {
            let view = self.front.handle.view();
            match decode::known(&view, &message.name) {
                Ok(_) => false,
                Err(error) if error.kind == ErrorKind::NotFound && id.is_some() => {
                    let at = view.dropped.get(&CacheId::of(&message.name)).copied();
                    let now = self.front.handle.now().cluster;
                    if at.is_none_or(|at| now.since(at) > DROP_REPEATED) {
                        return Err(error);
                    }
                    true
                }
                Err(error) => return Err(error),
            }
        };
        if !dropped {
            time.check(Instant::now())?;
            self.front
                .handle
                .drop_cache(&message.name, time.deadline)
                .await?;
            self.see(time, |view| view.cache_named(&message.name).is_none())
                .await?;
        }
        Ok(pb::DropCacheResponse {})
    }

    async fn stats(&self, request: Request<pb::NodeStatsRequest>) -> Result<pb::NodeStatsResponse> {
        let time = time_of(&request);
        let name = &request.get_ref().node;
        let handle = &self.front.handle;
        let me = handle.me();
        if name.is_empty() || *name == me.consistent_id {
            return Ok(describe::stats(me, handle.serving(), &handle.stats()));
        }
        let node = inquiry::known_node(&handle.view(), name)?.clone();
        inquiry::stats(handle, &node, time).await
    }
}

fn respond<T>(result: Result<T>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| to_status(&error))
}

#[tonic::async_trait]
impl ClusterService for ClusterFront {
    async fn topology(
        &self,
        _: Request<pb::TopologyRequest>,
    ) -> Result<Response<pb::TopologyResponse>, Status> {
        Ok(Response::new(ClusterFront::topology(self)))
    }

    type WatchTopologyStream = Answers<pb::TopologyResponse>;

    async fn watch_topology(
        &self,
        request: Request<pb::WatchTopologyRequest>,
    ) -> Result<Response<Self::WatchTopologyStream>, Status> {
        let time = time_of(&request);
        let this = self.clone();
        let stream = self.front.stream(time, |out| async move {
            let mut views = this.front.handle.views();
            loop {
                let told = views.borrow_and_update().version;
                out.send(ClusterFront::topology(&this)).await?;
                while views.borrow().version == told {
                    if views.changed().await.is_err() {
                        return Err(Error::unavailable("this node stops"));
                    }
                }
            }
        });
        stream.map_err(|error| to_status(&error))
    }

    async fn partition_table(
        &self,
        request: Request<pb::PartitionTableRequest>,
    ) -> Result<Response<pb::PartitionTableResponse>, Status> {
        respond(self.table(request.get_ref()))
    }

    async fn create_cache(
        &self,
        request: Request<pb::CreateCacheRequest>,
    ) -> Result<Response<pb::CreateCacheResponse>, Status> {
        respond(self.create(request).await)
    }

    async fn describe_cache(
        &self,
        request: Request<pb::DescribeCacheRequest>,
    ) -> Result<Response<pb::DescribeCacheResponse>, Status> {
        let cache = self.cache(&request.get_ref().name);
        respond(cache.map(|cache| pb::DescribeCacheResponse { cache: Some(cache) }))
    }

    async fn list_caches(
        &self,
        _: Request<pb::ListCachesRequest>,
    ) -> Result<Response<pb::ListCachesResponse>, Status> {
        let view = self.front.handle.view();
        Ok(Response::new(pb::ListCachesResponse {
            caches: describe::caches(&view, &self.front.handle.tickets()),
        }))
    }

    async fn drop_cache(
        &self,
        request: Request<pb::DropCacheRequest>,
    ) -> Result<Response<pb::DropCacheResponse>, Status> {
        respond(self.drop(request).await)
    }

    async fn drain(
        &self,
        request: Request<pb::DrainRequest>,
    ) -> Result<Response<pb::DrainResponse>, Status> {
        let time = time_of(&request);
        respond(restarts::drain(&self.front, request.into_inner(), time).await)
    }

    async fn safe_to_stop(
        &self,
        request: Request<pb::SafeToStopRequest>,
    ) -> Result<Response<pb::SafeToStopResponse>, Status> {
        let time = time_of(&request);
        respond(restarts::safe_to_stop(&self.front, request.into_inner(), time).await)
    }

    async fn verify(
        &self,
        request: Request<pb::VerifyRequest>,
    ) -> Result<Response<pb::VerifyResponse>, Status> {
        let time = time_of(&request);
        respond(verify::verify(&self.front, &request.into_inner(), time).await)
    }

    async fn node_stats(
        &self,
        request: Request<pb::NodeStatsRequest>,
    ) -> Result<Response<pb::NodeStatsResponse>, Status> {
        respond(self.stats(request).await)
    }

    async fn list_transactions(
        &self,
        request: Request<pb::ListTransactionsRequest>,
    ) -> Result<Response<pb::ListTransactionsResponse>, Status> {
        let time = time_of(&request);
        let handle = &self.front.handle;
        respond(transactions::list(handle, request.into_inner(), time).await)
    }

    async fn end_transaction(
        &self,
        request: Request<pb::EndTransactionRequest>,
    ) -> Result<Response<pb::EndTransactionResponse>, Status> {
        let time = time_of(&request);
        let name = request.into_inner().transaction;
        respond(transactions::end(&self.front.handle, &name, time).await)
    }

    async fn reset_lost_partitions(
        &self,
        request: Request<pb::ResetLostPartitionsRequest>,
    ) -> Result<Response<pb::ResetLostPartitionsResponse>, Status> {
        let time = time_of(&request);
        respond(given_up::reset(&self.front, &request.into_inner(), time).await)
    }

    async fn forget_node(
        &self,
        request: Request<pb::ForgetNodeRequest>,
    ) -> Result<Response<pb::ForgetNodeResponse>, Status> {
        let time = time_of(&request);
        respond(given_up::forget(&self.front, &request.into_inner(), time).await)
    }

    async fn force_primary(
        &self,
        request: Request<pb::ForcePrimaryRequest>,
    ) -> Result<Response<pb::ForcePrimaryResponse>, Status> {
        let time = time_of(&request);
        let forced = async {
            time.check(Instant::now())?;
            self.front.handle.force_primary(time.deadline).await?;
            self.see(time, |view| view.primary).await?;
            let view = self.front.handle.view();
            tracing::warn!(
                version = view.version.number,
                "the view is primary on request; what a lost majority had is given up"
            );
            Ok(pb::ForcePrimaryResponse {
                version: describe::version(view.version),
            })
        };
        respond(forced.await)
    }
}
