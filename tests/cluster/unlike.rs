//! A node whose settings of a cache differ from those of the cluster: refused, with both values, and
//! it forms no cluster of its own.

use crate::rig::{Authorities, FINDS_ANOTHER, TestNode, listeners, settings, wait_until};
use embergrid::config::Settings;
use embergrid::types::CacheSettings;
use std::time::{Duration, Instant};

/// With a cache of these partitions.
fn with_cache(settings: Settings, name: &str, partitions: u32) -> Settings {
    let mut settings = settings;
    settings.discovery.network_timeout = Duration::from_secs(2);
    settings.discovery.join_timeout = FINDS_ANOTHER;
    settings.caches = vec![CacheSettings {
        partitions,
        ..CacheSettings::named(name)
    }];
    settings
}

/// Starts a node that must not come in, and says why it ended and what its addresses answered.
fn refused(settings: &Settings, listener: std::net::TcpListener) -> String {
    let mut node = TestNode::start(settings, listener).expect("it starts");
    let error = node.wait_for_end().expect_err("it has other settings");
    assert_eq!(&*error.reason, "CANNOT_FORM", "{error}");
    format!("{error} {}", node.handle().probe_report())
}

#[test]
fn a_node_with_other_settings_of_a_cache_ends_and_names_both() {
    let authorities = Authorities::new("authority");
    let (mut sockets, list) = listeners(4);
    let mut node = |name: &str, cache: &str, partitions| {
        let settings = settings(&list, authorities.node(name));
        let socket = sockets.pop().expect("four sockets");
        (with_cache(settings, cache, partitions), socket)
    };
    let (of_first, socket) = node("first", "of-files", 16);
    let first = TestNode::start(&of_first, socket).expect("it starts");
    wait_until("it has formed a cluster", || {
        first.handle().view().nodes.len() == 1
    });

    let (of_second, socket) = node("second", "of-files", 32);
    let told = refused(&of_second, socket);
    let named = "setting partitions of cache of-files differs: 16 here, 32 at";
    assert!(told.contains(named), "{told}");

    // A cache that no file has, and that the cluster made.
    let made = CacheSettings {
        partitions: 8,
        ..CacheSettings::named("made")
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let handle = first.handle();
    let creates = handle.create_cache(made, Instant::now() + Duration::from_secs(10));
    runtime.block_on(creates).expect("it is made");
    let (of_third, socket) = node("third", "made", 64);
    let told = refused(&of_third, socket);
    let named = "setting partitions of cache made differs: 8 here, 64 at";
    assert!(told.contains(named), "{told}");

    let (of_fourth, socket) = node("fourth", "made", 8);
    let fourth = TestNode::start(&of_fourth, socket).expect("it starts");
    wait_until("one with the same settings is taken in", || {
        let views = [&first, &fourth].map(|node| node.handle().view());
        views.iter().all(|view| view.nodes.len() == 2)
    });
}
