//! The Rust client of tickets: what the registry refuses, told apart; lists and watches that go on
//! when the node dies that they listen to.

use crate::commands::LIMIT;
use crate::console::Console;
use embergrid::client::messages::ticket_event::Type;
use embergrid::client::messages::{
    AddTicketResponse, CountTicketsRequest, ListTicketsRequest, Ticket, UpdateTicketRequest,
    UseTicketRequest, WatchTicketsRequest,
};
use embergrid::client::{TicketError, Tickets, request_id};
use embergrid::error::ErrorKind;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

fn ticket(id: &str, kind: &str, parent: &str) -> Ticket {
    Ticket {
        id: id.to_owned().into(),
        kind: kind.to_owned(),
        principal: "alice".into(),
        parent_id: parent.to_owned().into(),
        ..Ticket::default()
    }
}

/// Which node answers the client at present.
fn asked(console: &Console) -> usize {
    let address = console.client.address().expect("it is connected");
    let nodes = 0..console.cluster.size();
    let mut same = nodes.filter(|&node| console.cluster.address(node) == address);
    same.next().expect("one of the nodes")
}

/// Stores a session, again where it may not have been stored.
async fn store(tickets: &Tickets, session: Ticket) {
    let deadline = Instant::now() + LIMIT;
    loop {
        match tickets.add(session.clone()).await {
            Ok(added) => return assert!(added.stored),
            Err(TicketError::Unknown(_)) => {}
            Err(TicketError::Failed(error)) if error.kind == ErrorKind::Unavailable => {}
            Err(error) => panic!("{error:?}"),
        }
        assert!(Instant::now() < deadline, "it is not stored in time");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_registry_refuses_is_told_apart() {
    let console = Console::start(2).await;
    let tickets = console.client.tickets();
    assert_eq!(tickets.get("TGT-1", "").await, Err(TicketError::NotFound));
    let added = tickets.add(ticket("ST-1", "ST", "TGT-1")).await;
    assert_eq!(added, Err(TicketError::ParentGone));
    let batch = vec![
        ticket("TGT-1", "TGT", ""),
        ticket("ST-1", "ST", "TGT-1"),
        ticket("ST-2", "ST", "TGT-none"),
    ];
    let results = tickets.add_many(batch).await.expect("a batch");
    let stored = |one: &Result<AddTicketResponse, _>| one.as_ref().is_ok_and(|one| one.stored);
    assert!(results[..2].iter().all(stored), "{results:?}");
    assert_eq!(results[2], Err(TicketError::ParentGone));

    let kind = "ST".to_owned();
    let wrong = Err(TicketError::WrongKind { kind });
    assert_eq!(tickets.get("ST-1", "TGT").await, wrong);
    assert_eq!(tickets.use_ticket("ST-1", "TGT").await, wrong);
    let one_use = UseTicketRequest {
        id: "ST-1".into(),
        request_id: request_id().expect("an id").to_vec().into(),
        ..UseTicketRequest::default()
    };
    let used = tickets.use_as(one_use.clone()).await.expect("the one use");
    assert_eq!((used.uses, &used.root_id[..]), (1, &b"TGT-1"[..]));
    let again = tickets.use_as(one_use).await.expect("the same use");
    assert_eq!(again.uses, 1);
    assert_eq!(
        tickets.use_ticket("ST-1", "ST").await,
        Err(TicketError::NotFound)
    );

    let session = tickets.get("TGT-1", "TGT").await.expect("a session");
    let read = session.version;
    let update = |payload: &'static str| UpdateTicketRequest {
        ticket: Some(Ticket {
            payload: payload.into(),
            ..session.clone()
        }),
        expected_version: Some(read),
        ..UpdateTicketRequest::default()
    };
    let version = tickets.update(update("one")).await.expect("the first");
    assert_ne!(version, read);
    assert_eq!(
        tickets.update(update("two")).await,
        Err(TicketError::Conflict)
    );
    let unknown = ticket("TGT-none", "TGT", "");
    assert_eq!(tickets.update(unknown).await, Err(TicketError::NotFound));
    assert_eq!(tickets.delete("TGT-1").await, Ok(1));
    assert_eq!(tickets.delete("TGT-1").await, Ok(0));
    let back = tickets.add(ticket("TGT-1", "TGT", "")).await;
    assert_eq!(back, Err(TicketError::Removed));
    let unknown = tickets.add(ticket("x", "XYZ", "")).await;
    assert!(matches!(unknown, Err(TicketError::Failed(error)) if error.reason == "UNKNOWN_KIND"));
    let token = WatchTicketsRequest {
        resume_token: "nonsense".into(),
        ..WatchTicketsRequest::default()
    };
    let error = tickets.watch_as(token).await.expect_err("none of its own");
    assert_eq!(error.kind, ErrorKind::OutOfRange);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_tickets_goes_on_when_its_node_is_killed() {
    const TICKETS: usize = 300;
    let mut console = Console::start(3).await;
    let tickets = console.client.tickets();
    // The caches of tickets are made by the first one.
    store(&tickets, ticket("TGT-before", "TGT", "")).await;
    let mut watch = tickets.watch("TGT").await.expect("a watch");
    let victim = asked(&console);
    let others: Vec<usize> = (0..3).filter(|&node| node != victim).collect();
    let writer = console.cluster.client(&others).await.expect("a client");
    let writing = tokio::spawn(async move {
        let tickets = writer.tickets();
        for number in 0..TICKETS {
            store(&tickets, ticket(&format!("TGT-{number}"), "TGT", "")).await;
        }
    });
    let mut told: BTreeMap<Vec<u8>, Vec<Type>> = BTreeMap::new();
    let mut killed = false;
    while told.len() < TICKETS {
        let event = tokio::time::timeout(LIMIT, watch.next());
        let event = event.await.expect("an event in time").expect("no gap");
        let id = event.ticket.as_ref().expect("a ticket").id.to_vec();
        told.entry(id).or_default().push(event.r#type());
        if !killed && told.len() == 100 {
            killed = true;
            console.cluster.kill(victim);
        }
    }
    writing.await.expect("all was written");
    for (id, events) in &told {
        // What was stored twice, since it was unknown whether it was, was replaced.
        let (first, rest) = events.split_first().expect("an event");
        let replaced = rest.iter().all(|event| *event == Type::Updated);
        assert!(*first == Type::Added && replaced, "{id:?}: {events:?}");
    }
    assert!(watch.resumed() > 0, "it never listened to the dead node");
    println!(
        "{TICKETS} sessions, a node killed: the watch resumed {} times",
        watch.resumed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_tickets_goes_on_when_its_node_is_killed() {
    const TICKETS: usize = 1_000;
    const TOGETHER: usize = 50;
    let mut console = Console::start(3).await;
    let tickets = console.client.tickets();
    for begin in (0..TICKETS).step_by(TOGETHER) {
        let some = (begin..begin + TOGETHER).map(|number| Ticket {
            payload: vec![b'p'; 2_000].into(),
            ..ticket(&format!("TGT-{number}"), "TGT", "")
        });
        let added = tickets.add_many(some.collect()).await.expect("a batch");
        let stored = |one: &Result<AddTicketResponse, _>| one.as_ref().is_ok_and(|one| one.stored);
        assert!(added.iter().all(stored), "{added:?}");
    }
    let filter = CountTicketsRequest {
        principal: "alice".into(),
        ..CountTicketsRequest::default()
    };
    assert_eq!(tickets.count(filter).await, Ok(TICKETS as u64));
    let victim = asked(&console);
    let mut list = tickets.list(ListTicketsRequest {
        principal: "alice".into(),
        ..ListTicketsRequest::default()
    });
    let mut ids = BTreeSet::new();
    while let Some(found) = list.next().await.expect("it goes on") {
        assert!(ids.insert(found.id), "a ticket came twice");
        if ids.len() == 100 {
            console.cluster.kill(victim);
        }
    }
    assert_eq!(ids.len(), TICKETS);
}
