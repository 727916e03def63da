//! Nodes form a cluster, keep what is stored through the loss of one, and take it back.

use crate::rig::{
    Authorities, FINDS_ANOTHER, PATIENCE, TestNode, kept_port, listeners, settings, wait_until,
};
use embergrid::config::{AddressList, Settings};
use embergrid::error::Result;
use embergrid::node::Handle;
use embergrid::types::cache::partition_of;
use embergrid::types::{
    Blob, CacheSettings, Condition, Expiry, KeyOperation, Operation, Reply, Request,
};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;

const CACHE: &str = "tickets";

pub fn request(key: &str, operation: KeyOperation) -> Request {
    request_in(&CacheSettings::named(CACHE), key, operation)
}

pub fn request_in(cache: &CacheSettings, key: &str, operation: KeyOperation) -> Request {
    Request {
        cache: cache.id(),
        partition: partition_of(key.as_bytes(), cache.partitions),
        operation: Operation::Key {
            key: Blob::from(key),
            operation,
        },
        request_id: None,
    }
}

pub fn put(value: &str) -> KeyOperation {
    KeyOperation::Put {
        value: Blob::from(value),
        flags: 0,
        expiry: Expiry::Default,
        condition: Condition::Any,
        return_previous: false,
    }
}

pub fn attempt(handle: &Handle, request: &Request) -> Result<Reply> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(handle.execute(request.clone(), Instant::now() + PATIENCE))
}

/// Repeats an operation until it is carried out.
pub fn execute(handle: &Handle, request: &Request) -> Reply {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt(handle, request) {
            Ok(reply) => return reply,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
    }
}

pub fn holds(handle: &Handle, key: &str, value: &str) {
    let get = KeyOperation::Get {
        touch: None,
        omit_value: false,
    };
    let Reply::Got { entry } = execute(handle, &request(key, get)) else {
        panic!("another reply");
    };
    let found = entry.unwrap_or_else(|| panic!("{key} is missing"));
    assert_eq!(&*found.value, value.as_bytes());
}

pub fn settings_of(authorities: &Authorities, list: &AddressList, name: &str) -> Settings {
    let mut settings = settings(list, authorities.node(name));
    settings.cluster.node_name = Some(name.to_owned());
    settings.caches = vec![CacheSettings::named(CACHE)];
    settings
}

/// Starts a node on each port, under these names.
fn start_all(
    authorities: &Authorities,
    list: &AddressList,
    ports: Vec<TcpListener>,
    names: &[&str],
) -> Vec<TestNode> {
    let nodes = ports.into_iter().zip(names).map(|(port, name)| {
        TestNode::start(&settings_of(authorities, list, name), port).expect("it starts")
    });
    nodes.collect()
}

