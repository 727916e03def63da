//! `watch`: what happens in a cache, as it happens.

use super::colour::{Tone, paint};
use super::connection::Connection;
use super::get;
use super::outcome::{Answer, Failure, Outcome};
use super::output::{self, Output};
use crate::client::messages::watch_event::Type;
use crate::client::messages::{WatchEvent, WatchRequest};
use crate::client::{Client, Watch};
use crate::error::{Error, ErrorKind};
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};
use std::time::Duration;

/// How much of a value a line shows, in characters.
const VALUE_SHOWN: usize = 120;

/// How long a node may take to say that it is there: time to ask another one, where one hangs.
const ANSWERS_WITHIN: Duration = Duration::from_secs(7);

/// Show what happens in a cache, until it is interrupted
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  embergrid watch sessions --prefix TGT-\n  \
                        embergrid watch sessions --current --output json\n\n\
                        A lost connection is made good without a gap; where that cannot be, a line \
                        says so, and the entries that live then are told again. As JSON each line \
                        is one event; {\"type\": \"begun-again\"} stands for a gap, and the token \
                        to resume by is told at the end on standard error, behind --resume.")]
pub struct Arguments {
    /// The cache
    cache: String,
    /// Only keys that begin so
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    prefix: String,
    /// Begin with the entries that live
    #[arg(long, conflicts_with = "resume")]
    current: bool,
    /// Show what an update replaced, too
    #[arg(long)]
    previous: bool,
    /// Go on where another watch ended (the token that it printed)
    #[arg(long, value_name = "HEX", value_parser = output::from_hex)]
    resume: Option<Bytes>,
    #[command(flatten)]
    ends: Ends,
    #[command(flatten)]
    connection: Connection,
}

/// When a watch ends, unless it is interrupted before.
#[derive(Clone, Copy, Debug, Args)]
pub struct Ends {
    /// End after so many events
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// End after so long, such as 30s
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::config::duration::parse)]
    duration: Option<Duration>,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    until(&client, &arguments.ends, follow(&client, &arguments)).await
}

/// Watches until the time is over or the user has seen enough.
pub async fn until(
    client: &Client,
    ends: &Ends,
    watching: impl Future<Output = Outcome>,
) -> Outcome {
    let end = async {
        match ends.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let interrupted = async {
        // Without a handler an interrupt ends the process all the same.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        outcome = watching => outcome,
        () = end => in_reach(client).await,
        () = interrupted => Ok(Answer::Yes),
    }
}

/// Whoever watched for a while and heard nothing wants to know whether there was nothing to hear.
async fn in_reach(client: &Client) -> Outcome {
    match tokio::time::timeout(ANSWERS_WITHIN, client.topology()).await {
        Ok(Ok(_)) => Ok(Answer::Yes),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failure::out_of_reach(format!(
            "no node answered within {ANSWERS_WITHIN:?} when the watch was over: what happened lately \
             was not told"
        ))),
    }
}

async fn follow(client: &Client, arguments: &Arguments) -> Outcome {
    let output = arguments.connection.output;
    let mut request = WatchRequest {
        cache: arguments.cache.clone(),
        key_prefix: Bytes::copy_from_slice(arguments.prefix.as_bytes()),
        resume_token: arguments.resume.clone().unwrap_or_default(),
        with_current: arguments.current,
        with_previous: arguments.previous,
    };
    let watch = match client.watch(request.clone()).await {
        Err(error) if error.kind == ErrorKind::OutOfRange && arguments.resume.is_some() => {
            tell_gap(output, &error);
            request.resume_token = Bytes::new();
            request.with_current = true;
            client.watch(request).await?
        }
        begun => begun?,
    };
    let mut teller = Teller {
        watch,
        output,
        resumed: 0,
    };
    output::aside(format_args!("watching {}", arguments.cache));
    let mut count = 0;
    while arguments.ends.limit.is_none_or(|limit| count < limit) {
        let read_on = match teller.watch.next().await {
            Ok(event) => {
                count += 1;
                teller.tell(&event)
            }
            Err(error) if error.kind == ErrorKind::OutOfRange => tell_gap(output, &error),
            Err(error) => return Err(error.into()),
        };
        if !read_on {
            // The reader went away.
            break;
        }
    }
    Ok(Answer::Yes)
}

