//! Watch: events, checkpoints, resuming, current entries.

use super::alone::{ATOMIC, Alone, put, refused, soon};
use embergrid::error::ErrorKind;
use embergrid::rpc::proto as pb;
use pb::cache_service_client::CacheServiceClient;
use pb::watch_event::Type;
use std::collections::BTreeMap;
use tonic::Streaming;
use tonic::transport::Channel;

/// The last value that is written, greater than all others.
const LAST: &str = "1000000";

fn watch() -> pb::WatchRequest {
    pb::WatchRequest {
        cache: ATOMIC.into(),
        ..Default::default()
    }
}

fn remove(key: &str) -> pb::RemoveRequest {
    pb::RemoveRequest {
        cache: ATOMIC.into(),
        key: key.to_owned().into(),
        ..Default::default()
    }
}

/// The next event that is, or is not, a checkpoint.
async fn next(stream: &mut Streaming<pb::WatchEvent>, checkpoint: bool) -> pb::WatchEvent {
    loop {
        let event = soon(stream.message())
            .await
            .expect("an event")
            .expect("no end");
        if (event.r#type() == Type::Checkpoint) == checkpoint {
            return event;
        }
    }
}

fn told(event: &pb::WatchEvent) -> (Type, String, String) {
    let entry = event.entry.clone().expect("an entry");
    let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("text");
    (event.r#type(), text(entry.key), text(entry.value))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_in_order_and_can_be_resumed() {
    let mut node = Alone::start().await;
    let request = pb::WatchRequest {
        with_previous: true,
        key_prefix: "k".into(),
        ..watch()
    };
    let mut stream = node
        .cache
        .watch(request)
        .await
        .expect("a watch")
        .into_inner();
    // Behind the first checkpoint every partition is watched.
    next(&mut stream, true).await;
    node.cache
        .put(put(ATOMIC, "other", "1"))
        .await
        .expect("a write");
    node.cache
        .put(put(ATOMIC, "k", "1"))
        .await
        .expect("a write");
    node.cache
        .put(put(ATOMIC, "k", "2"))
        .await
        .expect("a write");
    let first = next(&mut stream, false).await;
    assert_eq!(told(&first), (Type::Created, "k".into(), "1".into()));
    assert_eq!(first.previous, None);
    let second = next(&mut stream, false).await;
    assert_eq!(told(&second), (Type::Updated, "k".into(), "2".into()));
    assert_eq!(second.previous.expect("what was there").value, "1");
    assert!(second.counter > first.counter && second.partition == first.partition);
    let checkpoint = next(&mut stream, true).await;
    drop(stream);
    node.cache.remove(remove("k")).await.expect("a remove");
    let request = pb::WatchRequest {
        resume_token: checkpoint.resume_token,
        ..watch()
    };
    let mut stream = node
        .cache
        .watch(request)
        .await
        .expect("a watch")
        .into_inner();
    let third = next(&mut stream, false).await;
    assert_eq!(told(&third), (Type::Removed, "k".into(), "2".into()));
    assert!(third.counter > second.counter);
}

/// What a watcher knows: of each key the last number written and its version.
#[derive(Default)]
struct Known {
    keys: BTreeMap<String, (usize, u64)>,
    current: usize,
}

impl Known {
    /// Takes the next event; each key is told once as it is, and from then on without a gap.
    fn take(&mut self, event: pb::WatchEvent) {
        let version = event.entry.as_ref().expect("an entry").version;
        let (kind, key, value) = told(&event);
        let value: usize = value.parse().expect("a number");
        let before = self.keys.insert(key.clone(), (value, version));
        if event.counter == 0 {
            assert_eq!(kind, Type::Created);
            assert_eq!(before, None, "{key} came twice");
            self.current += 1;
            return;
        }
        let (number, version) = before.expect("told before");
        assert!(value > number, "{key}: {value} came behind {number}");
        let previous = event.previous.expect("what was there").version;
        assert_eq!(previous, version, "a gap before {key} = {value}");
    }

    /// Takes events until all keys have their last value.
    async fn take_all(&mut self, stream: &mut Streaming<pb::WatchEvent>, keys: usize) {
        let mut ended = 0;
        while ended < keys {
            let event = next(stream, false).await;
            ended += usize::from(told(&event).2 == LAST);
            self.take(event);
        }
    }
}

/// Writes rising numbers to so many keys in turn until it is stopped, then the last one to all.
async fn write_on(
    mut writer: CacheServiceClient<Channel>,
    keys: usize,
    mut stop: tokio::sync::oneshot::Receiver<()>,
) {
    let mut count = 0usize;
    while stop.try_recv().is_err() {
        count += 1;
        let key = format!("k{:03}", count % keys);
        writer
            .put(put(ATOMIC, &key, &count.to_string()))
            .await
            .expect("a write");
    }
    for number in 0..keys {
        writer
            .put(put(ATOMIC, &format!("k{number:03}"), LAST))
            .await
            .expect("a write");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn current_entries_come_first_and_once() {
    let mut node = Alone::start().await;
    for number in 0..200 {
        node.cache
            .put(put(ATOMIC, &format!("k{number:03}"), "0"))
            .await
            .expect("a write");
    }
    // Written without pause while the watch begins.
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let writing = tokio::spawn(write_on(node.cache.clone(), 200, stopped));
    let request = pb::WatchRequest {
        with_current: true,
        with_previous: true,
        ..watch()
    };
    let mut stream = node
        .cache
        .watch(request)
        .await
        .expect("a watch")
        .into_inner();
    let mut known = Known::default();
    loop {
        let event = soon(stream.message())
            .await
            .expect("an event")
            .expect("no end");
        if event.r#type() == Type::Checkpoint {
            break;
        }
        known.take(event);
    }
    assert_eq!(known.current, 200);
    stop.send(()).expect("it still writes");
    known.take_all(&mut stream, 200).await;
    soon(writing).await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_tokens_are_out_of_range() {
    let mut node = Alone::start().await;
    let mut stream = node
        .cache
        .watch(watch())
        .await
        .expect("a watch")
        .into_inner();
    let token = next(&mut stream, true).await.resume_token;
    for bad in ["x".into(), token.slice(1..), token.slice(..token.len() - 1)] {
        let request = pb::WatchRequest {
            resume_token: bad,
            ..watch()
        };
        assert_eq!(
            refused(node.cache.watch(request).await).kind,
            ErrorKind::OutOfRange
        );
    }
    let request = pb::WatchRequest {
        resume_token: token.clone(),
        with_current: true,
        ..watch()
    };
    assert_eq!(
        refused(node.cache.watch(request).await).kind,
        ErrorKind::InvalidArgument
    );
    let request = pb::WatchRequest {
        cache: super::alone::TRANSACTIONAL.into(),
        resume_token: token,
        ..watch()
    };
    assert_eq!(
        refused(node.cache.watch(request).await).kind,
        ErrorKind::OutOfRange
    );
    let request = pb::WatchRequest {
        cache: "none".into(),
        ..watch()
    };
    assert_eq!(
        refused(node.cache.watch(request).await).kind,
        ErrorKind::NotFound
    );
}
