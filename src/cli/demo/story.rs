//! The story, step by step. A step that does not hold ends it.

use super::cluster::{LocalCluster, POLL, names, wait_for_view};
use super::narrator::Narrator;
use super::sign_on::{
    self, SERVICE_TICKETS, SESSIONS, caches, issue, lives, log_in, log_out, use_once, user_of,
};
use super::witness::Witness;
use crate::cli::outcome::Failure;
use crate::client::Client;
use crate::client::messages::PartitionTableResponse;
use std::time::{Duration, Instant};

/// The longest any step waits for something to come true.
const LIMIT: Duration = Duration::from_secs(20);

/// How many sessions are stored before a node is killed.
const MANY: usize = 100;

/// How long the ticket lives that nobody uses.
const SHORT_LIFE: Duration = Duration::from_millis(500);

/// How long users are watched on after the dead node has left the view.
const AFTERMATH: Duration = Duration::from_millis(300);

/// Tells all of it; the nodes of the cluster run at its end.
pub async fn tell(cluster: &mut LocalCluster, narrator: &mut Narrator) -> Result<(), Failure> {
    let nodes = come_together(cluster, narrator).await?;
    sign_on(cluster, &nodes, narrator).await?;
    let victim = cluster.size() - 1;
    let stored = lose_a_node(cluster, &nodes, victim, narrator).await?;
    take_it_back(cluster, &nodes, victim, stored, narrator).await
}

/// An error, unless it holds.
fn must(holds: bool, otherwise: impl Into<String>) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err(Failure::failed(otherwise))
    }
}

fn millis(since: Instant) -> String {
    format!("{} ms", since.elapsed().as_millis())
}

async fn come_together(
    cluster: &mut LocalCluster,
    narrator: &mut Narrator,
) -> Result<Vec<Client>, Failure> {
    let size = cluster.size();
    narrator.chapter("Three nodes find each other");
    narrator.held(format_args!(
        "an authority, {size} node certificates and a client certificate are made in {}",
        cluster.folder().display()
    ));
    let begin = Instant::now();
    for index in 0..size {
        cluster.start(index)?;
    }
    let mut nodes = Vec::new();
    for index in 0..size {
        nodes.push(cluster.reach(index, LIMIT).await?);
    }
    for node in &nodes {
        wait_for_view(node, LIMIT, |view| view.nodes.len() == size).await?;
    }
    narrator.held(format_args!(
        "{size} nodes started with one address list, {}, see each other after {}",
        cluster.addresses(),
        millis(begin)
    ));
    let mut views = Vec::new();
    for node in &nodes {
        views.push(node.topology().await?);
    }
    let same = views
        .iter()
        .all(|view| view.version == views[0].version && view.coordinator == views[0].coordinator);
    must(same, "the nodes do not have the same view")?;
    narrator.held(format_args!(
        "all agree that {} coordinates",
        views[0].coordinator
    ));
    for settings in caches()? {
        nodes[0].create_cache(settings).await?;
    }
    for node in &nodes {
        in_balance(node, size).await?;
    }
    narrator.held(format_args!(
        "every node knows the caches `{SESSIONS}` (on all nodes; 8 h, 2 h idle) and \
         `{SERVICE_TICKETS}` (on two nodes each; 10 s)"
    ));
    Ok(nodes)
}

/// Waits until no partition loads and each has the owners that it should.
async fn in_balance(node: &Client, servers: usize) -> Result<(), Failure> {
    let begin = Instant::now();
    loop {
        let table = node.partition_table("").await?;
        let complete = table.nodes.len() == servers
            && owners(&table, SESSIONS) == Some(servers)
            && owners(&table, SERVICE_TICKETS) == Some(servers.min(2))
            && table.caches.iter().all(|cache| cache.copies_loading == 0);
        if complete {
            return Ok(());
        }
        must(
            begin.elapsed() < LIMIT,
            "the partitions are not all in place in time",
        )?;
        tokio::time::sleep(POLL).await;
    }
}

/// How many owners the partition with the fewest has.
fn owners(table: &PartitionTableResponse, cache: &str) -> Option<usize> {
    let cache = table.caches.iter().find(|found| found.name == cache)?;
    cache
        .partitions
        .iter()
        .map(|partition| usize::from(partition.primary.is_some()) + partition.backups.len())
        .min()
}

async fn sign_on(
    cluster: &LocalCluster,
    nodes: &[Client],
    narrator: &mut Narrator,
) -> Result<(), Failure> {
    let [first, second, .., last] = nodes else {
        return Err(Failure::failed("the story needs three nodes"));
    };
    narrator.chapter("A sign-on, told in tickets");
    let session = "TGT-1-alice";
    must(
        log_in(first, session, "alice").await?,
        "the session exists already",
    )?;
    narrator.held(format_args!(
        "alice logs in at {}: session {session}",
        cluster.name(0)
    ));
    for (index, node) in nodes.iter().enumerate() {
        let user = user_of(node, session).await?;
        must(
            user.as_deref() == Some("alice"),
            format!("{} differs", cluster.name(index)),
        )?;
    }
    narrator.held("every node knows the session");

    for ticket in ["ST-1-mail", "ST-2-calendar"] {
        must(
            issue(second, ticket, session, None).await?,
            "the ticket exists already",
        )?;
    }
    narrator.held("service tickets for mail and calendar are issued at node-2");
    let used = use_once(last, "ST-1-mail").await?;
    must(
        used.as_deref() == Some(session),
        "the ticket could not be used",
    )?;
    must(
        use_once(first, "ST-1-mail").await?.is_none(),
        "the ticket could be used twice",
    )?;
    narrator.held("mail uses its ticket at node-3; using it again at node-1 is refused");
    let (one, other) = tokio::join!(
        use_once(first, "ST-2-calendar"),
        use_once(last, "ST-2-calendar")
    );
    let wins = usize::from(one?.is_some()) + usize::from(other?.is_some());
    must(
        wins == 1,
        format!("{wins} of two simultaneous uses succeeded"),
    )?;
    narrator.held("of two simultaneous uses of calendar's ticket exactly one succeeds");
    forget_in_time(nodes, session, narrator).await?;

    must(
        log_out(second, session).await?,
        "there was no session to end",
    )?;
    for (index, node) in nodes.iter().enumerate() {
        let user = user_of(node, session).await?;
        must(
            user.is_none(),
            format!("{} still knows the session", cluster.name(index)),
        )?;
    }
    narrator.held("alice logs out at node-2: no node knows the session any more");
    Ok(())
}

