//! The chapter of a sign-on: a session, service tickets, and the end of both.

use super::cluster::{LocalCluster, POLL};
use super::narrator::Narrator;
use super::sign_on::{self, issue, lives, log_in, log_out, use_once, user_of};
use super::story::{LIMIT, must};
use crate::cli::outcome::Failure;
use crate::client::Client;
use std::time::{Duration, Instant};

/// How long the ticket lives that nobody uses.
const SHORT_LIFE: Duration = Duration::from_millis(500);

/// A user logs in, uses applications and logs out.
pub async fn sign_on(
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
