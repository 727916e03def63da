//! What descends from a ticket goes with it.

use super::registry::{Registry, child, duration, ticket};
use crate::services::alone::until;
use embergrid::error::ErrorKind;
use embergrid::rpc::proto as pb;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_takes_all_descendants_and_counts_them() {
    let registry = Registry::start(3).await;
    registry.add(0, ticket("TGT-1", "TGT")).await;
    for number in 0..3 {
        let id = format!("ST-{number}");
        registry.add(number, child(&id, "ST", "TGT-1")).await;
    }
    assert_eq!(registry.delete(1, "TGT-1").await, 4);
    registry.add(0, ticket("TGT-2", "TGT")).await;
    for number in 0..4 {
        let (of, id) = (format!("ST-2{number}"), format!("PGT-{number}"));
        registry.add(number, child(&of, "ST", "TGT-2")).await;
        registry.add(number + 1, child(&id, "PGT", &of)).await;
    }
    assert_eq!(registry.count(2, Default::default()).await, 9);
    assert_eq!(registry.delete(2, "TGT-2").await, 9);
    for node in 0..3 {
        assert_eq!(registry.count(node, Default::default()).await, 0);
    }
    let orphan = registry.not_added(1, child("ST-9", "ST", "TGT-2")).await;
    assert_eq!(
        (orphan.kind, &*orphan.reason),
        (ErrorKind::ParentGone, "PARENT_GONE")
    );
    assert_eq!(registry.get(0, "ST-9").await, None);
}

/// A proxy-granting ticket is granted by a service ticket that is then spent, and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_spent_ticket_granted_lives_as_long_as_its_session() {
    let registry = Registry::start(2).await;
    registry.add(0, ticket("TGT-1", "TGT")).await;
    for id in ["ST-1", "ST-2"] {
        let mut service = child(id, "ST", "TGT-1");
        service.expiration = Some(pb::Expiration {
            max_time_to_live: Some(duration(Duration::from_secs(8))),
            ..Default::default()
        });
        registry.add(1, service).await;
    }
    registry.add(0, child("PGT-1", "PGT", "ST-1")).await;
    registry.add(1, child("PGT-2", "PGT", "ST-2")).await;
    registry.add(1, child("PT-1", "PT", "PGT-1")).await;
    assert!(registry.used(1, "ST-1").await.is_some());
    assert!(registry.get(0, "PGT-1").await.is_some());
    assert!(registry.used(0, "PT-1").await.is_some());
    // The one that was not used runs out, with what it granted; the other one's time is no bound.
    for id in ["ST-2", "PGT-2"] {
        until("it is gone", || async {
            registry.get(1, id).await.is_none()
        })
        .await;
    }
    assert!(registry.get(0, "PGT-1").await.is_some());
    assert_eq!(registry.delete(0, "TGT-1").await, 2);
    assert_eq!(registry.get(1, "PGT-1").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_logged_out_everywhere_and_may_come_back_at_once() {
    let registry = Registry::start(3).await;
    for number in 0..8 {
        let session = format!("TGT-{number}");
        registry.add(number, ticket(&session, "TGT")).await;
        let mut of = child(&format!("ST-{number}"), "ST", &session);
        of.principal = Default::default();
        registry.add(number + 1, of).await;
    }
    let mut bob = ticket("TGT-bob", "TGT");
    bob.principal = "bob".into();
    registry.add(0, bob).await;
    assert_eq!(registry.end(1, "alice").await, 16);
    assert_eq!(registry.end(2, "alice").await, 0);
    assert_eq!(registry.end(2, "").await, 0);
    assert_eq!(registry.end(2, "nobody").await, 0);
    assert_eq!(registry.count(0, Default::default()).await, 1);
    registry.add(2, ticket("TGT-again", "TGT")).await;
    let of_alice = pb::CountTicketsRequest {
        principal: "alice".into(),
        ..Default::default()
    };
    for node in 0..3 {
        assert_eq!(registry.count(node, of_alice.clone()).await, 1);
    }
    let mut client = registry.client(0);
    let all = client.delete_all(pb::DeleteAllTicketsRequest::default());
    assert_eq!(all.await.expect("a delete").into_inner().deleted, 2);
    assert_eq!(registry.count(1, Default::default()).await, 0);
}

/// A child that is added while its parent goes does not survive it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_child_outlives_a_delete_that_it_raced() {
    let registry = Registry::start(3).await;
    for round in 0..20 {
        let session = format!("TGT-{round}");
        registry.add(round, ticket(&session, "TGT")).await;
        let adds = (0..6).map(|number| {
            let mut client = registry.client(round + number);
            let request = pb::AddTicketRequest {
                ticket: Some(child(&format!("ST-{round}-{number}"), "ST", &session)),
                ..Default::default()
            };
            tokio::spawn(async move { client.add(request).await.is_ok() })
        });
        let adds: Vec<_> = adds.collect();
        assert!(registry.delete(round + 1, &session).await >= 1);
        for add in adds {
            add.await.expect("an answer");
        }
        for number in 0..6 {
            let id = format!("ST-{round}-{number}");
            assert_eq!(registry.get(number, &id).await, None, "{id}");
        }
    }
    until("nothing is left", || async {
        registry.count(0, Default::default()).await == 0
    })
    .await;
}

