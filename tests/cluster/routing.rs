//! The client goes straight to the owners of keys, and follows them when nodes come and go.

use crate::rig::{Authorities, PATIENCE, TestNode, listeners, settings, wait_until};
use embergrid::client::messages::put_many_request::Put;
use embergrid::client::messages::{GetManyRequest, PutManyRequest, PutRequest, Ticket};
use embergrid::client::{Client, Options};
use embergrid::config::AddressList;
use embergrid::rpc::tls::client_tls;
use embergrid::types::{AtomicityMode, CacheMode, CacheSettings};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

const CACHE: &str = "c";

/// Where tickets are whose kind names no cache.
const TICKETS: &str = "tickets";
const KEYS: usize = 60;

/// One copy of each key, so that whoever is not the owner must pass a request on.
fn single_copies() -> CacheSettings {
    CacheSettings {
        mode: CacheMode::Partitioned,
        backups: 0,
        partitions: 64,
        atomicity: AtomicityMode::Atomic,
        ..CacheSettings::named(CACHE)
    }
}

/// Nodes have runtimes of their own, which end outside of this one.
fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

async fn client(authorities: &Authorities, list: &AddressList) -> Client {
    let tls = client_tls(&authorities.client("client")).expect("a configuration");
    Client::connect(list, tls, Options::default())
        .await
        .expect("a node is reached")
}

async fn write_all(client: &Client) {
    for number in 0..KEYS {
        let request = PutRequest {
            cache: CACHE.to_owned(),
            key: format!("key-{number}").into(),
            value: "v".into(),
            ..PutRequest::default()
        };
        client.put(request).await.expect("a key is stored");
    }
}

async fn write_batch(client: &Client) {
    let put = |number| Put {
        key: format!("key-{number}").into(),
        value: format!("{number}").into(),
        ..Put::default()
    };
    let request = PutManyRequest {
        cache: CACHE.to_owned(),
        entries: (0..KEYS).map(put).collect(),
        ..PutManyRequest::default()
    };
    for stored in client.put_many(request).await.expect("a batch is stored") {
        assert!(stored.expect("a key is stored").applied);
    }
}

async fn use_tickets(client: &Client) {
    let tickets = client.tickets();
    for number in 0..KEYS / 2 {
        let ticket = Ticket {
            id: format!("TGT-{number}").into(),
            kind: "TGT".to_owned(),
            ..Ticket::default()
        };
        let added = tickets.add(ticket).await.expect("a ticket is stored");
        assert!(added.stored);
        // All kinds are in one cache: none has to be named.
        let found = tickets.get(format!("TGT-{number}"), "").await;
        assert_eq!(found.expect("it lives").version, added.version);
    }
}

