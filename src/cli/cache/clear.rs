//! `cache clear`: removes what is in a cache.

use super::super::connection::Connection;
use super::super::outcome::{Answer, Outcome};
use super::super::output::{self, Output};
use super::super::progress::waiting;
use crate::client::messages::ClearRequest;
use clap::Args;
use serde_json::json;

/// Remove all entries of a cache, or the keys that are named; says how many there were
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  embergrid cache clear service-tickets\n  \
                        embergrid cache clear sessions TGT-1 TGT-2")]
pub struct Arguments {
    /// The cache
    name: String,
    /// Only these keys [default: all]
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let request = ClearRequest {
        cache: arguments.name,
        keys: arguments.keys.into_iter().map(Into::into).collect(),
        ..ClearRequest::default()
    };
    let client = arguments.connection.client().await?;
    let removed = waiting("clearing", client.clear(request)).await?;
    match arguments.connection.output {
        Output::Json => output::json(&json!({ "removed": removed })),
        Output::Table => output::line(format_args!("{removed} removed")),
    }
    Ok(Answer::Yes)
}