/// An update brings the end of a session nearer: what descends from it knows when that is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_descends_from_a_session_ends_with_it_after_an_update_too() {
    let registry = Registry::start(3).await;
    registry.add(0, ticket("TGT-1", "TGT")).await;
    // More than one step down names.
    for number in 0..70 {
        let id = format!("AT-{number}");
        registry.add(number, child(&id, "AT", "TGT-1")).await;
    }
    registry.add(1, child("ST-1", "ST", "TGT-1")).await;
    registry.add(2, child("PGT-1", "PGT", "ST-1")).await;
    registry.add(0, child("AT-PGT-1", "AT", "PGT-1")).await;
    let limited = |lives: Option<u64>, idle: u64| pb::Ticket {
        expiration: Some(pb::Expiration {
            max_time_to_live: lives.map(|lives| duration(Duration::from_secs(lives))),
            max_time_to_idle: Some(duration(Duration::from_secs(idle))),
            ..Default::default()
        }),
        ..ticket("TGT-1", "TGT")
    };
    let update = async |node, ticket| {
        let request = pb::UpdateTicketRequest {
            ticket: Some(ticket),
            ..Default::default()
        };
        let updated = registry.client(node).update(request).await;
        updated.expect("an update");
    };
    let end = async |node, id: &str| {
        let ticket = registry.get(node, id).await.expect("it lives");
        let end = ticket.expires_at.expect("an end");
        (end.seconds, end.nanos)
    };
    let before = end(1, "TGT-1").await;
    update(2, limited(Some(600), 7200)).await;
    let nearer = end(1, "TGT-1").await;
    assert!(nearer < before);
    for id in ["AT-0", "AT-69", "PGT-1", "AT-PGT-1"] {
        for node in 0..3 {
            assert_eq!(end(node, id).await, nearer, "{id} at node {node}");
        }
    }
    // The session has been idle for too long soon, and no ticket of it is asked for before.
    let since = std::time::Instant::now();
    update(0, limited(Some(600), 1)).await;
    let all_gone = || async {
        let all = ["TGT-1", "AT-69", "PGT-1", "AT-PGT-1"];
        let mut seen = Vec::new();
        for id in all {
            seen.push(registry.get(1, id).await.is_some());
        }
        // What is above is asked first, and is gone first.
        assert!(seen.is_sorted_by(|above, below| above >= below), "{seen:?}");
        !seen.contains(&true)
    };
    until("all are gone", all_gone).await;
    assert!(since.elapsed() >= Duration::from_secs(1));
    until("none is counted", || async {
        registry.count(2, Default::default()).await == 0
    })
    .await;
}
