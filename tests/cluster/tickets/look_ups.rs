//! Lists and counts, from indexes.

use super::registry::{Registry, child, ticket};
use embergrid::config::TicketKind;
use embergrid::rpc::proto as pb;
use embergrid::types::{CacheMode, CacheSettings};
use std::collections::BTreeSet;

fn list() -> pb::ListTicketsRequest {
    pb::ListTicketsRequest::default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_registry_gives_empty_answers() {
    let registry = Registry::start(1).await;
    assert_eq!(registry.count(0, Default::default()).await, 0);
    assert_eq!(registry.list(0, list()).await.0, Vec::<String>::new());
    assert_eq!(registry.end(0, "alice").await, 0);
    assert_eq!(registry.delete(0, "TGT-1").await, 0);
    assert_eq!(registry.get(0, "TGT-1").await, None);
    let mut client = registry.client(0);
    let all = client.delete_all(pb::DeleteAllTicketsRequest::default());
    assert_eq!(all.await.expect("a delete").into_inner().deleted, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_are_found_by_what_they_say() {
    let registry = Registry::start(3).await;
    let sets =
        |ids: &[&str]| -> BTreeSet<String> { ids.iter().map(|id| (*id).to_owned()).collect() };
    for (id, principal, mail) in [
        ("TGT-1", "alice", "a@x"),
        ("TGT-2", "alice", "b@x"),
        ("TGT-3", "bob", "a@x"),
        ("TGT-4", "Alice", "c@x"),
    ] {
        let mut session = ticket(id, "TGT");
        session.principal = principal.into();
        let values = vec![mail.into(), "all".into()];
        session
            .attributes
            .insert("mail".into(), pb::AttributeValues { values });
        registry.add(1, session).await;
    }
    let mut service = child("ST-1", "ST", "TGT-1");
    service.service = "https://app".into();
    registry.add(2, service).await;
    let found = async |request: pb::ListTicketsRequest| {
        let (ids, _) = registry.list(0, request).await;
        let set: BTreeSet<String> = ids.iter().cloned().collect();
        assert_eq!(set.len(), ids.len(), "each once");
        set
    };
    let of = |kind: &str, principal: &str, service: &str| pb::ListTicketsRequest {
        kind: kind.into(),
        principal: principal.to_owned().into(),
        service: service.to_owned().into(),
        ..list()
    };
    let all = ["ST-1", "TGT-1", "TGT-2", "TGT-3", "TGT-4"];
    assert_eq!(found(list()).await, sets(&all));
    assert_eq!(
        found(of("TGT", "alice", "")).await,
        sets(&["TGT-1", "TGT-2"])
    );
    assert_eq!(
        found(of("", "alice", "")).await,
        sets(&["ST-1", "TGT-1", "TGT-2"])
    );
    assert_eq!(found(of("", "", "https://app")).await, sets(&["ST-1"]));
    assert_eq!(found(of("PGT", "alice", "")).await, sets(&[]));
    let mut by_mail = of("TGT", "", "");
    let values = vec!["a@x".into(), "c@x".into()];
    by_mail
        .attributes
        .insert("mail".into(), pb::AttributeValues { values });
    let values = vec!["a@x".into()];
    by_mail
        .attributes
        .insert("other".into(), pb::AttributeValues { values });
    assert_eq!(found(by_mail).await, sets(&["TGT-1", "TGT-3", "TGT-4"]));
    for (kind, principal, count) in [
        ("", "", 5),
        ("TGT", "", 4),
        ("TGT", "alice", 2),
        ("", "Alice", 1),
    ] {
        let request = pb::CountTicketsRequest {
            kind: kind.into(),
            principal: principal.to_owned().into(),
            ..Default::default()
        };
        assert_eq!(
            registry.count(2, request).await,
            count,
            "{kind} {principal}"
        );
    }
    let mut seen = BTreeSet::new();
    let mut cursor = bytes::Bytes::new();
    for round in 0..5 {
        let page = pb::ListTicketsRequest {
            limit: 1,
            cursor,
            ..list()
        };
        let (ids, next) = registry.list(round, page).await;
        assert_eq!(ids.len(), 1);
        seen.extend(ids);
        cursor = next;
    }
    assert_eq!(seen, sets(&all));
    let end = pb::ListTicketsRequest { cursor, ..list() };
    assert_eq!(registry.list(0, end).await.0, Vec::<String>::new());
}

/// Kinds of the settings, one with a cache of its own in which each ticket has one copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_of_their_own_may_have_a_cache_of_their_own() {
    let registry = Registry::start_with(2, |_, settings| {
        let kind = TicketKind {
            max_time_to_live: Some(60_000_000),
            max_time_to_idle: None,
            max_uses: Some(2),
            cache: "saml".into(),
        };
        settings.tickets.kinds.insert("SAML".into(), kind);
        settings.caches.push(CacheSettings {
            mode: CacheMode::Partitioned,
            backups: 0,
            partitions: 16,
            removes_are_final: true,
            ..CacheSettings::named("saml")
        });
    })
    .await;
    registry.add(0, ticket("TGT-1", "TGT")).await;
    registry.add(1, child("SAML-1", "SAML", "TGT-1")).await;
    registry.add(0, child("ST-1", "ST", "SAML-1")).await;
    assert_eq!(
        registry.get(0, "SAML-1").await.expect("it lives").kind,
        "SAML"
    );
    assert_eq!(registry.count(0, Default::default()).await, 3);
    assert_eq!(registry.list(1, list()).await.0.len(), 3);
    assert_eq!(registry.used(0, "SAML-1").await.expect("used").uses, 1);
    assert_eq!(registry.delete(1, "TGT-1").await, 3);
    assert_eq!(registry.count(1, Default::default()).await, 0);
}
