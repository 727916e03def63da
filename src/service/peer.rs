//! `PeerService`: what other nodes send and ask. Decodes and hands to the node; decides nothing. Only a
//! connection with the certificate of a node gets here.

use super::cluster::{describe, transactions};
use super::{inquiry, time_of};
use crate::node::{Handle, PeerSession};
use crate::rpc::connection::Remote;
use crate::rpc::frame::Frame;
use crate::rpc::link::{FRAME_BYTES_MAX, LINK_NUMBER};
use crate::rpc::proto::peer_service_server::{PeerService, PeerServiceServer};
use crate::rpc::proto::{
    ControlFrame, CopiesRequest, CopiesResponse, DataFrame, EndTransactionResponse,
    ListTransactionsResponse, NodeStatsResponse, PeerEndTransactionRequest, PeerStatsRequest,
    PeerTransactionsRequest,
};
use crate::rpc::status::to_status;
use crate::types::{CacheId, Copies};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// How long the first frame of a stream may take.
const HELLO_WAIT: Duration = Duration::from_secs(5);

/// What a stream answers: a hello, once more on a control stream when this node's certificates
/// were renewed (the peer is to make its link anew), and nothing else until it ends.
type Answers<F> = ReceiverStream<Result<F, Status>>;

/// The service between nodes.
pub struct PeerFront {
    handle: Handle,
}

impl PeerFront {
    /// The service of this node.
    pub fn server(handle: Handle) -> PeerServiceServer<Self> {
        PeerServiceServer::new(Self { handle })
            .max_decoding_message_size(FRAME_BYTES_MAX)
            .max_encoding_message_size(FRAME_BYTES_MAX)
    }

    /// Lets nodes in and nobody else; the generation of certificates that the connection is of.
    fn admit<T>(&self, request: &Request<T>) -> Result<u64, Status> {
        let remote = request.extensions().get::<Remote>();
        if let Some(remote) = remote
            && remote.is_node
        {
            return Ok(remote.generation);
        }
        let why = self.handle.refuse_as_node(remote);
        Err(Status::permission_denied(format!(
            "this service is for nodes; the certificate is not that of a node: {why}"
        )))
    }

    /// Says hello in both directions, then hands over what comes, in a task of its own.
    async fn open<F: Frame>(
        &self,
        request: Request<Streaming<F>>,
        asks_again: bool,
    ) -> Result<Response<Answers<F>>, Status> {
        let generation = self.admit(&request)?;
        let number = link_number(&request)?;
        let mut frames = request.into_inner();
        let first = tokio::time::timeout(HELLO_WAIT, frames.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello came"))??
            .ok_or_else(|| Status::invalid_argument("the stream ended before hello"))?;
        let theirs = first.into_hello().map_err(|error| to_status(&error))?;
        let session = self.handle.greet(&theirs, number);
        let session = session.map_err(|error| to_status(&error))?;
        let (answers, receiver) = mpsc::channel(1);
        let mine = F::new(1, Some(&*self.handle.hello()), Vec::new());
        let _ = answers.try_send(Ok(mine));
        let handle = self.handle.clone();
        tokio::spawn(async move {
            let outdated = async {
                handle.certificates_renewed_since(generation).await;
                if asks_again {
                    let again = F::new(2, Some(&*handle.hello()), Vec::new());
                    let _ = answers.send(Ok(again)).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = take(frames, &session) => {}
                () = outdated => {}
                () = session.stopped() => {}
                () = answers.closed() => {}
            }
            drop(answers);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl PeerService for PeerFront {
    type ControlStream = Answers<ControlFrame>;
    type DataStream = Answers<DataFrame>;

    async fn control(
        &self,
        request: Request<Streaming<ControlFrame>>,
    ) -> Result<Response<Self::ControlStream>, Status> {
        self.open(request, true).await
    }

    async fn data(
        &self,
        request: Request<Streaming<DataFrame>>,
    ) -> Result<Response<Self::DataStream>, Status> {
        self.open(request, false).await
    }

    async fn stats(
        &self,
        request: Request<PeerStatsRequest>,
    ) -> Result<Response<NodeStatsResponse>, Status> {
        self.admit(&request)?;
        let me = self.handle.me();
        inquiry::check(me.member, request.into_inner().node).map_err(|error| to_status(&error))?;
        let stats = describe::stats(me, self.handle.serving(), &self.handle.stats());
        Ok(Response::new(stats))
    }

    async fn transactions(
        &self,
        request: Request<PeerTransactionsRequest>,
    ) -> Result<Response<ListTransactionsResponse>, Status> {
        self.admit(&request)?;
        let PeerTransactionsRequest { node, limit } = request.into_inner();
        let me = self.handle.me().member;
        inquiry::check(me, node).map_err(|error| to_status(&error))?;
        Ok(Response::new(transactions::own(&self.handle, limit)))
    }

    async fn end_transaction(
        &self,
        request: Request<PeerEndTransactionRequest>,
    ) -> Result<Response<EndTransactionResponse>, Status> {
        self.admit(&request)?;
        let time = time_of(&request);
        let PeerEndTransactionRequest { node, transaction } = request.into_inner();
        let me = self.handle.me().member;
        inquiry::check(me, node).map_err(|error| to_status(&error))?;
        let ended = transactions::end(&self.handle, &transaction, time).await;
        ended.map(Response::new).map_err(|error| to_status(&error))
    }

    async fn copies(
        &self,
        request: Request<CopiesRequest>,
    ) -> Result<Response<CopiesResponse>, Status> {
        self.admit(&request)?;
        let CopiesRequest { node, cache } = request.into_inner();
        let me = self.handle.me().member;
        inquiry::check(me, node).map_err(|error| to_status(&error))?;
        let copies = inquiry::own_copies(&self.handle, CacheId(cache)).await;
        let Copies { backup, near } = copies.map_err(|error| to_status(&error))?;
        Ok(Response::new(CopiesResponse { backup, near }))
    }
}

/// Hands frames over until the stream ends, or the link was replaced.
async fn take<F: Frame>(mut frames: Streaming<F>, session: &PeerSession) {
    loop {
        match frames.message().await {
            Ok(Some(frame)) => {
                if !session.deliver(frame.into_messages()) {
                    return;
                }
            }
            Ok(None) => return,
            Err(status) => {
                tracing::debug!(peer = %session.from(), %status, "a stream of a peer ended");
                return;
            }
        }
    }
}

fn link_number<T>(request: &Request<T>) -> Result<u64, Status> {
    request
        .metadata()
        .get(LINK_NUMBER)
        .and_then(|number| number.to_str().ok())
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| Status::invalid_argument("the number of the link is missing"))
}
