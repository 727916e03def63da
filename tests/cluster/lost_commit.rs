//! A commit that is carried out and whose answer is lost on the way: the client asks again, and never
//! runs the transaction a second time.

use crate::rig::{Authorities, PATIENCE, TestNode, listeners, settings, wait_until};
use embergrid::client::messages::ModifyRequest;
use embergrid::client::messages::modify_request::{Change, Increment};
use embergrid::client::{Client, Options, TransactionOptions};
use embergrid::config::AddressList;
use embergrid::error::{Applied, Error};
use embergrid::rpc::tls::client_tls;
use embergrid::types::CacheSettings;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CACHE: &str = "accounts";

/// Passes on what clients say to a node, and what it answers unless told otherwise.
async fn passes_on(listener: TcpListener, node: SocketAddr, swallows: Arc<AtomicBool>) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(node) = TcpStream::connect(node).await else {
            return;
        };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_node, mut to_node) = node.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_node).await });
        let swallows = Arc::clone(&swallows);
        tokio::spawn(async move {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(count @ 1..) = from_node.read(&mut bytes).await {
                if swallows.load(Ordering::SeqCst) {
                    continue;
                }
                if to_client.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn client(authorities: &Authorities, list: &AddressList, timeout: Duration) -> Client {
    let tls = client_tls(&authorities.client("client")).expect("a configuration");
    let options = Options {
        attempt_timeout: Duration::from_millis(500),
        timeout,
        routing: false,
        ..Options::default()
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Client::connect(list, tls.clone(), options).await {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
    }
}

/// Adds one to the key; answers are swallowed from the end of the closure on. How the transaction
/// ended, and how often its closure came to its end.
async fn count(client: &Client, swallows: &AtomicBool) -> (Result<(), Error>, usize) {
    let completed = AtomicUsize::new(0);
    let add = ModifyRequest {
        cache: CACHE.to_owned(),
        key: "a".into(),
        change: Some(Change::Increment(Increment {
            delta: 1,
            initial: Some(1),
            ..Increment::default()
        })),
        ..ModifyRequest::default()
    };
    let counted = client.transaction(TransactionOptions::default(), async |within| {
        within.modify(add.clone()).await?;
        completed.fetch_add(1, Ordering::SeqCst);
        swallows.store(true, Ordering::SeqCst);
        Ok(())
    });
    (counted.await, completed.into_inner())
}

async fn value(client: &Client) -> Option<String> {
    // A read that comes late is made again.
    let entry = client.get(CACHE, "a").await.ok()??;
    Some(String::from_utf8_lossy(&entry.value).into_owned())
}

#[test]
fn a_commit_whose_answer_is_lost_is_asked_for_again_and_carried_out_once() {
    let authorities = Authorities::new("authority");
    let (mut sockets, list) = listeners(1);
    let mut settings = settings(&list, authorities.node("node"));
    settings.caches = vec![CacheSettings {
        partitions: 16,
        ..CacheSettings::named(CACHE)
    }];
    let node = TestNode::start(&settings, sockets.remove(0)).expect("a node starts");
    wait_until("the node serves", || node.handle().serving());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let swallows = Arc::new(AtomicBool::new(false));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let proxy = listener.local_addr().expect("an address").to_string();
        let proxy = AddressList::of([&*proxy]).expect("an address");
        tokio::spawn(passes_on(listener, node.address, Arc::clone(&swallows)));
        let direct = client(&authorities, &list, PATIENCE).await;
        let until = async |wanted: &str| {
            let deadline = Instant::now() + PATIENCE;
            while value(&direct).await.as_deref() != Some(wanted) {
                assert!(Instant::now() < deadline, "the commit is not carried out");
            }
        };

        // No answer ever comes.
        let deaf = client(&authorities, &proxy, Duration::from_secs(2)).await;
        let (ended, completed) = count(&deaf, &swallows).await;
        let error = ended.expect_err("nobody said so");
        assert_eq!(error.applied, Applied::Unknown, "{error:?}");
        assert_eq!(completed, 1);
        until("1").await;

        // One comes once it has been carried out.
        swallows.store(false, Ordering::SeqCst);
        let patient = client(&authorities, &proxy, PATIENCE).await;
        let counted = count(&patient, &swallows);
        let heals = async {
            until("2").await;
            swallows.store(false, Ordering::SeqCst);
        };
        let ((ended, completed), ()) = tokio::join!(counted, heals);
        assert_eq!((ended, completed), (Ok(()), 1));
        until("2").await;
    });
}
