//! Three nodes: whichever is asked answers for all, and a watcher loses nothing with a node.

use super::alone::{channel, get, put, refused, soon, until};
use crate::rig::{Authorities, PATIENCE, TestNode, listeners, settings};
use embergrid::error::ErrorKind;
use embergrid::rpc::proto as pb;
use embergrid::rpc::tls::client_tls;
use embergrid::types::{AtomicityMode, CacheMode, CacheSettings};
use pb::cache_service_client::CacheServiceClient;
use pb::cluster_service_client::ClusterServiceClient;
use pb::watch_event::Type;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

/// Owned by two of three nodes.
const PARTED: &str = "parted";
/// Owned by each node for itself.
const LOCAL: &str = "local";

struct Several {
    _authorities: Authorities,
    nodes: Vec<TestNode>,
    caches: Vec<CacheServiceClient<Channel>>,
    cluster: ClusterServiceClient<Channel>,
}

impl Several {
    /// Three nodes that know each other and have loaded all they should.
    async fn start() -> Self {
        let authorities = Authorities::new("several");
        let (listeners, list) = listeners(3);
        let of = |name: &str, mode| CacheSettings {
            mode,
            atomicity: AtomicityMode::Atomic,
            partitions: 24,
            ..CacheSettings::named(name)
        };
        let mut nodes = Vec::new();
        for (number, listener) in listeners.into_iter().enumerate() {
            let mut settings = settings(&list, authorities.node(&format!("node-{number}")));
            settings.caches = vec![
                of(PARTED, CacheMode::Partitioned),
                of(LOCAL, CacheMode::Local),
            ];
            nodes.push(TestNode::start(&settings, listener).expect("a node"));
        }
        let tls = client_tls(&authorities.client("client"))
            .expect("files")
            .expect("TLS is on");
        let channels: Vec<Channel> = nodes
            .iter()
            .map(|node| channel(node.address.port(), tls.clone()))
            .collect();
        let cluster = ClusterServiceClient::new(channels[0].clone());
        let caches = channels.into_iter().map(CacheServiceClient::new).collect();
        let several = Self {
            _authorities: authorities,
            nodes,
            caches,
            cluster,
        };
        until("all are in one view and nothing loads", || {
            several.is_settled(3)
        })
        .await;
        several
    }

    async fn is_settled(&self, count: usize) -> bool {
        let same = |node: &TestNode| {
            let view = node.handle().view();
            node.handle().serving()
                && view.nodes.len() == count
                && view.version == self.nodes[0].handle().view().version
        };
        if !self.nodes.iter().all(same) {
            return false;
        }
        let request = pb::PartitionTableRequest {
            cache: PARTED.into(),
        };
        let Ok(table) = self.cluster.clone().partition_table(request).await else {
            return false;
        };
        let cache = &table.into_inner().caches[0];
        cache.copies_loading == 0 && cache.copies_owned == 48
    }

    /// Ends a node as a crash would.
    fn kill(&mut self, place: usize) {
        let mut node = self.nodes.remove(place);
        self.caches.remove(place);
        tokio::task::block_in_place(|| node.kill());
    }
}

impl Drop for Several {
    fn drop(&mut self) {
        // Each node has a runtime of its own, whose end is waited for.
        tokio::task::block_in_place(|| self.nodes.clear());
    }
}

