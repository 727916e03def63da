//! `ticket count`: how many tickets live.

use super::super::connection::Connection;
use super::super::outcome::{Answer, Outcome};
use super::super::output::{self, Output};
use super::super::progress::waiting;
use super::FilterFlags;
use crate::client::messages::CountTicketsRequest;
use clap::Args;
use serde_json::json;

/// Count the tickets that live and match
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  embergrid ticket count --kind TGT\n  \
                        embergrid ticket count --principal alice --output json")]
pub struct Arguments {
    #[command(flatten)]
    filter: FilterFlags,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let request = CountTicketsRequest {
        kind: arguments.filter.kind,
        principal: arguments.filter.of.principal.into(),
        service: arguments.filter.of.service.into(),
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