/// Waits until the nodes, and no others, are in one view and serve.
pub fn wait_for_one_view(what: &str, nodes: &[TestNode]) {
    let deadline = Instant::now() + PATIENCE;
    while !in_one_view(nodes) {
        if Instant::now() > deadline {
            for node in nodes {
                let handle = node.handle();
                let (view, stats) = (handle.view(), handle.stats());
                println!(
                    "{}: serving {}",
                    handle.me().consistent_id,
                    handle.serving()
                );
                println!("  {:?} of {:?}", view.version, view.nodes);
                println!("  {stats:?}\n  {}", handle.probe_report());
            }
            panic!("not within {PATIENCE:?}: {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn in_one_view(nodes: &[TestNode]) -> bool {
    let first = nodes.first().map(|node| node.handle().view().version);
    nodes.iter().all(|node| {
        let view = node.handle().view();
        view.nodes.len() == nodes.len() && Some(view.version) == first && node.handle().serving()
    })
}

#[test]
fn a_node_alone_serves_and_leaves() {
    let authorities = Authorities::new("alone");
    let (mut ports, list) = listeners(1);
    let started = Instant::now();
    let settings = settings_of(&authorities, &list, "alone");
    let mut node = TestNode::start(&settings, ports.remove(0)).expect("it starts");
    wait_until("it serves", || node.handle().serving());
    println!("alone, serving after {:?}", started.elapsed());
    execute(&node.handle(), &request("key", put("value")));
    holds(&node.handle(), "key", "value");
    node.shut_down();
}

#[test]
fn three_nodes_keep_what_is_stored_when_one_is_killed_and_returns() {
    let authorities = Authorities::new("three");
    let (ports, list) = listeners(3);
    let started = Instant::now();
    let mut nodes: Vec<TestNode> = start_all(&authorities, &list, ports, &["a", "b", "c"]);
    wait_for_one_view("all are in one view", &nodes);
    println!(
        "three nodes, serving in one view after {:?}",
        started.elapsed()
    );
    for number in 0..50 {
        let handle = nodes[number % 3].handle();
        execute(
            &handle,
            &request(&format!("key-{number}"), put(&format!("value-{number}"))),
        );
    }
    // On a starved machine a node may have been alone for a moment: what it took then is nowhere
    // else before the halves have merged.
    wait_for_one_view("all are in one view still", &nodes);
    for number in 0..50 {
        let (key, value) = (format!("key-{number}"), format!("value-{number}"));
        nodes
            .iter()
            .for_each(|node| holds(&node.handle(), &key, &value));
    }
    let mut killed = nodes.remove(0);
    let at = Instant::now();
    killed.kill();
    let address = killed.address;
    let _kept = kept_port(address);
    wait_for_one_view("the others are in one view without it", &nodes);
    println!("a killed node was out of the view after {:?}", at.elapsed());
    for number in 0..50 {
        for node in &nodes {
            holds(
                &node.handle(),
                &format!("key-{number}"),
                &format!("value-{number}"),
            );
        }
    }
    let listener = TcpListener::bind(address).expect("the port is free again");
    let back = settings_of(&authorities, &list, "a");
    nodes.push(TestNode::start(&back, listener).expect("it starts"));
    let at = Instant::now();
    wait_for_one_view("it is back", &nodes);
    println!("a restarted node was in the view after {:?}", at.elapsed());
    for number in 0..50 {
        holds(
            &nodes[2].handle(),
            &format!("key-{number}"),
            &format!("value-{number}"),
        );
    }
}

#[test]
fn a_node_that_leaves_in_order_is_out_at_once() {
    let authorities = Authorities::new("leaving");
    let (ports, list) = listeners(2);
    let mut nodes: Vec<TestNode> = start_all(&authorities, &list, ports, &["a", "b"]);
    wait_for_one_view("both are in one view", &nodes);
    execute(&nodes[0].handle(), &request("key", put("value")));
    let mut leaving = nodes.remove(0);
    let at = Instant::now();
    leaving.shut_down();
    println!("a node left after {:?}", at.elapsed());
    wait_for_one_view("the other is alone", &nodes);
    assert_eq!(nodes[0].handle().stats().peers_suspected, 0);
    holds(&nodes[0].handle(), "key", "value");
}

#[test]
fn a_second_node_of_one_name_is_refused_and_the_first_stays() {
    let authorities = Authorities::new("namesakes");
    let (mut ports, list) = listeners(3);
    let third = ports.pop().expect("three ports");
    let nodes: Vec<TestNode> = start_all(&authorities, &list, ports, &["a", "b"]);
    wait_for_one_view("both are in one view", &nodes);
    let mut namesake = settings_of(&authorities, &list, "b");
    namesake.discovery.join_timeout = FINDS_ANOTHER;
    let mut namesake = TestNode::start(&namesake, third).expect("it starts");
    let error = namesake.wait_for_end().expect_err("it does not join");
    let text = error.to_string();
    assert!(text.contains("another live node has the name"), "{text}");
    wait_for_one_view("the first two are as before", &nodes);
}

#[test]
fn a_node_that_finds_only_one_who_does_not_coordinate_is_taken_in() {
    let authorities = Authorities::new("introduced");
    let (mut ports, list) = listeners(2);
    let (mut unlisted, _) = listeners(1);
    let second = AddressList::of([list.entries()[1].to_string().as_str()]).expect("an address");
    let start = |name, list, port| {
        let mut settings = settings_of(&authorities, list, name);
        settings.discovery.join_timeout = FINDS_ANOTHER;
        TestNode::start(&settings, port).expect("it starts")
    };
    let first = start("first", &list, ports.remove(0));
    wait_until("the first serves", || first.handle().serving());
    let mut nodes = vec![first, start("second", &list, ports.remove(0))];
    wait_for_one_view("two are in one view", &nodes);
    nodes.push(start("third", &second, unlisted.remove(0)));
    wait_for_one_view("the third is taken in", &nodes);
}
