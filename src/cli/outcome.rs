//! How a command ends: its exit code, and the one line it says about a failure.

use super::output;
use crate::config::Problem;
use crate::error::{Applied, Error, ErrorKind};
use std::fmt::{self, Write as _};
use std::process::ExitCode;

/// A command that did what it was told, and what the answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done (exit code 0).
    Yes,
    /// Done, and the answer is no: a miss, or a condition that did not hold (exit code 1).
    No,
}

/// Why a command could not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Something did not hold or went wrong on the way (exit code 1).
    Failed,
    /// Wrong usage or settings (exit code 2).
    Usage,
    /// No node of the cluster could be reached, or none could serve (exit code 3).
    OutOfReach,
}

/// A command that could not do what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which exit code it gets.
    pub fault: Fault,
    /// What to say about it.
    pub message: String,
}

/// What a command ends with.
pub type Outcome = Result<Answer, Failure>;

impl Answer {
    /// Yes where it holds.
    pub fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No => 1,
        }
    }
}

impl Fault {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::OutOfReach => 3,
        }
    }
}

impl Failure {
    /// Wrong usage or settings.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            fault: Fault::Usage,
            message: message.into(),
        }
    }

    /// Something else that went wrong.
    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            fault: Fault::Failed,
            message: message.into(),
        }
    }

    /// No node could be reached.
    pub fn out_of_reach(message: impl Into<String>) -> Self {
        Self {
            fault: Fault::OutOfReach,
            message: message.into(),
        }
    }

    /// All problems of the settings, each on a line of its own.
    pub fn settings(problems: &[Problem]) -> Self {
        let mut message = String::new();
        for (place, problem) in problems.iter().enumerate() {
            let line_break = if place == 0 { "" } else { "\n" };
            let _ = write!(message, "{line_break}{problem}");
        }
        Self::usage(message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let fault = match error.kind {
            ErrorKind::Unavailable | ErrorKind::DeadlineExceeded => Fault::OutOfReach,
            ErrorKind::InvalidArgument
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::Unimplemented
            | ErrorKind::PermissionDenied
            | ErrorKind::Unauthenticated => Fault::Usage,
            _ => Fault::Failed,
        };
        let doubt = match (error.kind, error.applied) {
            (ErrorKind::Unknown, _) | (_, Applied::Unknown) => " (it may have been applied or not)",
            _ => "",
        };
        Self {
            fault,
            message: format!("{}{doubt} [{}]", error.context, error.reason),
        }
    }
}

/// Says how the command ended, where there is something to say, and gives its exit code.
pub fn conclude(outcome: Outcome) -> ExitCode {
    let outcome = outcome.and_then(|answer| match output::lost() {
        // Not "the answer is no": what was asked for was done.
        Some(why) => Err(Failure::usage(format!(
            "done, but the output could not be written: {why}"
        ))),
        None => Ok(answer),
    });
    match outcome {
        Ok(answer) => ExitCode::from(answer.code()),
        Err(failure) => {
            for line in failure.message.lines() {
                output::remark(format_args!("embergrid: {line}"));
            }
            ExitCode::from(failure.fault.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        assert_eq!(Answer::Yes.code(), 0);
        assert_eq!(Answer::of(false).code(), 1);
        assert_eq!(Fault::Usage.code(), 2);
        assert_eq!(Fault::OutOfReach.code(), 3);
        assert_eq!(
            Failure::from(Error::unavailable("no")).fault,
            Fault::OutOfReach
        );
        assert_eq!(Failure::from(Error::invalid("no")).fault, Fault::Usage);
    }

    #[test]
    fn an_unknown_outcome_is_said() {
        let failure = Failure::from(Error::unknown("the connection broke"));
        assert_eq!(failure.fault, Fault::Failed);
        assert!(
            failure.message.contains("may have been applied"),
            "{failure}"
        );
    }
}
