//! Caches that stop in a minority, on real nodes: what is refused there, and how an operator gives up
//! a majority that is lost for good.

use crate::process::embergrid;
use crate::rig::{Authorities, TestNode, listeners, settings, wait_until};
use embergrid::config::Settings;
use embergrid::error::{Applied, ErrorKind};
use embergrid::types::{CacheSettings, WhenSplit};
use std::time::Duration;

const CACHE: &str = "stops";
const LIMIT: Duration = Duration::from_secs(30);

fn with_quorum(settings: Settings) -> Settings {
    let mut settings = settings;
    settings.cluster.quorum_of = Some(3);
    settings.caches = vec![CacheSettings {
        when_split: WhenSplit::DenyReadWrites,
        partitions: 16,
        ..CacheSettings::named(CACHE)
    }];
    settings
}

/// Three servers, the oldest first.
fn started(authorities: &Authorities) -> Vec<TestNode> {
    let (sockets, list) = listeners(3);
    let mut nodes: Vec<TestNode> = Vec::new();
    for (place, listener) in sockets.into_iter().enumerate() {
        let tls = authorities.node(&format!("node-{place}"));
        let settings = with_quorum(settings(&list, tls));
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
    let mut nodes = started(&authorities);
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
