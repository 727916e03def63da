//! A peer that says hello and then takes nothing: its link ends at the socket timeout.

use crate::rig::PATIENCE;
use embergrid::rpc::connector::Connector;
use embergrid::rpc::frame::Frame;
use embergrid::rpc::lane::LaneLimits;
use embergrid::rpc::link::{LinkOptions, greet};
use embergrid::rpc::proto::peer_service_server::{PeerService, PeerServiceServer};
use embergrid::rpc::proto::{
    ControlFrame, CopiesRequest, CopiesResponse, DataFrame, EndTransactionResponse,
    ListTransactionsResponse, NodeStatsResponse, PeerEndTransactionRequest, PeerStatsRequest,
    PeerTransactionsRequest,
};
use embergrid::types::hello::Hello;
use embergrid::types::message::{Forward, Message};
use embergrid::types::protocol::{PROTOCOL_VERSION, PROTOCOL_VERSION_MIN};
use embergrid::types::{
    Blob, CacheId, Condition, Expiry, Incarnation, KeyOperation, Member, NodeId, NodeInfo,
    Operation, Request, TopologyVersion,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Response, Status, Streaming};

fn hello(name: &str) -> Hello {
    let info = NodeInfo {
        member: Member {
            id: NodeId::of(name),
            incarnation: Incarnation(1),
        },
        consistent_id: name.to_owned(),
        address: "127.0.0.1:1".to_owned(),
        program_version: "0".to_owned(),
        ..NodeInfo::default()
    };
    Hello {
        quorum_of: None,
        cluster_name: "embergrid".to_owned(),
        protocol: PROTOCOL_VERSION,
        protocol_min: PROTOCOL_VERSION_MIN,
        info,
        caches: Vec::new(),
        ticket_keys: Vec::new(),
        digest_key: None,
        in_cluster: false,
    }
}

/// Answers hello and reads nothing.
struct Stalls;

type Answers<F> = ReceiverStream<Result<F, Status>>;

fn stall<F: Frame>(frames: Streaming<F>) -> Response<Answers<F>> {
    let (answers, receiver) = mpsc::channel(1);
    let _ = answers.try_send(Ok(F::new(1, Some(&hello("stalls")), Vec::new())));
    tokio::spawn(async move {
        answers.closed().await;
        drop(frames);
    });
    Response::new(ReceiverStream::new(receiver))
}

#[tonic::async_trait]
impl PeerService for Stalls {
    type ControlStream = Answers<ControlFrame>;
    type DataStream = Answers<DataFrame>;

    async fn control(
        &self,
        request: tonic::Request<Streaming<ControlFrame>>,
    ) -> Result<Response<Self::ControlStream>, Status> {
        Ok(stall(request.into_inner()))
    }

    async fn data(
        &self,
        request: tonic::Request<Streaming<DataFrame>>,
    ) -> Result<Response<Self::DataStream>, Status> {
        Ok(stall(request.into_inner()))
    }

    async fn stats(
        &self,
        _: tonic::Request<PeerStatsRequest>,
    ) -> Result<Response<NodeStatsResponse>, Status> {
        Err(Status::unimplemented("it only stalls"))
    }

    async fn copies(
        &self,
        _: tonic::Request<CopiesRequest>,
    ) -> Result<Response<CopiesResponse>, Status> {
        Err(Status::unimplemented("it only stalls"))
    }

    async fn transactions(
        &self,
        _: tonic::Request<PeerTransactionsRequest>,
    ) -> Result<Response<ListTransactionsResponse>, Status> {
        Err(Status::unimplemented("it only stalls"))
    }

    async fn end_transaction(
        &self,
        _: tonic::Request<PeerEndTransactionRequest>,
    ) -> Result<Response<EndTransactionResponse>, Status> {
        Err(Status::unimplemented("it only stalls"))
    }
}

fn large_message(id: u64) -> Message {
    let put = KeyOperation::Put {
        value: Blob::from(vec![0; 1 << 20]),
        flags: 0,
        expiry: Expiry::Default,
        condition: Condition::Any,
        return_previous: false,
    };
    Message::Forward(Forward {
        id,
        topology: TopologyVersion::default(),
        deadline: embergrid::types::ClusterTime(1),
        request: Request {
            cache: CacheId(1),
            partition: 0,
            operation: Operation::Key {
                key: Blob::from("key"),
                operation: put,
            },
            request_id: None,
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_nothing_loses_its_link_at_the_socket_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tonic::transport::Server::builder()
        .add_service(PeerServiceServer::new(Stalls))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let options = LinkOptions {
        connector: Connector::new(None, Duration::from_millis(500)),
        network_timeout: Duration::from_secs(5),
        drain_time: Duration::from_secs(30),
        data_limits: LaneLimits {
            messages_max: 32,
            bytes_max: 64 << 20,
        },
        data_streams: 2,
        data_runtime: Handle::current(),
    };
    let mine = Arc::new(hello("dials"));
    let greeting = greet(&options, &[address], &mine, 1).await.expect("hello");
    assert_eq!(greeting.peer().consistent_id, "stalls");
    let (ended, mut told) = mpsc::channel(1);
    let link = greeting
        .complete(&options, move |_| {
            let _ = ended.try_send(());
        })
        .await
        .expect("the data streams open");
    let mut refused = 0;
    for id in 0..80 {
        refused += u32::from(!link.send(large_message(id)));
    }
    assert!(refused > 0, "the queue has no bound");
    // It may have come to its end already.
    assert!(!link.has_room() || link.is_closed());
    tokio::time::timeout(PATIENCE, told.recv())
        .await
        .expect("the link ends")
        .expect("once");
    assert!(link.is_closed());
    assert!(!link.send(large_message(81)));
    server.abort();
}
