//! Settings that show only where several nodes, or several connections, are there: zones, filters,
//! who reads, and limits.

use crate::admission::runtime;
use crate::joining::{execute, put, request_in};
use crate::process::embergrid;
use crate::rig::{Authorities, PATIENCE, TestNode, listeners, settings, wait_until};
use embergrid::config::{AddressList, TlsSettings};
use embergrid::error::ErrorKind;
use embergrid::types::cache::partition_of;
use embergrid::types::view::ViewCache;
use embergrid::types::{CacheMode, CacheSettings, Condition, KeyOperation, ReadFrom, Reply, View};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const ZONE: &str = "zone";

fn attributes(zone: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(ZONE.to_owned(), zone.to_owned())])
}

/// Whether every partition has as many owners and none that load, and what holds for the owners.
fn all_owners(view: &View, name: &str, count: usize, holds: fn(&[&str]) -> bool) -> bool {
    let zone = |owner: &u16| {
        let attributes = &view.nodes[usize::from(*owner)].attributes;
        attributes.get(ZONE).map_or("", String::as_str)
    };
    let right = |cache: &ViewCache| {
        cache.table.iter().all(|partition| {
            let zones: Vec<&str> = partition.owners.iter().map(zone).collect();
            zones.len() == count && partition.loading.is_empty() && holds(&zones)
        })
    };
    view.cache_named(name).is_some_and(right)
}

#[test]
fn copies_keep_to_their_zones_and_filters() {
    let authorities = Authorities::new("zones");
    let (ports, list) = listeners(4);
    let cache = |name: &str| CacheSettings {
        mode: CacheMode::Partitioned,
        partitions: 32,
        ..CacheSettings::named(name)
    };
    let caches = vec![
        CacheSettings {
            backup_zone: Some(ZONE.to_owned()),
            ..cache("zoned")
        },
        CacheSettings {
            node_filter: attributes("east"),
            ..cache("kept")
        },
        CacheSettings {
            backups: 2,
            ..cache("three")
        },
    ];
    let start = |(number, listener): (usize, TcpListener)| {
        let name = format!("node-{number}");
        let mut settings = settings(&list, authorities.node(&name));
        settings.cluster.node_name = Some(name);
        settings.cluster.attributes = attributes(["east", "west"][number % 2]);
        settings.caches.clone_from(&caches);
        TestNode::start(&settings, listener).expect("it starts")
    };
    let nodes: Vec<TestNode> = ports.into_iter().enumerate().map(start).collect();
    wait_until("all copies are where they belong", || {
        let view = nodes[0].handle().view();
        view.nodes.len() == 4
            && all_owners(&view, "zoned", 2, |zones| zones[0] != zones[1])
            && all_owners(&view, "kept", 2, |zones| zones == ["east", "east"])
            && all_owners(&view, "three", 3, |_| true)
    });
}

#[test]
fn a_read_is_answered_by_whom_the_cache_says() {
    let authorities = Authorities::new("reads");
    let (ports, list) = listeners(2);
    let cache = |name: &str, read_from| CacheSettings {
        read_from,
        partitions: 16,
        ..CacheSettings::named(name)
    };
    let caches = [cache("any", ReadFrom::Any), cache("one", ReadFrom::Primary)];
    let start = |(number, listener): (usize, TcpListener)| {
        let name = format!("node-{number}");
        let mut settings = settings(&list, authorities.node(&name));
        settings.cluster.node_name = Some(name);
        settings.caches = caches.to_vec();
        TestNode::start(&settings, listener).expect("it starts")
    };
    let nodes: Vec<TestNode> = ports.into_iter().enumerate().map(start).collect();
    let owned = |name| all_owners(&nodes[1].handle().view(), name, 2, |_| true);
    wait_until("both own everything", || owned("any") && owned("one"));
    let keys: Vec<String> = (0..64).map(|number| format!("key-{number}")).collect();
    let reader = nodes[1].handle();
    // How many of the keys were not answered by the reader itself.
    let waited = |cache: &CacheSettings| {
        let before = reader.stats().requests_waited;
        for key in &keys {
            let get = KeyOperation::Get {
                touch: None,
                omit_value: false,
            };
            let reply = execute(&reader, &request_in(cache, key, get));
            assert!(matches!(reply, Reply::Got { entry: Some(_) }), "{reply:?}");
        }
        reader.stats().requests_waited - before
    };
    for cache in &caches {
        for key in &keys {
            execute(&nodes[0].handle(), &request_in(cache, key, put("value")));
        }
    }
    // A backup asks the primary for a key whose write it does not know to be complete.
    wait_until("the reader answers all by itself", || {
        waited(&caches[0]) == 0
    });
    let view = reader.view();
    let foreign = keys.iter().filter(|key| {
        let cache = &caches[1];
        let partition = partition_of(key.as_bytes(), cache.partitions);
        view.primary(cache.id(), partition) != Some(reader.me().member)
    });
    let foreign = foreign.count() as u64;
    // One more where it had to be asked twice.
    wait_until("it asks the primary for the others only", || {
        waited(&caches[1]) == foreign
    });
}

