//! `cache list`: all caches.

use super::super::connection::Connection;
use super::super::outcome::{Answer, Outcome};
use super::super::output::{self, Output};
use super::{as_json, named, shown};
use clap::Args;
use serde_json::Value;

/// The settings that a list shows.
const SHOWN: [&str; 7] = [
    "name",
    "cache-mode",
    "atomicity-mode",
    "write-synchronization-mode",
    "backups",
    "time-to-live",
    "time-to-idle",
];

/// List all caches
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  embergrid cache list --output json")]
pub struct Arguments {
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let caches = client.list_caches().await?;
    match arguments.connection.output {
        Output::Json => output::json(&Value::Array(caches.iter().map(as_json).collect())),
        Output::Table if caches.is_empty() => output::line("no caches"),
        Output::Table => {
            let mut table = output::table(&SHOWN);
            for cache in &caches {
                let settings = named(cache);
                let value = |name: &&str| {
                    let found = settings.iter().find(|(known, _)| known == name);
                    found.map_or_else(String::new, |(_, value)| shown(value))
                };
                table.add_row(SHOWN.iter().map(value));
            }
            output::line(table);
        }
    }
    Ok(Answer::Yes)
}