/// The keys that a scan finds, each once.
async fn scanned(cache: &mut CacheServiceClient<Channel>) -> BTreeSet<bytes::Bytes> {
    let request = pb::ScanRequest {
        cache: PARTED.into(),
        ..Default::default()
    };
    let entries = cache.scan(request).await.expect("a scan").into_inner();
    let mut names = BTreeSet::new();
    for answer in soon(entries.collect::<Vec<_>>()).await {
        let entry = answer.expect("an entry").entry.expect("an entry");
        assert!(names.insert(entry.key), "an entry came twice");
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_answers_for_all() {
    let mut cluster = Several::start().await;
    for number in 0..90u64 {
        let cache = &mut cluster.caches[number as usize % 3];
        put_at_last(cache, put(PARTED, &format!("k{number}"), "v"), number).await;
    }
    for cache in &mut cluster.caches {
        let keys: Vec<_> = (0..90)
            .map(|number| bytes::Bytes::from(format!("k{number}")))
            .collect();
        let request = pb::GetManyRequest {
            cache: PARTED.into(),
            keys,
            ..Default::default()
        };
        for result in cache
            .get_many(request)
            .await
            .expect("a batch")
            .into_inner()
            .results
        {
            use pb::get_many_response::result::Result as Got;
            let Some(Got::Get(got)) = result.result else {
                panic!("{result:?}")
            };
            assert_eq!(got.entry.expect("an entry").value, "v");
        }
        let request = pb::SizeRequest {
            cache: PARTED.into(),
            ..Default::default()
        };
        assert_eq!(
            cache.size(request).await.expect("a size").into_inner().size,
            90
        );
        assert_eq!(scanned(cache).await.len(), 90);
    }
    let clear = pb::ClearRequest {
        cache: PARTED.into(),
        request_id: vec![8; 16].into(),
        ..Default::default()
    };
    let removed = cluster.caches[2]
        .clear(clear)
        .await
        .expect("cleared")
        .into_inner()
        .removed;
    assert_eq!(removed, 90);
    assert_eq!(
        cluster.caches[0]
            .get(get(PARTED, "k1"))
            .await
            .expect("a miss")
            .into_inner()
            .entry,
        None
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_cache_stays_on_its_node() {
    let mut cluster = Several::start().await;
    cluster.caches[0]
        .put(put(LOCAL, "k", "v"))
        .await
        .expect("a write");
    let here = cluster.caches[0]
        .get(get(LOCAL, "k"))
        .await
        .expect("a read")
        .into_inner();
    assert!(here.entry.is_some());
    let there = cluster.caches[1]
        .get(get(LOCAL, "k"))
        .await
        .expect("a miss")
        .into_inner();
    assert_eq!(there.entry, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_made_at_one_node_is_known_to_all() {
    let mut cluster = Several::start().await;
    let settings = pb::CacheSettings {
        name: "new".into(),
        partitions: 8,
        ..Default::default()
    };
    let request = pb::CreateCacheRequest {
        settings: Some(settings),
        ..Default::default()
    };
    cluster
        .cluster
        .create_cache(request)
        .await
        .expect("a cache");
    for (id, cache) in (0..).zip(&mut cluster.caches) {
        put_at_last(cache, put("new", "k", "v"), id).await;
    }
}

/// Puts, under an id of its own, until it is taken.
async fn put_at_last(
    cache: &mut CacheServiceClient<Channel>,
    mut request: pb::PutRequest,
    id: u64,
) {
    request.request_id = [[7; 8], id.to_be_bytes()].concat().into();
    let give_up = Instant::now() + PATIENCE;
    while let Err(status) = cache.put(request.clone()).await {
        let code = status.code();
        let allowed = [
            Code::Unavailable,
            Code::Unknown,
            Code::DeadlineExceeded,
            Code::FailedPrecondition,
        ];
        assert!(
            allowed.contains(&code) && Instant::now() < give_up,
            "{status:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn next(stream: &mut Streaming<pb::WatchEvent>) -> pb::WatchEvent {
    soon(stream.message())
        .await
        .expect("an event")
        .expect("no end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_misses_nothing_when_a_node_dies() {
    let mut cluster = Several::start().await;
    let request = pb::WatchRequest {
        cache: PARTED.into(),
        with_previous: true,
        ..Default::default()
    };
    let mut stream = cluster.caches[0]
        .watch(request)
        .await
        .expect("a watch")
        .into_inner();
    while next(&mut stream).await.r#type() != Type::Checkpoint {}
    let mut writer = cluster.caches[0].clone();
    let (half, at_half) = tokio::sync::oneshot::channel();
    let writing = tokio::spawn(async move {
        let mut half = Some(half);
        for count in 0..1_200u64 {
            let request = put(PARTED, &format!("k{}", count % 60), &count.to_string());
            put_at_last(&mut writer, request, count).await;
            if count == 600 {
                half.take().map(|half| half.send(()));
            }
        }
    });
    at_half.await.expect("half of it is written");
    cluster.kill(1);
    let mut versions = BTreeMap::new();
    let mut events = 0;
    while events < 1_200 {
        let event = next(&mut stream).await;
        if event.r#type() == Type::Checkpoint {
            continue;
        }
        events += 1;
        let entry = event.entry.expect("an entry");
        let previous = event.previous.map(|previous| previous.version);
        let before = versions.insert(entry.key.clone(), entry.version);
        assert_eq!(previous, before, "{:?} = {:?}", entry.key, entry.value);
    }
    soon(writing).await.expect("no panic");
    let missing = pb::WatchRequest {
        cache: "none".into(),
        ..Default::default()
    };
    assert_eq!(
        refused(cluster.caches[0].watch(missing).await).kind,
        ErrorKind::NotFound
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_counted_by_kind_and_by_node_and_any_node_tells_the_counters_of_another() {
    use pb::size_request::Copies;
    let mut several = Several::start().await;
    for number in 0..30 {
        let key = format!("key-{number}");
        let request = put(PARTED, &key, "value");
        several.caches[number % 3].put(request).await.expect("put");
    }
    // A backup stores what it has when it hears that everybody has it.
    until("everything is stored", || {
        let mut cache = several.caches[0].clone();
        let request = pb::SizeRequest {
            cache: PARTED.into(),
            copies: Copies::All.into(),
            ..Default::default()
        };
        async move { cache.size(request).await.expect("a size").into_inner().size == 60 }
    })
    .await;
    let names: Vec<String> = several
        .nodes
        .iter()
        .map(|node| node.handle().me().consistent_id.clone())
        .collect();
    let mut size = async |copies: Copies, node: &str| {
        let request = pb::SizeRequest {
            cache: PARTED.into(),
            copies: copies.into(),
            node: node.to_owned(),
        };
        several.caches[0].size(request).await
    };
    let mut of = [0, 0, 0];
    for name in &names {
        for (sum, copies) in of
            .iter_mut()
            .zip([Copies::Primary, Copies::Backup, Copies::All])
        {
            *sum += size(copies, name).await.expect("a size").into_inner().size;
        }
    }
    assert_eq!(of, [30, 30, 60]);
    for (copies, expected) in [
        (Copies::Primary, 30),
        (Copies::Backup, 30),
        (Copies::Near, 0),
        (Copies::All, 60),
    ] {
        let counted = size(copies, "").await.expect("a size").into_inner().size;
        assert_eq!(counted, expected, "{copies:?}");
    }
    let nowhere = size(Copies::All, "nobody").await;
    assert_eq!(refused(nowhere).kind, ErrorKind::NotFound);

    let request = pb::NodeStatsRequest {
        node: names[1].clone(),
    };
    let stats = several.cluster.node_stats(request).await.expect("counters");
    assert_eq!(stats.into_inner().node, names[1]);
}
