//! What is wrong with a setting: where it stands, what it is, and how to mend it.

use std::fmt;
use std::path::PathBuf;

/// Where a setting was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A line of a file, counted from 1.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// The line; 0 for the file as a whole.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A command line flag or argument, as the user wrote it.
    Flag(String),
    /// Nowhere: the default holds, or something is absent.
    #[default]
    Default,
}

/// One finding about the settings; an error or a warning by where it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub origin: Origin,
    /// The setting, as `section.name`; empty where it is about the whole file.
    pub setting: String,
    /// What is wrong. Never contains a secret.
    pub what: String,
    /// How to mend it.
    pub cure: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: 0 } => write!(f, "{}", path.display()),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "argument {name}"),
            Self::Default => f.write_str("settings"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        let told = matches!(&self.origin, Origin::Flag(flag) if *flag == self.setting);
        if !self.setting.is_empty() && !told {
            write!(f, "{}: ", self.setting)?;
        }
        write!(f, "{}; {}", self.what, self.cure)
    }
}
