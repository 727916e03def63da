//! `ticket list`: the tickets that match, one after another; `sessions` is one such list.

use super::super::connection::Connection;
use super::super::get::point;
use super::super::outcome::{Answer, Outcome};
use super::super::output::{self, Output};
use super::{as_json, attribute, attributes, uses};
use crate::client::messages::{ListTicketsRequest, Ticket};
use bytes::Bytes;
use clap::Args;
use serde_json::json;

/// So many rows are laid out together; more follow in a table of their own.
const ROWS_TOGETHER: usize = 500;

/// How much of an id or a service a row shows, in characters.
const TEXT_SHOWN: usize = 80;

/// List the tickets that live and match; exit code 1 where there is none
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embergrid ticket list --kind ST --limit 100\n  \
                        embergrid ticket list --attribute factor=totp --attribute factor=webauthn\n\n\
                        As JSON each line is one ticket, with a cursor behind which another list \
                        goes on."
)]
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
    /// Only where it has this attribute, or any other that is named so; repeatable
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, Bytes)>,
    /// End after so many tickets
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Go on behind the ticket that came with this cursor, of a list with the same flags
    #[arg(long, value_name = "HEX", value_parser = output::from_hex)]
    cursor: Option<Bytes>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let request = ListTicketsRequest {
        kind: arguments.kind,
        principal: arguments.principal.into(),
        service: arguments.service.into(),
        attributes: attributes(arguments.attributes),
        limit: arguments.limit.unwrap_or_default(),
        cursor: arguments.cursor.unwrap_or_default(),
    };
    print(&arguments.connection, request, "no tickets").await
}

/// Prints the tickets of a list as they come.
pub async fn print(connection: &Connection, request: ListTicketsRequest, none: &str) -> Outcome {
    let client = connection.client().await?;
    let limit = request.limit;
    let mut list = client.tickets().list(request);
    let mut rows = Rows::default();
    let mut count = 0u64;
    while let Some(ticket) = list.next().await? {
        count += 1;
        let read_on = match connection.output {
            Output::Json => {
                let mut document = as_json(&ticket);
                document["cursor"] = json!(output::hex(list.cursor()));
                output::json_line(&document)
            }
            Output::Table => rows.add(&ticket),
        };
        if !read_on {
            // The reader went away; what it has read is what it wanted.
            return Ok(Answer::Yes);
        }
    }
    rows.print();
    if connection.output == Output::Table {
        if count == 0 {
            output::line(none);
        } else if limit == count {
            output::aside(format_args!(
                "perhaps more: --cursor {}",
                output::hex(list.cursor())
            ));
        }
    }
    Ok(Answer::of(count > 0))
}

/// Rows that wait to be laid out together.
#[derive(Default)]
struct Rows(Vec<[String; 6]>);

impl Rows {
    /// False: the reader went away.
    fn add(&mut self, ticket: &Ticket) -> bool {
        let text = |bytes: &Bytes| output::shortened(&output::text(bytes), TEXT_SHOWN);
        self.0.push([
            text(&ticket.id),
            output::text(ticket.kind.as_bytes()),
            text(&ticket.principal),
            text(&ticket.service),
            uses(ticket),
            point(ticket.expires_at.as_ref()).unwrap_or_else(|| "–".to_owned()),
        ]);
        self.0.len() < ROWS_TOGETHER || self.print()
    }

    fn print(&mut self) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let headings = ["id", "kind", "principal", "service", "uses", "expires at"];
        let mut table = output::table(&headings);
        table.add_rows(self.0.drain(..));
        output::try_line(table)
    }
}
