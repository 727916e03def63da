//! What an operator gives up: partitions that are lost, and a server that does not come back.

use crate::local::{atomic, started};
use crate::process::signal;
use crate::rig::{PATIENCE, wait_until};
use embergrid::cli::demo::wait_for_view;
use embergrid::client::messages::{CacheMode, CacheSettings, PutRequest};
use embergrid::client::{Client, Options};
use embergrid::error::{ErrorKind, Result};
use std::time::Duration;

const CACHE: &str = "alone";
const KEYS: usize = 32;

async fn put(client: &Client, key: usize) -> Result<()> {
    let request = PutRequest {
        cache: CACHE.to_owned(),
        key: format!("key-{key}").into(),
        value: "value".into(),
        ..PutRequest::default()
    };
    client.put(request).await.map(drop)
}

/// Who answers is meant, and nobody else: it is asked once, and waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_of_whoever_answers_takes_one_node() {
    let (cluster, clients) = started(3).await;
    // Any other call would be made again and again.
    let hasty = Options {
        attempt_timeout: Duration::from_millis(1),
        ..Options::default()
    };
    let client = cluster.routing_client(&[0, 1, 2], hasty).await;
    let client = client.expect("a node is reached");
    client.drain("").await.expect("one leaves");
    let mut left = Vec::new();
    for other in &clients {
        left.extend(other.topology().await.map(|view| view.nodes.len()));
    }
    assert_eq!(left.iter().min(), Some(&2), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_partitions_are_refused_until_they_are_given_up() {
    let (mut cluster, _) = started(2).await;
    let options = Options {
        timeout: Duration::from_secs(2),
        ..Options::default()
    };
    let hurried = cluster.routing_client(&[0], options).await;
    let hurried = hurried.expect("it is reached");
    let client = cluster.routing_client(&[0], Options::default()).await;
    let client = client.expect("it is reached");
    let alone = CacheSettings {
        backups: Some(0),
        ..atomic(CACHE, CacheMode::Partitioned)
    };
    client.create_cache(alone).await.expect("it is created");
    for key in 0..KEYS {
        put(&client, key).await.expect("it is stored");
    }
    let none = client.reset_lost_partitions(&[CACHE]).await;
    assert_eq!(none, Ok(0), "nothing is lost yet");
    let unknown = client.reset_lost_partitions(&[CACHE, "none"]).await;
    assert_eq!(
        unknown.map_err(|error| error.kind),
        Err(ErrorKind::NotFound)
    );

    cluster.kill(1);
    wait_for_view(&client, PATIENCE, |view| view.nodes.len() == 1)
        .await
        .expect("the killed node is out");
    let mut lost = Vec::new();
    for key in 0..KEYS {
        match hurried.get(CACHE, format!("key-{key}")).await {
            Ok(found) => assert!(found.is_some(), "no miss in the place of what is lost"),
            Err(error) => {
                assert_eq!(
                    (error.kind, &*error.reason),
                    (ErrorKind::Unavailable, "PARTITION_LOST")
                );
                lost.push(key);
                break;
            }
        }
    }
    let some = *lost.first().expect("half of the partitions are lost");
    let given_up = client.reset_lost_partitions(&[CACHE]).await;
    assert!(given_up.expect("it is done") > 0);
    let found = client.get(CACHE, format!("key-{some}")).await;
    assert_eq!(found, Ok(None), "it begins empty");
    put(&client, some).await.expect("it is stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_out_is_forgotten_by_name() {
    let (cluster, _) = started(2).await;
    let client = cluster.client(&[0]).await.expect("it is reached");
    let second = cluster.name(1);
    let kind = async |name: &str| {
        let forgotten = client.forget_node(name).await;
        forgotten.map_err(|error| error.kind)
    };
    assert_eq!(kind(&second).await, Err(ErrorKind::FailedPrecondition));
    assert_eq!(kind("nobody").await, Err(ErrorKind::NotFound));
    // One whose port refuses is known to hold nothing; one that is silent may return.
    let process = cluster.process_ids()[1];
    signal(process, "-STOP");
    wait_for_view(&client, PATIENCE, |view| view.nodes.len() == 1)
        .await
        .expect("the silent node is out");
    assert_eq!(kind(&second).await, Ok(()));
    assert_eq!(kind(&second).await, Err(ErrorKind::NotFound));
    signal(process, "-CONT");
    wait_until("it is back", || {
        let view = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(client.topology())
        });
        view.is_ok_and(|view| view.nodes.len() == 2)
    });
}
