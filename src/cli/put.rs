//! `put`: stores one key.

use super::connection::Connection;
use super::key::{ConditionFlags, ExpiryFlags, Key};
use super::outcome::{Answer, Failure, Outcome};
use super::output::{self, Output};
use crate::client::messages::PutRequest;
use clap::Args;
use serde_json::json;
use std::io::Read;

/// The longest value that is read from standard input, in bytes: that of the cluster.
const VALUE_BYTES_MAX: u64 = 16 << 20;

/// Store one key; exit code 1 where the condition did not hold
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  embergrid put sessions TGT-1 alice --time-to-live 8h \
                        --time-to-idle 2h --if-absent"
)]
pub struct Arguments {
    #[command(flatten)]
    key: Key,
    /// The value; `-` reads it from standard input
    value: String,
    #[command(flatten)]
    expiry: ExpiryFlags,
    /// Opaque number that is stored beside the value
    #[arg(long, default_value_t)]
    flags: u32,
    #[command(flatten)]
    condition: ConditionFlags,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let request = PutRequest {
        key: arguments.key.bytes(),
        affinity_key: arguments.key.affinity(),
        cache: arguments.key.cache,
        value: value(&arguments.value)?.into(),
        flags: arguments.flags,
        expiry: arguments.expiry.message()?,
        condition: arguments.condition.message(),
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
