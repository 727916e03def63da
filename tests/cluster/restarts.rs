//! Restarts of one node after the other that wait for `SafeToStop`: drained by a call, told to stop
//! by a signal, or killed. Nothing is lost, and users see no error. Prints what it did.
//!
//! `EMBERGRID_ROUNDS` sets how many nodes are restarted (3 without it: each way once).

use crate::local::{atomic, started};
use crate::process::signal;
use crate::rig::{PATIENCE, wait_until};
use embergrid::cli::demo::Witness;
use embergrid::client::messages::{CacheMode, CacheSettings};
use embergrid::client::{Client, Options};
use embergrid::error::ErrorKind;
use std::time::Instant;

const NODES: usize = 3;
const CACHES: [(&str, CacheMode); 2] = [
    ("copied", CacheMode::Replicated),
    ("spread", CacheMode::Partitioned),
];

/// Waits until a node may stop; how often it was asked.
pub async fn wait_until_safe(client: &Client, node: &str) -> u32 {
    let deadline = Instant::now() + PATIENCE;
    let mut asked = 0;
    loop {
        asked += 1;
        let answer = client.safe_to_stop(node).await;
        match &answer {
            Ok(answer) if answer.safe => return asked,
            _ => assert!(Instant::now() < deadline, "{node}: {answer:?}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_nothing_and_shows_no_error() {
    let rounds = std::env::var("EMBERGRID_ROUNDS").ok();
    let rounds: usize = rounds.and_then(|text| text.parse().ok()).unwrap_or(3);
    let (mut cluster, _) = started(3).await;
    let everyone: Vec<usize> = (0..NODES).collect();
    let client = cluster.routing_client(&everyone, Options::default()).await;
    let client = client.expect("a node is reached");
    let mut witnesses = Vec::new();
    for (name, mode) in CACHES {
        let created = client.create_cache(atomic(name, mode)).await;
        created.expect("a cache is created");
        witnesses.push(Witness::start(client.clone(), name));
    }
    let (mut ways, mut asked) = ([0; 3], 0);
    for round in 0..rounds {
        let index = round % NODES;
        let name = cluster.name(index);
        asked += wait_until_safe(&client, &name).await;
        let way = (round + round / NODES) % ways.len();
        ways[way] += 1;
        match way {
            0 => client.drain(&name).await.expect("it leaves"),
            1 => {
                let ids = cluster.process_ids();
                signal(ids[index], "-TERM");
            }
            _ => cluster.kill(index),
        }
        wait_until("its process ends", || cluster.ended(index));
        cluster.start(index).expect("it starts again");
    }
    wait_until_safe(&client, &cluster.name(0)).await;
    let (mut calls, mut gap) = (0, std::time::Duration::ZERO);
    for witness in witnesses {
        let report = witness
            .report()
            .await
            .expect("no call fails, nothing is lost");
        calls += report.calls;
        gap = gap.max(report.longest_gap);
    }
    println!(
        "rolling restart: {rounds} nodes ({} drained, {} told to stop, {} killed), SafeToStop asked \
         {asked} times; {calls} calls, none failed, longest gap {} ms",
        ways[0],
        ways[1],
        ways[2],
        gap.as_millis()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_stop_is_told_so() {
    let (mut cluster, _) = started(2).await;
    let client = cluster.client(&[0]).await.expect("it is reached");
    let alone = CacheSettings {
        backups: Some(0),
        ..atomic("alone", CacheMode::Partitioned)
    };
    client.create_cache(alone).await.expect("it is created");
    let (first, second) = (cluster.name(0), cluster.name(1));
    let answer = client.safe_to_stop(&second).await.expect("an answer");
    assert!(!answer.safe);
    assert!(
        answer.reasons[0].ends_with("partitions have no other complete owner"),
        "{:?}",
        answer.reasons
    );
    let unknown = client.safe_to_stop("nobody").await.expect_err("not there");
    assert_eq!(unknown.kind, ErrorKind::NotFound);

    // Drained, it has handed over even what had one copy only.
    client
        .put(embergrid::client::messages::PutRequest {
            cache: "alone".to_owned(),
            key: "key".into(),
            value: "value".into(),
            ..Default::default()
        })
        .await
        .expect("it is stored");
    client.drain(&second).await.expect("it leaves");
    wait_until("its process ends", || cluster.ended(1));
    let found = client.get("alone", "key").await.expect("an answer");
    assert_eq!(found.map(|entry| entry.value), Some("value".into()));

    let last = client
        .drain(&first)
        .await
        .expect_err("nobody would be left");
    assert_eq!(last.kind, ErrorKind::FailedPrecondition);
    assert_eq!(last.reason, "NO_TAKER");
}
