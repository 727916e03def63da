//! `transactions`: what is open, how old, and where; and its end.

mod end;
mod list;

use super::outcome::Outcome;
use clap::{Args, Subcommand};

/// List the transactions that are open, the oldest first, or end one
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  embergrid transactions\n  embergrid transactions --node node-1 --output json\n  \
                  embergrid transactions end 5-2a-00c0ffee00c0ffee-1\n\n\
                  A transaction of several calls is kept by the node that it began on, until its \
                  commit, its rollback, or its timeout."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: list::Wanted,
}

#[derive(Debug, Subcommand)]
enum Command {
    End(end::Arguments),
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        None => list::run(arguments.list).await,
        Some(Command::End(arguments)) => end::run(arguments).await,
    }
}
