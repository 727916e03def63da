//! `drain`: has a server hand over what it owns, and leave.

use super::connection::Connection;
use super::outcome::{Answer, Outcome};
use super::output::{self, Output};
use crate::client::Options;
use clap::Args;
use serde_json::json;
use std::time::Duration;

/// Have a server hand over all that it owns and leave; its process ends then
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embergrid drain node-1\n  embergrid drain node-1 --timeout 60s\n\n\
                  A node that is told to stop (SIGTERM) does the same, for drain-time at most."
)]
pub struct Arguments {
    /// The node by name
    #[arg(value_name = "NODE")]
    node: String,
    /// How long to wait; the node goes on handing over behind that
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = crate::config::duration::parse)]
    timeout: Duration,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let options = Options {
        attempt_timeout: arguments.timeout,
        timeout: arguments.timeout,
        ..Options::default()
    };
    let client = arguments.connection.client_with(options).await?;
    client.drain(&arguments.node).await?;
    match arguments.connection.output {
        Output::Json => output::json(&json!({ "node": arguments.node, "left": true })),
        Output::Table => output::line(format!("{} has handed over and left", arguments.node)),
    }
    Ok(Answer::Yes)
}
