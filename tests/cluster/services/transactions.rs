//! Several keys at once: `Execute`, and batches in a TRANSACTIONAL cache, on a node that is alone.

use super::alone::{ATOMIC, Alone, TRANSACTIONAL, VALUE_MAX, get, put, refused};
use embergrid::error::{Error, ErrorKind};
use embergrid::rpc::proto as pb;
use embergrid::rpc::proto::cache_service_client::CacheServiceClient;
use embergrid::rpc::proto::transaction_service_client::TransactionServiceClient;
use embergrid::types::transaction::TRANSACTION_KEYS_MAX;
use pb::condition::Condition as Of;
use pb::execute_request::operation::Operation as Asked;
use pb::execute_request::{Check, Operation};
use pb::execute_response::result::Result as Answer;
use pb::put_many_request::Put;
use pb::put_many_response::result::Result as Stored;

fn check(key: &'static str, condition: Of) -> Check {
    Check {
        cache: TRANSACTIONAL.into(),
        key: key.into(),
        condition: Some(pb::Condition {
            condition: Some(condition),
        }),
        ..Check::default()
    }
}

fn operation(asked: Asked) -> Operation {
    Operation {
        operation: Some(asked),
    }
}

fn stores(key: &'static str, value: &'static str) -> Operation {
    operation(Asked::Put(put(TRANSACTIONAL, key, value)))
}

fn reads(key: &'static str) -> Operation {
    operation(Asked::Get(get(TRANSACTIONAL, key)))
}

async fn value(node: &mut Alone, key: &'static str) -> Option<Vec<u8>> {
    let got = node.cache.get(get(TRANSACTIONAL, key)).await;
    let entry = got.expect("a read").into_inner().entry;
    entry.map(|entry| entry.value.to_vec())
}

