//! Client nodes: they route, hold nothing, never form a cluster, and their loss costs nothing.

use crate::joining::{execute, holds, in_one_view, put, request, settings_of, wait_for_one_view};
use crate::rig::{Authorities, TestNode, kept_port, listeners, wait_until};
use embergrid::config::AddressList;
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
    let _kept: Vec<_> = addresses.iter().copied().map(kept_port).collect();
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

/// A server and a client node of it, and a server that finds only the client node.
fn found_through(authorities: &Authorities, force_server_mode: bool) -> [TestNode; 3] {
    let (mut ports, mut lists) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (mut port, list) = listeners(1);
        ports.push(port.remove(0));
        lists.push(list.entries()[0].to_string());
    }
    let list = |places: &[usize]| {
        let entries = places.iter().map(|place| lists[*place].as_str());
        AddressList::of(entries).expect("addresses")
    };
    let mut start = |name, places: &[usize], is_client| {
        let mut settings = settings_of(authorities, &list(places), name);
        settings.discovery.client_mode = is_client;
        settings.discovery.force_server_mode = force_server_mode && is_client;
        TestNode::start(&settings, ports.remove(0)).expect("it starts")
    };
    let server = start("server", &[0], false);
    wait_until("the server serves", || server.handle().serving());
    let client = start("client", &[0], true);
    wait_until("the client node is in", || {
        client.handle().view().nodes.len() == 2
    });
    let other = start("other", &[1, 2], false);
    [server, client, other]
}

#[test]
fn with_force_server_mode_a_cluster_is_found_through_a_client_node() {
    let authorities = Authorities::new("force-server-mode");
    let nodes = found_through(&authorities, true);
    wait_for_one_view("the server that knew only the client node is in", &nodes);
    execute(&nodes[2].handle(), &request("key", put("value")));
    holds(&nodes[0].handle(), "key", "value");
    assert_eq!(
        nodes[1].handle().stats().entries,
        0,
        "the client node still holds nothing"
    );
}

#[test]
fn without_it_a_client_node_tells_nobody_of_its_cluster() {
    let authorities = Authorities::new("no-force-server-mode");
    let [server, _client, other] = found_through(&authorities, false);
    wait_until("it forms its own", || other.handle().serving());
    assert_eq!(other.handle().view().nodes.len(), 1);
    assert_eq!(server.handle().view().nodes.len(), 2);
}
