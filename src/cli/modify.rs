//! `modify`: changes the value of one key in place.

use super::connection::Connection;
use super::key::{ConditionFlags, ExpiryFlags, Key};
use super::outcome::{Answer, Outcome};
use super::output::{self, Output};
use crate::client::messages::ModifyRequest;
use crate::client::messages::modify_request::{Change, Increment};
use bytes::Bytes;
use clap::Args;
use serde_json::json;

/// Change the value of one key in place; exit code 1 where it does not live or the condition does
/// not hold
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embergrid modify counters logins --increment 1 --initial 1\n  \
                        embergrid modify notes TGT-1 --append ', bob' --keep-expiry"
)]
pub struct Arguments {
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    change: ChangeFlags,
    #[command(flatten)]
    expiry: ExpiryFlags,
    #[command(flatten)]
    condition: ConditionFlags,
    #[command(flatten)]
    connection: Connection,
}

/// What is done to the value: exactly one.
#[derive(Clone, Debug, Args)]
#[group(skip)]
struct ChangeFlags {
    /// Put this text behind the value
    #[arg(long, value_name = "TEXT", group = "change", required_unless_present_any = ["prepend", "increment"])]
    append: Option<String>,
    /// Put this text before the value
    #[arg(long, value_name = "TEXT", group = "change")]
    prepend: Option<String>,
    /// Add this number to the value, which is decimal text
    #[arg(
        long,
        value_name = "NUMBER",
        group = "change",
        allow_negative_numbers = true
    )]
    increment: Option<i64>,
    /// The number that a key which does not live begins with [default: it is not created]
    #[arg(long, value_name = "NUMBER", requires = "increment", conflicts_with_all = ["append", "prepend"], allow_negative_numbers = true)]
    initial: Option<i64>,
    /// Stop at zero instead of going below
    #[arg(long, requires = "increment", conflicts_with_all = ["append", "prepend"])]
    at_least_zero: bool,
    /// Wrap around instead of refusing where the number leaves 64 bits
    #[arg(long, requires = "increment", conflicts_with_all = ["append", "prepend"])]
    wrap: bool,
}

impl ChangeFlags {
    fn change(&self) -> Option<Change> {
        let bytes = |text: &String| Bytes::copy_from_slice(text.as_bytes());
        let increment = self.increment.map(|delta| {
            Change::Increment(Increment {
                delta,
                initial: self.initial,
                at_least_zero: self.at_least_zero,
                wrap: self.wrap,
            })
        });
        let append = self.append.as_ref().map(bytes).map(Change::Append);
        let prepend = self.prepend.as_ref().map(bytes).map(Change::Prepend);
        append.or(prepend).or(increment)
    }
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let request = ModifyRequest {
        key: arguments.key.bytes(),
        affinity_key: arguments.key.affinity(),
        cache: arguments.key.cache,
        change: arguments.change.change(),
        expiry: arguments.expiry.message()?,
        condition: arguments.condition.message(),
        ..ModifyRequest::default()
    };
    let client = arguments.connection.client().await?;
    let reply = client.modify(request).await?;
    let version = format!("{:016x}", reply.version);
    match (arguments.connection.output, reply.value) {
        (Output::Json, value) => output::json(&json!({
            "applied": reply.applied,
            "version": version,
            "value": value,
        })),
        (Output::Table, Some(value)) => output::line(value),
        (Output::Table, None) if reply.applied => {
            output::line(format_args!("modified, version {version}"));
        }
        (Output::Table, None) => {
            output::line("not modified: the key does not live, or the condition does not hold")
        }
    }
    Ok(Answer::of(reply.applied))
}
