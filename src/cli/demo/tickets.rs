//! The chapter of a sign-on: a session, service tickets, and the end of both.

use super::cluster::{LocalCluster, POLL};
use super::narrator::Narrator;
use super::sign_on::{self, SESSION, issue, lives, log_in, log_out, use_once, user_of};
use super::story::{LIMIT, must};
use crate::cli::outcome::Failure;
use crate::client::messages::ticket_event::Type;
use crate::client::{Client, TicketError, TicketWatch};
use std::time::{Duration, Instant};

/// How long the ticket lives that nobody uses.
const SHORT_LIFE: Duration = Duration::from_millis(500);

/// The session of the story.
const ALICE: &str = "TGT-1-alice";

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
    let mut watch = last.tickets().watch(SESSION).await?;
    must(
        log_in(first, ALICE, "alice").await?,
        "the session was not stored",
    )?;
    narrator.held(format_args!(
        "alice logs in at {}: session {ALICE}",
        cluster.name(0)
    ));
    for (index, node) in nodes.iter().enumerate() {
        let user = user_of(node, ALICE).await?;
        must(
            user.as_deref() == Some("alice"),
            format!("{} differs", cluster.name(index)),
        )?;
    }
    narrator.held("every node knows the session");
    use_applications([first, second, last], narrator).await?;
    forget_in_time(nodes, narrator).await?;

    must(
        issue(first, "ST-4-wiki", ALICE, Some(LIMIT)).await?,
        "the session does not live",
    )?;
    let ended = log_out(second, ALICE).await?;
    must(ended == 2, format!("{ended} tickets ended, and not 2"))?;
    for (index, node) in nodes.iter().enumerate() {
        let user = user_of(node, ALICE).await?;
        must(
            user.is_none(),
            format!("{} still knows the session", cluster.name(index)),
        )?;
        let unused = lives(node, "ST-4-wiki").await?;
        must(!unused, "a service ticket outlives its session")?;
    }
    narrator.held("alice logs out at node-2: no node knows the session any more");
    narrator.held("the ticket for wiki, which was not used yet, ended with it");
    let late = issue(first, "ST-5-late", ALICE, None).await?;
    must(!late, "a session that ended has another ticket")?;
    narrator.held("a ticket that is issued a moment too late is refused");
    told_of_the_end(&mut watch).await?;
    narrator.held("who watches at node-3 is told that the session began and ended, once each");
    Ok(())
}

/// Tickets are used: once each, and as what they are.
async fn use_applications(
    [first, second, last]: [&Client; 3],
    narrator: &mut Narrator,
) -> Result<(), Failure> {
    for ticket in ["ST-1-mail", "ST-2-calendar"] {
        must(
            issue(second, ticket, ALICE, None).await?,
            "the session does not live",
        )?;
    }
    narrator.held("service tickets for mail and calendar are issued at node-2");
    let wrong = last.tickets().use_ticket("ST-1-mail", SESSION).await;
    must(
        matches!(&wrong, Err(TicketError::WrongKind { kind }) if kind == "ST"),
        format!("a service ticket was used as a session: {wrong:?}"),
    )?;
    narrator.held("who takes mail's ticket for a session is told what it is, and does not use it");
    let used = use_once(last, "ST-1-mail").await?;
    must(
        used.as_deref() == Some(ALICE),
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
    Ok(())
}

/// A ticket that nobody uses ends by itself: not early, and at every node.
async fn forget_in_time(nodes: &[Client], narrator: &mut Narrator) -> Result<(), Failure> {
    let ticket = "ST-3-unused";
    let begin = Instant::now();
    must(
        issue(&nodes[0], ticket, ALICE, Some(SHORT_LIFE)).await?,
        "the session does not live",
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

/// The whole life of the session, as those who watch hear of it.
async fn told_of_the_end(watch: &mut TicketWatch) -> Result<(), Failure> {
    for expected in [Type::Added, Type::Deleted] {
        let told = tokio::time::timeout(LIMIT, watch.next());
        let told = told
            .await
            .map_err(|_| Failure::failed("an event is not told in time"))??;
        let about = told.ticket.as_ref().map(|ticket| &ticket.id[..]);
        must(
            told.r#type() == expected && about == Some(ALICE.as_bytes()),
            format!("{told:?} was told, and not {expected:?} of {ALICE}"),
        )?;
    }
    Ok(())
}
