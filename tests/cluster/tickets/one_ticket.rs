//! One ticket: added, read, updated, used, deleted, and gone when its time is over.

use super::registry::{Registry, child, duration, text, ticket, wanted};
use crate::services::alone::{refused, until};
use embergrid::error::ErrorKind;
use embergrid::rpc::proto as pb;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_what_it_was_whichever_node_is_asked() {
    let registry = Registry::start(3).await;
    let mut given = ticket("TGT-1", "TGT");
    given.service = "https://app".into();
    let values = vec!["a@b".into(), "c@d".into()];
    given
        .attributes
        .insert("mail".into(), pb::AttributeValues { values });
    let added = registry.add(0, given.clone()).await;
    assert!(added.stored && added.version != 0);
    for node in 0..3 {
        let found = registry.get(node, "TGT-1").await.expect("it lives");
        assert_eq!(found.principal, given.principal);
        assert_eq!(found.service, given.service);
        assert_eq!(found.attributes, given.attributes);
        assert_eq!(found.payload, given.payload);
        assert_eq!((found.version, found.uses), (added.version, 0));
        let expiration = found.expiration.expect("the defaults of its kind");
        let hours = |hours: u64| Some(duration(Duration::from_secs(hours * 3600)));
        assert_eq!(expiration.max_time_to_live, hours(8));
        assert_eq!(expiration.max_time_to_idle, hours(2));
        assert_eq!(expiration.max_uses, None);
        assert!(found.created_at.is_some() && found.last_used_at.is_some());
        assert!(found.expires_at.is_some());
    }
    let wrong = refused(registry.client(1).get(wanted("TGT-1", "ST")).await);
    assert_eq!(
        (wrong.kind, &*wrong.reason),
        (ErrorKind::WrongKind, "WRONG_KIND")
    );
    assert!(wrong.context.contains("TGT"), "{wrong}");
    for id in ["", "  ", "TGT-2"] {
        assert_eq!(registry.get(2, id).await, None, "{id:?}");
        assert_eq!(registry.delete(2, id).await, 0, "{id:?}");
        assert_eq!(registry.used(2, id).await, None, "{id:?}");
    }
    let unknown = registry.not_added(0, ticket("X-1", "X")).await;
    assert_eq!(&*unknown.reason, "UNKNOWN_KIND");
    assert_eq!(registry.delete(1, "TGT-1").await, 1);
    for node in 0..3 {
        assert_eq!(registry.get(node, "TGT-1").await, None);
    }
    let back = registry.not_added(2, ticket("TGT-1", "TGT")).await;
    assert_eq!(
        (back.kind, &*back.reason),
        (ErrorKind::AlreadyExists, "REMOVED")
    );
}