/// A ticket that nobody uses ends by itself: not early, and at every node.
async fn forget_in_time(
    nodes: &[Client],
    session: &str,
    narrator: &mut Narrator,
) -> Result<(), Failure> {
    let ticket = "ST-3-unused";
    let begin = Instant::now();
    must(
        issue(&nodes[0], ticket, session, Some(SHORT_LIFE)).await?,
        "the ticket exists already",
    )?;
    let lived = loop {
        let asked = begin.elapsed();
        if !lives(&nodes[1], ticket).await? {
            let early = begin.elapsed() + sign_on::CLOCK_ERROR_MAX < SHORT_LIFE;
            must(!early, format!("it was gone after {asked:?}"))?;
            break begin.elapsed();
        }
        must(asked < LIMIT, "the ticket does not expire")?;
        tokio::time::sleep(POLL).await;
    };
    let begin = Instant::now();
    for node in nodes {
        let mut asked = begin.elapsed();
        while lives(node, ticket).await? {
            must(
                asked < sign_on::CLOCK_ERROR_MAX,
                "an expired ticket is served",
            )?;
            asked = begin.elapsed();
        }
    }
    narrator.held(format_args!(
        "a ticket of {} ms that nobody uses is gone from every node after {} ms",
        SHORT_LIFE.as_millis(),
        lived.as_millis()
    ));
    Ok(())
}

async fn lose_a_node(
    cluster: &mut LocalCluster,
    nodes: &[Client],
    victim: usize,
    narrator: &mut Narrator,
) -> Result<usize, Failure> {
    narrator.chapter("A node is killed without warning");
    for number in 0..MANY {
        let node = &nodes[number % nodes.len()];
        must(
            log_in(node, &session(number), &user(number)).await?,
            "a session exists already",
        )?;
    }
    narrator.held(format_args!("{MANY} users log in, at all nodes in turn"));

    let survivors: Vec<usize> = (0..nodes.len()).filter(|&index| index != victim).collect();
    let witness = Witness::start(cluster.client(&survivors).await?, SESSIONS);
    let name = cluster.name(victim);
    let begin = Instant::now();
    cluster.kill(victim);
    for &index in &survivors {
        wait_for_view(&nodes[index], LIMIT, |view| !names(view).contains(&name)).await?;
    }
    let out = begin.elapsed();
    tokio::time::sleep(AFTERMATH).await;
    let report = witness.report().await?;
    narrator.held(format_args!(
        "{name} is killed (SIGKILL) and out of the view after {} ms",
        out.as_millis()
    ));
    narrator.held(format_args!(
        "meanwhile {} calls of a user at the others are answered, none fails; longest gap {} ms",
        report.calls,
        report.longest_gap.as_millis()
    ));
    for &index in &survivors {
        all_there(&nodes[index], MANY).await?;
    }
    narrator.held(format_args!(
        "nothing is lost: all {MANY} sessions are read from both survivors"
    ));
    let late = MANY;
    must(
        log_in(&nodes[0], &session(late), &user(late)).await?,
        "a session exists already",
    )?;
    narrator.held("one more user logs in while the node is away");
    Ok(MANY + 1)
}

async fn take_it_back(
    cluster: &mut LocalCluster,
    nodes: &[Client],
    victim: usize,
    stored: usize,
    narrator: &mut Narrator,
) -> Result<(), Failure> {
    narrator.chapter("The node comes back");
    let size = cluster.size();
    let name = cluster.name(victim);
    let begin = Instant::now();
    cluster.start(victim)?;
    let back = cluster.reach(victim, LIMIT).await?;
    wait_for_view(&back, LIMIT, |view| view.nodes.len() == size).await?;
    narrator.held(format_args!(
        "{name} is started again, empty, and in the view after {}",
        millis(begin)
    ));
    in_balance(&nodes[0], size).await?;
    in_balance(&back, size).await?;
    narrator.held(format_args!(
        "it has loaded its partitions after {}",
        millis(begin)
    ));
    all_there(&back, stored).await?;
    narrator.held(format_args!("all {stored} sessions are read from {name}"));
    Ok(())
}

/// Reads all sessions from one node.
async fn all_there(node: &Client, stored: usize) -> Result<(), Failure> {
    for number in 0..stored {
        let found = user_of(node, &session(number)).await?;
        must(
            found.as_deref() == Some(&*user(number)),
            format!("{} is lost", session(number)),
        )?;
    }
    Ok(())
}

fn session(number: usize) -> String {
    format!("TGT-{}-user-{number}", number + 100)
}

fn user(number: usize) -> String {
    format!("user-{number}")
}
