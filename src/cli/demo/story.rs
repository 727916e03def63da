//! The story of the demo: its chapters in order. A step that does not hold ends it.

use super::cluster::LocalCluster;
use super::narrator::Narrator;
use super::{loss, tickets, together};
use crate::cli::outcome::Failure;
use std::time::{Duration, Instant};

/// The longest any step waits for something to come true.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Tells all of it; the nodes of the cluster run at its end.
pub async fn tell(cluster: &mut LocalCluster, narrator: &mut Narrator) -> Result<(), Failure> {
    let nodes = together::come_together(cluster, narrator).await?;
    tickets::sign_on(cluster, &nodes, narrator).await?;
    let victim = cluster.size() - 1;
    let stored = loss::lose_a_node(cluster, &nodes, victim, narrator).await?;
    loss::take_it_back(cluster, &nodes, victim, stored, narrator).await
}

/// An error, unless it holds.
pub fn must(holds: bool, otherwise: impl Into<String>) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err(Failure::failed(otherwise))
    }
}

/// The time since then, for people.
pub fn millis(since: Instant) -> String {
    format!("{} ms", since.elapsed().as_millis())
}
