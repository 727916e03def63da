//! `touch`: sets the expiry of one key and moves its last access.

use super::connection::Connection;
use super::key::{ExpiryFlags, Key};
use super::outcome::{Answer, Outcome};
use super::output::{self, Output};
use crate::client::messages::TouchRequest;
use clap::Args;
use serde_json::json;

/// Count a use of one key, and set how long it lives; exit code 1 where it does not live
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embergrid touch sessions TGT-1 --keep-expiry\n  \
                        embergrid touch sessions TGT-1 --time-to-live 8h --time-to-idle 2h"
)]
pub struct Arguments {
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    expiry: ExpiryFlags,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let request = TouchRequest {
        key: arguments.key.bytes(),
        affinity_key: arguments.key.affinity(),
        cache: arguments.key.cache,
        expiry: arguments.expiry.message()?,
        ..TouchRequest::default()
    };
    let client = arguments.connection.client().await?;
    let applied = client.touch(request).await?.applied;
    match arguments.connection.output {
        Output::Json => output::json(&json!({ "applied": applied })),
        Output::Table if applied => output::line("touched"),
        Output::Table => output::line("no such key"),
    }
    Ok(Answer::of(applied))
}
