//! `completions`: what a shell needs to complete commands and flags.

use super::outcome::{Answer, Outcome};
use super::output;
use clap::Args;
use clap_complete::Shell;

/// Print the completions for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embergrid completions bash > /etc/bash_completion.d/embergrid\n  \
                        embergrid completions zsh > ~/.zfunc/_embergrid\n  \
                        embergrid completions fish > ~/.config/fish/completions/embergrid.fish"
)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments, mut command: clap::Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "embergrid", &mut script);
    output::bytes(&script);
    Ok(Answer::Yes)
}
