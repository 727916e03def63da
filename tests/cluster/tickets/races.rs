//! Many callers at once.

use super::registry::{Registry, duration, ticket};
use embergrid::rpc::proto as pb;
use std::time::{Duration, Instant};

fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// The bar says 100,000; `EMBERGRID_RACES` says how many here.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_all_that_present_the_last_use_one_succeeds() {
    let registry = Registry::start(3).await;
    let races = setting("EMBERGRID_RACES", 1_000);
    let (begun, mut unknown_winners) = (Instant::now(), 0);
    for race in 0..races.div_ceil(10) {
        // Long enough that none ends by its time on a busy machine.
        let added = (0..10).map(|number| pb::Ticket {
            expiration: Some(pb::Expiration {
                max_time_to_live: Some(duration(Duration::from_secs(600))),
                ..Default::default()
            }),
            ..ticket(&format!("ST-{race}-{number}"), "ST")
        });
        let request = pb::AddTicketsRequest {
            tickets: added.collect(),
            ..Default::default()
        };
        let added = registry.client(race).add_many(request).await;
        for one in added.expect("answers").into_inner().results {
            use pb::add_tickets_response::result::Result::Add;
            assert!(matches!(one.result, Some(Add(_))), "{one:?}");
        }
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
        let (mut winners, mut unsure) = ([0; 10], [0; 10]);
        for (number, used) in uses {
            match used.await.expect("an answer") {
                Ok(_) => winners[number] += 1,
                // It may have won.
                Err(status) if unknown(status.code()) => unsure[number] += 1,
                Err(status) => assert_eq!(status.code(), tonic::Code::NotFound, "{status}"),
            }
        }
        for (won, unsure) in winners.into_iter().zip(unsure) {
            let one = won == 1 || (won == 0 && unsure > 0);
            assert!(one, "race {race}: {winners:?}");
            unknown_winners += usize::from(won == 0);
        }
    }
    println!(
        "{} races for a last use from 3 nodes in {:.1?}: one winner each, {unknown_winners} of them \
         with an answer that was lost",
        races.div_ceil(10) * 10,
        begun.elapsed()
    );
}

/// Whether a call may have been carried out, though it ended with an error.
fn unknown(code: tonic::Code) -> bool {
    matches!(code, tonic::Code::DeadlineExceeded | tonic::Code::Unknown)
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
