//! What happens to tickets is told once.

use super::registry::{Registry, child, text, ticket};
use crate::services::alone::{soon, until};
use embergrid::rpc::proto as pb;
use pb::ticket_event::Type;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio_stream::StreamExt;
use tonic::Streaming;

async fn watch(
    registry: &Registry,
    node: usize,
    token: bytes::Bytes,
) -> Streaming<pb::TicketEvent> {
    let request = pb::WatchTicketsRequest {
        kind: String::new(),
        resume_token: token,
    };
    let watch = registry.client(node).watch(request).await;
    watch.expect("a watch").into_inner()
}

async fn next(events: &mut Streaming<pb::TicketEvent>) -> pb::TicketEvent {
    let event = soon(events.next()).await.expect("the stream goes on");
    event.expect("an event")
}

/// Events up to the next checkpoint behind `count` of them, and its token.
async fn take(
    events: &mut Streaming<pb::TicketEvent>,
    count: usize,
) -> (Vec<(Type, String)>, bytes::Bytes) {
    let mut seen = Vec::new();
    loop {
        let event = next(events).await;
        match event.r#type() {
            Type::Checkpoint if seen.len() >= count => return (seen, event.resume_token),
            Type::Checkpoint => {}
            kind => {
                assert_ne!(event.incarnation, 0);
                seen.push((kind, text(&event.ticket.expect("a ticket").id)));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_told_once_and_go_on_from_a_token_at_another_node() {
    let registry = Registry::start(3).await;
    let mut events = watch(&registry, 0, bytes::Bytes::new()).await;
    let (none, _) = take(&mut events, 0).await;
    assert_eq!(none, []);
    registry.add(1, ticket("TGT-1", "TGT")).await;
    registry.add(2, child("ST-1", "ST", "TGT-1")).await;
    registry.add(2, child("ST-2", "ST", "TGT-1")).await;
    registry.used(1, "ST-1").await.expect("used");
    let (seen, token) = take(&mut events, 4).await;
    let mut kinds: BTreeMap<String, Vec<Type>> = BTreeMap::new();
    for (kind, id) in seen {
        kinds.entry(id).or_default().push(kind);
    }
    assert_eq!(kinds["TGT-1"], [Type::Added]);
    assert_eq!(kinds["ST-1"], [Type::Added, Type::Deleted]);
    assert_eq!(kinds["ST-2"], [Type::Added]);
    drop(events);
    assert_eq!(registry.delete(0, "TGT-1").await, 2);
    let mut events = watch(&registry, 2, token).await;
    let (mut seen, _) = take(&mut events, 2).await;
    seen.sort_by(|one, other| one.1.cmp(&other.1));
    let gone = |id: &str| (Type::Deleted, id.to_owned());
    assert_eq!(seen, [gone("ST-2"), gone("TGT-1")]);
}

/// Microseconds since the Unix epoch.
fn wall() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after the epoch").as_micros() as u64
}

fn timestamp(micros: u64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: (micros / 1_000_000).cast_signed(),
        nanos: (micros % 1_000_000) as i32 * 1_000,
    }
}

/// What is told of each ticket, up to so many events.
async fn told_of(
    events: &mut Streaming<pb::TicketEvent>,
    count: usize,
) -> BTreeMap<String, Vec<Type>> {
    let mut told: BTreeMap<String, Vec<Type>> = BTreeMap::new();
    let mut seen = 0;
    while seen < count {
        let event = next(events).await;
        if event.r#type() != Type::Checkpoint {
            let kind = event.r#type();
            let id = text(&event.ticket.expect("a ticket").id);
            told.entry(id).or_default().push(kind);
            seen += 1;
        }
    }
    told
}

/// All end within one second, and are gone from every call when that is over. The bar says 10,000;
/// `EMBERGRID_EXPIRIES` says how many here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_that_expire_together_are_told_of_one_by_one() {
    let count: usize =
        std::env::var("EMBERGRID_EXPIRIES").map_or(200, |text| text.parse().expect("a number"));
    let registry = Registry::start(2).await;
    let mut events = watch(&registry, 1, bytes::Bytes::new()).await;
    take(&mut events, 0).await;
    // Read as they come, so that no watcher falls behind.
    let told = tokio::spawn(async move { told_of(&mut events, 2 * count).await });
    // Time enough to add them on a busy machine.
    let from = wall() + 5_000_000 + count as u64 * 3_000;
    let ends = |number: usize| from + 1_000_000 * number as u64 / count as u64;
    for batch in (0..count).collect::<Vec<_>>().chunks(200) {
        let tickets = batch.iter().map(|number| {
            let mut short = ticket(&format!("RT-{number}"), "RT");
            short.expiration = Some(pb::Expiration {
                hard_expire_at: Some(timestamp(ends(*number))),
                ..Default::default()
            });
            short
        });
        let request = pb::AddTicketsRequest {
            tickets: tickets.collect(),
            ..Default::default()
        };
        let added = registry.client(batch[0]).add_many(request).await;
        for one in added.expect("answers").into_inner().results {
            let one = one.result.expect("an answer");
            use pb::add_tickets_response::result::Result::Add;
            assert!(matches!(&one, Add(add) if add.stored), "{one:?}");
        }
    }
    assert_eq!(registry.count(0, Default::default()).await, count as u64);
    // The second, and what clocks may differ by.
    let over = from + 1_000_000 + 100_000;
    // It is the time itself that is waited for, which may be longer than patience.
    while wall() + 10_000_000 <= over {
        let mark = wall() + 5_000_000;
        until("time goes on", || async { wall() > mark }).await;
    }
    until("the second is over", || async { wall() > over }).await;
    for node in 0..2 {
        assert_eq!(registry.count(node, Default::default()).await, 0);
        let last = format!("RT-{}", count - 1);
        assert_eq!(registry.get(node, &last).await, None);
    }
    let told = told.await.expect("all events");
    println!(
        "{count} tickets ended in one second; the last event came {} ms after it",
        wall().saturating_sub(from + 1_000_000) / 1_000
    );
    assert_eq!(told.len(), count);
    for (id, kinds) in told {
        assert_eq!(kinds, [Type::Added, Type::Expired], "{id}");
    }
}
