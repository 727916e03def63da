//! `cache drop`: ends a cache.

use super::super::connection::Connection;
use super::super::outcome::{Answer, Outcome};
use super::super::output::{self, Output};
use super::super::progress::waiting;
use crate::error::ErrorKind;
use clap::Args;
use serde_json::json;

/// Drop a cache with all that is in it; exit code 1 where there is none of the name
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  embergrid cache drop service-tickets")]
pub struct Arguments {
    /// The cache
    name: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let dropped = match waiting("dropping the cache", client.drop_cache(&arguments.name)).await {
        Ok(()) => true,
        Err(error) if error.kind == ErrorKind::NotFound => false,
        Err(error) => return Err(error.into()),
    };
    match arguments.connection.output {
        Output::Json => output::json(&json!({ "dropped": dropped })),
        Output::Table if dropped => output::line("dropped"),
        Output::Table => output::line("no such cache"),
    }
    Ok(Answer::of(dropped))
}
