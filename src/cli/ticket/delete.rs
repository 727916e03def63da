//! `ticket delete`: ends a ticket with all that descend from it.

use super::super::connection::Connection;
use super::super::outcome::{Answer, Outcome};
use super::super::output::{self, Output};
use super::super::progress::waiting;
use crate::client::TicketError;
use clap::Args;
use serde_json::json;

/// Delete a ticket and all that descend from it; says how many there were
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  embergrid ticket delete TGT-1\n  \
                        embergrid ticket delete --all\n\n\
                        Exit code 1: there was none.")]
pub struct Arguments {
    /// The id
    #[arg(required_unless_present = "all")]
    id: Option<String>,
    /// All tickets of all kinds
    #[arg(long, conflicts_with = "id")]
    all: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let tickets = client.tickets();
    let deleting = async {
        match arguments.id {
            Some(id) => tickets.delete(id).await,
            None => tickets.delete_all().await,
        }
    };
    answer(
        waiting("deleting", deleting).await,
        arguments.connection.output,
    )
}

/// Says how many tickets are gone.
pub fn answer(deleted: Result<u64, TicketError>, output: Output) -> Outcome {
    let deleted = deleted?;
    match output {
        Output::Json => output::json(&json!({ "deleted": deleted })),
        Output::Table => output::line(format_args!("{deleted} deleted")),
    }
    Ok(Answer::of(deleted > 0))
}
