//! Nodes of neighbouring versions of the protocol work together over real links; others are
//! refused with both ranges named.

use crate::rig::{Authorities, PATIENCE, TestNode, listeners, settings, wait_until};
use embergrid::config::Settings;
use embergrid::error::{ErrorKind, Result};
use embergrid::types::comparing::Verified;
use embergrid::types::protocol::{PROTOCOL_VERSION, PROTOCOL_VERSION_MIN};
use embergrid::types::{
    Blob, CacheId, CacheMode, CacheSettings, Condition, EntryView, Expiry, KeyOperation, Operation,
    Reply, Request,
};
use std::time::Instant;
use tokio::runtime::Runtime;

const CACHE: &str = "kept";
const KEYS: usize = 64;
const PARTITIONS: u32 = 16;

/// A node that speaks this version, with a REPLICATED cache.
fn speaking(protocol: u32, settings: Settings) -> Settings {
    let mut settings = settings;
    settings.cluster.protocol = Some(protocol);
    settings.caches = vec![CacheSettings {
        mode: CacheMode::Replicated,
        partitions: PARTITIONS,
        ..CacheSettings::named(CACHE)
    }];
    settings
}

fn key(number: usize) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}

fn get(runtime: &Runtime, node: &TestNode, number: usize) -> Option<EntryView> {
    let cache = node.handle().cache(CACHE).expect("it is there");
    let found = runtime.block_on(cache.get(&key(number)));
    found.expect("it is answered")
}

fn put(runtime: &Runtime, node: &TestNode, number: usize, value: &str) {
    let cache = node.handle().cache(CACHE).expect("it is there");
    let stored = runtime.block_on(cache.put(&key(number), value.as_bytes()));
    stored.expect("it is stored");
}

fn increment(runtime: &Runtime, node: &TestNode) -> Blob {
    let cache = node.handle().cache(CACHE).expect("it is there");
    let operation = KeyOperation::Modify {
        change: embergrid::types::Change::Increment {
            delta: 1,
            initial: Some(1),
            at_least_zero: false,
            wrap: false,
        },
        expiry: Expiry::Keep,
        condition: Condition::Any,
    };
    match runtime.block_on(cache.execute(b"count", operation)) {
        Ok(Reply::Modified { value, .. }) => value,
        other => panic!("{other:?} is no answer"),
    }
}

/// Has the copies of a partition compared, in as much time as a test may take.
fn verify(runtime: &Runtime, node: &TestNode, partition: u32) -> Result<Verified> {
    let request = Request {
        cache: CacheId::of(CACHE),
        partition,
        operation: Operation::Verify { repair: false },
        request_id: None,
    };
    let handle = node.handle();
    let deadline = Instant::now() + 100 * PATIENCE;
    let verified = handle.execute(request, deadline);
    let verified = runtime.block_on(async { tokio::time::timeout(PATIENCE, verified).await });
    match verified.expect("it does not wait for the deadline")? {
        Reply::Verified(verified) => Ok(*verified),
        other => panic!("{other:?} is no answer"),
    }
}

/// Every node is in one view of so many, and nothing loads or merges.
fn settled(nodes: &[&TestNode]) -> bool {
    nodes.iter().all(|node| {
        let view = node.handle().view();
        let whole = view.nodes.len() == nodes.len();
        let mut tables = view.caches.values().flat_map(|cache| &cache.table);
        whole
            && view.cache_named(CACHE).is_some()
            && tables.all(|owners| {
                owners.loading.is_empty()
                    && owners.sources.is_empty()
                    && owners.owners.len() == nodes.len()
            })
    })
}

#[test]
fn nodes_of_two_versions_keep_one_cache_and_replace_each_other() {
    let authorities = Authorities::new("versions");
    let (mut ports, list) = listeners(3);
    let third_port = ports.remove(2);
    let second_port = ports.remove(1);
    let made = |name: &str, protocol| speaking(protocol, settings(&list, authorities.node(name)));
    let old = PROTOCOL_VERSION - 1;
    let mut first =
        TestNode::start(&made("first", old), ports.remove(0)).expect("the older one starts");
    let second =
        TestNode::start(&made("second", PROTOCOL_VERSION), second_port).expect("it starts");
    wait_until("both own everything", || settled(&[&first, &second]));
    let runtime = Runtime::new().expect("a runtime");
    for number in 0..KEYS {
        let node = [&first, &second][number % 2];
        put(&runtime, node, number, "one");
    }
    for number in 0..KEYS {
        for node in [&first, &second] {
            let found = get(&runtime, node, number).expect("it lives");
            assert_eq!(found.value, Blob::from("one"));
        }
    }
    for node in [&first, &second] {
        for partition in 0..PARTITIONS {
            let error = verify(&runtime, node, partition).expect_err("the older one cannot");
            assert_eq!(error.kind, ErrorKind::Unimplemented, "{error}");
            assert!(error.to_string().contains("older protocol"), "{error}");
        }
    }
    // A newer one takes the place of the older one: what that held moves on.
    let third = TestNode::start(&made("third", PROTOCOL_VERSION), third_port).expect("it starts");
    wait_until("all own everything", || settled(&[&first, &second, &third]));
    for turn in 1..=6usize {
        let node = [&first, &second, &third][turn % 3];
        assert_eq!(
            increment(&runtime, node),
            Blob::from(turn.to_string().as_str())
        );
    }
    first.shut_down();
    wait_until("the older one is out", || settled(&[&second, &third]));
    for number in 0..KEYS {
        assert!(get(&runtime, &third, number).is_some(), "key {number}");
    }
    for partition in 0..PARTITIONS {
        let verified = verify(&runtime, &third, partition).expect("they can be compared now");
        assert_eq!((verified.copies, verified.keys), (2, 0));
    }
    assert_eq!(increment(&runtime, &third), Blob::from("7"));
}

#[test]
fn a_version_too_far_ahead_is_refused_with_both_ranges() {
    let authorities = Authorities::new("far");
    let (mut ports, list) = listeners(2);
    let second_port = ports.remove(1);
    let here = settings(&list, authorities.node("first"));
    let there = speaking(
        PROTOCOL_VERSION + 2,
        settings(&list, authorities.node("second")),
    );
    let first = TestNode::start(&here, ports.remove(0)).expect("it starts");
    let second = TestNode::start(&there, second_port).expect("it starts");
    // Told by whichever of the two refused: `here` is where that one is.
    let mine = format!("{PROTOCOL_VERSION_MIN} to {PROTOCOL_VERSION} ");
    let theirs = format!("{} to {} ", PROTOCOL_VERSION + 1, PROTOCOL_VERSION + 2);
    wait_until("the report names both", || {
        let report = first.handle().probe_report();
        report.contains("protocol version differs")
            && report.contains(&mine)
            && report.contains(&theirs)
    });
    assert_eq!(second.handle().stats().links_opened, 0);
}
