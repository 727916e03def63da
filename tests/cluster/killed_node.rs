//! A node is killed without warning while users write and read: nothing answered is lost. Prints
//! how long it took until the node was out of the view, and the longest gap in service.

use crate::local::{LIMIT, atomic, started};
use embergrid::cli::demo::{Witness, names, wait_for_view};
use embergrid::client::messages::{CacheMode, PutRequest};
use std::time::Instant;

const NODES: usize = 3;
const KEYS: usize = 200;
const CACHE: &str = "kept";

async fn kill(mode: CacheMode, coordinator: bool) {
    let (mut cluster, nodes) = started(3).await;
    nodes[0]
        .create_cache(atomic(CACHE, mode))
        .await
        .expect("a cache is created");
    for number in 0..KEYS {
        let request = PutRequest {
            cache: CACHE.to_owned(),
            key: format!("key-{number}").into_bytes().into(),
            value: format!("value-{number}").into_bytes().into(),
            ..PutRequest::default()
        };
        let reply = nodes[number % NODES]
            .put(request)
            .await
            .expect("a key is stored");
        assert!(reply.applied);
    }
    let view = nodes[0].topology().await.expect("a view");
    let victim = (0..NODES)
        .find(|&index| (cluster.name(index) == view.coordinator) == coordinator)
        .expect("there is one");
    let name = cluster.name(victim);
    let survivors: Vec<usize> = (0..NODES).filter(|&index| index != victim).collect();
    let user = cluster
        .client(&survivors)
        .await
        .expect("survivors are reached");
    let witness = Witness::start(user, CACHE);
    let begin = Instant::now();
    cluster.kill(victim);
    for &index in &survivors {
        wait_for_view(&nodes[index], LIMIT, |view| !names(view).contains(&name))
            .await
            .expect("the dead node leaves the view");
    }
    let out = begin.elapsed();
    for &index in &survivors {
        for number in 0..KEYS {
            let entry = nodes[index]
                .get(CACHE, format!("key-{number}").into_bytes())
                .await;
            let entry = entry.expect("a read is answered").expect("nothing is lost");
            assert_eq!(entry.value, format!("value-{number}").as_bytes());
        }
    }
    let report = witness.report().await.expect("no call fails");
    println!(
        "killed node ({mode:?}, coordinator: {coordinator}): out of the view after {} ms; longest \
         gap in service {} ms; {} calls answered meanwhile",
        out.as_millis(),
        report.longest_gap.as_millis(),
        report.calls
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_backup_loses_nothing() {
    kill(CacheMode::Replicated, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_coordinator_loses_nothing() {
    kill(CacheMode::Partitioned, true).await;
}