fn update(ticket: pb::Ticket, expected_version: Option<u64>) -> pb::UpdateTicketRequest {
    pb::UpdateTicketRequest {
        ticket: Some(ticket),
        expected_version,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_replaces_what_lives_and_compares_versions() {
    let registry = Registry::start(2).await;
    let first = registry.add(0, ticket("AT-1", "AT")).await.version;
    let mut other = ticket("AT-1", "AT");
    other.payload = "other".into();
    let mut client = registry.client(1);
    let second = client.update(update(other.clone(), Some(first)));
    let second = second.await.expect("an update").into_inner().version;
    assert_ne!(first, second);
    let late = refused(
        registry
            .client(0)
            .update(update(other.clone(), Some(first)))
            .await,
    );
    assert_eq!(late.kind, ErrorKind::Conflict);
    // A use is no update that another one could lose.
    assert_eq!(registry.used(1, "AT-1").await.expect("used").uses, 1);
    let mut client = registry.client(0);
    let third = client.update(update(other.clone(), Some(second)));
    third.await.expect("an update");
    let found = registry.get(1, "AT-1").await.expect("it lives");
    assert_eq!((found.payload.as_ref(), found.uses), (&b"other"[..], 1));
    registry.delete(0, "AT-1").await;
    let gone = refused(registry.client(1).update(update(other, None)).await);
    assert_eq!(gone.kind, ErrorKind::NotFound);
    assert_eq!(registry.get(0, "AT-1").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_use_is_the_last() {
    let registry = Registry::start(2).await;
    registry.add(0, ticket("TGT-1", "TGT")).await;
    registry.add(0, child("ST-1", "ST", "TGT-1")).await;
    let before = registry.get(0, "TGT-1").await.expect("it lives");
    let used = registry.used(1, "ST-1").await.expect("used");
    assert_eq!((used.uses, text(&used.root_id)), (1, "TGT-1".to_owned()));
    assert_eq!(registry.used(0, "ST-1").await, None);
    assert_eq!(registry.get(1, "ST-1").await, None);
    // The use of what descends from it keeps a session alive.
    let micros = |at: Option<prost_types::Timestamp>| {
        let at = at.expect("always told");
        (at.seconds, at.nanos)
    };
    until("the session was touched", || async {
        let now = registry.get(0, "TGT-1").await.expect("it lives");
        micros(now.last_used_at) > micros(before.last_used_at)
    })
    .await;
    let mut twice = ticket("TGT-2", "TGT");
    twice.expiration = Some(pb::Expiration {
        max_uses: Some(2),
        ..Default::default()
    });
    registry.add(1, twice).await;
    assert_eq!(registry.used(0, "TGT-2").await.expect("used").uses, 1);
    assert_eq!(registry.used(1, "TGT-2").await.expect("used").uses, 2);
    assert_eq!(registry.used(0, "TGT-2").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_repeated_is_answered_as_the_first_time() {
    let registry = Registry::start(2).await;
    registry.add(0, ticket("ST-1", "ST")).await;
    let request = pb::UseTicketRequest {
        id: "ST-1".into(),
        request_id: vec![7; 16].into(),
        ..Default::default()
    };
    let first = registry.client(0).r#use(request.clone()).await;
    let again = registry.client(1).r#use(request).await;
    assert_eq!(
        first.expect("used").into_inner(),
        again.expect("the same").into_inner()
    );
    registry.add(0, ticket("TGT-1", "TGT")).await;
    for child_of in ["ST-2", "ST-3"] {
        registry.add(1, child(child_of, "ST", "TGT-1")).await;
    }
    let request = pb::DeleteTicketRequest {
        id: "TGT-1".into(),
        request_id: vec![9; 16].into(),
    };
    for node in 0..2 {
        let deleted = registry.client(node).delete(request.clone()).await;
        assert_eq!(deleted.expect("a delete").into_inner().deleted, 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_ends_at_its_time_and_its_descendants_with_it() {
    let registry = Registry::start(2).await;
    let short = |id: &str, idle: bool| {
        // Long enough for what is stored below it, on a busy machine too.
        let limit = Some(duration(Duration::from_secs(4)));
        let mut ticket = ticket(id, "TGT");
        ticket.expiration = Some(pb::Expiration {
            max_time_to_live: limit.filter(|_| !idle),
            max_time_to_idle: limit.filter(|_| idle),
            ..Default::default()
        });
        ticket
    };
    let mut past = ticket("TGT-0", "TGT");
    past.created_at = Some(prost_types::Timestamp {
        seconds: 1_000_000_000,
        nanos: 0,
    });
    assert!(!registry.add(0, past).await.stored);
    assert_eq!(registry.get(0, "TGT-0").await, None);
    assert_eq!(registry.get(1, "TGT-0").await, None);
    let both = [("TGT-1", false), ("TGT-2", true)];
    for (id, idle) in both {
        assert!(registry.add(0, short(id, idle)).await.stored);
        registry
            .add(1, child(&format!("PGT-of-{id}"), "PGT", id))
            .await;
    }
    for (id, _) in both {
        for gone in [id, &format!("PGT-of-{id}")] {
            until("it is gone", || async {
                registry.get(1, gone).await.is_none()
            })
            .await;
        }
    }
    until("nothing is counted", || async {
        registry.count(0, Default::default()).await == 0
    })
    .await;
}
