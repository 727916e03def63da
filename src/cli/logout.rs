//! `logout`: ends every session of a user.

use super::connection::Connection;
use super::outcome::{Failure, Outcome};
use super::progress::waiting;
use super::ticket::deleted;
use clap::Args;

/// End every session of a user, with all that descends from them; says how many tickets there were
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  embergrid logout alice\n\n\
                        Exit code 1: there was none. The user may log in again at once.")]
pub struct Arguments {
    /// The user (the principal of the tickets)
    user: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    if arguments.user.is_empty() {
        return Err(Failure::usage("name a user"));
    }
    let client = arguments.connection.client().await?;
    let tickets = client.tickets();
    let ended = waiting("ending", tickets.delete_for_principal(arguments.user)).await;
    deleted(ended, arguments.connection.output)
}
