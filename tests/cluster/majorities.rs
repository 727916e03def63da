//! Caches that stop in a minority, on real nodes: what is refused there, and how an operator gives up
//! a majority that is lost for good.

use crate::process::embergrid;
use crate::rig::{Authorities, FINDS_ANOTHER, TestNode, listeners, settings, wait_until};
use embergrid::config::{AddressList, Settings};
use embergrid::error::{Applied, ErrorKind};
use embergrid::types::{CacheSettings, WhenSplit};
use std::net::TcpListener;
use std::time::Duration;

const CACHE: &str = "stops";
const LIMIT: Duration = Duration::from_secs(30);

fn with_quorum(settings: Settings) -> Settings {
    let mut settings = settings;
    settings.cluster.quorum_of = Some(3);
    // How long a node that is not taken in looks for another cluster.
    settings.discovery.network_timeout = Duration::from_secs(2);
    settings.caches = vec![CacheSettings {
        when_split: WhenSplit::DenyReadWrites,
        partitions: 16,
        ..CacheSettings::named(CACHE)
    }];
    settings
}

/// Three servers, the oldest first, with these addresses in their lists.
fn started(
    authorities: &Authorities,
    sockets: Vec<TcpListener>,
    list: &AddressList,
) -> Vec<TestNode> {
    let mut nodes: Vec<TestNode> = Vec::new();
    for (place, listener) in sockets.into_iter().enumerate() {
        let tls = authorities.node(&format!("node-{place}"));
        let settings = with_quorum(settings(list, tls));
        nodes.push(TestNode::start(&settings, listener).expect("a node starts"));
        let whole = place == 2;
        wait_until(
            "it is in the view of all, which is primary with the third",
            || {
                let mut views = nodes.iter().map(|node| node.handle().view());
                views.all(|view| view.nodes.len() == place + 1 && view.primary == whole)
            },
        );
    }
    nodes
}

#[test]
fn a_minority_refuses_until_it_is_forced() {
    let authorities = Authorities::new("authority");
    let (sockets, list) = listeners(3);
    let mut nodes = started(&authorities, sockets, &list);
    let last = nodes.pop().expect("three nodes");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let cache = last.handle().cache(CACHE).expect("it is there");
    wait_until("it serves", || {
        runtime.block_on(cache.put(b"TGT-1", b"alice")).is_ok()
    });
    nodes.iter_mut().for_each(TestNode::kill);
    wait_until("the last one is alone and not primary", || {
        let view = last.handle().view();
        view.nodes.len() == 1 && !view.primary
    });

    let refused = runtime.block_on(cache.put(b"TGT-1", b"bob"));
    let refused = refused.expect_err("a minority takes no write");
    assert_eq!(
        (refused.kind, &*refused.reason, refused.applied),
        (ErrorKind::Unavailable, "NO_MAJORITY", Applied::NotApplied)
    );
    let refused = runtime.block_on(cache.get(b"TGT-1"));
    let refused = refused.expect_err("nor does it show anything");
    assert_eq!(&*refused.reason, "NO_MAJORITY");

    authorities.client("client");
    let file = |name: &str| authorities.file(name).display().to_string();
    let (address, key) = (last.address.to_string(), file("client.pem"));
    let trust = file("authority.pem");
    let flags = ["--address", &address, "--key", &key, "--trust", &trust];
    let said = |command: &[&str]| {
        let arguments: Vec<&str> = command.iter().chain(&flags).copied().collect();
        embergrid(&arguments, LIMIT)
    };
    let topology = said(&["topology"]);
    assert!(topology.output.contains("not primary"), "{topology:?}");
    let forced = said(&["force-primary", "--output", "json"]);
    assert_eq!(forced.code, Some(0), "{forced:?}");
    let told: serde_json::Value = serde_json::from_str(&forced.output).expect("JSON");
    assert_eq!(told["primary"], true, "{told}");
    let again = said(&["force-primary"]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.errors.contains("[PRIMARY]"), "{again:?}");

    wait_until("it serves what it has", || {
        let found = runtime.block_on(cache.get(b"TGT-1"));
        found.is_ok_and(|found| found.is_some_and(|entry| &*entry.value == b"alice"))
    });
    assert_eq!(last.handle().stats().primaries_forced, 1);
}

#[test]
fn servers_that_leave_in_order_leave_the_rest_primary() {
    let authorities = Authorities::new("authority");
    let (sockets, list) = listeners(3);
    let mut nodes = started(&authorities, sockets, &list);
    let last = nodes.pop().expect("three nodes");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let cache = last.handle().cache(CACHE).expect("it is there");
    wait_until("it serves", || {
        runtime.block_on(cache.put(b"TGT-1", b"alice")).is_ok()
    });
    // The oldest one first: what is left is half of the last primary view, and then a third.
    for (gone, node) in (1..).zip(&mut nodes) {
        node.shut_down();
        wait_until("the others are primary without it", || {
            let view = last.handle().view();
            view.nodes.len() == 3 - gone && view.primary
        });
        let found = runtime.block_on(cache.get(b"TGT-1")).expect("it serves");
        assert_eq!(found.map(|entry| entry.value), Some("alice".into()));
        let stored = runtime.block_on(cache.put(b"TGT-2", b"bob"));
        stored.expect("it takes writes");
    }
    assert_eq!(last.handle().stats().primaries_forced, 0);
}

#[test]
fn a_server_beyond_the_number_is_refused() {
    let authorities = Authorities::new("authority");
    let (mut sockets, list) = listeners(4);
    let beyond = sockets.pop().expect("four sockets");
    let nodes = started(&authorities, sockets, &list);
    let mut settings = with_quorum(settings(&list, authorities.node("node-3")));
    settings.discovery.join_timeout = FINDS_ANOTHER;
    let fourth = TestNode::start(&settings, beyond);
    let ended = fourth.and_then(|mut fourth| fourth.wait_for_end());
    let error = ended.expect_err("it is one too many");
    assert_eq!(&*error.reason, "CANNOT_FORM");
    assert!(error.to_string().contains("quorum-of"), "{error}");
    for node in &nodes {
        let view = node.handle().view();
        assert_eq!((view.nodes.len(), view.primary), (3, true));
    }
}
