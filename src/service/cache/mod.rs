//! `CacheService`: every call in one line here, its work in the file of its name.

mod bulk;
mod current;
mod glance;
mod many;
mod pipeline;
mod scan;
mod watch;
mod whole;

use super::deadline::CallTime;
use super::decode::{SingleKey, known, transaction};
use super::encode::{FromReply, modified};
use super::streams::Answers;
use super::{Front, time_of};
use crate::error::Result;
use crate::rpc::proto as pb;
use crate::rpc::proto::cache_service_server::CacheService;
use crate::rpc::status::to_status;
use crate::types::Reply;
use std::time::Instant;
use tonic::{Request, Response, Status, Streaming};

/// Keys and values.
#[derive(Clone)]
pub struct CacheFront {
    front: Front,
}

impl CacheFront {
    /// The service of a node.
    pub fn new(front: Front) -> Self {
        Self { front }
    }

    /// One operation on one key.
    async fn single<M: SingleKey>(&self, message: M, time: CallTime) -> Result<Reply> {
        let (name, id) = message.within();
        let transaction = transaction(name, id)?;
        let request = {
            let view = self.front.handle.look_at_view();
            let cache = known(&view, message.cache())?;
            message.request(&cache.settings)?
        };
        time.check(Instant::now())?;
        match transaction {
            None => self.front.handle.execute(request, time.deadline).await,
            Some(id) => whole::one_within(&self.front, id, request, time).await,
        }
    }

    async fn answer<M: SingleKey, R: FromReply>(
        &self,
        request: Request<M>,
    ) -> Result<Response<R>, Status> {
        let time = time_of(&request);
        let reply = self.single(request.into_inner(), time).await;
        respond(reply.and_then(R::from_reply))
    }
}

/// The one place where an answer or an error leaves a unary call.
fn respond<T>(result: Result<T>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| to_status(&error))
}

/// The same for a call that streams, whose first step may fail.
fn respond_stream<T>(result: Result<Response<Answers<T>>>) -> Result<Response<Answers<T>>, Status> {
    result.map_err(|error| to_status(&error))
}

#[tonic::async_trait]
impl CacheService for CacheFront {
    async fn get(
        &self,
        request: Request<pb::GetRequest>,
    ) -> Result<Response<pb::GetResponse>, Status> {
        let time = time_of(&request);
        let handle = &self.front.handle;
        if let Some(answer) = glance::at_hand(handle, request.get_ref(), time, Instant::now()) {
            return Ok(Response::new(answer));
        }
        self.answer(request).await
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        self.answer(request).await
    }

    async fn remove(
        &self,
        request: Request<pb::RemoveRequest>,
    ) -> Result<Response<pb::RemoveResponse>, Status> {
        self.answer(request).await
    }

    async fn touch(
        &self,
        request: Request<pb::TouchRequest>,
    ) -> Result<Response<pb::TouchResponse>, Status> {
        self.answer(request).await
    }

    async fn modify(
        &self,
        request: Request<pb::ModifyRequest>,
    ) -> Result<Response<pb::ModifyResponse>, Status> {
        let time = time_of(&request);
        let message = request.into_inner();
        let increment = pipeline::is_increment(&message);
        let reply = self.single(message, time).await;
        respond(reply.and_then(|reply| modified(reply, increment)))
    }

    async fn get_many(
        &self,
        request: Request<pb::GetManyRequest>,
    ) -> Result<Response<pb::GetManyResponse>, Status> {
        let time = time_of(&request);
        respond(many::get(&self.front, request.into_inner(), time).await)
    }

    async fn put_many(
        &self,
        request: Request<pb::PutManyRequest>,
    ) -> Result<Response<pb::PutManyResponse>, Status> {
        let time = time_of(&request);
        respond(many::put(&self.front, request.into_inner(), time).await)
    }

    async fn remove_many(
        &self,
        request: Request<pb::RemoveManyRequest>,
    ) -> Result<Response<pb::RemoveManyResponse>, Status> {
        let time = time_of(&request);
        respond(many::remove(&self.front, request.into_inner(), time).await)
    }

    type ScanStream = Answers<pb::ScanResponse>;

    async fn scan(
        &self,
        request: Request<pb::ScanRequest>,
    ) -> Result<Response<Self::ScanStream>, Status> {
        let time = time_of(&request);
        respond_stream(scan::start(&self.front, request.into_inner(), time))
    }

    async fn size(
        &self,
        request: Request<pb::SizeRequest>,
    ) -> Result<Response<pb::SizeResponse>, Status> {
        let time = time_of(&request);
        respond(bulk::size(&self.front, request.into_inner(), time).await)
    }

    async fn clear(
        &self,
        request: Request<pb::ClearRequest>,
    ) -> Result<Response<pb::ClearResponse>, Status> {
        let time = time_of(&request);
        respond(bulk::clear(&self.front, request.into_inner(), time).await)
    }

    type WatchStream = Answers<pb::WatchEvent>;

    async fn watch(
        &self,
        request: Request<pb::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let time = time_of(&request);
        respond_stream(watch::start(&self.front, request.into_inner(), time))
    }

    type PipelineStream = pipeline::Line;

    async fn pipeline(
        &self,
        request: Request<Streaming<pb::PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let time = time_of(&request);
        pipeline::start(&self.front, request.into_inner(), time).map_err(|error| to_status(&error))
    }
}
