//! What happens to tickets is told once.

use super::registry::{Registry, child, duration, text, ticket};
use crate::services::alone::soon;
use embergrid::rpc::proto as pb;
use pb::ticket_event::Type;
use std::collections::BTreeMap;
use std::time::Duration;
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

/// The bar says 10,000; `EMBERGRID_EXPIRIES` says how many here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_that_expire_together_are_told_of_one_by_one() {
    let count =
        std::env::var("EMBERGRID_EXPIRIES").map_or(200, |text| text.parse().expect("a number"));
    let registry = Registry::start(2).await;
    let mut events = watch(&registry, 1, bytes::Bytes::new()).await;
    take(&mut events, 0).await;
    let tickets = (0..count).map(|number| {
        let mut short = ticket(&format!("ST-{number}"), "ST");
        short.expiration = Some(pb::Expiration {
            max_time_to_live: Some(duration(Duration::from_secs(1))),
            ..Default::default()
        });
        short
    });
    let request = pb::AddTicketsRequest {
        tickets: tickets.collect(),
        ..Default::default()
    };
    let added = registry.client(0).add_many(request).await.expect("answers");
    assert_eq!(added.into_inner().results.len(), count);
    let mut told: BTreeMap<String, Vec<Type>> = BTreeMap::new();
    while told.values().map(Vec::len).sum::<usize>() < 2 * count {
        let event = next(&mut events).await;
        if event.r#type() != Type::Checkpoint {
            let kind = event.r#type();
            let id = text(&event.ticket.expect("a ticket").id);
            told.entry(id).or_default().push(kind);
        }
    }
    assert_eq!(told.len(), count);
    for (id, kinds) in told {
        assert_eq!(kinds, [Type::Added, Type::Expired], "{id}");
    }
    assert_eq!(registry.count(0, Default::default()).await, 0);
}
