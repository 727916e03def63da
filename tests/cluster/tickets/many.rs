//! Many sessions with four tickets each: `EMBERGRID_SESSIONS` says how many. They are listed as a
//! stream, counted, found by principal and by attribute, and ended by principal; afterwards nothing is
//! left, and the memory of the processes is back.

use super::registry::{child, ticket};
use crate::local::configured;
use crate::rig::PATIENCE;
use bytes::Bytes;
use embergrid::cli::demo::LocalCluster;
use embergrid::client::messages::{
    AttributeValues, CountTicketsRequest, ListTicketsRequest, NodeStatsResponse, Ticket,
};
use embergrid::client::{Client, Tickets};
use std::time::{Duration, Instant};

const USERS: usize = 50;
/// Sessions of one batch: with what descends from them, a hundred tickets.
const BATCH: usize = 20;
/// Sessions before memory is looked at first.
const BEFORE: usize = 100;
/// Memory is looked at where there was enough of it.
const SESSIONS_WEIGHED: usize = 10_000;
/// Request ids are forgotten soon, so that the memory that they take is not waited for long.
const SETTINGS: &str = "[[caches]]\nname = \"tickets\"\nrequest-id-window = \"1s\"\n";

fn user(number: usize) -> Bytes {
    format!("user-{}", number % USERS).into()
}

/// A session and what descends from it.
fn family(number: usize) -> Vec<Ticket> {
    let session = format!("TGT-{number}");
    let values = vec![format!("team-{}", number % 10).into()];
    let mut all = vec![ticket(&session, "TGT")];
    all[0]
        .attributes
        .insert("team".to_owned(), AttributeValues { values });
    for part in 0..4 {
        let kind = if part < 2 { "PGT" } else { "AT" };
        all.push(child(&format!("{kind}-{number}-{part}"), kind, &session));
    }
    for ticket in &mut all {
        ticket.principal = user(number);
    }
    all
}

async fn add(tickets: &Tickets, sessions: std::ops::Range<usize>) {
    let batch: Vec<Ticket> = sessions.flat_map(family).collect();
    for one in tickets.add_many(batch).await.expect("answers") {
        one.expect("it is stored");
    }
}

/// Adds some sessions, and ends them.
async fn use_everything(tickets: &Tickets) {
    for batch in 0..BEFORE / BATCH {
        add(tickets, batch * BATCH..(batch + 1) * BATCH).await;
    }
    for number in 0..USERS {
        let ended = tickets.delete_for_principal(user(number)).await;
        ended.expect("an end");
    }
}

async fn listed(tickets: &Tickets, request: ListTicketsRequest) -> usize {
    let mut list = tickets.list(request);
    let mut count = 0;
    while list.next().await.expect("a list").is_some() {
        count += 1;
    }
    count
}

async fn stats(cluster: &LocalCluster, client: &Client) -> Vec<NodeStatsResponse> {
    let mut all = Vec::new();
    for index in 0..cluster.size() {
        let stats = client.node_stats(&cluster.name(index)).await;
        all.push(stats.expect("its counters"));
    }
    all
}

fn sum(stats: &[NodeStatsResponse], name: &str) -> u64 {
    stats.iter().map(|one| one.counters[name]).sum()
}

fn largest(stats: &[NodeStatsResponse], name: &str) -> u64 {
    let counts = stats.iter().map(|one| one.counters[name]);
    counts.max().unwrap_or_default()
}

/// Waits until no node has an entry or a tombstone, and its memory is at most so much.
async fn wait_until_empty(cluster: &LocalCluster, client: &Client, resident: u64) -> u64 {
    let mut deadline = Instant::now() + 3 * PATIENCE;
    let mut least = u64::MAX;
    loop {
        let now = stats(cluster, client).await;
        let bytes = largest(&now, "resident_bytes_now");
        if bytes < least {
            // It goes down: as long as it does, there is time.
            least = bytes;
            deadline = deadline.max(Instant::now() + PATIENCE);
        }
        let left = sum(&now, "entries_now") + sum(&now, "tombstones_now");
        if left == 0 && bytes <= resident {
            return bytes;
        }
        assert!(
            Instant::now() < deadline,
            "{left} entries and tombstones are left, {bytes} bytes are resident, not {resident}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_sessions_come_and_go_and_leave_nothing() {
    let sessions: usize =
        std::env::var("EMBERGRID_SESSIONS").map_or(200, |text| text.parse().expect("a number"));
    let (cluster, clients) = configured(2, SETTINGS).await;
    let client = &clients[0];
    let tickets = client.tickets();
    // Everything was used once: what a process takes for itself is no memory of tickets.
    use_everything(&tickets).await;
    let before = wait_until_empty(&cluster, client, u64::MAX).await;
    let begun = Instant::now();
    let first = BEFORE;
    for batch in 0..sessions.div_ceil(BATCH) {
        let end = sessions.min((batch + 1) * BATCH);
        let from = &clients[batch % clients.len()].tickets();
        add(from, first + batch * BATCH..first + end).await;
    }
    let all = 5 * sessions;
    let took = begun.elapsed();
    let full = largest(&stats(&cluster, client).await, "resident_bytes_now");
    let count = |request| async { tickets.count(request).await.expect("a count") as usize };
    assert_eq!(count(CountTicketsRequest::default()).await, all);
    assert_eq!(listed(&tickets, ListTicketsRequest::default()).await, all);
    let of_user = CountTicketsRequest {
        principal: user(first),
        ..Default::default()
    };
    assert_eq!(count(of_user).await, 5 * sessions.div_ceil(USERS));
    let values = vec![Bytes::from(format!("team-{}", first % 10))];
    let of_team = ListTicketsRequest {
        attributes: [("team".to_owned(), AttributeValues { values })].into(),
        ..Default::default()
    };
    assert_eq!(listed(&tickets, of_team).await, sessions.div_ceil(10));
    let listing = largest(&stats(&cluster, client).await, "resident_bytes_now");
    let begun = Instant::now();
    let mut ended = 0;
    for number in 0..USERS {
        let one = clients[number % clients.len()].tickets();
        ended += one
            .delete_for_principal(user(number))
            .await
            .expect("an end") as usize;
    }
    assert_eq!(ended, all);
    assert_eq!(count(CountTicketsRequest::default()).await, 0);
    let ending = begun.elapsed();
    let weighed = sessions >= SESSIONS_WEIGHED;
    let most = if weighed {
        before + before / 10
    } else {
        u64::MAX
    };
    let after = wait_until_empty(&cluster, client, most).await;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{sessions} sessions with 4 tickets each: added in {took:.1?}, ended in {ending:.1?}; resident \
         {:.1} MiB before, {:.1} with all, {:.1} while they were listed, {:.1} after",
        mib(before),
        mib(full),
        mib(listing),
        mib(after)
    );
}
