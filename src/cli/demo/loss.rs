//! The chapters of a node that is killed without warning and comes back empty.

use super::cluster::{LocalCluster, names, wait_for_view};
use super::narrator::Narrator;
use super::sign_on::{log_in, sessions, user_of};
use super::story::{LIMIT, millis, must};
use super::together::in_balance;
use super::witness::Witness;
use crate::cli::outcome::Failure;
use crate::client::Client;
use std::ops::Range;
use std::time::{Duration, Instant};

/// How many sessions are stored before a node is killed.
const MANY: usize = 100;

/// The user who is logged out while a node is away.
const ENDED: usize = 0;

/// The kind of tickets that are written and read while a node is lost: access tokens.
const WITNESSED: &str = "AT";

/// How long users are watched on after the dead node has left the view.
const AFTERMATH: Duration = Duration::from_millis(300);

/// Kills a node; how many sessions are stored at the end.
pub async fn lose_a_node(
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
    let witness = Witness::of_tickets(cluster.client(&survivors).await?, WITNESSED);
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
        all_there(&nodes[index], 0..MANY).await?;
    }
    narrator.held(format_args!(
        "nothing is lost: all {MANY} sessions are read from both survivors"
    ));
    let ended = nodes[0].tickets().delete_for_principal(user(ENDED)).await?;
    must(ended == 1, format!("{ended} tickets ended, and not 1"))?;
    narrator.held(format_args!(
        "an operator ends all sessions of {} while the node is away",
        user(ENDED)
    ));
    let late = MANY;
    must(
        log_in(&nodes[0], &session(late), &user(late)).await?,
        "a session exists already",
    )?;
    narrator.held("one more user logs in while the node is away");
    Ok(MANY + 1)
}

/// Starts the node again and reads all sessions from it.
pub async fn take_it_back(
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
    all_there(&back, ENDED + 1..stored).await?;
    let lives = stored - 1;
    narrator.held(format_args!("all {lives} sessions are read from {name}"));
    let gone = user_of(&back, &session(ENDED)).await?.is_none();
    must(gone, "the session that was ended came back")?;
    let counted = sessions(&back, "").await?;
    must(
        counted == lives as u64,
        format!("{counted} sessions are counted, and not {lives}"),
    )?;
    narrator.held(format_args!(
        "the session that ended meanwhile does not come back: {name} counts {lives}"
    ));
    Ok(())
}

/// Reads these sessions from one node.
async fn all_there(node: &Client, stored: Range<usize>) -> Result<(), Failure> {
    for number in stored {
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
