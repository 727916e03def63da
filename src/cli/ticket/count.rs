//! `ticket count`: how many tickets live.

use super::super::connection::Connection;
use super::super::outcome::{Answer, Outcome};
use super::super::output::{self, Output};
use super::super::progress::waiting;
use crate::client::messages::CountTicketsRequest;
use clap::Args;
use serde_json::json;

/// Count the tickets that live and match
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  embergrid ticket count --kind TGT\n  \
                        embergrid ticket count --principal alice --output json")]
pub struct Arguments {
    /// Only of this kind
    #[arg(long, default_value = "", hide_default_value = true)]
    kind: String,
    /// Only of this user
    #[arg(
        long,
        value_name = "USER",
        default_value = "",
        hide_default_value = true
    )]
    principal: String,
    /// Only for this application
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    service: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let request = CountTicketsRequest {
        kind: arguments.kind,
        principal: arguments.principal.into(),
        service: arguments.service.into(),
    };
    let client = arguments.connection.client().await?;
    let tickets = client.tickets();
    let count = waiting("counting", tickets.count(request)).await?;
    match arguments.connection.output {
        Output::Json => output::json(&json!({ "count": count })),
        Output::Table => output::line(count),
    }
    Ok(Answer::Yes)
}