/// Says where another watch goes on.
pub fn tell_token(output: Output, token: &[u8]) {
    let token = output::hex(token);
    let text = format!("to go on behind the last checkpoint: --resume {token}");
    match output {
        Output::Table => output::aside(text),
        // A program reads it wherever it goes.
        Output::Json => output::remark(text),
    }
}

/// Says that something may have been missed, and that all that lives is told again. False: the
/// reader went away.
fn tell_gap(output: Output, error: &Error) -> bool {
    match output {
        Output::Json => output::json_line(&json!({
            "type": "begun-again",
            "reason": error.context,
        })),
        Output::Table => output::try_line(paint(
            format_args!("begun again with current entries: {}", error.context),
            Tone::Passing,
        )),
    }
}

/// Prints events, and says at the end where to go on.
struct Teller {
    watch: Watch,
    output: Output,
    resumed: u64,
}

impl Teller {
    /// False: the reader went away.
    fn tell(&mut self, event: &WatchEvent) -> bool {
        if self.watch.resumed() > self.resumed {
            self.resumed = self.watch.resumed();
            output::aside("the connection was lost; the watch went on without a gap");
        }
        match self.output {
            Output::Json => output::json_line(&as_json(event)),
            Output::Table => output::try_line(as_line(event)),
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let token = self.watch.resume_token();
        if !token.is_empty() {
            tell_token(self.output, token);
        }
    }
}

fn as_json(event: &WatchEvent) -> Value {
    let entry = |entry: &Option<_>| entry.as_ref().map_or(Value::Null, get::as_json);
    json!({
        "type": name(event.r#type()),
        "partition": event.partition,
        "counter": event.counter,
        "entry": entry(&event.entry),
        "previous": entry(&event.previous),
    })
}

fn as_line(event: &WatchEvent) -> String {
    let kind = event.r#type();
    let tone = match kind {
        Type::Created => Tone::Good,
        Type::Removed | Type::Expired | Type::Evicted => Tone::Bad,
        _ => Tone::Passing,
    };
    let text = |bytes: &Bytes| output::shortened(&output::text(bytes), VALUE_SHOWN);
    let (key, value) = event
        .entry
        .as_ref()
        .map(|entry| (text(&entry.key), text(&entry.value)))
        .unwrap_or_default();
    let previous = event
        .previous
        .as_ref()
        .map(|previous| format!("  (was {})", text(&previous.value)))
        .unwrap_or_default();
    let kind = paint(format_args!("{:<8}", name(kind)), tone);
    format!("{kind} {key}  {value}{previous}")
}

fn name(kind: Type) -> &'static str {
    match kind {
        Type::Created => "created",
        Type::Updated => "updated",
        Type::Removed => "removed",
        Type::Expired => "expired",
        Type::Evicted => "evicted",
        Type::Checkpoint => "checkpoint",
        Type::Unspecified => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::messages::Entry;

    #[test]
    fn an_event_is_a_line() {
        let entry = |value: &'static str| {
            Some(Entry {
                key: "TGT-1".into(),
                value: value.into(),
                ..Entry::default()
            })
        };
        let event = WatchEvent {
            r#type: Type::Updated.into(),
            entry: entry("bob"),
            previous: entry("alice"),
            ..WatchEvent::default()
        };
        // Tests print to no terminal that wants colours.
        assert!(as_line(&event).contains("TGT-1  bob  (was alice)"));
        assert_eq!(as_json(&event)["type"], "updated");
        assert_eq!(as_json(&event)["previous"]["value"], "alice");
    }
}
