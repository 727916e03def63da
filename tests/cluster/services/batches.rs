//! Many keys in one call: GetMany, PutMany, RemoveMany, Size, Clear.

use super::alone::{ATOMIC, Alone, VALUE_MAX, put, refused};
use bytes::Bytes;
use embergrid::error::ErrorKind;
use embergrid::rpc::proto as pb;
use embergrid::rpc::status::from_proto;

fn keys(range: std::ops::Range<usize>) -> Vec<Bytes> {
    range
        .map(|number| Bytes::from(format!("key-{number:04}")))
        .collect()
}

fn put_many(cache: &str, keys: Vec<Bytes>) -> pb::PutManyRequest {
    let entry = |key: Bytes| pb::put_many_request::Put {
        value: key.clone(),
        key,
        ..Default::default()
    };
    pb::PutManyRequest {
        cache: cache.into(),
        entries: keys.into_iter().map(entry).collect(),
        ..Default::default()
    }
}

fn get_many(keys: Vec<Bytes>) -> pb::GetManyRequest {
    pb::GetManyRequest {
        cache: ATOMIC.into(),
        keys,
        ..Default::default()
    }
}

fn remove_many(cache: &str, keys: Vec<Bytes>) -> pb::RemoveManyRequest {
    let remove = |key| pb::remove_many_request::Remove {
        key,
        condition: None,
    };
    pb::RemoveManyRequest {
        cache: cache.into(),
        keys: keys.into_iter().map(remove).collect(),
        ..Default::default()
    }
}

async fn size(node: &mut Alone, cache: &str) -> u64 {
    let request = pb::SizeRequest {
        cache: cache.into(),
        ..Default::default()
    };
    node.cache
        .size(request)
        .await
        .expect("a size")
        .into_inner()
        .size
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_has_its_own_answer() {
    use pb::get_many_response::result::Result as Got;
    let mut node = Alone::start().await;
    let stored = node
        .cache
        .put_many(put_many(ATOMIC, keys(0..500)))
        .await
        .expect("a batch");
    for (result, key) in stored.into_inner().results.into_iter().zip(keys(0..500)) {
        assert_eq!(result.key, key);
        let Some(pb::put_many_response::result::Result::Put(put)) = result.result else {
            panic!("{result:?}");
        };
        assert!(put.applied);
    }
    assert_eq!(size(&mut node, ATOMIC).await, 500);
    let asked = vec![keys(7..8).remove(0), Bytes::from("none"), Bytes::new()];
    let got = node
        .cache
        .get_many(get_many(asked))
        .await
        .expect("a batch")
        .into_inner()
        .results;
    let Some(Got::Get(found)) = &got[0].result else {
        panic!("{got:?}")
    };
    assert_eq!(
        found.entry.as_ref().map(|entry| entry.value.clone()),
        Some("key-0007".into())
    );
    let Some(Got::Get(missed)) = &got[1].result else {
        panic!("{got:?}")
    };
    assert_eq!(missed.entry, None);
    let Some(Got::Error(error)) = got[2].result.clone() else {
        panic!("{got:?}")
    };
    assert_eq!(from_proto(error).kind, ErrorKind::InvalidArgument);
    assert!(
        node.cache
            .get_many(get_many(vec![]))
            .await
            .expect("none")
            .into_inner()
            .results
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_batch_changes_nothing() {
    let mut node = Alone::start().await;
    node.cache
        .put_many(put_many(ATOMIC, keys(0..20)))
        .await
        .expect("a batch");
    let request = pb::RemoveManyRequest {
        return_previous: true,
        request_id: vec![5; 16].into(),
        ..remove_many(ATOMIC, keys(0..20))
    };
    let first = node
        .cache
        .remove_many(request.clone())
        .await
        .expect("a batch")
        .into_inner();
    let second = node
        .cache
        .remove_many(request)
        .await
        .expect("a batch")
        .into_inner();
    assert_eq!(first, second);
    let Some(pb::remove_many_response::result::Result::Remove(taken)) = &first.results[3].result
    else {
        panic!("{first:?}");
    };
    assert_eq!(
        taken.previous.as_ref().map(|entry| entry.value.clone()),
        Some("key-0003".into())
    );
    assert_eq!(size(&mut node, ATOMIC).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_must_not_be_are_refused_whole() {
    let mut node = Alone::start().await;
    let doubled = [keys(0..2), keys(1..2)].concat();
    let error = refused(node.cache.put_many(put_many(ATOMIC, doubled)).await);
    assert_eq!(error.reason, "DOUBLED_KEY");
    let error = refused(node.cache.get_many(get_many(keys(0..10_001))).await);
    assert_eq!(error.reason, "TOO_MANY_KEYS");
    assert_eq!(size(&mut node, ATOMIC).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_full_says_which_keys_to_ask_for_again() {
    use pb::get_many_response::result::Result as Got;
    let mut node = Alone::start().await;
    let value = "v".repeat(VALUE_MAX);
    node.cache
        .put(put(ATOMIC, "large", &value))
        .await
        .expect("a write");
    let asked = vec![Bytes::from("large"); 400];
    let request = get_many(asked);
    let mut cache = node.cache.clone().max_decoding_message_size(64 << 20);
    let results = cache
        .get_many(request)
        .await
        .expect("an answer")
        .into_inner()
        .results;
    let found = results
        .iter()
        .filter(|result| matches!(result.result, Some(Got::Get(_))))
        .count();
    assert!(found > 100 && found < 400, "{found}");
    let Some(Got::Error(error)) = results[399].result.clone() else {
        panic!("full")
    };
    assert_eq!(from_proto(error).reason, "ANSWER_FULL");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_are_counted_and_caches_cleared() {
    let mut node = Alone::start().await;
    node.cache
        .put_many(put_many(ATOMIC, keys(0..50)))
        .await
        .expect("a batch");
    let clear = |keys| pb::ClearRequest {
        cache: ATOMIC.into(),
        keys,
        ..Default::default()
    };
    let some = [keys(0..3), keys(100..101)].concat();
    assert_eq!(
        node.cache
            .clear(clear(some))
            .await
            .expect("cleared")
            .into_inner()
            .removed,
        3
    );
    assert_eq!(size(&mut node, ATOMIC).await, 47);
    assert_eq!(
        node.cache
            .clear(clear(vec![]))
            .await
            .expect("cleared")
            .into_inner()
            .removed,
        47
    );
    assert_eq!(size(&mut node, ATOMIC).await, 0);
    let request = pb::SizeRequest {
        cache: ATOMIC.into(),
        copies: 77,
        ..Default::default()
    };
    assert_eq!(
        refused(node.cache.size(request).await).kind,
        ErrorKind::InvalidArgument
    );
    let request = pb::SizeRequest {
        cache: "none".into(),
        ..Default::default()
    };
    assert_eq!(
        refused(node.cache.size(request).await).kind,
        ErrorKind::NotFound
    );
}
