//! `get`: reads one key.

use super::connection::Connection;
use super::key::{Key, duration};
use super::outcome::{Answer, Failure, Outcome};
use super::output::{self, Output};
use crate::client::messages::{Entry, Expiry, GetRequest};
use clap::Args;
use prost_types::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// Read one key; exit code 1 where it does not live
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embergrid get sessions TGT-1 --address 127.0.0.1:47500 \
                        --key client.key.pem --trust authority.pem\n  \
                        embergrid get sessions TGT-1 --touch --output json"
)]
pub struct Arguments {
    #[command(flatten)]
    key: Key,
    /// Count this as a use of the key
    #[arg(long)]
    touch: bool,
    /// Count this as a use, and set how long the key lives from now on
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration::parse, conflicts_with = "touch")]
    time_to_live: Option<Duration>,
    /// Count this as a use, and set how long the key lives without another
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration::parse, conflicts_with = "touch")]
    time_to_idle: Option<Duration>,
    /// Leave the value out
    #[arg(long, conflicts_with = "raw")]
    omit_value: bool,
    /// Print the bytes of the value and nothing else
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let request = GetRequest {
        key: arguments.key.bytes(),
        affinity_key: arguments.key.affinity(),
        touch: touch(&arguments)?,
        cache: arguments.key.cache.clone(),
        omit_value: arguments.omit_value,
        ..GetRequest::default()
    };
    let client = arguments.connection.client().await?;
    let entry = client.get_as(request).await?;
    match (&entry, arguments.connection.output) {
        (Some(entry), _) if arguments.raw => {
            output::bytes(&entry.value);
        }
        // Not among the bytes that were asked for.
        (None, _) if arguments.raw => output::remark("no such key"),
        (Some(entry), Output::Json) => {
            let mut document = as_json(entry);
            if arguments.omit_value {
                without_value(&mut document);
            }
            output::json(&document);
        }
        (None, Output::Json) => output::json(&Value::Null),
        (Some(entry), Output::Table) => output::line(as_table(entry)),
        (None, Output::Table) => output::line("no such key"),
    }
    Ok(Answer::of(entry.is_some()))
}

/// What the read does to the key's expiry.
fn touch(arguments: &Arguments) -> Result<Option<Expiry>, Failure> {
    let expiry = Expiry {
        time_to_live: arguments.time_to_live.map(duration).transpose()?,
        time_to_idle: arguments.time_to_idle.map(duration).transpose()?,
        keep: arguments.touch,
    };
    Ok((expiry != Expiry::default()).then_some(expiry))
}

/// Leaves out a value that was not asked for: an empty one is a value.
pub fn without_value(document: &mut Value) {
    if let Some(fields) = document.as_object_mut() {
        fields.remove("value");
    }
}

/// An entry as JSON.
pub fn as_json(entry: &Entry) -> Value {
    json!({
        "key": output::bytes_as_json(&entry.key),
        "value": output::bytes_as_json(&entry.value),
        "flags": entry.flags,
        // As text: many JSON readers lose digits of a 64-bit number.
        "version": format!("{:016x}", entry.version),
        "created-at": point(entry.created_at.as_ref()),
        "last-access-at": point(entry.last_access_at.as_ref()),
        "expires-at": point(entry.expires_at.as_ref()),
        "idle-expires-at": point(entry.idle_expires_at.as_ref()),
    })
}

/// An entry as a table of two columns.
pub fn as_table(entry: &Entry) -> comfy_table::Table {
    let mut table = output::table(&["field", "value"]);
    table.add_row(["key", &output::text(&entry.key)]);
    table.add_row(["value", &output::text(&entry.value)]);
    table.add_row(["flags", &entry.flags.to_string()]);
    table.add_row(["version", &format!("{:016x}", entry.version)]);
    for (name, at) in [
        ("created at", &entry.created_at),
        ("last access at", &entry.last_access_at),
        ("expires at", &entry.expires_at),
        ("idle expires at", &entry.idle_expires_at),
    ] {
        table.add_row([name, &point(at.as_ref()).unwrap_or_else(|| "–".to_owned())]);
    }
    table
}

/// A point in time as RFC 3339 has it; none where there is none or it is out of range.
pub fn point(at: Option<&Timestamp>) -> Option<String> {
    let at = at?;
    let known = jiff::Timestamp::new(at.seconds, at.nanos).ok()?;
    Some(known.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_written_as_rfc_3339() {
        let at = Timestamp {
            seconds: 1,
            nanos: 500_000_000,
        };
        assert_eq!(point(Some(&at)).as_deref(), Some("1970-01-01T00:00:01.5Z"));
        assert_eq!(point(None), None);
    }
}
