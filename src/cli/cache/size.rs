//! `cache size`: how many entries a cache has.

use super::super::connection::Connection;
use super::super::outcome::{Answer, Outcome};
use super::super::output::{self, Output};
use super::super::progress::waiting;
use crate::client::messages::SizeRequest;
use crate::client::messages::size_request;
use clap::{Args, ValueEnum};
use serde_json::json;

/// Count the entries of a cache
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  embergrid cache size sessions")]
pub struct Arguments {
    /// The cache
    name: String,
    /// Which copies are counted
    #[arg(long, value_enum, default_value_t)]
    copies: Copies,
    /// Only what this node holds [default: the whole cluster]
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    node: String,
    #[command(flatten)]
    connection: Connection,
}

/// Kinds of copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Copies {
    /// Each entry once
    #[default]
    Primary,
    /// The copies beside the primary's
    Backup,
    /// Near copies
    Near,
    /// All of them
    All,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let copies = match arguments.copies {
        Copies::Primary => size_request::Copies::Primary,
        Copies::Backup => size_request::Copies::Backup,
        Copies::Near => size_request::Copies::Near,
        Copies::All => size_request::Copies::All,
    };
    let request = SizeRequest {
        cache: arguments.name,
        copies: copies.into(),
        node: arguments.node,
    };
    let client = arguments.connection.client().await?;
    let size = waiting("counting", client.size(request)).await?;
    match arguments.connection.output {
        Output::Json => output::json(&json!({ "size": size })),
        Output::Table => output::line(size),
    }
    Ok(Answer::Yes)
}
