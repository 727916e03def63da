//! `ticket`: the ticket registry. One file for each of its subcommands; here is what they share: how
//! a ticket is shown.

mod add;
mod count;
mod delete;
mod get;
pub mod list;
mod one_use;
mod watch;

pub use delete::answer as deleted;

use super::get::point;
use super::outcome::{Failure, Outcome};
use super::output;
use crate::client::TicketError;
use crate::client::messages::{AttributeValues, Expiration, Ticket};
use crate::config::duration;
use bytes::Bytes;
use clap::{Args, Subcommand};
use comfy_table::Table;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Work with the tickets of a sign-on
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  embergrid ticket add TGT TGT-1 --principal alice\n  \
                        embergrid ticket add ST ST-1 --parent TGT-1\n  \
                        embergrid ticket use ST-1"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Add(add::Arguments),
    Get(get::Arguments),
    Use(one_use::Arguments),
    Delete(delete::Arguments),
    List(list::Arguments),
    Count(count::Arguments),
    Watch(watch::Arguments),
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        Command::Add(arguments) => add::run(arguments).await,
        Command::Get(arguments) => get::run(arguments).await,
        Command::Use(arguments) => one_use::run(arguments).await,
        Command::Delete(arguments) => delete::run(arguments).await,
        Command::List(arguments) => list::run(arguments).await,
        Command::Count(arguments) => count::run(arguments).await,
        Command::Watch(arguments) => watch::run(arguments).await,
    }
}

/// What the registry says no to is an answer (exit code 1); the rest is as of any call.
impl From<TicketError> for Failure {
    fn from(error: TicketError) -> Self {
        match error {
            TicketError::Unknown(error) | TicketError::Failed(error) => error.into(),
            TicketError::NotFound
            | TicketError::WrongKind { .. }
            | TicketError::ParentGone
            | TicketError::Removed
            | TicketError::Conflict => {
                let said = crate::error::Error::from(error);
                Self::failed(format!("{} [{}]", said.context, said.reason))
            }
        }
    }
}

/// Reads `NAME=VALUE`.
fn attribute(text: &str) -> Result<(String, Bytes), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.to_owned(), Bytes::copy_from_slice(value.as_bytes())))
        }
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Attributes as messages have them; a name may come several times.
fn attributes(given: Vec<(String, Bytes)>) -> HashMap<String, AttributeValues> {
    let mut attributes: HashMap<String, AttributeValues> = HashMap::new();
    for (name, value) in given {
        attributes.entry(name).or_default().values.push(value);
    }
    attributes
}

/// A ticket as JSON.
fn as_json(ticket: &Ticket) -> Value {
    let bytes = |bytes: &Bytes| {
        if bytes.is_empty() {
            return Value::Null;
        }
        output::bytes_as_json(bytes)
    };
    let values = |values: &AttributeValues| -> Value {
        values
            .values
            .iter()
            .map(|value| output::bytes_as_json(value))
            .collect()
    };
    let attributes = ticket.attributes.iter();
    let attributes: Map<String, Value> = attributes
        .map(|(name, own)| (name.clone(), values(own)))
        .collect();
    let expiration = ticket.expiration.unwrap_or_default();
    json!({
        "id": output::bytes_as_json(&ticket.id),
        "kind": ticket.kind,
        "principal": bytes(&ticket.principal),
        "service": bytes(&ticket.service),
        "parent-id": bytes(&ticket.parent_id),
        "root-id": bytes(&ticket.root_id),
        "attributes": attributes,
        "payload": output::bytes_as_json(&ticket.payload),
        // As text: many JSON readers lose digits of a 64-bit number.
        "version": format!("{:016x}", ticket.version),
        "created-at": point(ticket.created_at.as_ref()),
        "last-used-at": point(ticket.last_used_at.as_ref()),
        "expires-at": point(ticket.expires_at.as_ref()),
        "uses": ticket.uses,
        "max-uses": expiration.max_uses,
        "max-time-to-live": lasting(expiration.max_time_to_live),
        "max-time-to-idle": lasting(expiration.max_time_to_idle),
        "hard-expire-at": point(expiration.hard_expire_at.as_ref()),
    })
}

