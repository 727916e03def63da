//! What settings of caches and limits do, as a client sees it.

use super::alone::{ATOMIC, Alone, cache, get, put, refused, soon, until};
use super::bad_input::{Bare, PUT};
use super::keys::condition;
use embergrid::error::{Error, ErrorKind};
use embergrid::rpc::proto as pb;
use embergrid::types::time::SECOND;
use embergrid::types::{AtomicityMode, CacheSettings};
use pb::cache_service_client::CacheServiceClient;
use tonic::transport::Channel;

fn named(name: &str) -> CacheSettings {
    cache(name, AtomicityMode::Atomic)
}

/// When an entry was last used, as a read tells it.
async fn last_access(client: &mut CacheServiceClient<Channel>, cache: &str) -> (i64, i32) {
    let read = client.get(get(cache, "k")).await.expect("a read");
    let at = read.into_inner().entry.expect("an entry").last_access_at;
    let at = at.expect("a point in time");
    (at.seconds, at.nanos)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_is_a_use_where_the_cache_says_so() {
    let idles = |name, touch_on_read| CacheSettings {
        time_to_idle: Some(3600 * SECOND),
        touch_on_read,
        ..named(name)
    };
    let mut node = Alone::start_with(|settings| {
        settings.caches = vec![idles("touches", true), idles("looks", false)];
    })
    .await;
    let mut begin = Vec::new();
    for name in ["touches", "looks"] {
        node.cache.put(put(name, "k", "v")).await.expect("a write");
        begin.push(last_access(&mut node.cache, name).await);
    }
    until("a read has moved the last use", || {
        let mut client = node.cache.clone();
        let begin = begin[0];
        async move { last_access(&mut client, "touches").await > begin }
    })
    .await;
    assert_eq!(last_access(&mut node.cache, "looks").await, begin[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_live_and_idle_as_long_as_their_cache_says() {
    let mut node = Alone::start_with(|settings| {
        let (lives, idles) = (Some(SECOND / 2), Some(SECOND / 2));
        settings.caches = vec![
            CacheSettings {
                time_to_live: lives,
                ..named("lives")
            },
            CacheSettings {
                time_to_idle: idles,
                ..named("idles")
            },
            named("stays"),
        ];
    })
    .await;
    for name in ["lives", "idles", "stays"] {
        node.cache.put(put(name, "k", "v")).await.expect("a write");
    }
    for name in ["lives", "idles"] {
        until("the entry is gone", || {
            let mut client = node.cache.clone();
            async move {
                let read = client.get(get(name, "k")).await.expect("a read");
                read.into_inner().entry.is_none()
            }
        })
        .await;
    }
    let read = node.cache.get(get("stays", "k")).await.expect("a read");
    assert!(read.into_inner().entry.is_some());
}

/// Repeats the same request; whether it was applied, as the first answer said or by itself.
async fn applied(client: &mut CacheServiceClient<Channel>, cache: &str) -> bool {
    let request = pb::PutRequest {
        condition: condition(pb::condition::Condition::Absent(true)),
        request_id: vec![7; 16].into(),
        ..put(cache, "k", "v")
    };
    let reply = client.put(request).await.expect("an answer");
    reply.into_inner().applied
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_known_by_its_id_for_the_window_of_its_cache() {
    let mut node = Alone::start_with(|settings| {
        let short = CacheSettings {
            request_id_window: SECOND,
            ..named("short")
        };
        settings.caches = vec![short, named("long")];
    })
    .await;
    for name in ["long", "short"] {
        assert!(applied(&mut node.cache, name).await, "the first");
    }
    until("the request is a new one, and finds the key", || {
        let mut client = node.cache.clone();
        async move { !applied(&mut client, "short").await }
    })
    .await;
    assert!(applied(&mut node.cache, "long").await, "the same answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_key_stays_removed_where_removes_are_final() {
    let mut node = Alone::start_with(|settings| {
        let last = CacheSettings {
            removes_are_final: true,
            ..named("final")
        };
        settings.caches = vec![last, named("plain")];
    })
    .await;
    for name in ["final", "plain"] {
        node.cache.put(put(name, "k", "v")).await.expect("a write");
        let remove = pb::RemoveRequest {
            cache: name.into(),
            key: "k".into(),
            ..Default::default()
        };
        node.cache.remove(remove).await.expect("a remove");
    }
    let error = refused(node.cache.put(put("final", "k", "v")).await);
    assert_eq!(
        (error.kind, error.reason.as_ref()),
        (ErrorKind::AlreadyExists, "REMOVED")
    );
    let again = node.cache.put(put("plain", "k", "v")).await;
    assert!(again.expect("a write").into_inner().applied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_and_batches_end_where_the_settings_say() {
    let mut node = Alone::start_with(|settings| {
        settings.limits.batch_keys_max = 2;
        settings.limits.message_bytes_max = 64 << 10;
        settings.caches[0].entry_bytes_max = 4;
    })
    .await;
    let many = |count: u8| pb::GetManyRequest {
        cache: ATOMIC.into(),
        keys: (0..count).map(|key| vec![key].into()).collect(),
        ..Default::default()
    };
    node.cache.get_many(many(2)).await.expect("few enough");
    let reason = |error: Error| error.reason.to_string();
    let error = refused(node.cache.get_many(many(3)).await);
    assert_eq!(reason(error), "TOO_MANY_KEYS");
    let value = |length| put(ATOMIC, "k", &"v".repeat(length));
    node.cache.put(value(4)).await.expect("small enough");
    let error = refused(node.cache.put(value(5)).await);
    assert_eq!(reason(error), "VALUE_TOO_LARGE");
    let error = refused(node.cache.put(value(65 << 10)).await);
    assert_eq!(reason(error), "MESSAGE_TOO_LARGE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_too_many_is_overloaded() {
    let node = Alone::start_with(|settings| settings.limits.requests_in_flight_max = 1).await;
    let bare = Bare::open(&node).await;
    let read = || {
        let mut client = node.cache.clone();
        async move { client.get(get(ATOMIC, "k")).await }
    };
    let no_other_is_let_in = || {
        let read = read();
        async move {
            let told = read.await;
            told.is_err_and(|status| status.code() == tonic::Code::ResourceExhausted)
        }
    };
    let mut stream = soon(async {
        loop {
            let mut sender = bare.0.clone().ready().await.expect("room");
            // A call whose message never comes, and which so never ends.
            let (answer, stream) = sender
                .send_request(Bare::request(PUT, None), false)
                .expect("a call");
            tokio::select! {
                // A read had the one place when this call came: it comes again.
                _refused = answer => {}
                () = until("no other is let in", no_other_is_let_in) => break stream,
            }
        }
    })
    .await;
    stream.send_reset(h2::Reason::CANCEL);
    until("its place is free again", || {
        let read = read();
        async move { read.await.is_ok() }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_carries_as_many_streams_as_the_settings_say() {
    let node = Alone::start_with(|settings| settings.limits.streams_per_connection_max = 2).await;
    let watch = || pb::WatchRequest {
        cache: ATOMIC.into(),
        ..Default::default()
    };
    let mut client = CacheServiceClient::new(node.channel());
    let first = soon(client.watch(watch())).await.expect("a watch");
    let _second = soon(client.watch(watch())).await.expect("another");
    let mut other = client.clone();
    let third = tokio::spawn(async move { other.get(get(ATOMIC, "k")).await });
    // Another connection has streams of its own.
    node.is_well().await;
    assert!(!third.is_finished(), "a third stream was let in");
    drop(first);
    soon(third).await.expect("no panic").expect("a read");
}
