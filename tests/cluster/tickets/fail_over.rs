//! Tickets through the loss of primaries: processes are killed one after the other while users log in.
//! Nothing that was stored is lost, nothing is used twice, nothing that was deleted comes back.
//!
//! `EMBERGRID_KILLS` sets how many processes are killed (3 without it: each node once).

use super::registry::{child, duration, ticket};
use crate::local::{LIMIT, started};
use crate::restarts::wait_until_safe;
use embergrid::cli::demo::wait_for_view;
use embergrid::client::messages::{CountTicketsRequest, Expiration};
use embergrid::client::{Client, Options, TicketError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const NODES: usize = 3;
const USERS: usize = 4;

/// What a user was told, to be compared with what there is in the end.
#[derive(Debug, Default)]
struct Seen {
    kept: Vec<String>,
    deleted: Vec<String>,
    used: Vec<String>,
    /// Calls whose outcome nobody knew, and calls that were refused.
    unknown: usize,
    failed: usize,
    calls: usize,
}

impl Seen {
    /// What came of a call; none where that is unknown, or where it failed and did nothing.
    fn take<T>(&mut self, result: Result<T, TicketError>) -> Option<Result<T, TicketError>> {
        self.calls += 1;
        match result {
            Err(TicketError::Unknown(_)) => self.unknown += 1,
            Err(TicketError::Failed(_)) => self.failed += 1,
            answer => return Some(answer),
        }
        None
    }
}

/// Sessions, each with a service ticket that two servers present at once; every other one is
/// deleted.
async fn sign_on(clients: Vec<Client>, user: usize, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let (session, service) = (
            format!("TGT-{user}-{number}"),
            format!("ST-{user}-{number}"),
        );
        let tickets = clients[number % NODES].tickets();
        let added = tickets.add(ticket(&session, "TGT")).await;
        if seen.take(added).is_none() {
            continue;
        }
        let mut of = child(&service, "ST", &session);
        of.expiration = Some(Expiration {
            max_time_to_live: Some(duration(Duration::from_secs(300))),
            ..Default::default()
        });
        let added = tickets.add(of).await;
        if let Some(answer) = seen.take(added) {
            assert!(answer.expect("its parent lives").stored);
            present(&clients, &service, number, &mut seen).await;
        }
        if number % 2 == 0 {
            seen.kept.push(session);
            continue;
        }
        let deleted = tickets.delete(session.clone()).await;
        if let Some(answer) = seen.take(deleted) {
            assert!(answer.expect("a delete") >= 1, "{session}");
            seen.deleted.push(session);
        }
    }
    seen
}

/// Two servers present a ticket at once: one of them succeeds.
async fn present(clients: &[Client], service: &str, number: usize, seen: &mut Seen) {
    let (one, other) = (
        clients[number % NODES].tickets(),
        clients[(number + 1) % NODES].tickets(),
    );
    let id = || service.to_owned();
    let (one, other) = tokio::join!(one.use_ticket(id(), "ST"), other.use_ticket(id(), "ST"));
    let answers = [one, other].map(|answer| seen.take(answer));
    let succeeded = answers
        .iter()
        .flatten()
        .filter(|answer| answer.is_ok())
        .count();
    let answered = answers.iter().flatten().count();
    assert!(succeeded <= 1, "{service} was used twice");
    assert!(succeeded == 1 || answered < 2, "{service}: {answers:?}");
    if succeeded == 1 {
        seen.used.push(service.to_owned());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_used_twice_when_primaries_die() {
    let kills = std::env::var("EMBERGRID_KILLS").map_or(3, |text| text.parse().expect("a number"));
    let (mut cluster, one_each) = started(NODES as u16).await;
    let everyone: Vec<usize> = (0..NODES).collect();
    let mut clients = Vec::new();
    for _ in 0..NODES {
        let client = cluster.routing_client(&everyone, Options::default()).await;
        clients.push(client.expect("a node is reached"));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let users = (0..USERS).map(|user| tokio::spawn(sign_on(clients.clone(), user, stop.clone())));
    let users: Vec<_> = users.collect();
    for round in 0..kills {
        let index = round % NODES;
        wait_until_safe(&clients[0], &cluster.name(index)).await;
        cluster.kill(index);
        let other = &one_each[(index + 1) % NODES];
        let smaller = wait_for_view(other, LIMIT, |view| view.nodes.len() == NODES - 1).await;
        smaller.expect("it is missed");
        cluster.start(index).expect("it starts again");
        cluster.reach(index, LIMIT).await.expect("it is reached");
    }
    wait_until_safe(&clients[0], &cluster.name(0)).await;
    stop.store(true, Ordering::SeqCst);
    let mut all = Seen::default();
    for user in users {
        let seen = user.await.expect("nothing was used twice");
        all.kept.extend(seen.kept);
        all.deleted.extend(seen.deleted);
        all.used.extend(seen.used);
        all.unknown += seen.unknown;
        all.failed += seen.failed;
        all.calls += seen.calls;
    }
    for index in 0..NODES {
        let tickets = cluster
            .reach(index, LIMIT)
            .await
            .expect("it is reached")
            .tickets();
        for id in &all.kept {
            let found = tickets.get(id.clone(), "TGT").await;
            assert!(found.is_ok(), "{id} is lost at node {index}: {found:?}");
        }
        for (id, kind) in [(&all.deleted, "TGT"), (&all.used, "ST")]
            .into_iter()
            .flat_map(|(ids, kind)| ids.iter().map(move |id| (id, kind)))
        {
            let found = tickets.get(id.clone(), kind).await;
            assert_eq!(found, Err(TicketError::NotFound), "{id} at node {index}");
        }
        let sessions = CountTicketsRequest {
            kind: "TGT".to_owned(),
            ..Default::default()
        };
        let count = tickets.count(sessions).await.expect("a count") as usize;
        let most = all.kept.len() + all.unknown;
        assert!(
            (all.kept.len()..=most).contains(&count),
            "{count} of {most} sessions"
        );
    }
    assert!(!all.kept.is_empty() && !all.deleted.is_empty() && !all.used.is_empty());
    println!(
        "fail-over: {kills} processes killed; {} calls, {} failed, {} unknown; {} sessions kept, {} \
         deleted, {} service tickets used, none lost, none twice",
        all.calls,
        all.failed,
        all.unknown,
        all.kept.len(),
        all.deleted.len(),
        all.used.len()
    );
}
