//! `config`: check a settings file, and say what every setting is. Nothing is bound or started.

use super::outcome::{Answer, Failure, Outcome};
use super::output::{self, Output};
use super::overrides::NodeOverrides;
use super::settings::{self, User};
use crate::config::catalogue::{self, Known, SECTIONS, SETTINGS};
use crate::config::{Checked, Origin, Problem, Settings};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Check a settings file, or say what the settings are
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  embergrid config check embergrid.toml\n  embergrid config explain \
                  ack-timeout\n  embergrid config defaults --output json"
)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Check(Check),
    Defaults(Defaults),
    Explain(Explain),
}

/// Read a settings file as a node would, with the environment, and report every problem in it
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  embergrid config check embergrid.toml --key node-1.key.pem")]
struct Check {
    /// The file: .toml, .yaml or .properties
    file: PathBuf,
    #[command(flatten)]
    overrides: NodeOverrides,
    /// What is printed
    #[arg(long, value_enum, default_value_t, env = "EMBERGRID_OUTPUT")]
    output: Output,
}

/// Print every setting with its default, its bounds and what it does
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  embergrid config defaults --output markdown")]
struct Defaults {
    /// What is printed
    #[arg(long, value_enum, default_value_t)]
    output: Form,
}

/// Print one setting; exit code 2 where there is none of this name
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  embergrid config explain discovery.joinTimeout")]
struct Explain {
    /// The name, with its section or without, in any spelling
    name: String,
    /// What is printed
    #[arg(long, value_enum, default_value_t, env = "EMBERGRID_OUTPUT")]
    output: Output,
}

/// The form of the reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For documents, such as README.
    Markdown,
}

pub(super) fn run(arguments: Arguments) -> Outcome {
    match arguments.what {
        What::Check(check) => check.run(),
        What::Defaults(defaults) => Ok(defaults.run()),
        What::Explain(explain) => explain.run(),
    }
}

impl Check {
    fn run(self) -> Outcome {
        let flags = self.overrides.flags();
        let Checked {
            settings, problems, ..
        } = settings::examine(Some(&self.file), flags, User::Node);
        match self.output {
            Output::Json => {
                output::json(&found_as_json(&settings, &problems));
                if problems.is_empty() {
                    return Ok(Answer::Yes);
                }
                Err(Failure::usage(count(problems.len(), "problem")))
            }
            Output::Table => {
                for warning in &settings.warnings {
                    output::line(format_args!("warning: {warning}"));
                }
                if settings.ignored > 0 {
                    let names = count(settings.ignored, "name");
                    output::line(format_args!("{names} of others passed over"));
                }
                if !problems.is_empty() {
                    return Err(Failure::settings(&problems));
                }
                let file = self.file.display();
                let warnings = count(settings.warnings.len(), "warning");
                output::line(format_args!("{file}: no problem, {warnings}"));
                Ok(Answer::Yes)
            }
        }
    }
}

