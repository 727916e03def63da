//! `transactions end`: rolls one back.

use super::super::connection::Connection;
use super::super::outcome::{Answer, Outcome};
use super::super::output::{self, Output};
use crate::error::{Error, ErrorKind};
use clap::Args;
use serde_json::json;

/// Roll a transaction back, whichever node keeps it
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  embergrid transactions end 5-2a-00c0ffee00c0ffee-1\n\n\
                  The answer is no (exit code 1) where it has ended before, or is being committed."
)]
pub struct Arguments {
    /// Its id, as `embergrid transactions` lists it
    #[arg(value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    transaction: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let why_not = match client.end_transaction(&arguments.transaction).await {
        Ok(()) => None,
        Err(error) => match why_not(&error) {
            Some(why) => Some(why),
            None => return Err(error.into()),
        },
    };
    match arguments.connection.output {
        Output::Json => output::json(&json!({
            "transaction": arguments.transaction,
            "ended": why_not.is_none(),
            "why-not": why_not,
        })),
        Output::Table => output::line(why_not.unwrap_or("rolled back")),
    }
    Ok(Answer::of(why_not.is_none()))
}

/// Why it was not ended, where that is an answer.
fn why_not(error: &Error) -> Option<&'static str> {
    match (error.kind, &*error.reason) {
        (ErrorKind::NotFound, "NO_TRANSACTION") => Some("no such transaction: it has ended"),
        (_, "TRANSACTION_BUSY") => Some("it is being committed"),
        (_, "TRANSACTION_COMMITTED") => Some("it has been committed"),
        _ => None,
    }
}