#[test]
fn one_connection_too_many_is_closed_and_the_others_stay() {
    let tls = TlsSettings {
        enabled: false,
        ..TlsSettings::default()
    };
    // An empty list: the node knows itself without connecting to itself.
    let nobody = AddressList::of([]).expect("no address");
    let mut settings = settings(&nobody, tls);
    settings.limits.connections_max = 8;
    // They say nothing, and stay all the same.
    settings.discovery.socket_timeout = Duration::from_secs(600);
    let (mut ports, _) = listeners(1);
    let node = TestNode::start(&settings, ports.remove(0)).expect("it starts");
    let connect = || TcpStream::connect(node.address).expect("it listens");
    let stay: Vec<TcpStream> = (0..8).map(|_| connect()).collect();
    for _ in 0..4 {
        let mut more = connect();
        more.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        match more.read(&mut [0]) {
            Ok(0) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
            Ok(_) => panic!("it was served"),
        }
    }
    for mut stream in stay {
        stream.set_nonblocking(true).expect("a mode of sockets");
        // The node's side of HTTP/2 may have begun; an end would be zero bytes.
        match stream.read(&mut [0; 256]) {
            Ok(count) => assert!(count > 0, "it was closed"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
}

#[test]
fn the_memory_for_entries_is_counted_and_told() {
    let tls = TlsSettings {
        enabled: false,
        ..TlsSettings::default()
    };
    let cache = CacheSettings::named("c");
    let start = |bytes| {
        let (mut ports, list) = listeners(1);
        let mut settings = settings(&list, tls.clone());
        settings.storage.region_bytes_max = bytes;
        settings.caches = vec![cache.clone()];
        TestNode::start(&settings, ports.remove(0)).expect("it starts")
    };
    let node = start(64 << 20);
    wait_until("it serves", || node.handle().serving());
    for number in 0..10 {
        let request = request_in(&cache, &format!("key-{number}"), put("value"));
        execute(&node.handle(), &request);
    }
    let stats = node.handle().stats();
    assert_eq!((stats.entries, stats.region_bytes_max), (10, 64 << 20));
    assert!(stats.resident_bytes > 0);
    // Keys, values, and the same amount more for each.
    let stored: u64 = (0..10)
        .map(|_| "key-0".len() + "value".len())
        .sum::<usize>() as u64;
    let more = stats.entry_bytes - stored;
    assert!((10 * 64..10 * 512).contains(&more), "{more}");
    let large = "v".repeat(100_000);
    execute(&node.handle(), &request_in(&cache, "key-0", put(&large)));
    let grown = node.handle().stats().entry_bytes - stats.entry_bytes;
    assert_eq!(grown, (large.len() - "value".len()) as u64);
    let remove = KeyOperation::Remove {
        condition: Condition::Any,
        return_previous: false,
    };
    execute(&node.handle(), &request_in(&cache, "key-0", remove));
    let left = node.handle().stats().entry_bytes;
    assert!(left < stats.entry_bytes, "{left}");
    assert!(
        start(0).handle().stats().region_bytes_max > 0,
        "a fifth of what there is"
    );
}

#[test]
fn a_watcher_that_takes_nothing_is_cut_off_where_its_queue_is_full() {
    const EVENTS: usize = 100;
    for (queue, is_cut_off) in [(16, true), (1_000, false)] {
        let tls = TlsSettings {
            enabled: false,
            ..TlsSettings::default()
        };
        let cache = CacheSettings {
            partitions: 1,
            ..CacheSettings::named("c")
        };
        let (mut ports, list) = listeners(1);
        let mut settings = settings(&list, tls);
        settings.limits.watch_queue_max = queue;
        settings.caches = vec![cache.clone()];
        let node = TestNode::start(&settings, ports.remove(0)).expect("it starts");
        wait_until("it serves", || node.handle().serving());
        execute(&node.handle(), &request_in(&cache, "before", put("value")));
        let mut watch = node
            .handle()
            .watch(cache.id(), None)
            .expect("it is watched");
        for number in 0..EVENTS {
            let request = request_in(&cache, &format!("key-{number}"), put("value"));
            execute(&node.handle(), &request);
        }
        let mut events = 0;
        let mut lost = None;
        runtime().block_on(async {
            while events < EVENTS && lost.is_none() {
                let item = tokio::time::timeout(PATIENCE, watch.next()).await;
                match item.expect("an item").expect("no end without a word") {
                    Ok(item) => events += item.events.len(),
                    Err(error) => lost = Some(error.kind),
                }
            }
        });
        let expected = is_cut_off.then_some(ErrorKind::OutOfRange);
        assert_eq!(lost, expected, "{queue}: {events} events");
    }
}

#[test]
fn a_local_address_of_another_machine_is_refused_as_a_setting() {
    let authorities = Authorities::new("foreign-address");
    authorities.node("node");
    let (key, trust) = (
        authorities.file("node.pem"),
        authorities.file("authority.pem"),
    );
    let arguments = [
        "node",
        "--local-address",
        "192.0.2.77",
        "--key",
        key.to_str().expect("text"),
        "--trust",
        trust.to_str().expect("text"),
    ];
    let ended = embergrid(&arguments, PATIENCE);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let last = ended.errors.lines().last().unwrap_or_default();
    for word in [
        "discovery.local-address 192.0.2.77",
        "no address of this machine",
        "give one",
    ] {
        assert!(last.contains(word), "{word}: {last}");
    }
}
