//! A node is paused under the default timeouts while users write and read, and goes on later. Prints
//! how long it took until the node was out of the view, and the longest gap in service. A write
//! meanwhile waits for whom its cache says, the memory of a remove for the node that is out, and no
//! more frames for its link than the settings say.

use crate::local::{LIMIT, atomic, configured, started};
use crate::process::signal;
use embergrid::cli::demo::{Witness, names, wait_for_view};
use embergrid::client::messages::{
    CacheMode, CacheSettings, PutRequest, RemoveRequest, WriteSynchronizationMode,
};
use embergrid::client::{Client, Options};
use embergrid::error::{Applied, Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CACHE: &str = "kept";
const NODES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_node_is_left_out_and_comes_back() {
    let (cluster, nodes) = started(3).await;
    nodes[0]
        .create_cache(atomic(CACHE, CacheMode::Replicated))
        .await
        .expect("a cache is created");
    let paused = 2;
    let process = cluster.process_ids()[paused];
    let name = cluster.name(paused);
    let user = cluster
        .client(&[0, 1])
        .await
        .expect("the others are reached");
    let witness = Witness::start(user, CACHE);
    let begin = Instant::now();
    signal(process, "-STOP");
    let mut left_out = Ok(());
    for node in &nodes[..paused] {
        let view = wait_for_view(node, LIMIT, |view| !names(view).contains(&name)).await;
        left_out = left_out.and(view.map(drop));
    }
    let out = begin.elapsed();
    let report = witness.report().await;
    signal(process, "-CONT");
    left_out.expect("the paused node leaves the view");
    let report = report.expect("no call fails");
    for node in &nodes {
        wait_for_view(node, LIMIT, |view| view.nodes.len() == NODES)
            .await
            .expect("it is taken back");
    }
    println!(
        "paused node, default timeouts: out of the view after {} ms; longest gap in service {} ms; \
         {} calls answered meanwhile",
        out.as_millis(),
        report.longest_gap.as_millis(),
        report.calls
    );
}

/// Writes the one key.
async fn put(user: &Client, cache: &str) -> Result<(), Error> {
    let request = PutRequest {
        cache: cache.to_owned(),
        key: "key".into(),
        ..PutRequest::default()
    };
    user.put(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_of_a_remove_waits_for_who_is_out_as_long_as_its_cache_says() {
    let (cluster, nodes) = started(3).await;
    for (name, seconds) in [("short", 1), ("long", 24 * 3600)] {
        let settings = CacheSettings {
            name: name.to_owned(),
            partitions: 16,
            removes_are_final: true,
            tombstone_retention: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..CacheSettings::default()
        };
        let made = nodes[0].create_cache(settings).await;
        made.expect("a cache is created");
    }
    let user = cluster.client(&[0, 1]).await.expect("the others");
    for cache in ["short", "long"] {
        put(&user, cache).await.expect("a write");
    }
    let paused = 2;
    let (process, name) = (cluster.process_ids()[paused], cluster.name(paused));
    signal(process, "-STOP");
    for node in &nodes[..paused] {
        wait_for_view(node, LIMIT, |view| !names(view).contains(&name))
            .await
            .expect("the paused node leaves the view");
    }
    for cache in ["short", "long"] {
        let request = RemoveRequest {
            cache: cache.to_owned(),
            key: "key".into(),
            ..RemoveRequest::default()
        };
        user.remove(request).await.expect("a remove");
    }
    let removed = |result: Result<(), Error>| match result {
        Ok(()) => false,
        Err(error) => {
            assert_eq!(error.reason, "REMOVED", "{error}");
            true
        }
    };
    let deadline = Instant::now() + LIMIT;
    while removed(put(&user, "short").await) {
        assert!(Instant::now() < deadline, "the remove is not forgotten");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(removed(put(&user, "long").await), "forgotten too early");
    signal(process, "-CONT");
}

/// How often the pause is repeated where this machine was too slow to see what it showed.
const TRIES: usize = 10;

/// Writes begun, and how many of them were answered.
fn begin_writes(user: &Arc<Client>, cache: &str, count: usize) -> Arc<AtomicUsize> {
    let answered = Arc::new(AtomicUsize::new(0));
    for number in 0..count {
        let (user, answered) = (Arc::clone(user), Arc::clone(&answered));
        let request = PutRequest {
            cache: cache.to_owned(),
            key: format!("key-{number}").into_bytes().into(),
            ..PutRequest::default()
        };
        tokio::spawn(async move {
            user.put(request).await.expect("the write ends well");
            answered.fetch_add(1, Ordering::SeqCst);
        });
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_waits_for_whom_its_cache_says() {
    const WRITES: usize = 24;
    let (cluster, nodes) = started(3).await;
    for (name, mode) in [
        ("all", WriteSynchronizationMode::FullSync),
        ("one", WriteSynchronizationMode::PrimarySync),
        ("nobody", WriteSynchronizationMode::FullAsync),
    ] {
        let settings = CacheSettings {
            name: name.to_owned(),
            write_synchronization_mode: mode.into(),
            partitions: 16,
            ..CacheSettings::default()
        };
        let made = nodes[0].create_cache(settings).await;
        made.expect("a cache is created");
    }
    let paused = 2;
    let (process, name) = (cluster.process_ids()[paused], cluster.name(paused));
    let user = Arc::new(cluster.client(&[0, 1]).await.expect("the others"));
    let mut seen = false;
    for _ in 0..TRIES {
        signal(process, "-STOP");
        let all = begin_writes(&user, "all", WRITES);
        let others = [
            begin_writes(&user, "one", WRITES),
            begin_writes(&user, "nobody", WRITES),
        ];
        // Some of the keys have the paused node as their primary.
        let deadline = Instant::now() + LIMIT;
        let few = |count: &Arc<AtomicUsize>| count.load(Ordering::SeqCst) < WRITES / 4;
        while others.iter().any(few) {
            assert!(Instant::now() < deadline, "no write is answered");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let waited_for_all = all.load(Ordering::SeqCst) == 0;
        let view = nodes[0].topology().await;
        signal(process, "-CONT");
        if names(&view.expect("a view")).contains(&name) {
            assert!(waited_for_all, "a write did not wait for an owner");
            seen = true;
            break;
        }
        for node in &nodes {
            wait_for_view(node, LIMIT, |view| view.nodes.len() == NODES)
                .await
                .expect("it is taken back");
        }
    }
    assert!(seen, "the paused node was always out of the view too early");
}

/// Writes to a cluster with a paused node that were refused as too many, where so many frames may
/// wait for a link.
async fn refused_as_too_many(link_queue_max: usize) -> usize {
    const WRITES: usize = 512;
    const VALUE_BYTES: usize = 64 << 10;
    let settings = format!("[limits]\nlink-queue-max = {link_queue_max}\n");
    let (cluster, nodes) = configured(3, &settings).await;
    let made = nodes[0]
        .create_cache(atomic(CACHE, CacheMode::Replicated))
        .await;
    made.expect("a cache is created");
    let options = Options {
        routing: false,
        attempts_max: 1,
        attempt_timeout: LIMIT,
        timeout: LIMIT,
        ..Options::default()
    };
    let user = cluster.routing_client(&[0, 1], options).await;
    let user = Arc::new(user.expect("the others are reached"));
    let process = cluster.process_ids()[2];
    signal(process, "-STOP");
    let writes = (0..WRITES).map(|number| {
        let user = Arc::clone(&user);
        let request = PutRequest {
            cache: CACHE.to_owned(),
            key: format!("key-{number}").into_bytes().into(),
            value: vec![0; VALUE_BYTES].into(),
            ..PutRequest::default()
        };
        tokio::spawn(async move { user.put(request).await })
    });
    let writes: Vec<_> = writes.collect();
    let mut refused = 0;
    for write in writes {
        let result = write.await.expect("no panic");
        if let Some(error) = result.err().filter(|e| e.kind == ErrorKind::Overloaded) {
            assert_eq!(error.applied, Applied::NotApplied, "{error}");
            refused += 1;
        }
    }
    signal(process, "-CONT");
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_to_a_peer_is_answered_overloaded() {
    let mut refused = 0;
    for _ in 0..TRIES {
        refused = refused_as_too_many(64).await;
        if refused > 0 {
            break;
        }
    }
    assert!(refused > 0, "every frame found room");
    assert!(refused_as_too_many(65_536).await < refused);
}
