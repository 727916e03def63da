//! Nodes of neighbouring versions of the protocol work together over real links; others are
//! refused with both ranges named.

use crate::rig::{Authorities, PATIENCE, TestNode, listeners, settings, wait_until};
use crate::services::alone::{channel, get as get_request, put as put_request};
use embergrid::config::{AddressList, Settings};
use embergrid::error::{Applied, Error, ErrorKind, Result};
use embergrid::rpc::proto as pb;
use embergrid::rpc::status::from_status;
use embergrid::rpc::tls::client_tls;
use embergrid::types::comparing::Verified;
use embergrid::types::protocol::{PROTOCOL_VERSION, PROTOCOL_VERSION_MIN};
use embergrid::types::{
    Blob, CacheId, CacheMode, CacheSettings, Condition, EntryView, Expiry, KeyOperation, Operation,
    Reply, Request,
};
use pb::cache_service_client::CacheServiceClient;
use pb::execute_request::operation::Operation as Asked;
use pb::transaction_service_client::TransactionServiceClient;
use std::net::TcpListener;
use std::time::Instant;
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::transport::Channel;

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

/// A node of the version before this one and another of this one, and what a third needs.
struct Neighbours {
    authorities: Authorities,
    list: AddressList,
    third_port: TcpListener,
    older: TestNode,
    newer: TestNode,
}

impl Neighbours {
    fn new(name: &str) -> Self {
        let authorities = Authorities::new(name);
        let (mut ports, list) = listeners(3);
        let third_port = ports.remove(2);
        let mut start = |name: &str, protocol| {
            let settings = speaking(protocol, settings(&list, authorities.node(name)));
            TestNode::start(&settings, ports.remove(0)).expect("it starts")
        };
        let older = start("first", PROTOCOL_VERSION - 1);
        let newer = start("second", PROTOCOL_VERSION);
        wait_until("both own everything", || settled(&[&older, &newer]));
        Self {
            authorities,
            list,
            third_port,
            older,
            newer,
        }
    }
}

#[test]
fn nodes_of_two_versions_keep_one_cache_and_replace_each_other() {
    let Neighbours {
        authorities,
        list,
        third_port,
        older: mut first,
        newer: second,
    } = Neighbours::new("versions");
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
    let third = speaking(PROTOCOL_VERSION, settings(&list, authorities.node("third")));
    let third = TestNode::start(&third, third_port).expect("it starts");
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

/// What a node says to each call that an older protocol does not know.
async fn transacts(channel: Channel) -> Vec<(&'static str, Result<()>)> {
    fn told<T>(done: std::result::Result<T, Status>) -> Result<()> {
        done.map(|_| ()).map_err(|status| from_status(&status))
    }
    let mut transactions = TransactionServiceClient::new(channel.clone());
    let mut cache = CacheServiceClient::new(channel);
    let operation = |key: &str| pb::execute_request::Operation {
        operation: Some(Asked::Put(put_request(CACHE, key, "v"))),
    };
    let executes = |keys: &[&'static str]| pb::ExecuteRequest {
        operations: keys.iter().map(|key| operation(key)).collect(),
        ..Default::default()
    };
    let one = transactions.execute(executes(&["a"])).await;
    let several = transactions.execute(executes(&["a", "b", "c"])).await;
    let begun = transactions.begin(pb::BeginRequest::default()).await;
    let lock = pb::LockRequest {
        name: "job".to_owned(),
        ..Default::default()
    };
    let locked = transactions.lock(lock).await;
    let entry = |key: &'static str| pb::put_many_request::Put {
        key: key.into(),
        value: "v".into(),
        ..Default::default()
    };
    let batch = pb::PutManyRequest {
        cache: CACHE.into(),
        entries: ["d", "e"].map(entry).into(),
        ..Default::default()
    };
    let stored = cache.put_many(batch).await;
    let remove = |key: &'static str| pb::remove_many_request::Remove {
        key: key.into(),
        condition: None,
    };
    let removes = pb::RemoveManyRequest {
        cache: CACHE.into(),
        keys: ["d", "e"].map(remove).into(),
        ..Default::default()
    };
    let removed = cache.remove_many(removes).await;
    vec![
        ("execute on one key", told(one)),
        ("execute", told(several)),
        ("begin", told(begun)),
        ("lock", told(locked)),
        ("put many", told(stored)),
        ("remove many", told(removed)),
    ]
}

#[test]
fn nothing_is_done_by_transactions_and_locks_before_the_last_older_node_is_gone() {
    let Neighbours {
        authorities,
        older: mut first,
        newer: second,
        ..
    } = Neighbours::new("older");
    let runtime = Runtime::new().expect("a runtime");
    let tls = client_tls(&authorities.client("client"));
    let tls = tls.expect("files").expect("TLS is on");
    let reaches = |node: &TestNode| {
        let _inside = runtime.enter();
        channel(node.address.port(), tls.clone())
    };
    for node in [&first, &second] {
        for (call, told) in runtime.block_on(transacts(reaches(node))) {
            let Error {
                kind,
                reason,
                applied,
                ..
            } = told.expect_err(call);
            let told = (kind, &*reason, applied);
            let refused = (
                ErrorKind::Unavailable,
                "OLDER_PROTOCOL",
                Applied::NotApplied,
            );
            // The name of a lock is a key: its partition may be led by the older one.
            let unknown = (
                ErrorKind::Unimplemented,
                "NOT_IN_THIS_VERSION",
                Applied::NotApplied,
            );
            assert!(
                told == refused || (call == "lock" && told == unknown),
                "{call}: {told:?}"
            );
        }
    }
    let mut cache = CacheServiceClient::new(reaches(&second));
    for key in ["a", "b", "c", "d", "e"] {
        let found = runtime.block_on(cache.get(get_request(CACHE, key)));
        assert_eq!(found.expect("a read").into_inner().entry, None, "{key}");
    }
    // Batches of reads go on, each key for itself.
    put(&runtime, &first, 1, "one");
    let keys = pb::GetManyRequest {
        cache: CACHE.into(),
        keys: vec![key(1).into(), key(2).into()],
        ..Default::default()
    };
    let read = runtime.block_on(cache.get_many(keys)).expect("a batch");
    let read = read.into_inner().results.into_iter().map(|read| {
        use pb::get_many_response::result::Result as Got;
        matches!(read.result, Some(Got::Get(got)) if got.entry.is_some())
    });
    assert_eq!(read.collect::<Vec<_>>(), [true, false]);
    first.shut_down();
    wait_until("the older one is out", || settled(&[&second]));
    for (call, told) in runtime.block_on(transacts(reaches(&second))) {
        assert_eq!(told, Ok(()), "{call}");
    }
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
