//! The encryption key of tickets is changed node by node, by restarts, while users log in.

use super::registry::{child, text, ticket};
use crate::local::configured;
use crate::process::signal;
use crate::restarts::wait_until_safe;
use crate::rig::wait_until;
use embergrid::client::messages::{ListTicketsRequest, Ticket};
use embergrid::client::{Client, Options, TicketError, Tickets};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const OLD: &str = "the old key, which all nodes have at first";
const NEW: &str = "the new key, which all nodes have in the end";
const DIGEST: &str = "the key of the digests, which stays";
const NODES: usize = 3;

fn settings(keys: &[&str]) -> String {
    format!("[tickets]\nencryption-key = {keys:?}\ndigest-key = {DIGEST:?}\n")
}

/// A user who logs in, goes to an application and logs out, again and again; how often.
async fn sign_on(tickets: Tickets, user: usize, stop: Arc<AtomicBool>) -> usize {
    let mut times = 0;
    while !stop.load(Ordering::SeqCst) {
        let (session, service) = (format!("TGT-{user}-{times}"), format!("ST-{user}-{times}"));
        let added = tickets.add(ticket(&session, "TGT")).await;
        assert!(added.expect("a session").stored);
        let mut of = child(&service, "ST", &session);
        // A restart of a busy machine may take longer than a service ticket lives.
        of.expiration = Some(embergrid::client::messages::Expiration {
            max_time_to_live: Some(super::registry::duration(std::time::Duration::from_secs(
                60,
            ))),
            ..Default::default()
        });
        tickets.add(of).await.expect("a service ticket");
        let used = tickets.use_ticket(service, "ST").await.expect("one use");
        assert_eq!(text(&used.root_id), session);
        let found = tickets.get(session.clone(), "TGT").await.expect("it lives");
        assert_eq!(text(&found.principal), "alice");
        assert_eq!(text(&found.payload), format!("payload of {session}"));
        assert_eq!(tickets.delete(session).await, Ok(1));
        times += 1;
    }
    times
}

/// A session that stays, of a user of its own.
fn kept(round: usize) -> Ticket {
    Ticket {
        principal: format!("user-{round}").into(),
        ..ticket(&format!("TGT-kept-{round}"), "TGT")
    }
}

/// Every node reads what was added in these rounds, and finds it by its user.
async fn all_read(clients: &[Client], rounds: std::ops::RangeInclusive<usize>) {
    for client in clients {
        let tickets = client.tickets();
        for round in rounds.clone() {
            let wanted = kept(round);
            let found = tickets.get(wanted.id.clone(), "").await.expect("it lives");
            assert_eq!(found.id, wanted.id);
            assert_eq!(
                (found.principal, found.payload),
                (wanted.principal.clone(), wanted.payload)
            );
            let mut list = tickets.list(ListTicketsRequest {
                principal: wanted.principal,
                ..Default::default()
            });
            let listed = list.next().await.expect("a list").expect("one ticket");
            assert_eq!(listed.id, wanted.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_changed_node_by_node_under_load() {
    let (mut cluster, clients) = configured(NODES as u16, &settings(&[OLD])).await;
    let everyone: Vec<usize> = (0..NODES).collect();
    let client = cluster.routing_client(&everyone, Options::default()).await;
    let client = client.expect("a node is reached");
    let tickets = client.tickets();
    tickets.add(kept(0)).await.expect("a session");
    let stop = Arc::new(AtomicBool::new(false));
    let users = (0..2).map(|user| tokio::spawn(sign_on(client.tickets(), user, stop.clone())));
    let users: Vec<_> = users.collect();
    // Each key is known to all before the first one writes with it, and to some until nothing is
    // left that was written with it.
    let steps: [&[&str]; 3] = [&[OLD, NEW], &[NEW, OLD], &[NEW]];
    for (step, keys) in steps.iter().enumerate() {
        if *keys == [NEW] {
            // Everybody writes with the new key; what was written before ends, or is written anew.
            for round in 0..=1 {
                tickets.update(kept(round)).await.expect("it lives");
            }
        }
        cluster.configure(&settings(keys)).expect("a file");
        for index in 0..NODES {
            wait_until_safe(&client, &cluster.name(index)).await;
            let runs = cluster.process_ids();
            signal(runs[index], "-TERM");
            wait_until("its process ends", || cluster.ended(index));
            cluster.start(index).expect("it starts again");
        }
        wait_until_safe(&client, &cluster.name(0)).await;
        tickets.add(kept(step + 1)).await.expect("a session");
        let mut each = Vec::new();
        for index in 0..NODES {
            let one = cluster.reach(index, crate::local::LIMIT).await;
            each.push(one.expect("it is reached"));
        }
        all_read(&each, 0..=step + 1).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut times = 0;
    for user in users {
        times += user.await.expect("no call fails");
    }
    assert!(times > 0);
    drop(clients);
    println!(
        "keys: changed on {NODES} nodes in {} steps during {times} sign-ons",
        steps.len()
    );
    let gone = tickets.get("TGT-0-0", "TGT").await;
    assert_eq!(gone, Err(TicketError::NotFound));
}
