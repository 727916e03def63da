//! A client goes straight to owners, and one of them is killed without warning in the middle of a
//! thousand calls. No call fails: each is answered, or honestly unknown. Prints the count.

use crate::local::{LIMIT, atomic, started};
use embergrid::client::messages::{CacheMode, PutRequest};
use embergrid::client::{Client, Options};
use embergrid::error::{Applied, Error};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const NODES: usize = 3;
const CALLS: usize = 1_000;
const KILLED_AT: usize = 400;
const CALLERS: usize = 8;
const CACHE: &str = "kept";

fn put(key: String, value: String) -> PutRequest {
    PutRequest {
        cache: CACHE.to_owned(),
        key: key.into(),
        value: value.into(),
        ..PutRequest::default()
    }
}

/// How the calls of one caller ended.
#[derive(Debug, Default)]
struct Told {
    answered: usize,
    unknown: usize,
    failed: Vec<Error>,
    /// What each key must hold; absent where the outcome of its write is unknown.
    written: HashMap<String, Option<String>>,
}

async fn caller(client: Client, number: usize, made: Arc<AtomicUsize>) -> Told {
    let mut told = Told::default();
    let note = |told: &mut Told, result: Result<(), Error>| match result {
        Ok(()) => {
            told.answered += 1;
            true
        }
        Err(error) => {
            match error.applied {
                Applied::Unknown => told.unknown += 1,
                Applied::NotApplied => told.failed.push(error),
            }
            false
        }
    };
    while made.fetch_add(1, Ordering::Relaxed) < CALLS {
        let call = told.answered + told.unknown + told.failed.len();
        let key = format!("key-{number}-{}", call % 50);
        if call % 3 == 2 {
            let found = client.get(CACHE, key.clone()).await.map(drop);
            note(&mut told, found);
        } else {
            let value = format!("value-{call}");
            let stored = client.put(put(key.clone(), value.clone())).await.map(drop);
            let known = note(&mut told, stored);
            told.written.insert(key, known.then_some(value));
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_node_is_killed_sees_no_error_that_is_not_honest() {
    let (mut cluster, nodes) = started(3).await;
    let created = nodes[0].create_cache(atomic(CACHE, CacheMode::Partitioned));
    created.await.expect("a cache is created");
    let everyone: Vec<usize> = (0..NODES).collect();
    let client = cluster
        .routing_client(&everyone, Options::default())
        .await
        .expect("a node is reached");
    let at = client.address().expect("it is connected");
    let victim = everyone
        .iter()
        .copied()
        .find(|&index| cluster.address(index) == at)
        .expect("it is one of ours");
    let made = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|number| tokio::spawn(caller(client.clone(), number, Arc::clone(&made))))
        .collect();
    let give_up = Instant::now() + LIMIT;
    while made.load(Ordering::Relaxed) < KILLED_AT {
        assert!(Instant::now() < give_up, "the calls do not go on");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    cluster.kill(victim);
    let mut all = Vec::new();
    for caller in callers {
        all.push(caller.await.expect("a caller ends"));
    }
    let answered: usize = all.iter().map(|told| told.answered).sum();
    let unknown: usize = all.iter().map(|told| told.unknown).sum();
    let failed: Vec<&Error> = all.iter().flat_map(|told| &told.failed).collect();
    println!(
        "killed owner: {CALLS} calls by {CALLERS} callers, the node killed after {KILLED_AT}: \
         {answered} answered, {unknown} unknown, {} failed",
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(answered + unknown, CALLS);
    for (key, value) in all.into_iter().flat_map(|told| told.written) {
        let Some(value) = value else { continue };
        let found = client
            .get(CACHE, key.clone())
            .await
            .expect("it is answered");
        assert_eq!(found.map(|entry| entry.value), Some(value.into()), "{key}");
    }
}
