//! Named locks over mutual TLS: between two clients, behind a holder that is gone, and over the loss of
//! the node that leads the lock.

use crate::local::{LIMIT, started};
use embergrid::cli::demo::LocalCluster;
use embergrid::client::{Client, Lock, Options};
use embergrid::error::ErrorKind;
use embergrid::types::cache::partition_of;
use embergrid::types::lock::CACHE;
use std::time::{Duration, Instant};

const LOCK: &str = "nightly-report";
const POLL: Duration = Duration::from_millis(5);

async fn taken(client: &Client, wait: Duration, lease: Duration) -> Option<Lock> {
    let taken = client.lock(LOCK, wait, lease).await;
    taken.expect("it is answered")
}

/// Which node leads the lock, once all its copies are in place.
async fn primary(cluster: &LocalCluster, client: &Client) -> usize {
    let deadline = Instant::now() + LIMIT;
    loop {
        let table = client.partition_table(CACHE).await.expect("a table");
        let cache = &table.caches[0];
        let count = cache.partitions.len();
        let copies = count * cluster.size().min(3);
        if cache.copies_loading == 0 && cache.copies_owned == copies as u64 {
            let place = partition_of(LOCK.as_bytes(), count as u32) as usize;
            let leads = cache.partitions[place].primary.expect("a primary");
            let name = &table.nodes[leads as usize].consistent_id;
            let nodes = 0..cluster.size();
            let mut same = nodes.filter(|node| cluster.name(*node) == *name);
            return same.next().expect("one of the nodes");
        }
        assert!(Instant::now() < deadline, "still loading: {cache:?}");
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_handed_on_and_outlives_neither_its_holder_nor_its_token() {
    let (_cluster, nodes) = started(2).await;
    let minute = Duration::from_secs(60);
    let first = taken(&nodes[0], Duration::ZERO, minute).await;
    let mut first = first.expect("it is free");
    assert!(taken(&nodes[1], Duration::ZERO, minute).await.is_none());
    assert!(first.renew(minute).await.expect("an answer"));
    let waits = nodes[1].clone();
    let waits = tokio::spawn(async move { taken(&waits, LIMIT, minute).await });
    let earlier = first.token();
    let copy = first.clone();
    assert!(first.unlock().await.expect("an answer"));
    let second = waits.await.expect("no panic").expect("its turn");
    assert!(second.token() > earlier);
    assert!(!copy.unlock().await.expect("an answer"), "it is another's");
    // Its holder is gone without a word, and its lease is short.
    assert!(second.unlock().await.expect("an answer"));
    let short = Duration::from_millis(200);
    let third = taken(&nodes[0], Duration::ZERO, short).await;
    let mut third = third.expect("it is free");
    let fourth = taken(&nodes[1], LIMIT, minute).await.expect("its turn");
    assert!(fourth.token() > third.token());
    assert!(!third.renew(minute).await.expect("an answer"), "too late");
    for (name, lease) in [("", minute), (LOCK, Duration::from_millis(1))] {
        let error = nodes[0].lock(name, Duration::ZERO, lease).await;
        let error = error.expect_err("out of bounds");
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_and_who_waits_for_it_outlive_the_node_that_leads_it() {
    let (mut cluster, nodes) = started(3).await;
    let minute = Duration::from_secs(60);
    let first = taken(&nodes[0], Duration::ZERO, minute).await;
    let first = first.expect("it is free");
    assert!(first.unlock().await.expect("an answer"));
    let dies = primary(&cluster, &nodes[0]).await;
    let survivors: Vec<usize> = (0..3).filter(|node| *node != dies).collect();
    let options = Options::default();
    let client = cluster.routing_client(&survivors, options).await;
    let holder = client.expect("survivors are reached");
    let client = cluster.routing_client(&survivors, options).await;
    let waiter = client.expect("survivors are reached");
    let mut held = taken(&holder, LIMIT, minute).await.expect("it is free");
    let waits = tokio::spawn(async move { taken(&waiter, LIMIT, minute).await });
    cluster.kill(dies);
    // Nobody else has it, and it is renewed where another leads now.
    assert!(held.renew(minute).await.expect("an answer"));
    assert!(!waits.is_finished(), "two hold it");
    let earlier = held.token();
    assert!(held.unlock().await.expect("an answer"));
    let next = waits.await.expect("no panic").expect("its turn");
    assert!(next.token() > earlier);
}
