//! `ticket add`: stores a ticket.

use super::super::connection::Connection;
use super::super::outcome::{Answer, Outcome};
use super::super::output::{self, Output};
use super::{ExpirationFlags, attribute, attributes};
use crate::client::TicketError;
use crate::client::messages::Ticket;
use crate::error::Error;
use bytes::Bytes;
use clap::Args;
use serde_json::json;

/// Store a ticket, or replace the one that lives under its id
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embergrid ticket add TGT TGT-1 --principal alice\n  \
                        embergrid ticket add ST ST-1 --parent TGT-1 --service \
                        https://mail.example.org --time-to-live 30s\n\n\
                        Exit code 1: its parent does not live, a ticket with this id was deleted, or \
                        it has expired already."
)]
pub struct Arguments {
    /// The kind, such as TGT or ST
    kind: String,
    /// The id
    id: String,
    /// What it carries
    #[arg(default_value = "", hide_default_value = true)]
    payload: String,
    /// Whose it is
    #[arg(
        long,
        value_name = "USER",
        default_value = "",
        hide_default_value = true
    )]
    principal: String,
    /// The application that it is for
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    service: String,
    /// The ticket that it descends from
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    parent: String,
    /// Something to find it by; repeatable
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, Bytes)>,
    #[command(flatten)]
    expiration: ExpirationFlags,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let ticket = Ticket {
        id: arguments.id.into(),
        kind: arguments.kind,
        principal: arguments.principal.into(),
        service: arguments.service.into(),
        parent_id: arguments.parent.into(),
        attributes: attributes(arguments.attributes),
        expiration: arguments.expiration.message()?,
        payload: arguments.payload.into(),
        ..Ticket::default()
    };
    let client = arguments.connection.client().await?;
    let output = arguments.connection.output;
    match client.tickets().add(ticket).await {
        Ok(added) if added.stored => {
            match output {
                Output::Json => output::json(&json!({
                    "stored": true,
                    "version": format!("{:016x}", added.version),
                })),
                Output::Table => output::line("stored"),
            }
            Ok(Answer::Yes)
        }
        Ok(_) => Ok(refused(output, "EXPIRED", "it has expired already")),
        Err(error @ (TicketError::ParentGone | TicketError::Removed)) => {
            let said = Error::from(error);
            Ok(refused(output, &said.reason, &said.context))
        }
        Err(error) => Err(error.into()),
    }
}

/// Says that nothing was stored.
fn refused(output: Output, reason: &str, why: &str) -> Answer {
    match output {
        Output::Json => output::json(&json!({ "stored": false, "reason": reason })),
        Output::Table => output::line(format_args!("not stored: {why}")),
    }
    Answer::No
}
