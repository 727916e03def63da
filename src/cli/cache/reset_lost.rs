//! `cache reset-lost`: has lost partitions begin anew.

use super::super::connection::Connection;
use super::super::outcome::{Answer, Outcome};
use super::super::output::{self, Output};
use clap::Args;
use serde_json::json;

/// Have the lost partitions of caches begin anew, empty; their data is given up
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  embergrid cache reset-lost sessions\n\n\
                  A partition is lost when all its owners are gone; requests for it are refused until \
                  an owner returns with data. `embergrid partitions` shows which are.")]
pub struct Arguments {
    /// The caches
    #[arg(value_name = "CACHE", required = true)]
    caches: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let caches: Vec<&str> = arguments.caches.iter().map(String::as_str).collect();
    let partitions = client.reset_lost_partitions(&caches).await?;
    match arguments.connection.output {
        Output::Json => output::json(&json!({ "partitions": partitions })),
        Output::Table => output::line(format!("{partitions} lost partitions began anew")),
    }
    Ok(Answer::Yes)
}