fn entries(values: &[(&'static str, &'static str)]) -> pb::PutManyRequest {
    let entry = |(key, value): &(&'static str, &'static str)| Put {
        key: (*key).into(),
        value: (*value).into(),
        ..Put::default()
    };
    pb::PutManyRequest {
        cache: TRANSACTIONAL.into(),
        entries: values.iter().map(entry).collect(),
        ..pb::PutManyRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_carried_out_whole_and_once() {
    let mut node = Alone::start().await;
    let mut transactions = TransactionServiceClient::new(node.channel());
    let request = pb::ExecuteRequest {
        conditions: vec![check("a", Of::Absent(true)), check("b", Of::Absent(true))],
        operations: vec![stores("a", "1"), stores("b", "2"), reads("c")],
        otherwise: vec![reads("a")],
        request_id: vec![7; 16].into(),
    };
    let first = transactions.execute(request.clone()).await.expect("done");
    let first = first.into_inner();
    assert!(first.held && first.results.len() == 3);
    assert_eq!(value(&mut node, "a").await, Some(b"1".to_vec()));
    assert_eq!(value(&mut node, "b").await, Some(b"2".to_vec()));
    let again = transactions.execute(request.clone()).await.expect("done");
    assert_eq!(again.into_inner(), first);
    let request = pb::ExecuteRequest {
        request_id: vec![8; 16].into(),
        ..request
    };
    let other = transactions.execute(request).await.expect("done");
    let other = other.into_inner();
    assert!(!other.held);
    let [result] = &other.results[..] else {
        panic!("{other:?}");
    };
    let Some(Answer::Get(got)) = &result.result else {
        panic!("{other:?}");
    };
    assert_eq!(got.entry.as_ref().expect("it lives").value, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_a_transactional_cache_are_whole() {
    let mut node = Alone::start().await;
    let batch = entries(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let stored = node.cache.put_many(batch).await.expect("a batch");
    let applied = |results: &[pb::put_many_response::Result]| -> Vec<bool> {
        let results = results.iter();
        let applied = results.map(|result| match &result.result {
            Some(Stored::Put(put)) => put.applied,
            other => panic!("{other:?}"),
        });
        applied.collect()
    };
    assert_eq!(applied(&stored.into_inner().results), [true; 3]);
    // One condition that does not hold, and nothing is stored.
    let mut batch = entries(&[("a", "x"), ("d", "x")]);
    batch.entries[0].condition = Some(pb::Condition {
        condition: Some(Of::Absent(true)),
    });
    let stored = node.cache.put_many(batch).await.expect("a batch");
    assert_eq!(applied(&stored.into_inner().results), [false; 2]);
    assert_eq!(value(&mut node, "d").await, None);
    // One value that cannot be stored, and the call fails whole.
    let mut batch = entries(&[("a", "x"), ("d", "x")]);
    batch.entries[1].value = vec![0; VALUE_MAX + 1].into();
    let error = refused(node.cache.put_many(batch).await);
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    assert_eq!(value(&mut node, "a").await, Some(b"1".to_vec()));
    let read = pb::GetManyRequest {
        cache: TRANSACTIONAL.into(),
        keys: vec!["a".into(), "d".into(), "c".into()],
        ..pb::GetManyRequest::default()
    };
    let read = node.cache.get_many(read).await.expect("a batch");
    assert_eq!(read.into_inner().results.len(), 3);
    let removes = pb::RemoveManyRequest {
        cache: TRANSACTIONAL.into(),
        keys: ["a", "b", "d"]
            .map(|key| pb::remove_many_request::Remove {
                key: key.into(),
                condition: None,
            })
            .into(),
        ..pb::RemoveManyRequest::default()
    };
    node.cache.remove_many(removes).await.expect("a batch");
    assert_eq!(value(&mut node, "a").await, None);
    assert_eq!(value(&mut node, "c").await, Some(b"3".to_vec()));
}

async fn begin(node: &Alone, request: pb::BeginRequest) -> String {
    let mut transactions = TransactionServiceClient::new(node.channel());
    let begun = transactions.begin(request).await.expect("a transaction");
    begun.into_inner().transaction
}

async fn commit(node: &Alone, name: &str) -> Result<(), Error> {
    let mut transactions = TransactionServiceClient::new(node.channel());
    let request = pb::CommitRequest {
        transaction: name.to_owned(),
    };
    let done = transactions.commit(request).await;
    done.map(|_| ())
        .map_err(|status| refused(Err::<(), _>(status)))
}

fn put_in(name: &str, key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        transaction: name.to_owned(),
        ..put(TRANSACTIONAL, key, value)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_several_calls_write_is_seen_at_commit_and_at_once() {
    let mut node = Alone::start().await;
    let name = begin(&node, pb::BeginRequest::default()).await;
    for (key, stored) in [("a", "1"), ("b", "2")] {
        let done = node.cache.put(put_in(&name, key, stored)).await;
        assert!(done.expect("a put").into_inner().applied);
    }
    let own = pb::GetManyRequest {
        cache: TRANSACTIONAL.into(),
        keys: vec!["a".into(), "b".into(), "c".into()],
        transaction: name.clone(),
        ..pb::GetManyRequest::default()
    };
    let own = node.cache.get_many(own).await.expect("its own writes");
    let lives = own.into_inner().results.into_iter().map(|got| {
        use pb::get_many_response::result::Result as Got;
        matches!(got.result, Some(Got::Get(got)) if got.entry.is_some())
    });
    assert_eq!(lives.collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(value(&mut node, "a").await, None);
    commit(&node, &name).await.expect("committed");
    commit(&node, &name).await.expect("the same again");
    assert_eq!(value(&mut node, "a").await, Some(b"1".to_vec()));
    assert_eq!(value(&mut node, "b").await, Some(b"2".to_vec()));
    let error = refused(node.cache.put(put_in(&name, "a", "x")).await);
    assert_eq!(
        (error.kind, &*error.reason),
        (ErrorKind::NotFound, "NO_TRANSACTION")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_optimistic_one_read_must_still_be_so() {
    let mut node = Alone::start().await;
    let request = || pb::BeginRequest {
        concurrency: pb::TransactionConcurrency::Optimistic.into(),
        isolation: pb::TransactionIsolation::Serializable.into(),
        ..pb::BeginRequest::default()
    };
    for (changes, expected) in [(false, b"mine"), (true, b"else")] {
        let name = begin(&node, request()).await;
        let read = pb::GetRequest {
            transaction: name.clone(),
            ..get(TRANSACTIONAL, "a")
        };
        node.cache.get(read).await.expect("a read");
        let done = node.cache.put(put_in(&name, "b", "mine")).await;
        done.expect("a put");
        if changes {
            for key in ["a", "b"] {
                let done = node.cache.put(put(TRANSACTIONAL, key, "else")).await;
                done.expect("nothing is locked");
            }
        }
        let ended = commit(&node, &name).await;
        assert_eq!(ended.is_err(), changes);
        if let Err(error) = ended {
            assert_eq!(
                (error.kind, &*error.reason),
                (ErrorKind::Conflict, "READ_CHANGED")
            );
        }
        assert_eq!(value(&mut node, "b").await, Some(expected.to_vec()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pessimistic_one_keeps_others_from_writing_until_it_ends() {
    let mut node = Alone::start().await;
    let name = begin(&node, pb::BeginRequest::default()).await;
    node.cache
        .put(put_in(&name, "a", "1"))
        .await
        .expect("a put");
    let mut other = CacheServiceClient::new(node.channel());
    let waits = tokio::spawn(async move { other.put(put(TRANSACTIONAL, "a", "2")).await });
    // Reads go on.
    assert_eq!(value(&mut node, "a").await, None);
    assert!(!waits.is_finished());
    let mut transactions = TransactionServiceClient::new(node.channel());
    let request = pb::RollbackRequest {
        transaction: name.clone(),
    };
    transactions.rollback(request).await.expect("rolled back");
    waits.await.expect("no panic").expect("the key is free");
    assert_eq!(value(&mut node, "a").await, Some(b"2".to_vec()));
    let error = commit(&node, &name).await.expect_err("it was rolled back");
    assert_eq!(error.kind, ErrorKind::Conflict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_ones_are_listed_and_can_be_ended() {
    let mut node = Alone::start().await;
    let request = pb::BeginRequest {
        label: "nightly".into(),
        ..pb::BeginRequest::default()
    };
    let name = begin(&node, request).await;
    let done = node.cache.put(put_in(&name, "a", "1")).await;
    done.expect("a put");
    let mut cluster = node.cluster.clone();
    let list = pb::ListTransactionsRequest::default();
    let listed = cluster.list_transactions(list.clone()).await;
    let listed = listed.expect("a list").into_inner();
    let [only] = &listed.transactions[..] else {
        panic!("{listed:?}");
    };
    assert_eq!((&*only.label, only.keys, listed.total), ("nightly", 1, 1));
    assert_eq!(only.transaction, name);
    let end = pb::EndTransactionRequest {
        transaction: name.clone(),
    };
    cluster.end_transaction(end).await.expect("ended");
    let listed = cluster.list_transactions(list).await.expect("a list");
    assert_eq!(listed.into_inner().total, 0);
    let error = commit(&node, &name).await.expect_err("it was ended");
    assert_eq!(error.kind, ErrorKind::Conflict);
    let error = refused(
        cluster
            .end_transaction(pb::EndTransactionRequest::default())
            .await,
    );
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_beginning_is_refused_with_a_word() {
    let node = Alone::start().await;
    let mut transactions = TransactionServiceClient::new(node.channel());
    let bad = [
        pb::BeginRequest {
            concurrency: 9,
            ..pb::BeginRequest::default()
        },
        pb::BeginRequest {
            isolation: 9,
            ..pb::BeginRequest::default()
        },
        pb::BeginRequest {
            timeout: Some(prost_types::Duration {
                seconds: 601,
                nanos: 0,
            }),
            ..pb::BeginRequest::default()
        },
        pb::BeginRequest {
            label: "l".repeat(256),
            ..pb::BeginRequest::default()
        },
    ];
    for request in bad {
        let error = refused(transactions.begin(request).await);
        assert_eq!(error.kind, ErrorKind::InvalidArgument, "{error}");
    }
    let error = commit(&node, "").await.expect_err("no name");
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_transaction_is_refused_with_a_word() {
    let node = Alone::start().await;
    let mut transactions = TransactionServiceClient::new(node.channel());
    let request = |operations| pb::ExecuteRequest {
        operations,
        ..pb::ExecuteRequest::default()
    };
    let atomic = operation(Asked::Put(put(ATOMIC, "k", "v")));
    let error = refused(
        transactions
            .execute(request(vec![stores("a", "1"), atomic]))
            .await,
    );
    assert_eq!(
        (error.kind, &*error.reason),
        (ErrorKind::FailedPrecondition, "ATOMIC_CACHE")
    );
    let twice = request(vec![stores("a", "1"), stores("a", "2")]);
    let error = refused(transactions.execute(twice).await);
    assert_eq!(error.reason, "DOUBLED_KEY");
    let error = refused(transactions.execute(request(vec![])).await);
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    let many = pb::ExecuteRequest {
        conditions: vec![check("a", Of::Absent(true)); TRANSACTION_KEYS_MAX],
        operations: vec![stores("a", "1")],
        ..pb::ExecuteRequest::default()
    };
    let error = refused(transactions.execute(many).await);
    assert_eq!(
        (error.kind, &*error.reason),
        (ErrorKind::InvalidArgument, "TOO_MANY_KEYS")
    );
    let named = pb::PutRequest {
        request_id: vec![1; 16].into(),
        ..put(TRANSACTIONAL, "a", "1")
    };
    let named = request(vec![operation(Asked::Put(named))]);
    let error = refused(transactions.execute(named).await);
    assert!(error.context.contains("request_id"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_out_of_bounds_is_refused_and_its_cache_is_nobody_elses() {
    let mut node = Alone::start().await;
    let mut transactions = TransactionServiceClient::new(node.channel());
    let named = |name: &str| pb::LockRequest {
        name: name.to_owned(),
        ..pb::LockRequest::default()
    };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    // Before anybody has taken a lock there is none to let go.
    let nobodys = pb::UnlockRequest {
        name: "job".to_owned(),
        token: 7,
        ..pb::UnlockRequest::default()
    };
    let told = transactions.unlock(nobodys.clone()).await.expect("done");
    assert!(!told.into_inner().unlocked);
    let long = "n".repeat(256);
    let waits = pb::LockRequest {
        wait: seconds(51),
        ..named("job")
    };
    let leases = pb::LockRequest {
        lease: seconds(3_601),
        ..named("job")
    };
    for (request, reason) in [
        (named(""), "BAD_LOCK_NAME"),
        (named(&long), "BAD_LOCK_NAME"),
        (waits, "BAD_WAIT"),
        (leases, "BAD_LEASE"),
    ] {
        let error = refused(transactions.lock(request).await);
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
        assert_eq!(error.reason, reason);
    }
    let no_token = pb::UnlockRequest {
        token: 0,
        ..nobodys
    };
    let error = refused(transactions.unlock(no_token).await);
    assert_eq!(error.reason, "BAD_TOKEN");
    let request = pb::LockRequest {
        request_id: vec![9; 16].into(),
        ..named("job")
    };
    let first = transactions.lock(request.clone()).await.expect("done");
    let first = first.into_inner();
    assert!(first.acquired && first.token > 0 && first.expires_at.is_some());
    let again = transactions.lock(request).await.expect("done");
    assert_eq!(again.into_inner(), first);
    let taken = transactions.lock(named("job")).await.expect("done");
    assert_eq!(taken.into_inner(), pb::LockResponse::default());
    // What stands for a lock is hidden from calls on keys.
    let key = String::from_utf8(b"\0\0\0ember\x03job".to_vec()).expect("text");
    let cache = embergrid::types::lock::CACHE;
    let error = refused(node.cache.put(put(cache, &key, "v")).await);
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
}
