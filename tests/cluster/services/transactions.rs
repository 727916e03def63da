//! Several keys at once: `Execute`, and batches in a TRANSACTIONAL cache, on a node that is alone.

use super::alone::{ATOMIC, Alone, TRANSACTIONAL, VALUE_MAX, get, put, refused};
use embergrid::error::ErrorKind;
use embergrid::rpc::proto as pb;
use embergrid::rpc::proto::transaction_service_client::TransactionServiceClient;
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
    let named = pb::PutRequest {
        request_id: vec![1; 16].into(),
        ..put(TRANSACTIONAL, "a", "1")
    };
    let named = request(vec![operation(Asked::Put(named))]);
    let error = refused(transactions.execute(named).await);
    assert!(error.context.contains("request_id"), "{error}");
    let error = refused(transactions.begin(pb::BeginRequest {}).await);
    assert_eq!(error.kind, ErrorKind::Unimplemented);
    assert!(error.context.contains("Execute"), "{error}");
    let error = refused(transactions.lock(pb::LockRequest {}).await);
    assert_eq!(error.kind, ErrorKind::Unimplemented);
}
