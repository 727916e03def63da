//! The command line: one file for each subcommand, and what they share. Errors go to standard
//! error in one line each; exit codes are 0 done, 1 the answer is no, 2 usage or settings, 3
//! cluster out of reach.

mod bench;
mod cache;
mod certs;
mod colour;
mod completions;
mod config;
mod connection;
pub mod demo;
mod drain;
mod force_primary;
mod forget;
mod get;
mod idle_memory;
mod interrupt;
mod key;
mod live;
mod logout;
mod modify;
mod node;
pub mod outcome;
pub mod output;
mod overrides;
mod partitions;
mod progress;
mod put;
mod remove;
mod safe_to_stop;
mod scan;
mod sessions;
mod settings;
mod stats;
mod ticket;
mod topology;
mod touch;
mod transactions;
mod verify;
mod watch;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use outcome::{Answer, Failure, Outcome};
use std::future::Future;
use std::process::ExitCode;

/// A peer-to-peer distributed cache cluster.
#[derive(Debug, Parser)]
#[command(
    name = "embergrid",
    version,
    after_help = "Exit codes: 0 done, 1 the answer is no (a miss, a condition that did not hold), \
                  2 usage or settings, 3 cluster out of reach.\n\n\
                  Example: embergrid demo"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Node(node::Arguments),
    Demo(demo::Arguments),
    Certs(certs::Arguments),
    Config(config::Arguments),
    Get(get::Arguments),
    Put(put::Arguments),
    Remove(remove::Arguments),
    Touch(touch::Arguments),
    Modify(modify::Arguments),
    Scan(scan::Arguments),
    Watch(watch::Arguments),
    Cache(cache::Arguments),
    Ticket(ticket::Arguments),
    Sessions(sessions::Arguments),
    Logout(logout::Arguments),
    Topology(topology::Arguments),
    Bench(bench::Arguments),
    #[command(hide = true)]
    BenchFloor(bench::floor::Arguments),
    Partitions(partitions::Arguments),
    Stats(stats::Arguments),
    Transactions(transactions::Arguments),
    Verify(verify::Arguments),
    SafeToStop(safe_to_stop::Arguments),
    Drain(drain::Arguments),
    Forget(forget::Arguments),
    ForcePrimary(force_primary::Arguments),
    Completions(completions::Arguments),
}

/// Runs the command that this process was started with.
pub fn run() -> ExitCode {
    let outcome = match CommandLine::try_parse() {
        Ok(line) => carry_out(line.command),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) =>
        {
            // A reader that went away is not an error.
            let _ = error.print();
            Ok(Answer::Yes)
        }
        Err(error) => Err(usage(&error)),
    };
    outcome::conclude(outcome)
}

fn carry_out(command: Command) -> Outcome {
    match command {
        Command::Node(arguments) => node::run(arguments),
        Command::Demo(arguments) => wait_for(demo::run(arguments)),
        Command::Certs(arguments) => certs::run(arguments),
        Command::Config(arguments) => config::run(arguments),
        Command::Get(arguments) => wait_for(get::run(arguments)),
        Command::Put(arguments) => wait_for(put::run(arguments)),
        Command::Remove(arguments) => wait_for(remove::run(arguments)),
        Command::Touch(arguments) => wait_for(touch::run(arguments)),
        Command::Modify(arguments) => wait_for(modify::run(arguments)),
        Command::Scan(arguments) => wait_for(scan::run(arguments)),
        Command::Watch(arguments) => wait_for(watch::run(arguments)),
        Command::Cache(arguments) => wait_for(cache::run(arguments)),
        Command::Ticket(arguments) => wait_for(ticket::run(arguments)),
        Command::Sessions(arguments) => wait_for(sessions::run(arguments)),
        Command::Logout(arguments) => wait_for(logout::run(arguments)),
        Command::Topology(arguments) => wait_for(topology::run(arguments)),
        Command::Bench(arguments) => bench::run(arguments),
        Command::BenchFloor(arguments) => bench::floor::run(&arguments),
        Command::Partitions(arguments) => wait_for(partitions::run(arguments)),
        Command::Stats(arguments) => wait_for(stats::run(arguments)),
        Command::Transactions(arguments) => wait_for(transactions::run(arguments)),
        Command::Verify(arguments) => wait_for(verify::run(arguments)),
        Command::SafeToStop(arguments) => wait_for(safe_to_stop::run(arguments)),
        Command::Drain(arguments) => wait_for(drain::run(arguments)),
        Command::Forget(arguments) => wait_for(forget::run(arguments)),
        Command::ForcePrimary(arguments) => wait_for(force_primary::run(arguments)),
        Command::Completions(arguments) => completions::run(&arguments, CommandLine::command()),
    }
}

/// Runs a command that talks to a cluster; one thread is enough for it.
fn wait_for(command: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("start the runtime: {error}")))?
        .block_on(command)
}

/// What was wrong with the arguments, in one line.
fn usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let words: Vec<&str> = text
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .map(str::trim)
        .collect();
    let what = words.join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    if what.is_empty() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::usage("a subcommand is missing; see `embergrid --help`");
    }
    // What was meant, as far as can be guessed.
    let tips = text.lines().map(str::trim);
    let tips: Vec<&str> = tips.filter_map(|line| line.strip_prefix("tip: ")).collect();
    let tips = match tips.is_empty() {
        true => String::new(),
        false => format!(" ({})", tips.join("; ")),
    };
    Failure::usage(format!("{what}{tips}; see --help"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_every_command_has_an_example() {
        let mut command = CommandLine::command();
        command.clone().debug_assert();
        command.build();
        assert_has_examples(&mut command);
    }

    /// Of every subcommand, and of those below it.
    fn assert_has_examples(command: &mut clap::Command) {
        let others = |found: &&mut clap::Command| found.get_name() != "help";
        for subcommand in command.get_subcommands_mut().filter(others) {
            let help = subcommand.render_long_help().to_string();
            let name = subcommand.get_name().to_owned();
            assert!(help.contains("Example"), "{name} has no example");
            assert_has_examples(subcommand);
        }
    }

    #[test]
    fn wrong_arguments_are_said_in_one_line() {
        for arguments in [
            &["embergrid"][..],
            &["embergrid", "get"],
            &["embergrid", "gte"],
            &["embergrid", "get", "a", "b", "--nonsense"],
            &["embergrid", "topology", "--output", "xml"],
        ] {
            let error = CommandLine::try_parse_from(arguments).expect_err("they are wrong");
            let failure = usage(&error);
            assert_eq!(failure.message.lines().count(), 1, "{failure}");
            assert_eq!(failure.fault.code(), 2);
        }
        let dashed = ["embergrid", "put", "c", "k", "-v"];
        let error =
            CommandLine::try_parse_from(dashed).expect_err("a value that begins with a dash");
        assert!(
            usage(&error).message.contains("'-- -v'"),
            "{}",
            usage(&error)
        );
    }
}
