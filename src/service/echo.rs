//! The floor of the load generator: answers the messages of `CacheService` with nothing behind it,
//! over the same listener, TLS and HTTP/2 settings as a node. What it costs is what any call costs
//! here. Of no other use.

use super::server;
use crate::config::LimitSettings;
use crate::rpc::acceptor::{ACCEPTED_MAX, Accepted, Acceptor};
use crate::rpc::proto as pb;
use crate::rpc::proto::cache_service_server::{CacheService, CacheServiceServer};
use pb::pipeline_request::Operation;
use pb::pipeline_response::Result as Answer;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

/// Serves it; does not end by itself.
pub async fn serve(
    listener: TcpListener,
    acceptor: Arc<Acceptor>,
    value_bytes: usize,
    limits: &LimitSettings,
) {
    let (control, _none) = mpsc::channel(1);
    let (general, incoming) = mpsc::channel(ACCEPTED_MAX);
    let message_bytes_max = usize::try_from(limits.message_bytes_max).unwrap_or(usize::MAX);
    let echo = Echo {
        value: vec![b'v'; value_bytes].into(),
    };
    let service = CacheServiceServer::new(echo).max_decoding_message_size(message_bytes_max);
    let served = server::run(
        Routes::new(service).prepare(),
        incoming,
        limits.streams_per_connection_max,
    );
    tokio::join!(
        acceptor.run(listener, Accepted { control, general }, pending()),
        served
    );
}

#[derive(Clone, Debug)]
struct Echo {
    value: bytes::Bytes,
}

impl Echo {
    fn got(&self, request: pb::GetRequest) -> pb::GetResponse {
        let at = prost_types::Timestamp {
            seconds: 1_600_000_000,
            nanos: 123_456_000,
        };
        pb::GetResponse {
            entry: Some(pb::Entry {
                key: request.key,
                value: self.value.clone(),
                version: u64::MAX,
                created_at: Some(at),
                last_access_at: Some(at),
                ..pb::Entry::default()
            }),
        }
    }

    fn answer(&self, operation: Operation) -> Answer {
        match operation {
            Operation::Get(request) => Answer::Get(self.got(request)),
            Operation::Put(_) => Answer::Put(put()),
            Operation::Remove(_) => Answer::Remove(pb::RemoveResponse::default()),
            Operation::Touch(_) => Answer::Touch(pb::TouchResponse::default()),
            Operation::Modify(_) => Answer::Modify(pb::ModifyResponse::default()),
            Operation::GetTicket(_) => Answer::GetTicket(pb::GetTicketResponse::default()),
            Operation::UseTicket(_) => Answer::UseTicket(pb::UseTicketResponse::default()),
        }
    }
}

fn put() -> pb::PutResponse {
    pb::PutResponse {
        applied: true,
        version: u64::MAX,
        previous: None,
    }
}

fn no_echo<T>() -> Result<T, Status> {
    Err(Status::unimplemented("the floor echoes single keys only"))
}

type Answers<T> = ReceiverStream<Result<T, Status>>;
type Echoes = Pin<Box<dyn Stream<Item = Result<pb::PipelineResponse, Status>> + Send>>;

#[tonic::async_trait]
impl CacheService for Echo {
    async fn get(
        &self,
        request: Request<pb::GetRequest>,
    ) -> Result<Response<pb::GetResponse>, Status> {
        Ok(Response::new(self.got(request.into_inner())))
    }

    async fn put(&self, _: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        Ok(Response::new(put()))
    }

    async fn remove(
        &self,
        _: Request<pb::RemoveRequest>,
    ) -> Result<Response<pb::RemoveResponse>, Status> {
        Ok(Response::new(pb::RemoveResponse::default()))
    }

    async fn touch(
        &self,
        _: Request<pb::TouchRequest>,
    ) -> Result<Response<pb::TouchResponse>, Status> {
        Ok(Response::new(pb::TouchResponse::default()))
    }

    async fn modify(
        &self,
        _: Request<pb::ModifyRequest>,
    ) -> Result<Response<pb::ModifyResponse>, Status> {
        Ok(Response::new(pb::ModifyResponse::default()))
    }

    async fn get_many(
        &self,
        _: Request<pb::GetManyRequest>,
    ) -> Result<Response<pb::GetManyResponse>, Status> {
        no_echo()
    }

    async fn put_many(
        &self,
        _: Request<pb::PutManyRequest>,
    ) -> Result<Response<pb::PutManyResponse>, Status> {
        no_echo()
    }

    async fn remove_many(
        &self,
        _: Request<pb::RemoveManyRequest>,
    ) -> Result<Response<pb::RemoveManyResponse>, Status> {
        no_echo()
    }

    type ScanStream = Answers<pb::ScanResponse>;

    async fn scan(
        &self,
        _: Request<pb::ScanRequest>,
    ) -> Result<Response<Self::ScanStream>, Status> {
        no_echo()
    }

    async fn size(
        &self,
        _: Request<pb::SizeRequest>,
    ) -> Result<Response<pb::SizeResponse>, Status> {
        no_echo()
    }

    async fn clear(
        &self,
        _: Request<pb::ClearRequest>,
    ) -> Result<Response<pb::ClearResponse>, Status> {
        no_echo()
    }

    type WatchStream = Answers<pb::WatchEvent>;

    async fn watch(
        &self,
        _: Request<pb::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        no_echo()
    }

    type PipelineStream = Echoes;

    async fn pipeline(
        &self,
        request: Request<Streaming<pb::PipelineRequest>>,
    ) -> Result<Response<Echoes>, Status> {
        let echo = self.clone();
        let answers = request.into_inner().map(move |request| {
            let request = request?;
            Ok(pb::PipelineResponse {
                id: request.id,
                result: request.operation.map(|operation| echo.answer(operation)),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
