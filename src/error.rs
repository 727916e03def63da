//! Errors: the kind is chosen by what the caller should do.

use std::borrow::Cow;

/// What the caller should do about an error. One place maps it to a gRPC status.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Applied {
    /// It has not, and will not be.
    NotApplied,
    /// It may have been, or may yet be.
    Unknown,
}

/// An error: what to do, why, and what caused it.
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
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind; nothing was applied, unless the kind says that it is unknown.
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
    #[must_use]
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = reason.into();
        self
    }

    /// The same error about this.
    #[must_use]
    pub fn with_detail(mut self, detail: &str) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same error, said of a write that was not applied.
    #[must_use]
    pub fn not_applied(mut self) -> Self {
        self.applied = Applied::NotApplied;
        self
    }

    pub fn invalid(context: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, context)
    }

    pub fn unavailable(context: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unavailable, context)
    }

    pub fn unknown(context: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unknown, context)
    }

    pub fn overloaded(context: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Overloaded, context)
    }
}

impl ErrorKind {
    /// All kinds.
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
