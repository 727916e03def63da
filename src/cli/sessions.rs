//! `sessions`: where a user is logged in.

use super::connection::Connection;
use super::outcome::Outcome;
use super::ticket::list;
use crate::client::messages::ListTicketsRequest;
use clap::Args;

/// List the sessions of a user; exit code 1 where there is none
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  embergrid sessions alice\n  \
                        embergrid sessions alice --output json")]
pub struct Arguments {
    /// The user (the principal of the tickets)
    user: String,
    /// The kind of ticket that stands for a session
    #[arg(long, default_value = "TGT")]
    kind: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let request = ListTicketsRequest {
        kind: arguments.kind,
        principal: arguments.user.into(),
        ..ListTicketsRequest::default()
    };
    list::print(&arguments.connection, request, "no sessions").await
}
