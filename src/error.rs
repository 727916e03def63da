//! Errors: the kind is chosen by what the caller should do.

use std::borrow::Cow;

/// What the caller should do about an error. One place maps it to a gRPC status.
///
/// # Example
///
/// ```
/// use embergrid::error::{Error, ErrorKind};
///
/// /// Whether a program should wait a moment and make the call again.
/// fn passes_by_itself(error: &Error) -> bool {
///     matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Overloaded)
/// }
///
/// assert!(passes_by_itself(&Error::unavailable("no owner at present")));
/// assert!(!passes_by_itself(&Error::invalid("an empty key")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// The call is wrong; do not repeat it as it is.
    InvalidArgument,
    /// What was named does not exist.
    NotFound,
    /// What should be created exists.
    AlreadyExists,
    /// This node does not own the partition: refresh the table and retry at once.
    WrongOwner,
    /// The ticket is of another kind: do not retry.
    WrongKind,
    /// The parent does not live: do not retry.
    ParentGone,
    /// Another precondition does not hold: do not retry.
    FailedPrecondition,
    /// Not in this version.
    Unimplemented,
    /// A fault of ours.
    Internal,
    /// Not ready, or no owner: back off and retry.
    Unavailable,
    /// Another change came first: run again.
    Conflict,
    /// A limit is reached.
    Overloaded,
    /// The deadline passed.
    DeadlineExceeded,
    /// The caller went away.
    Cancelled,
    /// The outcome of a write cannot be known.
    Unknown,
    /// A resume token that is too old or from another history.
    OutOfRange,
    /// Not allowed.
    PermissionDenied,
    /// Not known.
    Unauthenticated,
    /// Data was lost or is damaged.
    DataLoss,
}

/// Whether a write that ended in an error has been applied.
///
/// # Example
///
/// ```
/// use embergrid::error::{Applied, Error, ErrorKind};
///
/// assert_eq!(Error::invalid("too long a value").applied, Applied::NotApplied);
/// // No answer came: read the key before it is written once more.
/// let late = Error::new(ErrorKind::DeadlineExceeded, "no answer within 10 s");
/// assert_eq!(late.applied, Applied::Unknown);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Applied {
    /// It has not, and will not be.
    NotApplied,
    /// It may have been, or may yet be.
    Unknown,
}

/// An error: what to do, why, and what caused it.
///
/// # Example
///
/// ```no_run
/// # async fn example(client: embergrid::client::Client) {
/// use embergrid::client::messages::RemoveRequest;
/// use embergrid::error::{Applied, ErrorKind};
///
/// let request = RemoveRequest {
///     cache: "sessions".into(),
///     key: "TGT-1".into(),
///     ..RemoveRequest::default()
/// };
/// match client.remove(request).await {
///     Ok(reply) => println!("it lived: {}", reply.applied),
///     Err(error) if error.applied == Applied::Unknown => println!("perhaps removed: {error}"),
///     Err(error) if error.kind == ErrorKind::NotFound => println!("there is no such cache"),
///     Err(error) => println!("not removed, {}: {error}", error.reason),
/// }
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{context}")]
pub struct Error {
    /// What the caller should do.
    pub kind: ErrorKind,
    /// What went wrong, where, and how to mend it.
    pub context: Cow<'static, str>,
    /// A machine-readable reason in upper snake case.
    pub reason: Cow<'static, str>,
    /// What the reason is about, for programs: the true kind of a ticket of the wrong kind.
    pub detail: Option<Box<str>>,
    /// Whether a write was applied.
    pub applied: Applied,
}

