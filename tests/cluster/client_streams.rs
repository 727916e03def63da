//! What the client does when the node dies that it listens to: scans and watches go on at another
//! one, without a gap and without a double; batches answer for every key.

use crate::commands::LIMIT;
use crate::console::{CACHE, Console};
use embergrid::client::Client;
use embergrid::client::messages::put_many_request::Put;
use embergrid::client::messages::remove_many_request::Remove;
use embergrid::client::messages::{
    ClearRequest, GetManyRequest, PutManyRequest, PutRequest, RemoveManyRequest, ScanRequest,
    SizeRequest, WatchRequest,
};
use embergrid::error::{Applied, ErrorKind};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Which node answers the client at present.
fn asked(console: &Console) -> usize {
    let address = console.client.address().expect("it is connected");
    let nodes = 0..console.cluster.size();
    let mut same = nodes.filter(|&node| console.cluster.address(node) == address);
    same.next().expect("one of the nodes")
}

async fn put(client: &Client, key: String, value: String) {
    let request = PutRequest {
        cache: CACHE.to_owned(),
        key: key.into(),
        value: value.into(),
        ..PutRequest::default()
    };
    let deadline = Instant::now() + LIMIT;
    // What may have been applied is written again: the same value, with a new id.
    while let Err(error) = client.put(request.clone()).await {
        let passing = error.applied == Applied::Unknown || error.kind == ErrorKind::Unavailable;
        assert!(passing && Instant::now() < deadline, "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_when_its_node_is_killed() {
    let mut console = Console::start(3).await;
    let victim = asked(&console);
    let request = WatchRequest {
        cache: CACHE.to_owned(),
        with_previous: true,
        ..WatchRequest::default()
    };
    let mut watch = console.client.watch(request).await.expect("a watch");
    assert!(
        !watch.resume_token().is_empty(),
        "every partition is watched"
    );
    let others: Vec<usize> = (0..3).filter(|&node| node != victim).collect();
    let writer = console.cluster.client(&others).await.expect("a client");
    let writing = tokio::spawn(async move {
        for number in 0..600 {
            put(&writer, format!("k{}", number % 30), number.to_string()).await;
        }
        put(&writer, "last".to_owned(), String::new()).await;
    });
    let mut versions = BTreeMap::new();
    let mut killed = false;
    loop {
        let event = tokio::time::timeout(LIMIT, watch.next());
        let event = event.await.expect("an event in time").expect("no gap");
        let entry = event.entry.expect("an entry");
        if entry.key == "last" {
            break;
        }
        // Each event follows the one before it of its key: no gap, no double.
        let previous = event.previous.map(|previous| previous.version);
        let before = versions.insert(entry.key.clone(), entry.version);
        assert_eq!(previous, before, "{:?} = {:?}", entry.key, entry.value);
        if !killed && entry.value == "200" {
            killed = true;
            console.cluster.kill(victim);
        }
    }
    writing.await.expect("all was written");
    assert!(killed && watch.resumed() > 0, "{}", watch.resumed());
    println!(
        "30 keys, 600 writes, a node killed: the watch resumed {} times",
        watch.resumed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_goes_on_when_its_node_is_killed() {
    let mut console = Console::start(3).await;
    let entries = (0..1_000).map(|number| Put {
        key: format!("k{number}").into(),
        value: vec![b'v'; 2_000].into(),
        ..Put::default()
    });
    let request = PutManyRequest {
        cache: CACHE.to_owned(),
        entries: entries.collect(),
        ..PutManyRequest::default()
    };
    let stored = console.client.put_many(request).await.expect("a batch");
    assert!(
        stored
            .iter()
            .all(|put| put.as_ref().is_ok_and(|put| put.applied))
    );
    let victim = asked(&console);
    let mut scan = console.client.scan(ScanRequest {
        cache: CACHE.to_owned(),
        ..ScanRequest::default()
    });
    let mut keys = BTreeSet::new();
    while let Some(found) = scan.next().await.expect("it goes on") {
        let key = found.entry.expect("an entry").key;
        assert!(keys.insert(key), "an entry came twice");
        if keys.len() == 100 {
            console.cluster.kill(victim);
        }
    }
    assert_eq!(keys.len(), 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_answer_for_every_key() {
    let console = Console::start(1).await;
    let client = &console.client;
    let put = |key: &'static str| Put {
        key: key.into(),
        value: key.into(),
        ..Put::default()
    };
    let long = Put {
        key: vec![b'k'; 70_000].into(),
        ..Put::default()
    };
    let request = PutManyRequest {
        cache: CACHE.to_owned(),
        entries: vec![put("a"), put("b"), long],
        ..PutManyRequest::default()
    };
    let stored = client.put_many(request).await.expect("a batch");
    assert!(stored[0].is_ok() && stored[1].is_ok());
    let refused = stored[2].as_ref().expect_err("too long");
    assert_eq!(refused.kind, ErrorKind::InvalidArgument);
    assert_eq!(refused.applied, Applied::NotApplied);
    let request = GetManyRequest {
        cache: CACHE.to_owned(),
        keys: vec!["a".into(), "none".into(), "b".into()],
        ..GetManyRequest::default()
    };
    let read = client.get_many(request).await.expect("a batch");
    let values: Vec<_> = read
        .into_iter()
        .map(|answer| answer.expect("an answer").map(|entry| entry.value))
        .collect();
    assert_eq!(values, [Some("a".into()), None, Some("b".into())]);
    let remove = |key: &'static str| Remove {
        key: key.into(),
        condition: None,
    };
    let request = RemoveManyRequest {
        cache: CACHE.to_owned(),
        keys: vec![remove("a"), remove("none")],
        ..RemoveManyRequest::default()
    };
    let removed = client.remove_many(request).await.expect("a batch");
    let applied: Vec<bool> = removed
        .into_iter()
        .map(|answer| answer.expect("an answer").applied)
        .collect();
    assert_eq!(applied, [true, false]);
    let size = SizeRequest {
        cache: CACHE.to_owned(),
        ..SizeRequest::default()
    };
    assert_eq!(client.size(size).await, Ok(1));
    let clear = ClearRequest {
        cache: CACHE.to_owned(),
        ..ClearRequest::default()
    };
    assert_eq!(client.clear(clear).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalogue_and_the_topology_are_followed() {
    let mut console = Console::start(2).await;
    let client = console.client.clone();
    let names = |caches: Vec<embergrid::client::messages::CacheDescription>| -> Vec<String> {
        let settings = caches.into_iter().filter_map(|cache| cache.settings);
        settings.map(|settings| settings.name).collect()
    };
    assert_eq!(names(client.list_caches().await.expect("a list")), [CACHE]);
    client.drop_cache(CACHE).await.expect("it is dropped");
    let error = client.describe_cache(CACHE).await.expect_err("it is gone");
    assert_eq!(error.kind, ErrorKind::NotFound);
    let mut views = client.watch_topology();
    let first = views.next().await.expect("a view");
    assert_eq!(first.nodes.len(), 2);
    console.cluster.kill(asked(&console));
    let seen = async {
        loop {
            if views.next().await.expect("a view").nodes.len() == 1 {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, seen).await.expect("in time");
}
