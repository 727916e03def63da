//! `force-primary`: gives up a majority that is lost for good.

use super::connection::Connection;
use super::outcome::{Answer, Outcome};
use super::output::{self, Output};
use clap::Args;
use serde_json::json;

/// Make the servers that are left primary; a majority that is lost for good is given up
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  embergrid force-primary --address 10.0.0.3\n\n\
                  Caches with when-split = allow-reads or deny-read-writes stop where most of the \
                  servers are out of reach. Call this only when those are gone for good: what they \
                  acknowledged alone is lost, and if they live they lose what they go on to write. \
                  `embergrid topology` shows whether the view is primary."
)]
pub struct Arguments {
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let number = client.force_primary().await?;
    match arguments.connection.output {
        Output::Json => output::json(&json!({ "topology-version": number, "primary": true })),
        Output::Table => output::line(format!("topology version {number} is primary")),
    }
    Ok(Answer::Yes)
}