/// Writes all keys until a round of it makes no node pass anything on.
async fn until_straight(
    client: &Client,
    nodes: &[&TestNode],
    write: impl AsyncFn(&Client),
) -> Vec<u64> {
    let waited = || -> u64 {
        let of = |node: &&TestNode| node.handle().stats().requests_waited;
        nodes.iter().map(of).sum()
    };
    let requests = || -> Vec<u64> {
        let of = |node: &&TestNode| node.handle().stats().requests;
        nodes.iter().map(of).collect()
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (waited_before, before) = (waited(), requests());
        write(client).await;
        let after = requests();
        if waited() == waited_before {
            let each = after
                .iter()
                .zip(before)
                .map(|(after, before)| after - before);
            return each.collect();
        }
        assert!(
            Instant::now() < deadline,
            "requests are still passed on from node to node"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn batches_are_parted_by_owner() {
    let authorities = Authorities::new("authority");
    let (sockets, list) = listeners(2);
    let nodes: Vec<TestNode> = sockets
        .into_iter()
        .enumerate()
        .map(|(number, listener)| {
            let name = format!("node-{number}");
            let mut settings = settings(&list, authorities.node(&name));
            settings.caches = vec![single_copies()];
            TestNode::start(&settings, listener).expect("a node starts")
        })
        .collect();
    wait_until("two nodes are one cluster", || {
        let mut views = nodes.iter().map(|node| node.handle().view());
        views.all(|view| view.nodes.len() == 2)
    });
    let runtime = runtime();
    let client = runtime.block_on(client(&authorities, &list));
    let nodes: Vec<&TestNode> = nodes.iter().collect();
    let each = runtime.block_on(until_straight(&client, &nodes, write_batch));
    assert!(each.iter().all(|&count| count > 0), "{each:?}");
    assert_eq!(each.iter().sum::<u64>(), KEYS as u64);

    let request = GetManyRequest {
        cache: CACHE.to_owned(),
        keys: (0..=KEYS)
            .rev()
            .map(|number| format!("key-{number}").into())
            .collect(),
        ..GetManyRequest::default()
    };
    let read = runtime.block_on(client.get_many(request));
    let mut read = read.expect("a batch is read").into_iter();
    let first = read.next().expect("an answer").expect("no error");
    assert_eq!(first, None, "it was never stored");
    for (number, answer) in (0..KEYS).rev().zip(read) {
        let entry = answer.expect("no error").expect("it was stored");
        assert_eq!(
            entry.value,
            format!("{number}"),
            "in the order of the request"
        );
    }
}

#[test]
fn tickets_are_asked_of_their_owners() {
    let authorities = Authorities::new("authority");
    let (sockets, list) = listeners(2);
    let nodes = sockets.into_iter().zip(["one", "other"]);
    let nodes: Vec<TestNode> = nodes
        .map(|(listener, name)| {
            let mut settings = settings(&list, authorities.node(name));
            settings.caches = vec![CacheSettings {
                name: TICKETS.to_owned(),
                removes_are_final: true,
                ..single_copies()
            }];
            TestNode::start(&settings, listener).expect("a node starts")
        })
        .collect();
    wait_until("two nodes are one cluster", || {
        let mut views = nodes.iter().map(|node| node.handle().view());
        views.all(|view| view.nodes.len() == 2)
    });
    let runtime = runtime();
    let client = runtime.block_on(client(&authorities, &list));
    let nodes: Vec<&TestNode> = nodes.iter().collect();
    let each = runtime.block_on(until_straight(&client, &nodes, use_tickets));
    assert!(each.iter().all(|&count| count > 0), "{each:?}");
}

#[test]
fn calls_go_straight_to_owners_and_follow_them_to_a_node_that_joins() {
    let authorities = Authorities::new("authority");
    let (mut sockets, list) = listeners(3);
    let third = sockets.pop().expect("three listeners");
    let start = |name: &str, listener| {
        let mut settings = settings(&list, authorities.node(name));
        settings.caches = vec![single_copies()];
        TestNode::start(&settings, listener).expect("a node starts")
    };
    let second = start("second", sockets.pop().expect("a listener"));
    let first = start("first", sockets.pop().expect("a listener"));
    let sees = |node: &TestNode, nodes: usize| node.handle().view().nodes.len() == nodes;
    wait_until("two nodes are one cluster", || {
        sees(&first, 2) && sees(&second, 2)
    });
    let runtime = runtime();
    let client = runtime.block_on(client(&authorities, &list));
    let each = runtime.block_on(until_straight(&client, &[&first, &second], write_all));
    assert!(each.iter().all(|&count| count > 0), "{each:?}");
    assert_eq!(each.iter().sum::<u64>(), KEYS as u64);

    let third = start("third", third);
    wait_until("three nodes are one cluster", || {
        sees(&first, 3) && sees(&second, 3) && sees(&third, 3)
    });
    let each = runtime.block_on(until_straight(
        &client,
        &[&first, &second, &third],
        write_all,
    ));
    assert!(each[2] > 0, "the third node is asked by nobody: {each:?}");
}

#[test]
fn calls_that_come_together_each_get_their_own_answer() {
    let authorities = Authorities::new("authority");
    let (mut sockets, list) = listeners(1);
    let mut settings = settings(&list, authorities.node("only"));
    settings.caches = vec![single_copies()];
    let node = TestNode::start(&settings, sockets.pop().expect("a listener")).expect("it starts");
    wait_until("it serves", || node.handle().serving());
    runtime().block_on(async {
        let client = client(&authorities, &list).await;
        together(&client).await;
    });
}

async fn together(client: &Client) {
    let together: Vec<_> = (0..200)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let key = format!("key-{number}");
                let request = PutRequest {
                    cache: CACHE.to_owned(),
                    key: key.clone().into(),
                    value: format!("value-{number}").into(),
                    ..PutRequest::default()
                };
                client.put(request).await.expect("it is stored");
                let entry = client.get(CACHE, key).await.expect("it is answered");
                let value = entry.expect("it was stored").value;
                assert_eq!(value, format!("value-{number}"));
                let missing = client.get("no such cache", "k").await;
                missing.expect_err("an error is an answer of its own");
            })
        })
        .collect();
    for one in together {
        one.await.expect("it ends");
    }
}
