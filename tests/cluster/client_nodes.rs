//! Client nodes: they route, hold nothing, never form a cluster, and their loss costs nothing.

use crate::joining::{execute, holds, in_one_view, put, request, settings_of, wait_for_one_view};
use crate::rig::{Authorities, TestNode, listeners, wait_until};
use embergrid::node::Handle;
use embergrid::types::Role;
use std::time::Duration;

#[test]
fn a_client_node_alone_gives_up_at_join_timeout() {
    let authorities = Authorities::new("client-alone");
    let (mut ports, list) = listeners(1);
    let mut settings = settings_of(&authorities, &list, "alone");
    settings.discovery.client_mode = true;
    settings.discovery.join_timeout = Some(Duration::from_millis(200));
    let mut node = TestNode::start(&settings, ports.remove(0)).expect("it starts");
    let error = node.wait_for_end().expect_err("it finds no cluster");
    let text = error.to_string();
    assert!(text.contains("a client node never forms one"), "{text}");
}

#[test]
fn a_client_node_routes_and_finds_the_cluster_again_after_all_servers_were_restarted() {
    let authorities = Authorities::new("client-node");
    let (ports, list) = listeners(3);
    let mut nodes: Vec<TestNode> = ports
        .into_iter()
        .zip(["a", "b", "c"])
        .map(|(port, name)| {
            let mut settings = settings_of(&authorities, &list, name);
            settings.discovery.client_mode = name == "c";
            TestNode::start(&settings, port).expect("it starts")
        })
        .collect();
    wait_for_one_view("all are in one view", &nodes);
    let client = nodes.pop().expect("three nodes");
    execute(&client.handle(), &request("key", put("value")));
    for node in &nodes {
        holds(&node.handle(), "key", "value");
    }
    holds(&client.handle(), "key", "value");
    let view = client.handle().view();
    let place = view
        .nodes
        .iter()
        .position(|node| node.role == Role::Client)
        .and_then(|place| u16::try_from(place).ok())
        .expect("it is in the view");
    for partition in view.caches.values().flat_map(|cache| &cache.table) {
        assert!(!partition.owners.contains(&place) && !partition.loading.contains(&place));
    }

    let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
    for mut node in nodes {
        node.kill();
    }
    let mut nodes: Vec<TestNode> = addresses
        .into_iter()
        .zip(["a", "b"])
        .map(|(address, name)| {
            let port = std::net::TcpListener::bind(address).expect("the port is free again");
            let settings = settings_of(&authorities, &list, name);
            TestNode::start(&settings, port).expect("it starts")
        })
        .collect();
    nodes.push(client);
    wait_for_one_view("the client node is with the new servers", &nodes);
    execute(&nodes[2].handle(), &request("key", put("again")));
    holds(&nodes[0].handle(), "key", "again");

    let mut client = nodes.pop().expect("three nodes");
    client.kill();
    wait_until("the servers are without it", || in_one_view(&nodes));
    holds(&nodes[1].handle(), "key", "again");
}

#[test]
fn a_client_node_keeps_near_copies_until_they_are_written() {
    let authorities = Authorities::new("near-copies");
    let (ports, list) = listeners(2);
    let nodes: Vec<TestNode> = ports
        .into_iter()
        .zip(["a", "b"])
        .map(|(port, name)| {
            let mut settings = settings_of(&authorities, &list, name);
            settings.discovery.client_mode = name == "b";
            settings.caches[0].near_bytes_max = 1 << 20;
            TestNode::start(&settings, port).expect("it starts")
        })
        .collect();
    wait_for_one_view("both are in one view", &nodes);
    let (server, client) = (nodes[0].handle(), nodes[1].handle());
    let cache = settings_of(&authorities, &list, "a").caches[0].id();
    let near = |handle: &Handle| handle.copies(cache).near;

    execute(&server, &request("key", put("old")));
    wait_until("the client node keeps what it reads", || {
        holds(&client, "key", "old");
        near(&client) == 1
    });
    assert_eq!(near(&server), 0, "an owner needs none");
    // The write is answered after the copy is gone, or is not read any more.
    execute(&server, &request("key", put("new")));
    holds(&client, "key", "new");
    execute(&client, &request("key", put("newer")));
    holds(&client, "key", "newer");
    holds(&server, "key", "newer");
}
