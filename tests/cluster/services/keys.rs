//! Single keys: Get, Put, Remove, Touch, Modify.

use super::alone::{ATOMIC, Alone, TRANSACTIONAL, get, put, refused};
use embergrid::error::{Applied, ErrorKind};
use embergrid::rpc::proto as pb;
use pb::modify_request::{Change, Increment};

pub fn condition(condition: pb::condition::Condition) -> Option<pb::Condition> {
    Some(pb::Condition {
        condition: Some(condition),
    })
}

fn modify(key: &str, change: Change) -> pb::ModifyRequest {
    pb::ModifyRequest {
        cache: ATOMIC.into(),
        key: key.to_owned().into(),
        change: Some(change),
        ..Default::default()
    }
}

fn remove(key: &str) -> pb::RemoveRequest {
    pb::RemoveRequest {
        cache: ATOMIC.into(),
        key: key.to_owned().into(),
        return_previous: true,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_is_stored_read_and_taken() {
    let mut node = Alone::start().await;
    assert_eq!(
        node.cache
            .get(get(ATOMIC, "k"))
            .await
            .expect("a miss")
            .into_inner()
            .entry,
        None
    );
    let request = pb::PutRequest {
        flags: 7,
        ..put(ATOMIC, "k", "v")
    };
    let stored = node.cache.put(request).await.expect("a write").into_inner();
    assert!(stored.applied && stored.version != 0 && stored.previous.is_none());
    let entry = node
        .cache
        .get(get(ATOMIC, "k"))
        .await
        .expect("a read")
        .into_inner()
        .entry;
    let entry = entry.expect("an entry");
    assert_eq!(
        (entry.key.as_ref(), entry.value.as_ref()),
        (&b"k"[..], &b"v"[..])
    );
    assert_eq!((entry.flags, entry.version), (7, stored.version));
    assert!(entry.created_at.is_some() && entry.last_access_at.is_some());
    assert!(entry.expires_at.is_none() && entry.idle_expires_at.is_none());
    let request = pb::GetRequest {
        omit_value: true,
        ..get(ATOMIC, "k")
    };
    let bare = node
        .cache
        .get(request)
        .await
        .expect("a read")
        .into_inner()
        .entry;
    assert!(bare.expect("an entry").value.is_empty());
    let taken = node
        .cache
        .remove(remove("k"))
        .await
        .expect("a take")
        .into_inner();
    assert!(taken.applied);
    assert_eq!(taken.previous.expect("what was there").value, "v");
    let again = node
        .cache
        .remove(remove("k"))
        .await
        .expect("an answer")
        .into_inner();
    assert!(!again.applied && again.previous.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_decide() {
    use pb::condition::Condition;
    let mut node = Alone::start().await;
    let on = |wanted| pb::PutRequest {
        condition: condition(wanted),
        return_previous: true,
        ..put(ATOMIC, "k", "new")
    };
    let present = node
        .cache
        .put(on(Condition::Present(true)))
        .await
        .expect("an answer");
    assert!(!present.into_inner().applied);
    let first = node
        .cache
        .put(on(Condition::Absent(true)))
        .await
        .expect("an answer")
        .into_inner();
    assert!(first.applied);
    let absent = node
        .cache
        .put(on(Condition::Absent(true)))
        .await
        .expect("an answer")
        .into_inner();
    assert!(!absent.applied);
    assert_eq!(absent.version, first.version);
    assert_eq!(absent.previous.expect("what lives").value, "new");
    let other = node
        .cache
        .put(on(Condition::Version(first.version ^ 1)))
        .await
        .expect("an answer");
    assert!(!other.into_inner().applied);
    let same = node
        .cache
        .put(on(Condition::Version(first.version)))
        .await
        .expect("an answer");
    assert!(same.into_inner().applied);
    let value = node
        .cache
        .put(on(Condition::Value("new".into())))
        .await
        .expect("an answer");
    assert!(value.into_inner().applied);
    let value = node
        .cache
        .put(on(Condition::Value("old".into())))
        .await
        .expect("an answer");
    assert!(!value.into_inner().applied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_change_in_place() {
    let mut node = Alone::start().await;
    node.cache
        .put(put(ATOMIC, "text", "b"))
        .await
        .expect("a write");
    for (change, after) in [
        (Change::Append("c".into()), "bc"),
        (Change::Prepend("a".into()), "abc"),
    ] {
        let answer = node
            .cache
            .modify(modify("text", change))
            .await
            .expect("an answer")
            .into_inner();
        assert!(answer.applied && answer.value.is_none());
        let entry = node
            .cache
            .get(get(ATOMIC, "text"))
            .await
            .expect("a read")
            .into_inner()
            .entry;
        assert_eq!(entry.expect("an entry").value, after);
    }
    let add = |delta, initial| {
        Change::Increment(Increment {
            delta,
            initial,
            ..Default::default()
        })
    };
    let none = node
        .cache
        .modify(modify("n", add(1, None)))
        .await
        .expect("an answer")
        .into_inner();
    assert!(!none.applied && none.value.is_none());
    let first = node
        .cache
        .modify(modify("n", add(1, Some(40))))
        .await
        .expect("an answer")
        .into_inner();
    assert_eq!((first.applied, first.value), (true, Some(40)));
    let next = node
        .cache
        .modify(modify("n", add(2, None)))
        .await
        .expect("an answer")
        .into_inner();
    assert_eq!((next.applied, next.value), (true, Some(42)));
    let error = refused(node.cache.modify(modify("text", add(1, None))).await);
    assert_eq!(error.applied, Applied::NotApplied, "{error}");
}

fn expiry(time_to_live: Option<prost_types::Duration>, keep: bool) -> Option<pb::Expiry> {
    Some(pb::Expiry {
        time_to_live,
        time_to_idle: None,
        keep,
    })
}

/// When the entry ends, after a look that it is still of this version.
async fn expires(node: &mut Alone, version: u64) -> Option<prost_types::Timestamp> {
    let entry = node
        .cache
        .get(get(ATOMIC, "k"))
        .await
        .expect("a read")
        .into_inner()
        .entry;
    let entry = entry.expect("an entry");
    assert_eq!(entry.version, version, "a touch gives no new version");
    entry.expires_at
}

async fn touch(node: &mut Alone, key: &'static str, expiry: Option<pb::Expiry>) -> bool {
    let key = key.into();
    let request = pb::TouchRequest {
        cache: ATOMIC.into(),
        key,
        expiry,
        ..Default::default()
    };
    node.cache
        .touch(request)
        .await
        .expect("an answer")
        .into_inner()
        .applied
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiry_is_set_kept_and_taken_away() {
    let mut node = Alone::start().await;
    let hour = Some(prost_types::Duration {
        seconds: 3_600,
        nanos: 0,
    });
    let request = pb::PutRequest {
        expiry: expiry(hour, false),
        ..put(ATOMIC, "k", "v")
    };
    let version = node
        .cache
        .put(request)
        .await
        .expect("a write")
        .into_inner()
        .version;
    let first = expires(&mut node, version).await;
    assert!(first.is_some());
    assert!(touch(&mut node, "k", expiry(None, true)).await);
    assert_eq!(expires(&mut node, version).await, first);
    assert!(touch(&mut node, "k", expiry(None, false)).await);
    assert_eq!(expires(&mut node, version).await, None);
    let request = pb::GetRequest {
        touch: expiry(hour, false),
        ..get(ATOMIC, "k")
    };
    node.cache.get(request).await.expect("a read");
    assert!(expires(&mut node, version).await.is_some());
    assert!(!touch(&mut node, "none", None).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_id_answers_as_the_first_did() {
    let mut node = Alone::start().await;
    let request_id = bytes::Bytes::from(vec![9; 16]);
    let request = pb::PutRequest {
        condition: condition(pb::condition::Condition::Absent(true)),
        request_id,
        ..put(ATOMIC, "k", "v")
    };
    let first = node
        .cache
        .put(request.clone())
        .await
        .expect("a write")
        .into_inner();
    let second = node
        .cache
        .put(request)
        .await
        .expect("the same answer")
        .into_inner();
    assert!(first.applied);
    assert_eq!(first, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_one_affinity_key_are_apart_from_others() {
    let mut node = Alone::start().await;
    let affinity_key = bytes::Bytes::from("user-1");
    let request = pb::PutRequest {
        affinity_key: affinity_key.clone(),
        ..put(ATOMIC, "k", "v")
    };
    node.cache.put(request).await.expect("a write");
    let request = pb::GetRequest {
        affinity_key,
        ..get(ATOMIC, "k")
    };
    assert!(
        node.cache
            .get(request)
            .await
            .expect("a read")
            .into_inner()
            .entry
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_exist_is_named() {
    let mut node = Alone::start().await;
    let error = refused(node.cache.get(get("none", "k")).await);
    assert_eq!(
        (error.kind, error.reason.as_ref()),
        (ErrorKind::NotFound, "NO_SUCH_CACHE")
    );
    assert!(
        error.context.contains(ATOMIC) && error.context.contains(TRANSACTIONAL),
        "{error}"
    );
    let request = pb::PutRequest {
        transaction: "t".into(),
        ..put(TRANSACTIONAL, "k", "v")
    };
    let error = refused(node.cache.put(request).await);
    assert_eq!(
        (error.kind, error.reason.as_ref()),
        (ErrorKind::InvalidArgument, "BAD_TRANSACTION")
    );
    node.cache
        .put(put(TRANSACTIONAL, "k", "v"))
        .await
        .expect("single keys are taken");
}
