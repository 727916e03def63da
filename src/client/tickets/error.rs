//! How a call on tickets ends otherwise.

use crate::error::{Applied, Error, ErrorKind};

/// The reason of a refused Add under an id that was deleted.
const REMOVED: &str = "REMOVED";

/// How a call on tickets ends otherwise. What the registry answers has a variant of its own; that
/// the outcome is unknown is never mixed up with a failure.
///
/// # Example
///
/// ```no_run
/// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::error::Error> {
/// use embergrid::client::TicketError;
///
/// match tickets.use_ticket("ST-1", "ST").await {
///     Ok(ticket) => println!("for the session {:?}", ticket.parent_id),
///     Err(TicketError::NotFound) => println!("used before, or too late, or made up"),
///     Err(TicketError::WrongKind { kind }) => println!("that is a {kind}, and was not used"),
///     Err(TicketError::Unknown(error)) => println!("perhaps used: {error}"),
///     Err(other) => return Err(other.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// No ticket lives under the id: it was never added, was deleted, has expired, or its uses are
    /// spent.
    #[error("there is no such ticket")]
    NotFound,
    /// A ticket lives under the id, and it is of another kind. Nothing was done to it.
    #[error("the ticket is of another kind: {kind}")]
    WrongKind {
        /// The kind that it is of.
        kind: String,
    },
    /// The parent does not live: nothing was added.
    #[error("the parent of the ticket does not live")]
    ParentGone,
    /// The id was deleted a while ago: nothing was added. Take another one.
    #[error("a ticket with this id was deleted; take another id")]
    Removed,
    /// The ticket has another version than was expected: nothing was updated. Read it and decide
    /// anew.
    #[error("another update of the ticket came first")]
    Conflict,
    /// The change may have been applied or not.
    #[error("it may have been applied or not: {0}")]
    Unknown(Error),
    /// Anything else; nothing was applied.
    #[error("{0}")]
    Failed(Error),
}

impl TicketError {
    /// What became of a read, which is never in doubt.
    pub(super) fn of_read(error: Error) -> Self {
        Self::from(error.not_applied())
    }
}

impl From<Error> for TicketError {
    fn from(error: Error) -> Self {
        match error.kind {
            _ if error.applied == Applied::Unknown => Self::Unknown(error),
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::WrongKind => Self::WrongKind {
                kind: error.detail.unwrap_or_default().into_string(),
            },
            ErrorKind::ParentGone => Self::ParentGone,
            ErrorKind::AlreadyExists if error.reason == REMOVED => Self::Removed,
            ErrorKind::Conflict => Self::Conflict,
            _ => Self::Failed(error),
        }
    }
}

impl From<TicketError> for Error {
    fn from(error: TicketError) -> Self {
        let text = error.to_string();
        match error {
            TicketError::NotFound => Self::new(ErrorKind::NotFound, text),
            TicketError::WrongKind { kind } => {
                Self::new(ErrorKind::WrongKind, text).with_detail(&kind)
            }
            TicketError::ParentGone => Self::new(ErrorKind::ParentGone, text),
            TicketError::Removed => Self::new(ErrorKind::AlreadyExists, text).because(REMOVED),
            TicketError::Conflict => Self::new(ErrorKind::Conflict, text),
            TicketError::Unknown(error) | TicketError::Failed(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_registry_answers_is_told_apart() {
        for (error, expected) in [
            (Error::new(ErrorKind::NotFound, ""), TicketError::NotFound),
            (
                Error::new(ErrorKind::WrongKind, "").with_detail("TGT"),
                TicketError::WrongKind {
                    kind: "TGT".to_owned(),
                },
            ),
            (
                Error::new(ErrorKind::ParentGone, ""),
                TicketError::ParentGone,
            ),
            (
                Error::new(ErrorKind::AlreadyExists, "").because("REMOVED"),
                TicketError::Removed,
            ),
            (Error::new(ErrorKind::Conflict, ""), TicketError::Conflict),
        ] {
            assert_eq!(TicketError::from(error), expected);
            let back = TicketError::from(Error::from(expected.clone()));
            assert_eq!(back, expected);
        }
    }

    #[test]
    fn a_doubtful_outcome_is_unknown_whatever_else_was_said() {
        let mut doubtful = Error::new(ErrorKind::NotFound, "then it was gone");
        doubtful.applied = Applied::Unknown;
        let said = TicketError::from(doubtful.clone());
        assert_eq!(said, TicketError::Unknown(doubtful));
        let late = Error::new(ErrorKind::DeadlineExceeded, "no answer");
        assert!(matches!(
            TicketError::from(late.clone()),
            TicketError::Unknown(_)
        ));
        assert!(matches!(TicketError::of_read(late), TicketError::Failed(_)));
    }
}
