//! Races for the last use of tickets from all nodes, while one process after the other is killed, or
//! stands still: each ticket has one winner.
//!
//! `EMBERGRID_RACES` says how many races (300 without it; the bar says 100,000).

use super::registry::{duration, ticket};
use crate::local::{LIMIT, started};
use crate::process::signal;
use crate::restarts::wait_until_safe;
use embergrid::cli::demo::wait_for_view;
use embergrid::client::messages::{Expiration, Ticket};
use embergrid::client::{Client, Options, TicketError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const NODES: usize = 3;
const USERS: usize = 6;
/// Tickets of one user that are raced for at the same time.
const BATCH: usize = 20;

#[derive(Debug, Default)]
struct Tally {
    races: usize,
    won: usize,
    /// Races of which nobody knows who won: a winner's answer was lost.
    unknown: usize,
    failed: usize,
}

fn service_ticket(id: &str) -> Ticket {
    Ticket {
        expiration: Some(Expiration {
            max_time_to_live: Some(duration(Duration::from_secs(600))),
            ..Default::default()
        }),
        ..ticket(id, "ST")
    }
}

/// Stores a batch of tickets; those that are there for certain.
async fn stored(client: &Client, ids: Vec<String>) -> Vec<String> {
    let batch = ids.iter().map(|id| service_ticket(id)).collect();
    let Ok(added) = client.tickets().add_many(batch).await else {
        return Vec::new();
    };
    let sure = ids.into_iter().zip(added).filter(|(_, one)| one.is_ok());
    sure.map(|(id, _)| id).collect()
}

/// All nodes present a ticket at once.
async fn race(clients: Vec<Client>, id: String) -> (usize, usize, usize) {
    let presented = clients.into_iter().map(|client| {
        let id = id.clone();
        tokio::spawn(async move { client.tickets().use_ticket(id, "ST").await })
    });
    let presented: Vec<_> = presented.collect();
    let (mut won, mut unknown, mut failed) = (0, 0, 0);
    for one in presented {
        match one.await.expect("an answer") {
            Ok(_) => won += 1,
            Err(TicketError::NotFound) => {}
            Err(TicketError::Unknown(_)) => unknown += 1,
            Err(TicketError::Failed(_)) => failed += 1,
            Err(other) => panic!("{id}: {other}"),
        }
    }
    assert!(won <= 1, "{id} was used {won} times");
    (won, unknown, failed)
}

async fn run_races(clients: Vec<Client>, user: usize, left: Arc<AtomicUsize>) -> Tally {
    let mut tally = Tally::default();
    for round in 0.. {
        let taken = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(BATCH.min(left)).filter(|_| left > 0)
        });
        let Ok(before) = taken else { break };
        let count = BATCH.min(before);
        let ids = (0..count).map(|number| format!("ST-{user}-{round}-{number}"));
        let ids = stored(&clients[round % NODES], ids.collect()).await;
        // What was not stored for certain is raced for by others.
        left.fetch_add(count - ids.len(), Ordering::SeqCst);
        let races = ids
            .into_iter()
            .map(|id| tokio::spawn(race(clients.clone(), id)));
        for one in races.collect::<Vec<_>>() {
            let (won, unknown, failed) = one.await.expect("one winner");
            assert!(won == 1 || unknown + failed > 0, "nobody won");
            tally.races += 1;
            tally.won += won;
            tally.unknown += usize::from(won == 0);
            tally.failed += failed;
        }
    }
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_wins_each_race_while_nodes_die_and_stand_still() {
    let races =
        std::env::var("EMBERGRID_RACES").map_or(300, |text| text.parse().expect("a number"));
    let (mut cluster, one_each) = started(NODES as u16).await;
    let mut clients = Vec::new();
    for index in 0..NODES {
        // Each begins at another node, and goes to the others when that one dies.
        let order: Vec<usize> = (0..NODES).map(|more| (index + more) % NODES).collect();
        let client = cluster.routing_client(&order, Options::default()).await;
        clients.push(client.expect("a node is reached"));
    }
    let left = Arc::new(AtomicUsize::new(races));
    let users = (0..USERS).map(|user| tokio::spawn(run_races(clients.clone(), user, left.clone())));
    let users: Vec<_> = users.collect();
    let (mut killed, mut paused) = (0, 0);
    while killed + paused < 2 || left.load(Ordering::SeqCst) > 0 {
        let index = (killed + paused) % NODES;
        wait_until_safe(&clients[0], &cluster.name(index)).await;
        let other = &one_each[(index + 1) % NODES];
        let process = cluster.process_ids()[index];
        let kill = killed <= paused;
        if kill {
            killed += 1;
            cluster.kill(index);
        } else {
            paused += 1;
            signal(process, "-STOP");
        }
        let smaller = wait_for_view(other, LIMIT, |view| view.nodes.len() < NODES).await;
        smaller.expect("it is missed");
        if kill {
            cluster.start(index).expect("it starts again");
        } else {
            signal(process, "-CONT");
        }
        let back = wait_for_view(other, LIMIT, |view| view.nodes.len() == NODES).await;
        back.expect("it is back");
    }
    let mut all = Tally::default();
    for user in users {
        let tally = user.await.expect("one winner each");
        all.races += tally.races;
        all.won += tally.won;
        all.unknown += tally.unknown;
        all.failed += tally.failed;
    }
    assert_eq!(all.won + all.unknown, all.races);
    assert!(all.races >= races && all.won > all.unknown);
    println!(
        "races: {} for the last use of a ticket, each from {NODES} nodes, during {killed} kills and \
         {paused} pauses; {} won by one caller, {} of which the winner's answer was lost, none won \
         twice; {} calls failed without effect",
        all.races, all.won, all.unknown, all.failed
    );
}
