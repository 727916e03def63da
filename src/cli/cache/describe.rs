//! `cache describe`: the settings of one cache.

use super::super::connection::Connection;
use super::super::outcome::{Answer, Outcome};
use super::super::output::{self, Output};
use super::{as_json, named, shown};
use crate::client::messages::CacheDescription;
use crate::error::ErrorKind;
use clap::Args;
use serde_json::Value;

/// Show the settings of a cache; exit code 1 where there is none of the name
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  embergrid cache describe sessions")]
pub struct Arguments {
    /// The cache
    name: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let found = match client.describe_cache(&arguments.name).await {
        Ok(cache) => Some(cache),
        Err(error) if error.kind == ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    match (&found, arguments.connection.output) {
        (Some(cache), output) => print(cache, output),
        (None, Output::Json) => output::json(&Value::Null),
        (None, Output::Table) => output::line("no such cache"),
    }
    Ok(Answer::of(found.is_some()))
}

/// Prints the settings of a cache.
pub(super) fn print(cache: &CacheDescription, output: Output) {
    match output {
        Output::Json => output::json(&as_json(cache)),
        Output::Table => {
            let mut table = output::table(&["setting", "value"]);
            for (name, value) in named(cache) {
                table.add_row([name.to_owned(), shown(&value)]);
            }
            output::line(table);
        }
    }
}
