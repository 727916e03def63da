//! `ticket use`: counts one use of a ticket.

use super::super::connection::Connection;
use super::super::outcome::Outcome;
use super::get::answer;
use clap::Args;

/// Count one use of a ticket, and show it; exit code 1 where it does not live or is spent
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  embergrid ticket use ST-1 --kind ST\n\n\
                        Of all callers that present the last use of a ticket, one succeeds.")]
pub struct Arguments {
    /// The id
    id: String,
    /// Only where it is of this kind; one of another kind is not used
    #[arg(long, default_value = "", hide_default_value = true)]
    kind: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let tickets = client.tickets();
    let used = tickets.use_ticket(arguments.id, &arguments.kind).await;
    answer(used, arguments.connection.output)
}
