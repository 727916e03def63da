//! `forget`: gives up waiting for a server that is out.

use super::connection::Connection;
use super::outcome::{Answer, Outcome};
use super::output::{self, Output};
use clap::Args;
use serde_json::json;

/// Give up waiting for a server that is out and will not return with its data
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  embergrid forget node-3\n\n\
                  While a server is out, the others keep the memory of every remove for it, for \
                  tombstone-retention at most. One that was replaced or drained need not be forgotten.")]
pub struct Arguments {
    /// The node by name
    #[arg(value_name = "NODE")]
    node: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    client.forget_node(&arguments.node).await?;
    match arguments.connection.output {
        Output::Json => output::json(&json!({ "node": arguments.node, "forgotten": true })),
        Output::Table => output::line(format!("{} is not waited for any longer", arguments.node)),
    }
    Ok(Answer::Yes)
}