/// The result of anything that can fail here.
///
/// # Example
///
/// ```
/// use embergrid::error::{Error, Result};
///
/// fn port(text: &str) -> Result<u16> {
///     text.parse().map_err(|_| Error::invalid(format!("{text:?} is no port")))
/// }
///
/// assert_eq!(port("47500"), Ok(47_500));
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind; nothing was applied, unless the kind says that it is unknown.
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::error::{Applied, Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::Conflict, "another update came first");
    /// assert_eq!(error.to_string(), "another update came first");
    /// assert_eq!(error.reason, "CONFLICT");
    /// assert_eq!(error.applied, Applied::NotApplied);
    /// ```
    pub fn new(kind: ErrorKind, context: impl Into<Cow<'static, str>>) -> Self {
        let applied = match kind {
            ErrorKind::Unknown | ErrorKind::DeadlineExceeded | ErrorKind::Cancelled => {
                Applied::Unknown
            }
            _ => Applied::NotApplied,
        };
        Self {
            kind,
            context: context.into(),
            reason: Cow::Borrowed(kind.reason()),
            detail: None,
            applied,
        }
    }

    /// The same error with another reason.
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::error::{Error, ErrorKind};
    ///
    /// let error = Error::invalid("the lease of a lock is 100 ms to 1 h").because("BAD_LEASE");
    /// assert_eq!(error.reason, "BAD_LEASE");
    /// assert_eq!(error.kind, ErrorKind::InvalidArgument);
    /// ```
    #[must_use]
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = reason.into();
        self
    }

    /// The same error about this.
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::error::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::WrongKind, "the ticket is of another kind").with_detail("TGT");
    /// assert_eq!(error.detail.as_deref(), Some("TGT"));
    /// ```
    #[must_use]
    pub fn with_detail(mut self, detail: &str) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same error, said of a write that was not applied.
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::error::{Applied, Error, ErrorKind};
    ///
    /// // A read leaves nothing in doubt, however it ends.
    /// let late = Error::new(ErrorKind::DeadlineExceeded, "no answer").not_applied();
    /// assert_eq!(late.applied, Applied::NotApplied);
    /// ```
    #[must_use]
    pub fn not_applied(mut self) -> Self {
        self.applied = Applied::NotApplied;
        self
    }

    /// The call is wrong, and nothing was applied: [`ErrorKind::InvalidArgument`].
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::error::{Error, ErrorKind};
    ///
    /// assert_eq!(Error::invalid("an empty key").kind, ErrorKind::InvalidArgument);
    /// ```
    pub fn invalid(context: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, context)
    }

    /// It cannot be done at present, and nothing was applied: [`ErrorKind::Unavailable`].
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::error::{Applied, Error, ErrorKind};
    ///
    /// let error = Error::unavailable("this node has not joined its cluster yet");
    /// assert_eq!(error.kind, ErrorKind::Unavailable);
    /// assert_eq!(error.applied, Applied::NotApplied);
    /// ```
    pub fn unavailable(context: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unavailable, context)
    }

    /// A write may have been applied or not: [`ErrorKind::Unknown`].
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::error::{Applied, Error};
    ///
    /// let error = Error::unknown("the connection was lost before the answer");
    /// assert_eq!(error.applied, Applied::Unknown);
    /// ```
    pub fn unknown(context: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unknown, context)
    }

    /// A limit is reached, and nothing was applied: [`ErrorKind::Overloaded`].
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::error::{Error, ErrorKind};
    ///
    /// assert_eq!(Error::overloaded("too many calls wait").kind, ErrorKind::Overloaded);
    /// ```
    pub fn overloaded(context: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Overloaded, context)
    }
}

impl ErrorKind {
    /// All kinds.
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::error::ErrorKind;
    ///
    /// let named = ErrorKind::ALL.into_iter().find(|kind| kind.reason() == "PARENT_GONE");
    /// assert_eq!(named, Some(ErrorKind::ParentGone));
    /// ```
    pub const ALL: [Self; 19] = [
        Self::InvalidArgument,
        Self::NotFound,
        Self::AlreadyExists,
        Self::WrongOwner,
        Self::WrongKind,
        Self::ParentGone,
        Self::FailedPrecondition,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::Conflict,
        Self::Overloaded,
        Self::DeadlineExceeded,
        Self::Cancelled,
        Self::Unknown,
        Self::OutOfRange,
        Self::PermissionDenied,
        Self::Unauthenticated,
        Self::DataLoss,
    ];

    /// The reason in `google.rpc.ErrorInfo` where nothing more special is said.
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::error::ErrorKind;
    ///
    /// assert_eq!(ErrorKind::Unavailable.reason(), "NOT_READY");
    /// ```
    pub fn reason(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::WrongOwner => "WRONG_OWNER",
            Self::WrongKind => "WRONG_KIND",
            Self::ParentGone => "PARENT_GONE",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Unimplemented => "NOT_IN_THIS_VERSION",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "NOT_READY",
            Self::Conflict => "CONFLICT",
            Self::Overloaded => "OVERLOADED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "OUTCOME_UNKNOWN",
            Self::OutOfRange => "STALE_RESUME_TOKEN",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::DataLoss => "DATA_LOSS",
        }
    }
}
