//! Calls on keys and values see tickets, and do not change them.

use super::registry::{Registry, ticket};
use crate::services::alone::refused;
use embergrid::error::ErrorKind;
use embergrid::rpc::proto as pb;
use pb::cache_service_client::CacheServiceClient;

const CACHE: &str = "tickets";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_write_does_not_touch_a_ticket() {
    let registry = Registry::start(2).await;
    registry.add(0, ticket("TGT-1", "TGT")).await;
    let before = registry.get(0, "TGT-1").await;
    let mut keys = CacheServiceClient::new(registry.channel(1));
    let (cache, key) = (CACHE.to_owned(), bytes::Bytes::from("TGT-1"));
    let get = pb::GetRequest {
        cache: cache.clone(),
        key: key.clone(),
        ..Default::default()
    };
    let read = keys.get(get.clone()).await.expect("a read").into_inner();
    let stored = read.entry.expect("it is there").value;
    let put = pb::PutRequest {
        cache: cache.clone(),
        key: key.clone(),
        value: "forged".into(),
        ..Default::default()
    };
    let remove = pb::RemoveRequest {
        cache: cache.clone(),
        key: key.clone(),
        return_previous: true,
        ..Default::default()
    };
    let touch = pb::TouchRequest {
        cache: cache.clone(),
        key: key.clone(),
        ..Default::default()
    };
    let append = pb::ModifyRequest {
        cache: cache.clone(),
        key: key.clone(),
        change: Some(pb::modify_request::Change::Append("x".into())),
        ..Default::default()
    };
    let get_and_touch = pb::GetRequest {
        touch: Some(pb::Expiry::default()),
        ..get
    };
    let refusals = [
        refused(keys.put(put.clone()).await),
        refused(keys.remove(remove).await),
        refused(keys.touch(touch).await),
        refused(keys.modify(append).await),
        refused(keys.get(get_and_touch).await),
    ];
    for refusal in refusals {
        assert_eq!(
            (refusal.kind, &*refusal.reason),
            (ErrorKind::FailedPrecondition, "HOLDS_TICKET"),
            "{refusal}"
        );
    }
    assert_eq!(registry.get(0, "TGT-1").await, before);
    // Nor does one make a ticket.
    let forged = pb::PutRequest {
        key: "TGT-2".into(),
        value: stored,
        ..put
    };
    let refusal = refused(keys.put(forged).await);
    assert_eq!(refusal.kind, ErrorKind::InvalidArgument, "{refusal}");
    assert_eq!(registry.get(0, "TGT-2").await, None);
}