/// A ticket as a table of two columns.
fn as_table(ticket: &Ticket) -> Table {
    let mut table = output::table(&["field", "value"]);
    let none = || "–".to_owned();
    let text = |bytes: &Bytes| {
        if bytes.is_empty() {
            return none();
        }
        output::text(bytes)
    };
    table.add_row(["id", &output::text(&ticket.id)]);
    table.add_row(["kind", &output::text(ticket.kind.as_bytes())]);
    for (name, bytes) in [
        ("principal", &ticket.principal),
        ("service", &ticket.service),
        ("parent", &ticket.parent_id),
        ("session", &ticket.root_id),
        ("payload", &ticket.payload),
    ] {
        table.add_row([name, &text(bytes)]);
    }
    let attributes: BTreeMap<&String, &AttributeValues> = ticket.attributes.iter().collect();
    for (name, own) in attributes {
        let values: Vec<String> = own.values.iter().map(|value| output::text(value)).collect();
        let name = format!("attribute {}", output::text(name.as_bytes()));
        table.add_row([name, values.join(", ")]);
    }
    table.add_row(["version", &format!("{:016x}", ticket.version)]);
    for (name, at) in [
        ("created at", &ticket.created_at),
        ("last used at", &ticket.last_used_at),
        ("expires at", &ticket.expires_at),
    ] {
        table.add_row([name, &point(at.as_ref()).unwrap_or_else(none)]);
    }
    table.add_row(["uses", &uses(ticket)]);
    let expiration = ticket.expiration.unwrap_or_default();
    for (name, length) in [
        ("lives at most", expiration.max_time_to_live),
        ("idle at most", expiration.max_time_to_idle),
    ] {
        table.add_row([name, &lasting(length).unwrap_or_else(none)]);
    }
    table
}

/// How often it was used, and how often it may be.
fn uses(ticket: &Ticket) -> String {
    match ticket.expiration.and_then(|expiration| expiration.max_uses) {
        Some(most) => format!("{} of {most}", ticket.uses),
        None => ticket.uses.to_string(),
    }
}

fn lasting(length: Option<prost_types::Duration>) -> Option<String> {
    let length = Duration::try_from(length?).ok()?;
    Some(duration::show(length))
}

/// How long a ticket lives, by its flags.
#[derive(Clone, Copy, Debug, Default, Args)]
struct ExpirationFlags {
    /// How long it lives, such as 10s or 8h [default: as its kind says]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    time_to_live: Option<Duration>,
    /// How long it lives without being used or updated [default: as its kind says]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    time_to_idle: Option<Duration>,
    /// After how many uses it is gone [default: as its kind says]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_uses: Option<u32>,
}

impl ExpirationFlags {
    /// The message; none where the kind decides all.
    fn message(self) -> Result<Option<Expiration>, Failure> {
        let expiration = Expiration {
            max_time_to_live: self.time_to_live.map(super::key::duration).transpose()?,
            max_time_to_idle: self.time_to_idle.map(super::key::duration).transpose()?,
            max_uses: self.max_uses,
            hard_expire_at: None,
        };
        Ok((expiration != Expiration::default()).then_some(expiration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::outcome::Fault;
    use crate::error::Error;

    #[test]
    fn what_the_registry_refuses_is_an_answer() {
        for (error, fault) in [
            (TicketError::ParentGone, Fault::Failed),
            (TicketError::Removed, Fault::Failed),
            (
                TicketError::Failed(Error::unavailable("no")),
                Fault::OutOfReach,
            ),
            (TicketError::Failed(Error::invalid("no")), Fault::Usage),
            (TicketError::Unknown(Error::unknown("no")), Fault::Failed),
        ] {
            assert_eq!(Failure::from(error).fault, fault);
        }
        let kind = "TGT".to_owned();
        let said = Failure::from(TicketError::WrongKind { kind }).message;
        assert_eq!(said, "the ticket is of another kind: TGT [WRONG_KIND]");
    }

    #[test]
    fn attributes_are_pairs() {
        assert_eq!(attribute("a=b=c"), Ok(("a".to_owned(), "b=c".into())));
        assert!(attribute("a").is_err() && attribute("=a").is_err());
        let both = attributes(vec![("a".into(), "1".into()), ("a".into(), "2".into())]);
        assert_eq!(both["a"].values, ["1", "2"]);
    }

    #[test]
    fn a_ticket_says_what_it_has() {
        let ticket = Ticket {
            id: "ST-1".into(),
            kind: "ST".into(),
            expiration: Some(Expiration {
                max_uses: Some(1),
                ..Expiration::default()
            }),
            ..Ticket::default()
        };
        let said = as_json(&ticket);
        assert_eq!(
            (&said["id"], &said["principal"]),
            (&json!("ST-1"), &Value::Null)
        );
        assert_eq!(said["max-uses"], 1);
        assert!(as_table(&ticket).to_string().contains("0 of 1"));
    }
}
