//! `put`: stores one key.

use super::connection::Connection;
use super::outcome::{Answer, Failure, Outcome};
use super::output::{self, Output};
use crate::client::messages::condition::Condition as Choice;
use crate::client::messages::{Condition, Expiry, PutRequest};
use clap::Args;
use serde_json::json;
use std::io::Read;
use std::time::Duration;

/// The longest value that is read from standard input, in bytes: that of the cluster.
const VALUE_BYTES_MAX: u64 = 16 << 20;

/// Store one key; exit code 1 where the condition did not hold
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  embergrid put sessions TGT-1 alice --time-to-live 8h \
                        --time-to-idle 2h --if-absent"
)]
pub struct Arguments {
    /// The cache
    cache: String,
    /// The key
    key: String,
    /// The value; `-` reads it from standard input
    value: String,
    /// How long it lives, such as 10s or 8h [default: as the cache says]
    #[arg(long, value_parser = config_duration)]
    time_to_live: Option<Duration>,
    /// How long it lives without being used [default: as the cache says]
    #[arg(long, value_parser = config_duration)]
    time_to_idle: Option<Duration>,
    /// Opaque number that is stored beside the value
    #[arg(long, default_value_t)]
    flags: u32,
    /// Only where the key does not live
    #[arg(long, group = "condition")]
    if_absent: bool,
    /// Only where the key lives
    #[arg(long, group = "condition")]
    if_present: bool,
    /// Only where the key lives with this version (hexadecimal, as `get` prints it)
    #[arg(long, group = "condition", value_parser = version)]
    if_version: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let request = PutRequest {
        cache: arguments.cache.clone(),
        key: arguments.key.clone().into_bytes().into(),
        value: value(&arguments.value)?.into(),
        flags: arguments.flags,
        expiry: expiry(&arguments)?,
        condition: condition(&arguments),
        ..PutRequest::default()
    };
    let client = arguments.connection.client().await?;
    let reply = client.put(request).await?;
    let version = format!("{:016x}", reply.version);
    match arguments.connection.output {
        Output::Json => output::json(&json!({ "applied": reply.applied, "version": version })),
        Output::Table if reply.applied => output::line(format_args!("stored, version {version}")),
        Output::Table => output::line("not stored: the condition does not hold"),
    }
    Ok(Answer::of(reply.applied))
}

fn value(given: &str) -> Result<Vec<u8>, Failure> {
    if given != "-" {
        return Ok(given.as_bytes().to_vec());
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(VALUE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::failed(format!("standard input: {error}")))?;
    if bytes.len() as u64 > VALUE_BYTES_MAX {
        return Err(Failure::usage(format!(
            "the value is longer than {VALUE_BYTES_MAX} bytes"
        )));
    }
    Ok(bytes)
}

fn expiry(arguments: &Arguments) -> Result<Option<Expiry>, Failure> {
    if arguments.time_to_live.is_none() && arguments.time_to_idle.is_none() {
        return Ok(None);
    }
    Ok(Some(Expiry {
        time_to_live: arguments.time_to_live.map(duration).transpose()?,
        time_to_idle: arguments.time_to_idle.map(duration).transpose()?,
        keep: false,
    }))
}

fn condition(arguments: &Arguments) -> Option<Condition> {
    let choice = match arguments.if_version {
        Some(version) => Choice::Version(version),
        None if arguments.if_absent => Choice::Absent(true),
        None if arguments.if_present => Choice::Present(true),
        None => return None,
    };
    Some(Condition {
        condition: Some(choice),
    })
}

fn duration(length: Duration) -> Result<prost_types::Duration, Failure> {
    prost_types::Duration::try_from(length).map_err(|_| Failure::usage("the duration is too long"))
}

fn version(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|error| format!("not a hexadecimal number: {error}"))
}

fn config_duration(text: &str) -> Result<Duration, String> {
    crate::config::duration::parse(text)
}
