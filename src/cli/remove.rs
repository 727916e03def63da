//! `remove`: removes one key.

use super::connection::Connection;
use super::get;
use super::key::Key;
use super::outcome::{Answer, Outcome};
use super::output::{self, Output};
use crate::client::messages::RemoveRequest;
use clap::Args;
use serde_json::{Value, json};

/// Remove one key; exit code 1 where it does not live
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  embergrid remove sessions TGT-1\n  \
                        embergrid remove service-tickets ST-1 --take")]
pub struct Arguments {
    #[command(flatten)]
    key: Key,
    /// Print what was removed: of all callers that take a key, one gets it
    #[arg(long)]
    take: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let request = RemoveRequest {
        key: arguments.key.bytes(),
        affinity_key: arguments.key.affinity(),
        cache: arguments.key.cache,
        return_previous: arguments.take,
        ..RemoveRequest::default()
    };
    let reply = client.remove(request).await?;
    match (arguments.connection.output, &reply.previous) {
        (Output::Json, previous) => output::json(&json!({
            "applied": reply.applied,
            "previous": previous.as_ref().map_or(Value::Null, get::as_json),
        })),
        (Output::Table, Some(previous)) => output::line(get::as_table(previous)),
        (Output::Table, None) if reply.applied => output::line("removed"),
        (Output::Table, None) => output::line("no such key"),
    }
    Ok(Answer::of(reply.applied))
}
