//! `ticket watch`: what happens to tickets, as it happens.

use super::super::colour::{Tone, paint};
use super::super::connection::Connection;
use super::super::outcome::{Answer, Failure, Outcome};
use super::super::output::{self, Output};
use super::super::watch::{Ends, tell_token, until};
use super::as_json;
use crate::client::messages::ticket_event::Type;
use crate::client::messages::{ListTicketsRequest, TicketEvent, WatchTicketsRequest};
use crate::client::{TicketWatch, Tickets};
use crate::error::{Error, ErrorKind};
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};

/// How much of a text a line shows, in characters.
const TEXT_SHOWN: usize = 80;

/// Show what happens to tickets, until it is interrupted
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  embergrid ticket watch --kind TGT\n  \
                        embergrid ticket watch --current --output json\n\n\
                        A lost connection is made good without a gap; where that cannot be, a line \
                        says so, and the tickets that live then are told. As JSON each line is one \
                        event; {\"type\": \"begun-again\"} stands for a gap. What is told as current \
                        may come again as added or updated.")]
pub struct Arguments {
    /// Only tickets of this kind
    #[arg(long, default_value = "", hide_default_value = true)]
    kind: String,
    /// Begin with the tickets that live
    #[arg(long, conflicts_with = "resume")]
    current: bool,
    /// Go on where another watch of the same kind ended (the token that it printed)
    #[arg(long, value_name = "HEX", value_parser = output::from_hex)]
    resume: Option<Bytes>,
    #[command(flatten)]
    ends: Ends,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let tickets = client.tickets();
    Box::pin(until(
        &client,
        &arguments.ends,
        follow(&tickets, &arguments),
    ))
    .await
}

async fn follow(tickets: &Tickets, arguments: &Arguments) -> Outcome {
    let request = WatchTicketsRequest {
        kind: arguments.kind.clone(),
        resume_token: arguments.resume.clone().unwrap_or_default(),
    };
    let mut gap = None;
    let watch = match tickets.watch_as(request).await {
        Err(error) if error.kind == ErrorKind::OutOfRange && arguments.resume.is_some() => {
            gap = Some(error);
            tickets.watch(&arguments.kind).await?
        }
        begun => begun?,
    };
    let mut teller = Teller {
        watch,
        tickets,
        kind: &arguments.kind,
        output: arguments.connection.output,
        left: arguments.ends.limit,
        resumed: 0,
    };
    output::aside("watching tickets");
    let mut read_on = match &gap {
        Some(error) => teller.begin_again(error).await?,
        None if arguments.current => teller.current().await?,
        None => true,
    };
    while read_on && teller.left != Some(0) {
        read_on = match teller.watch.next().await {
            Ok(event) => teller.tell(&event),
            Err(error) if error.kind == ErrorKind::OutOfRange => teller.begin_again(&error).await?,
            Err(error) => return Err(error.into()),
        };
    }
    // It was told to end, or the reader went away.
    Ok(Answer::Yes)
}

/// Prints events, and says at the end where to go on. What tells gives false where the reader went
/// away.
struct Teller<'a> {
    watch: TicketWatch,
    tickets: &'a Tickets,
    kind: &'a str,
    output: Output,
    /// How many events may still be told; none: any number.
    left: Option<u64>,
    resumed: u64,
}

impl Teller<'_> {
    fn tell(&mut self, event: &TicketEvent) -> bool {
        if self.watch.resumed() > self.resumed {
            self.resumed = self.watch.resumed();
            output::aside("the connection was lost; the watch went on without a gap");
        }
        self.line(name(event.r#type()), tone(event.r#type()), event)
    }

    fn line(&mut self, what: &str, tone: Tone, event: &TicketEvent) -> bool {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        match self.output {
            Output::Json => output::json_line(&document(what, event)),
            Output::Table => output::try_line(as_line(what, tone, event)),
        }
    }

    /// Tells what lives.
    async fn current(&mut self) -> Result<bool, Failure> {
        let mut list = self.tickets.list(ListTicketsRequest {
            kind: self.kind.to_owned(),
            ..ListTicketsRequest::default()
        });
        while self.left != Some(0) {
            let Some(ticket) = list.next().await? else {
                break;
            };
            let current = TicketEvent {
                ticket: Some(ticket),
                ..TicketEvent::default()
            };
            if !self.line("current", Tone::Passing, &current) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Says that something may have been missed, and tells what lives.
    async fn begin_again(&mut self, error: &Error) -> Result<bool, Failure> {
        let read_on = match self.output {
            Output::Json => output::json_line(&json!({
                "type": "begun-again",
                "reason": error.context,
            })),
            Output::Table => output::try_line(paint(
                format_args!("begun again with current tickets: {}", error.context),
                Tone::Passing,
            )),
        };
        Ok(read_on && self.current().await?)
    }
}

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        tell_token(self.output, self.watch.resume_token());
    }
}

fn document(what: &str, event: &TicketEvent) -> Value {
    let ticket = event.ticket.clone().unwrap_or_default();
    let mut document = json!({
        "type": what,
        // As text: many JSON readers lose digits of a 64-bit number.
        "incarnation": format!("{:016x}", event.incarnation),
        "ticket": as_json(&ticket),
    });
    // What lived before the watch has no place among what happened.
    if event.counter > 0 {
        document["cache"] = json!(event.cache);
        document["partition"] = json!(event.partition);
        document["counter"] = json!(event.counter);
    }
    document
}

fn as_line(what: &str, tone: Tone, event: &TicketEvent) -> String {
    let ticket = event.ticket.clone().unwrap_or_default();
    let text = |bytes: &Bytes| output::shortened(&output::text(bytes), TEXT_SHOWN);
    let more = |label: &str, bytes: &Bytes| {
        if bytes.is_empty() {
            return String::new();
        }
        format!("  {label}{}", text(bytes))
    };
    format!(
        "{} {}  {}{}{}",
        paint(format_args!("{what:<8}"), tone),
        ticket.kind,
        text(&ticket.id),
        more("of ", &ticket.principal),
        more("for ", &ticket.service),
    )
}

fn tone(kind: Type) -> Tone {
    match kind {
        Type::Added => Tone::Good,
        Type::Deleted | Type::Expired => Tone::Bad,
        _ => Tone::Passing,
    }
}

fn name(kind: Type) -> &'static str {
    match kind {
        Type::Added => "added",
        Type::Updated => "updated",
        Type::Deleted => "deleted",
        Type::Expired => "expired",
        Type::Checkpoint => "checkpoint",
        Type::Unspecified => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::messages::Ticket;

    #[test]
    fn an_event_is_a_line() {
        let ticket = Ticket {
            id: "ST-1".into(),
            kind: "ST".into(),
            principal: "alice".into(),
            service: "mail".into(),
            ..Ticket::default()
        };
        let mut event = TicketEvent {
            ticket: Some(ticket),
            incarnation: 255,
            cache: "tickets".into(),
            partition: 3,
            counter: 17,
            ..TicketEvent::default()
        };
        // Tests print to no terminal that wants colours.
        let line = as_line(name(Type::Deleted), tone(Type::Deleted), &event);
        assert_eq!(line, "deleted  ST  ST-1  of alice  for mail");
        let said = document("added", &event);
        assert_eq!(said["ticket"]["id"], "ST-1");
        assert_eq!(said["incarnation"], "00000000000000ff");
        assert_eq!(
            (&said["partition"], &said["counter"]),
            (&json!(3), &json!(17))
        );
        event.counter = 0;
        assert!(document("current", &event).get("partition").is_none());
    }
}
