//! Many callers at once.

use super::registry::{Registry, child, ticket};
use embergrid::rpc::proto as pb;

fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// The bar says 100,000; `EMBERGRID_RACES` says how many here.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_all_that_present_the_last_use_one_succeeds() {
    let registry = Registry::start(3).await;
    let races = setting("EMBERGRID_RACES", 1_000);
    for race in 0..races.div_ceil(10) {
        let added = (0..10).map(|number| ticket(&format!("ST-{race}-{number}"), "ST"));
        let request = pb::AddTicketsRequest {
            tickets: added.collect(),
            ..Default::default()
        };
        registry
            .client(race)
            .add_many(request)
            .await
            .expect("tickets");
        let mut uses = Vec::new();
        for number in 0..10 {
            for node in 0..3 {
                let mut client = registry.client(node);
                let request = pb::UseTicketRequest {
                    id: format!("ST-{race}-{number}").into(),
                    kind: "ST".into(),
                    ..Default::default()
                };
                let used = tokio::spawn(async move { client.r#use(request).await });
                uses.push((number, used));
            }
        }
        let mut winners = [0; 10];
        for (number, used) in uses {
            match used.await.expect("an answer") {
                Ok(_) => winners[number] += 1,
                Err(status) => assert_eq!(status.code(), tonic::Code::NotFound, "{status}"),
            }
        }
        assert_eq!(winners, [1; 10], "race {race}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_add_sessions_of_one_user_at_once() {
    let registry = Registry::start(2).await;
    let (callers, each) = (
        setting("EMBERGRID_CALLERS", 20),
        setting("EMBERGRID_EACH", 20),
    );
    let adds = (0..callers).map(|caller| {
        let mut client = registry.client(caller);
        tokio::spawn(async move {
            for number in 0..each {
                let request = pb::AddTicketRequest {
                    ticket: Some(ticket(&format!("TGT-{caller}-{number}"), "TGT")),
                    ..Default::default()
                };
                client.add(request).await.expect("no error");
            }
        })
    });
    for add in adds.collect::<Vec<_>>() {
        add.await.expect("no error");
    }
    let of_alice = pb::CountTicketsRequest {
        principal: "alice".into(),
        ..Default::default()
    };
    let all = (callers * each) as u64;
    assert_eq!(registry.count(1, of_alice.clone()).await, all);
    assert_eq!(registry.end(0, "alice").await, all);
    assert_eq!(registry.count(1, of_alice).await, 0);
}

/// Sessions with four tickets each: `EMBERGRID_SESSIONS` says how many; the bar says 50,000.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_sessions_are_listed_counted_and_ended() {
    let registry = Registry::start(2).await;
    let sessions = setting("EMBERGRID_SESSIONS", 100);
    for batch in 0..sessions.div_ceil(100) {
        let mut tickets = Vec::new();
        for number in batch * 100..sessions.min(batch * 100 + 100) {
            let id = format!("TGT-{number}");
            let of_user = |mut ticket: pb::Ticket| {
                ticket.principal = format!("user-{}", number % 50).into();
                ticket
            };
            tickets.push(of_user(ticket(&id, "TGT")));
            for part in 0..4 {
                let kind = if part < 2 { "PGT" } else { "AT" };
                let name = format!("{kind}-{number}-{part}");
                tickets.push(of_user(child(&name, kind, &id)));
            }
        }
        let request = pb::AddTicketsRequest {
            tickets,
            ..Default::default()
        };
        let added = registry.client(batch).add_many(request).await;
        for result in added.expect("answers").into_inner().results {
            let add = result.result.expect("an answer");
            assert!(
                matches!(add, pb::add_tickets_response::result::Result::Add(_)),
                "{add:?}"
            );
        }
    }
    let all = 5 * sessions as u64;
    assert_eq!(registry.count(0, Default::default()).await, all);
    let (ids, _) = registry.list(1, pb::ListTicketsRequest::default()).await;
    assert_eq!(ids.len() as u64, all);
    let mut ended = 0;
    for user in 0..50 {
        ended += registry.end(user, &format!("user-{user}")).await;
    }
    assert_eq!(ended, all);
    assert_eq!(registry.count(1, Default::default()).await, 0);
}
