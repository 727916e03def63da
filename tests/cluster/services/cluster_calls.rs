//! ClusterService, health and reflection.

use super::alone::{ATOMIC, Alone, TRANSACTIONAL, put, refused, soon, until};
use embergrid::error::ErrorKind;
use embergrid::rpc::proto as pb;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

fn create(settings: pb::CacheSettings) -> pb::CreateCacheRequest {
    pb::CreateCacheRequest {
        settings: Some(settings),
        request_id: bytes::Bytes::new(),
    }
}

fn named(name: &str) -> pb::CacheSettings {
    pb::CacheSettings {
        name: name.into(),
        partitions: 8,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topology_is_told_and_watched() {
    let mut node = Alone::start().await;
    let said = node
        .cluster
        .topology(pb::TopologyRequest {})
        .await
        .expect("a view")
        .into_inner();
    assert_eq!(
        (said.nodes.len(), said.cluster_name.as_str()),
        (1, "embergrid")
    );
    assert_eq!(said.coordinator, said.self_);
    let own = &said.nodes[0];
    assert_eq!(own.address, format!("127.0.0.1:{}", node.port));
    assert_eq!(
        (own.role(), own.state()),
        (pb::NodeRole::Server, pb::node::State::Alive)
    );
    assert!(own.certificate_expires_at.is_some() && own.started_at.is_some());
    let watch = node
        .cluster
        .watch_topology(pb::WatchTopologyRequest {})
        .await
        .expect("a watch");
    let mut watch = watch.into_inner();
    let first = soon(watch.message())
        .await
        .expect("a view")
        .expect("no end");
    let number = |view: &pb::TopologyResponse| view.version.expect("a version").number;
    assert!(number(&first) >= number(&said));
    // A cache changes the view.
    node.cluster
        .create_cache(create(named("new")))
        .await
        .expect("a cache");
    let next = soon(watch.message())
        .await
        .expect("a view")
        .expect("no end");
    assert!(number(&next) > number(&first));
    let request = pb::PartitionTableRequest {
        cache: ATOMIC.into(),
    };
    let table = node
        .cluster
        .partition_table(request)
        .await
        .expect("a table")
        .into_inner();
    assert_eq!(table.caches[0].partitions.len(), 16);
    assert_eq!(table.caches[0].copies_owned, 16);
    assert!(
        table.caches[0]
            .partitions
            .iter()
            .all(|partition| partition.primary == Some(0))
    );
    let request = pb::PartitionTableRequest::default();
    let tables = node
        .cluster
        .partition_table(request)
        .await
        .expect("tables")
        .into_inner();
    assert_eq!(tables.caches.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caches_are_created_and_described() {
    let mut node = Alone::start().await;
    let made = node
        .cluster
        .create_cache(create(named("new")))
        .await
        .expect("a cache")
        .into_inner();
    let settings = made.cache.expect("a cache").settings.expect("settings");
    assert_eq!(
        (settings.mode(), settings.partitions),
        (pb::CacheMode::Replicated, 8)
    );
    assert_eq!(settings.entry_bytes_max, 1 << 20);
    node.cluster
        .create_cache(create(named("new")))
        .await
        .expect("the same again");
    let other = pb::CacheSettings {
        partitions: 9,
        ..named("new")
    };
    let error = refused(node.cluster.create_cache(create(other)).await);
    assert_eq!(error.kind, ErrorKind::AlreadyExists);
    assert!(error.context.contains("partitions"), "{error}");
    node.cache.put(put("new", "k", "v")).await.expect("a write");
    let listed = node
        .cluster
        .list_caches(pb::ListCachesRequest {})
        .await
        .expect("a list");
    let name = |cache: pb::CacheDescription| cache.settings.expect("settings").name;
    let names: Vec<_> = listed.into_inner().caches.into_iter().map(name).collect();
    assert_eq!(names, [ATOMIC, "new", TRANSACTIONAL]);
    let describe = pb::DescribeCacheRequest { name: "new".into() };
    let said = node
        .cluster
        .describe_cache(describe.clone())
        .await
        .expect("a cache")
        .into_inner();
    assert_eq!(said.cache.expect("a cache").settings, Some(settings));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_is_dropped_once() {
    let mut node = Alone::start().await;
    node.cluster
        .create_cache(create(named("new")))
        .await
        .expect("a cache");
    node.cache.put(put("new", "k", "v")).await.expect("a write");
    let describe = pb::DescribeCacheRequest { name: "new".into() };
    let request_id = vec![3; 16].into();
    let drop = pb::DropCacheRequest {
        name: "new".into(),
        request_id,
    };
    node.cluster
        .drop_cache(drop.clone())
        .await
        .expect("dropped");
    node.cluster
        .drop_cache(drop.clone())
        .await
        .expect("the same answer again");
    let anew = pb::DropCacheRequest {
        request_id: bytes::Bytes::new(),
        ..drop
    };
    assert_eq!(
        refused(node.cluster.drop_cache(anew).await).kind,
        ErrorKind::NotFound
    );
    assert_eq!(
        refused(node.cluster.describe_cache(describe).await).kind,
        ErrorKind::NotFound
    );
    assert_eq!(
        refused(node.cache.put(put("new", "k", "v")).await).kind,
        ErrorKind::NotFound
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caches_that_must_not_be_are_refused_by_name() {
    use pb::cache_settings::WhenSplit;
    let mut node = Alone::start().await;
    for (settings, kind, word) in [
        (
            pb::CacheSettings {
                when_split: WhenSplit::AllowReads.into(),
                ..named("c")
            },
            ErrorKind::FailedPrecondition,
            "quorum-of",
        ),
        (
            pb::CacheSettings {
                when_split: WhenSplit::DenyReadWrites.into(),
                ..named("c")
            },
            ErrorKind::FailedPrecondition,
            "quorum-of",
        ),
        (
            pb::CacheSettings {
                mode: 44,
                ..named("c")
            },
            ErrorKind::InvalidArgument,
            "mode",
        ),
        (named(""), ErrorKind::InvalidArgument, "name"),
    ] {
        let error = refused(node.cluster.create_cache(create(settings)).await);
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.context.contains(word), "{error}");
    }
    let request = pb::CreateCacheRequest {
        settings: None,
        ..create(named("c"))
    };
    assert_eq!(
        refused(node.cluster.create_cache(request).await).kind,
        ErrorKind::InvalidArgument
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_are_told_and_what_comes_later_is_named() {
    let mut node = Alone::start().await;
    node.cache
        .put(put(ATOMIC, "k", "v"))
        .await
        .expect("a write");
    until("the node serves, and has counted the write", || {
        let mut cluster = node.cluster.clone();
        async move {
            let request = pb::NodeStatsRequest::default();
            let stats = cluster.node_stats(request).await.expect("counters");
            let stats = stats.into_inner();
            stats.serving && stats.counters["requests"] >= 1
        }
    })
    .await;
    let request = pb::NodeStatsRequest {
        node: "another".into(),
    };
    assert_eq!(
        refused(node.cluster.node_stats(request).await).kind,
        ErrorKind::NotFound
    );
    let mut cluster = node.cluster.clone();
    let forced = refused(cluster.force_primary(pb::ForcePrimaryRequest {}).await);
    assert_eq!(
        (forced.kind, &*forced.reason),
        (ErrorKind::FailedPrecondition, "NO_QUORUM_OF")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_follows_the_node_to_its_end() {
    let node = Alone::start().await;
    let mut health = HealthClient::new(node.channel());
    let check = |service: &str| HealthCheckRequest {
        service: service.into(),
    };
    for service in [
        "",
        "embergrid.v1.CacheService",
        "embergrid.v1.ClusterService",
    ] {
        until("it serves", || {
            let mut health = health.clone();
            async move {
                let answer = health.check(check(service)).await.expect("known");
                answer.into_inner().status() == ServingStatus::Serving
            }
        })
        .await;
    }
    let unknown = health.check(check("none")).await.expect_err("unknown");
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    let mut watch = health.watch(check("")).await.expect("a watch").into_inner();
    let mut last = ServingStatus::Unknown;
    while last != ServingStatus::Serving {
        let next = soon(watch.message()).await.expect("a status");
        last = next.expect("no end").status();
    }
    let ending = tokio::spawn(node.node.shut_down());
    while let Ok(Some(next)) = soon(watch.message()).await {
        last = next.status();
    }
    assert_eq!(last, ServingStatus::NotServing);
    soon(ending).await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_lists_the_services() {
    let node = Alone::start().await;
    let mut reflection = ServerReflectionClient::new(node.channel());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let stream = reflection
        .server_reflection_info(tokio_stream::iter([request]))
        .await;
    let answer = soon(stream.expect("a stream").into_inner().message())
        .await
        .expect("an answer");
    let Some(MessageResponse::ListServicesResponse(list)) =
        answer.and_then(|answer| answer.message_response)
    else {
        panic!("no list");
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for name in [
        "embergrid.v1.CacheService",
        "embergrid.v1.ClusterService",
        "grpc.health.v1.Health",
    ] {
        assert!(names.iter().any(|listed| listed == name), "{names:?}");
    }
}
