//! What comes over the wire and must not: each gets a status or a closed connection, and nothing
//! else on the node notices.

use super::alone::{ATOMIC, Alone, VALUE_MAX, get, put, refused, soon, until};
use crate::rig::PATIENCE;
use bytes::Bytes;
use embergrid::error::{Applied, Error, ErrorKind};
use embergrid::rpc::proto as pb;
use embergrid::rpc::status::from_status;
use http::Request;
use pb::peer_service_client::PeerServiceClient;
use prost::Message;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};

pub const PUT: &str = "/embergrid.v1.CacheService/Put";

/// A message in its gRPC frame.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("it fits");
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// A bare HTTP/2 connection, on which anything can be said.
pub struct Bare(pub h2::client::SendRequest<Bytes>);

impl Bare {
    pub async fn open(node: &Alone) -> Self {
        let session = node.session(&[b"h2"]).await.expect("a session");
        let (sender, connection) = h2::client::handshake(session).await.expect("HTTP/2");
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self(sender)
    }

    pub fn request(path: &str, timeout: Option<&str>) -> Request<()> {
        let mut request = Request::post(format!("https://127.0.0.1{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(timeout) = timeout {
            request = request.header("grpc-timeout", timeout);
        }
        request.body(()).expect("a request")
    }

    /// The status of a call with this body.
    async fn status(&self, path: &str, timeout: Option<&str>, body: &[u8]) -> Status {
        let mut sender = self.0.clone().ready().await.expect("room");
        let request = Self::request(path, timeout);
        let (answer, mut stream) = sender.send_request(request, false).expect("a call");
        // The node may have answered and reset the stream before the body is out.
        let _ = stream.send_data(Bytes::copy_from_slice(body), true);
        let answer = soon(answer).await.expect("an answer");
        if let Some(status) = Status::from_header_map(answer.headers()) {
            return status;
        }
        let mut body = answer.into_body();
        while let Some(data) = soon(body.data()).await {
            let _ = body
                .flow_control()
                .release_capacity(data.expect("data").len());
        }
        let trailers = soon(body.trailers())
            .await
            .expect("trailers")
            .expect("trailers");
        Status::from_header_map(&trailers).expect("a status")
    }

    async fn error(&self, path: &str, timeout: Option<&str>, body: &[u8]) -> Error {
        from_status(&self.status(path, timeout, body).await)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_none_are_the_callers_mistake() {
    let node = Alone::start().await;
    let bare = Bare::open(&node).await;
    let whole = put(ATOMIC, "k", "v").encode_to_vec();
    let mut cases = vec![
        ("no message", Vec::new()),
        ("part of a frame's head", vec![0, 0, 0]),
        ("part of a frame", framed(&whole)[..whole.len()].to_vec()),
        (
            "a compressed frame",
            [&[1][..], &framed(&whole)[1..]].concat(),
        ),
        (
            "an unknown kind of frame",
            [&[9][..], &framed(&whole)[1..]].concat(),
        ),
        ("a frame without end", vec![0, 0xff, 0xff, 0xff, 0xff]),
        ("text that is not UTF-8", framed(&[0x0a, 2, 0xff, 0xfe])),
    ];
    for length in 1..whole.len() {
        // One that ends between two fields is a message of its own.
        if pb::PutRequest::decode(&whole[..length]).is_err() {
            cases.push(("part of a message", framed(&whole[..length])));
        }
    }
    for (what, body) in cases {
        let status = bare.status(PUT, None, &body).await;
        let error = from_status(&status);
        let allowed = [ErrorKind::InvalidArgument, ErrorKind::Unimplemented];
        assert!(allowed.contains(&error.kind), "{what}: {status:?}");
        assert_eq!(error.applied, Applied::NotApplied, "{what}: {status:?}");
    }
    assert_eq!(
        bare.status(PUT, None, &framed(&whole)).await.code(),
        Code::Ok
    );
    node.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_bytes_are_answered_by_every_call() {
    let node = Alone::start().await;
    let bare = Bare::open(&node).await;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    for call in [
        "Get", "Put", "Remove", "Touch", "Modify", "GetMany", "PutMany", "Scan", "Watch",
    ] {
        let path = format!("/embergrid.v1.CacheService/{call}");
        for length in 0..40 {
            let body: Vec<u8> = (0..length).map(|_| byte()).collect();
            let status = bare.status(&path, Some("2S"), &framed(&body)).await;
            assert_ne!(status.code(), Code::Internal, "{call} {body:?}: {status:?}");
            assert_ne!(status.code(), Code::Ok, "{call} {body:?}");
        }
    }
    node.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_end_where_they_should() {
    let mut node = Alone::start().await;
    let long = "k".repeat(65_535);
    node.cache
        .put(put(ATOMIC, &long, "v"))
        .await
        .expect("the longest key");
    assert!(
        node.cache
            .get(get(ATOMIC, &long))
            .await
            .expect("a read")
            .into_inner()
            .entry
            .is_some()
    );
    for bad in [String::new(), format!("{long}k")] {
        let error = refused(node.cache.put(put(ATOMIC, &bad, "v")).await);
        assert_eq!(
            (error.kind, error.reason.as_ref()),
            (ErrorKind::InvalidArgument, "KEY_LENGTH")
        );
        assert_eq!(
            refused(node.cache.get(get(ATOMIC, &bad)).await).reason,
            "KEY_LENGTH"
        );
    }
    let largest = "v".repeat(VALUE_MAX);
    node.cache
        .put(put(ATOMIC, "k", &largest))
        .await
        .expect("the largest value");
    let error = refused(
        node.cache
            .put(put(ATOMIC, "k", &format!("{largest}v")))
            .await,
    );
    assert_eq!(
        (error.kind, error.reason.as_ref()),
        (ErrorKind::InvalidArgument, "VALUE_TOO_LARGE")
    );
    assert_eq!(error.applied, Applied::NotApplied);
    node.cache
        .put(put(ATOMIC, "empty", ""))
        .await
        .expect("an empty value");
    let read = node
        .cache
        .get(get(ATOMIC, "empty"))
        .await
        .expect("a read")
        .into_inner();
    assert!(read.entry.expect("an entry").value.is_empty());
    let huge = "v".repeat(21 << 20);
    let error = refused(node.cache.put(put(ATOMIC, "k", &huge)).await);
    assert_eq!(
        (error.kind, error.reason.as_ref()),
        (ErrorKind::InvalidArgument, "MESSAGE_TOO_LARGE")
    );
    node.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durations_and_ids_out_of_bounds_are_refused() {
    let mut node = Alone::start().await;
    for (seconds, nanos) in [
        (0, 0),
        (-1, 0),
        (0, -1),
        (i64::MAX, 0),
        (1, -1),
        (3_153_600_001, 0),
    ] {
        let span = Some(prost_types::Duration { seconds, nanos });
        let expiry = Some(pb::Expiry {
            time_to_live: span,
            ..Default::default()
        });
        let error = refused(
            node.cache
                .put(pb::PutRequest {
                    expiry,
                    ..put(ATOMIC, "k", "v")
                })
                .await,
        );
        assert_eq!(error.reason, "BAD_DURATION", "{seconds} {nanos}");
    }
    for length in [1, 15, 17] {
        let request_id = vec![1; length].into();
        let request = pb::PutRequest {
            request_id,
            ..put(ATOMIC, "k", "v")
        };
        assert_eq!(
            refused(node.cache.put(request).await).kind,
            ErrorKind::InvalidArgument
        );
    }
    let read = node
        .cache
        .get(get(ATOMIC, "k"))
        .await
        .expect("a read")
        .into_inner();
    assert_eq!(read.entry, None, "nothing was applied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_in_the_past_applies_nothing() {
    let mut node = Alone::start().await;
    let bare = Bare::open(&node).await;
    let body = framed(&put(ATOMIC, "k", "v").encode_to_vec());
    for timeout in ["0n", "0S"] {
        let error = bare.error(PUT, Some(timeout), &body).await;
        assert_eq!(
            (error.kind, error.applied),
            (ErrorKind::DeadlineExceeded, Applied::NotApplied)
        );
    }
    let error = bare.error(PUT, Some("1n"), &body).await;
    assert_eq!(error.kind, ErrorKind::DeadlineExceeded);
    let read = node
        .cache
        .get(get(ATOMIC, "k"))
        .await
        .expect("a read")
        .into_inner();
    assert_eq!(read.entry, None, "nothing was applied");
    assert_eq!(bare.status(PUT, Some("10S"), &body).await.code(), Code::Ok);
    assert_eq!(
        bare.status(PUT, Some("nonsense"), &body).await.code(),
        Code::Ok
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_are_cancelled_leave_nothing_behind() {
    let node = Alone::start().await;
    let mut calls = Vec::new();
    for count in 0..200u64 {
        let mut cache = node.cache.clone();
        let call = async move { cache.put(put(ATOMIC, &format!("k{count}"), "v")).await };
        calls.push(tokio::spawn(async move {
            tokio::time::timeout(Duration::from_micros(count * 20), call).await
        }));
    }
    for call in calls {
        if let Ok(done) = soon(call).await.expect("no panic") {
            done.expect("a write");
        }
    }
    let bare = Bare::open(&node).await;
    for _ in 0..50 {
        // Half a message, then a reset.
        let mut sender = bare.0.clone().ready().await.expect("room");
        let request = Bare::request(PUT, None);
        let (_answer, mut stream) = sender.send_request(request, false).expect("a call");
        stream
            .send_data(Bytes::from_static(&[0, 0, 0, 0, 50, 1]), false)
            .expect("room");
        stream.send_reset(h2::Reason::CANCEL);
    }
    let waiting = || async {
        let mut cluster = node.cluster.clone();
        let stats = cluster
            .node_stats(pb::NodeStatsRequest::default())
            .await
            .expect("counters");
        stats.into_inner().counters["requests_waiting_now"] == 0
    };
    until("no call waits", waiting).await;
    node.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_not_taken_for_a_node() {
    let node = Alone::start().await;
    let mut peer = PeerServiceClient::new(node.channel());
    let frames = tokio_stream::iter([pb::ControlFrame::default()]);
    let status = soon(peer.control(frames)).await.expect_err("a refusal");
    assert_eq!(status.code(), Code::PermissionDenied);
    let frames = tokio_stream::iter([pb::DataFrame::default()]);
    let status = soon(peer.data(frames)).await.expect_err("a refusal");
    assert_eq!(status.code(), Code::PermissionDenied);
    node.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_protocols_are_closed() {
    let node = Alone::start().await;
    let text = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    // Plain text where TLS is spoken.
    let mut plain = TcpStream::connect(("127.0.0.1", node.port))
        .await
        .expect("a connection");
    plain.write_all(text).await.expect("room");
    closed(plain).await;
    // HTTP/1 within TLS, with and without having said so.
    for protocols in [&[][..], &[&b"http/1.1"[..]], &[&b"h2"[..]]] {
        let Ok(mut session) = node.session(protocols).await else {
            continue;
        };
        if session.write_all(text).await.is_ok() {
            closed(session).await;
        }
    }
    // A call to nothing.
    let bare = Bare::open(&node).await;
    for path in [
        "/",
        "/embergrid.v1.CacheService/None",
        "/embergrid.v1.None/Get",
    ] {
        assert_eq!(
            bare.status(path, None, &framed(&[])).await.code(),
            Code::Unimplemented,
            "{path}"
        );
    }
    node.is_well().await;
}

/// Reads until the other end closes, which it must without an HTTP/1 answer of substance.
async fn closed(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut bytes = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    assert!(ended.is_ok(), "the connection stayed open");
    assert!(!bytes.starts_with(b"HTTP/1.1 200"), "HTTP/1 was answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_harm_their_own_connection_at_most() {
    let node = Alone::start().await;
    let bare = Bare::open(&node).await;
    for _ in 0..2_000 {
        let Ok(mut sender) = bare.0.clone().ready().await else {
            break;
        };
        let Ok((_answer, mut stream)) = sender.send_request(Bare::request(PUT, None), false) else {
            break;
        };
        stream.send_reset(h2::Reason::CANCEL);
    }
    node.is_well().await;
}
