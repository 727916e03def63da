//! The program `embergrid`. All that it does is a subcommand in `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    embergrid::cli::run()
}
