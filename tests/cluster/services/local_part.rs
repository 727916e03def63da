//! A transaction over a LOCAL cache and one that is spread over three nodes: the LOCAL one takes part
//! with what the node holds that is asked.

use super::alone::{channel, get, put, refused, until};
use crate::rig::{Authorities, TestNode, listeners, settings};
use embergrid::error::ErrorKind;
use embergrid::rpc::proto as pb;
use embergrid::rpc::tls::client_tls;
use embergrid::types::{CacheMode, CacheSettings};
use pb::cache_service_client::CacheServiceClient;
use pb::condition::Condition as Of;
use pb::execute_request::operation::Operation as Asked;
use pb::execute_request::{Check, Operation};
use pb::transaction_service_client::TransactionServiceClient;
use tonic::transport::Channel;

/// Each node has one of its own.
const LOCAL: &str = "own";
const PARTED: &str = "parted";
const KEYS: usize = 8;

struct Three {
    _authorities: Authorities,
    nodes: Vec<TestNode>,
    channels: Vec<Channel>,
}

impl Drop for Three {
    /// Nodes wait for their runtimes to end.
    fn drop(&mut self) {
        tokio::task::block_in_place(|| self.nodes.clear());
    }
}

impl Three {
    async fn start() -> Self {
        let authorities = Authorities::new("local-part");
        let (listeners, list) = listeners(3);
        let of = |name: &str, mode| CacheSettings {
            mode,
            partitions: 16,
            ..CacheSettings::named(name)
        };
        let mut nodes = Vec::new();
        for (number, listener) in listeners.into_iter().enumerate() {
            let mut settings = settings(&list, authorities.node(&format!("node-{number}")));
            settings.caches = vec![
                of(LOCAL, CacheMode::Local),
                of(PARTED, CacheMode::Partitioned),
            ];
            nodes.push(TestNode::start(&settings, listener).expect("a node"));
        }
        until("all are one", || async {
            nodes.iter().all(|node| {
                let view = node.handle().view();
                let caches = view
                    .caches
                    .values()
                    .filter(|cache| cache.settings.name == PARTED);
                let mut tables = caches.flat_map(|cache| &cache.table);
                view.nodes.len() == 3
                    && view.cache_named(PARTED).is_some()
                    && tables.all(|owners| owners.owners.len() == 2 && owners.loading.is_empty())
            })
        })
        .await;
        let tls = client_tls(&authorities.client("client"));
        let tls = tls.expect("files").expect("TLS is on");
        let channels = nodes
            .iter()
            .map(|node| channel(node.address.port(), tls.clone()));
        Self {
            channels: channels.collect(),
            _authorities: authorities,
            nodes,
        }
    }

    async fn value(&self, node: usize, cache: &str, key: &str) -> Option<String> {
        let mut client = CacheServiceClient::new(self.channels[node].clone());
        let got = client.get(get(cache, key)).await.expect("a read");
        let entry = got.into_inner().entry;
        entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
    }
}

fn key(number: usize) -> String {
    format!("key-{number}")
}

fn stores(cache: &str, key: &str, value: &str) -> Operation {
    Operation {
        operation: Some(Asked::Put(put(cache, key, value))),
    }
}

fn absent(cache: &str, key: &str) -> Check {
    Check {
        cache: cache.into(),
        key: key.to_owned().into(),
        condition: Some(pb::Condition {
            condition: Some(Of::Absent(true)),
        }),
        ..Check::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_cache_takes_part_with_what_the_node_holds_that_is_asked() {
    let cluster = Three::start().await;
    for number in 0..KEYS {
        let key = key(number);
        let mut transactions = TransactionServiceClient::new(cluster.channels[0].clone());
        // The LOCAL key comes first; the decision is recorded elsewhere all the same.
        let request = |value: &str| pb::ExecuteRequest {
            conditions: vec![absent(LOCAL, &key)],
            operations: vec![stores(LOCAL, &key, value), stores(PARTED, &key, value)],
            ..Default::default()
        };
        let first = transactions.execute(request("one")).await.expect("done");
        assert!(first.into_inner().held, "{key}");
        // Its condition keeps the other cache as it is.
        let second = transactions.execute(request("two")).await.expect("done");
        assert!(!second.into_inner().held, "{key}");
        for node in 0..3 {
            let here = (node == 0).then(|| "one".to_owned());
            assert_eq!(
                cluster.value(node, LOCAL, &key).await,
                here,
                "{key} at {node}"
            );
            let parted = cluster.value(node, PARTED, &key).await;
            assert_eq!(parted.as_deref(), Some("one"), "{key} at {node}");
        }
        // At another node the LOCAL cache is another one.
        let mut elsewhere = TransactionServiceClient::new(cluster.channels[1].clone());
        let third = elsewhere.execute(request("three")).await.expect("done");
        assert!(third.into_inner().held, "{key}");
        let values = [(0, LOCAL), (1, LOCAL), (2, PARTED)];
        for ((node, cache), expected) in values.into_iter().zip(["one", "three", "three"]) {
            let value = cluster.value(node, cache, &key).await;
            assert_eq!(value.as_deref(), Some(expected), "{key} of {cache}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_calls_change_a_local_cache_and_another_together_or_not_at_all() {
    let cluster = Three::start().await;
    let mut transactions = TransactionServiceClient::new(cluster.channels[0].clone());
    let mut client = CacheServiceClient::new(cluster.channels[0].clone());
    for number in 0..KEYS {
        let (key, changed) = (key(number), number % 2 == 0);
        let begin = pb::BeginRequest {
            concurrency: pb::TransactionConcurrency::Optimistic.into(),
            ..Default::default()
        };
        let begun = transactions.begin(begin).await.expect("begun");
        let transaction = begun.into_inner().transaction;
        let read = pb::GetRequest {
            transaction: transaction.clone(),
            ..get(PARTED, &key)
        };
        client.get(read).await.expect("a read");
        let write = pb::PutRequest {
            transaction: transaction.clone(),
            ..put(LOCAL, &key, "mine")
        };
        client.put(write).await.expect("a put");
        assert_eq!(
            cluster.value(0, LOCAL, &key).await,
            None,
            "before the commit"
        );
        if changed {
            let write = put(PARTED, &key, "of others");
            client.put(write).await.expect("nothing is locked");
        }
        let done = transactions.commit(pb::CommitRequest { transaction }).await;
        if changed {
            let error = refused(done);
            let told = (error.kind, &*error.reason);
            assert_eq!(told, (ErrorKind::Conflict, "READ_CHANGED"));
        } else {
            done.expect("committed");
        }
        let expected = (!changed).then(|| "mine".to_owned());
        assert_eq!(cluster.value(0, LOCAL, &key).await, expected, "{key}");
    }
}
