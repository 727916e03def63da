//! Reads settings as a command needs them: with all that can be said of them and of the key and
//! trust stores that they name, at once, each with its place and its cure.

use crate::config::{self, Checked, Origin, Problem, Settings};
use crate::rpc::tls::{self, FileProblem};
use std::path::Path;

/// Who will use the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// A node, whose own certificate its peers must accept.
    Node,
    /// Who only dials.
    Client,
}

/// The settings of a file (none: defaults), the environment and flags, with everything that is
/// wrong with them.
pub fn examine(file: Option<&Path>, flags: Vec<(String, String)>, user: User) -> Checked {
    let mut checked = Settings::check(file, config::environment(), flags);
    let tls = &checked.settings.tls;
    let found = match user {
        User::Node => tls::problems(tls),
        User::Client => tls::client_problems(tls),
    };
    for found in found {
        let problem = problem(&found, &checked, file);
        // What is wrong with a file as such, such as that it is not there, was found before.
        let known = |other: &Problem| other.setting == problem.setting;
        if !checked.problems.iter().any(known) {
            checked.problems.push(problem);
        }
    }
    checked
        .problems
        .sort_by(|one, other| one.origin.cmp(&other.origin));
    checked
}

fn problem(found: &FileProblem, checked: &Checked, file: Option<&Path>) -> Problem {
    let path = format!("{}-file-path", found.store);
    let whole_file = file.map(|file| Origin::File {
        path: file.to_path_buf(),
        line: 0,
    });
    let origin = checked.tls_origins.get(&path).cloned();
    Problem {
        origin: origin.or(whole_file).unwrap_or_default(),
        setting: format!("tls.{path}"),
        what: found.error.context.to_string(),
        cure: found.cure(),
    }
}
