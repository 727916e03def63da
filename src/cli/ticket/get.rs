//! `ticket get`: reads a ticket.

use super::super::connection::Connection;
use super::super::outcome::{Answer, Outcome};
use super::super::output::{self, Output};
use super::{as_json, as_table};
use crate::client::TicketError;
use crate::client::messages::Ticket;
use clap::Args;
use serde_json::Value;

/// Read a ticket, without using it; exit code 1 where it does not live
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  embergrid ticket get TGT-1\n  \
                        embergrid ticket get TGT-1 --kind TGT --output json")]
pub struct Arguments {
    /// The id
    id: String,
    /// Only where it is of this kind; another one is said, with exit code 1
    #[arg(long, default_value = "", hide_default_value = true)]
    kind: String,
    /// Print the bytes of the payload and nothing else
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let found = client.tickets().get(arguments.id, &arguments.kind).await;
    if let (true, Ok(ticket)) = (arguments.raw, &found) {
        output::bytes(&ticket.payload);
        return Ok(Answer::Yes);
    }
    if let (true, Err(TicketError::NotFound)) = (arguments.raw, &found) {
        // Not among the bytes that were asked for.
        output::remark("no such ticket");
        return Ok(Answer::No);
    }
    answer(found, arguments.connection.output)
}

/// Shows a ticket, or says that there is none.
pub fn answer(found: Result<Ticket, TicketError>, output: Output) -> Outcome {
    match (found, output) {
        (Ok(ticket), Output::Json) => output::json(&as_json(&ticket)),
        (Ok(ticket), Output::Table) => output::line(as_table(&ticket)),
        (Err(TicketError::NotFound), output) => {
            match output {
                Output::Json => output::json(&Value::Null),
                Output::Table => output::line("no such ticket"),
            }
            return Ok(Answer::No);
        }
        (Err(error), _) => return Err(error.into()),
    }
    Ok(Answer::Yes)
}