fn count(number: usize, what: &str) -> String {
    match number {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

fn found_as_json(settings: &Settings, problems: &[Problem]) -> Value {
    let all = |found: &[Problem]| found.iter().map(problem_as_json).collect::<Vec<_>>();
    json!({
        "problems": all(problems),
        "warnings": all(&settings.warnings),
        "ignored": settings.ignored,
    })
}

fn problem_as_json(problem: &Problem) -> Value {
    let line = match &problem.origin {
        Origin::File { line, .. } if *line > 0 => Some(*line),
        _ => None,
    };
    json!({
        "where": problem.origin.to_string(),
        "line": line,
        "setting": problem.setting,
        "what": problem.what,
        "cure": problem.cure,
    })
}

impl Defaults {
    fn run(&self) -> Answer {
        match self.output {
            Form::Json => output::json(&SETTINGS.iter().map(as_json).collect()),
            Form::Markdown => output::line(markdown().trim_end()),
            Form::Table => {
                let mut table = output::table(&["setting", "default", "may be", "what it does"]);
                for known in SETTINGS {
                    table.add_row([
                        format!("{}.{}", known.section, known.name),
                        known.default.to_owned(),
                        known.bounds.to_owned(),
                        known.meaning.to_owned(),
                    ]);
                }
                output::line(table);
            }
        }
        Answer::Yes
    }
}

impl Explain {
    fn run(self) -> Outcome {
        let found = catalogue::search(&self.name);
        if found.is_empty() {
            let (section, name) = match self.name.rsplit_once('.') {
                Some((section, name)) => (catalogue::find_section(section), name),
                None => (None, self.name.as_str()),
            };
            let cure = match section {
                Some(section) => catalogue::suggest(section, name),
                None => catalogue::suggest_any(name),
            };
            let name = &self.name;
            return Err(Failure::usage(format!(
                "no setting is called {name}; {cure}"
            )));
        }
        match self.output {
            Output::Json => output::json(&found.iter().copied().map(as_json).collect()),
            Output::Table => {
                for known in found {
                    output::line(explained(known));
                }
            }
        }
        Ok(Answer::Yes)
    }
}

fn explained(known: &Known) -> String {
    let mut text = format!("{}.{} ({})", known.section, known.name, known.kind.word());
    let mut line = |name: &str, value: &str| {
        let _ = write!(text, "\n  {name:<10} {value}");
    };
    line("does", known.meaning);
    line("default", known.default);
    line("may be", known.bounds);
    if !known.aliases.is_empty() {
        line("also", &known.aliases.join(", "));
    }
    text
}

fn as_json(known: &Known) -> Value {
    json!({
        "section": known.section,
        "name": known.name,
        "aliases": known.aliases,
        "kind": known.kind.word(),
        "default": known.default,
        "bounds": known.bounds,
        "meaning": known.meaning,
    })
}

/// The reference as README has it: a table for each section.
fn markdown() -> String {
    let mut text = String::new();
    for section in SECTIONS {
        let heading = match section {
            "caches" => "`[[caches]]`".to_owned(),
            section => format!("`[{section}]`"),
        };
        let _ = write!(
            text,
            "{heading}\n\n| setting | default | may be | what it does |\n|---|---|---|---|\n"
        );
        for known in SETTINGS.iter().filter(|known| known.section == section) {
            let aliases: String = known
                .aliases
                .iter()
                .map(|alias| format!(", `{alias}`"))
                .collect();
            let _ = writeln!(
                text,
                "| `{}`{aliases} | {} | {} | {} |",
                known.name, known.default, known.bounds, known.meaning
            );
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "<!-- embergrid config defaults --output markdown -->\n\n";
    const END: &str = "<!-- end of the settings -->\n";

    #[test]
    fn the_reference_in_readme_is_made_of_the_catalogue() {
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let readme = std::fs::read_to_string(readme).expect("README is there");
        let (_, behind) = readme.split_once(BEGIN).expect("its beginning is marked");
        let (reference, _) = behind.split_once(END).expect("its end is marked");
        assert_eq!(
            reference,
            markdown(),
            "put what the command in the mark prints between the marks"
        );
    }

    #[test]
    fn every_row_of_the_reference_is_one_row() {
        for known in SETTINGS {
            for text in [known.default, known.bounds, known.meaning] {
                assert!(!text.is_empty() && !text.contains(['|', '\n']), "{text}");
            }
            assert!(known.meaning.ends_with('.'), "{}", known.meaning);
        }
    }

    #[test]
    fn a_setting_is_found_under_every_name_it_has() {
        for name in [
            "ack-timeout",
            "ackTimeout",
            "discovery.ACK_TIMEOUT",
            "cas.ticket.registry.ignite.ack-timeout",
            "Discovery.ack_timeout",
        ] {
            let found = catalogue::search(name);
            assert_eq!(found.len(), 1, "{name}");
            assert!(explained(found[0]).starts_with("discovery.ack-timeout (duration)\n"));
        }
        for name in [
            "caches[3].backups",
            "tickets-cache.backups",
            "caches.backups",
        ] {
            assert_eq!(catalogue::search(name).len(), 1, "{name}");
        }
        assert_eq!(catalogue::search("name").len(), 2);
        assert!(catalogue::search("limits.ack-timeout").is_empty());
    }
}
