//! `safe-to-stop`: whether a node may stop without loss.

use super::connection::Connection;
use super::outcome::{Answer, Outcome};
use super::output::{self, Output};
use clap::Args;
use serde_json::json;

/// Say whether a node may stop without loss; exit code 1 and the reasons where it may not
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  embergrid safe-to-stop node-1\n  \
                  until embergrid safe-to-stop node-1; do sleep 1; done")]
pub struct Arguments {
    /// The node by name
    #[arg(value_name = "NODE")]
    node: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let answer = client.safe_to_stop(&arguments.node).await?;
    match arguments.connection.output {
        Output::Json => output::json(&json!({ "safe": answer.safe, "reasons": answer.reasons })),
        Output::Table if answer.safe => {
            output::line(format!("{} may stop", arguments.node));
        }
        Output::Table => {
            for reason in &answer.reasons {
                output::line(reason);
            }
        }
    }
    Ok(Answer::of(answer.safe))
}
