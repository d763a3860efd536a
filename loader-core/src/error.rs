//! The one error type: what kind it is, what was being done, what caused it, and whether to try again.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::Aftermath;
use crate::frames::without_frames;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a program may want to decide on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A key or value of a connection, a load or a loader's options is unknown, missing or malformed.
    InvalidOption,
    /// No connection has this name.
    ConnectionNotFound,
    /// No loader with this name is linked in.
    LoaderNotFound,
    /// No source with this name or URL scheme is linked in.
    SourceNotFound,
    /// Two packages registered one name, or a registered name is malformed.
    Registry,
    /// The store cannot do what was asked, and said so before any I/O.
    Unsupported,
    /// `create` found its target already there.
    TargetExists,
    /// The target is missing and may not be created.
    TargetNotFound,
    /// The schemas of the load and its target, or of two batches of one load, do not fit.
    SchemaMismatch,
    /// A column's type cannot be held by the target.
    UnsupportedType,
    /// The store refuses a value: out of range, malformed, violating a constraint.
    InvalidData,
    /// A key column holds a null.
    NullKey,
    /// The load would change more rows than `max_updates` or `max_deletes` allow, or has none and `refuse_empty` is set.
    LimitExceeded,
    /// The query is malformed, or failed at the source.
    Query,
    /// A file, bucket, database or table that was named is not there.
    NotFound,
    /// The user is known but may not do this.
    PermissionDenied,
    /// The user, password, token or certificate was refused.
    Authentication,
    /// The server cannot be reached, or the connection broke.
    Connection,
    /// An encrypted connection could not be made.
    Tls,
    /// Something took longer than allowed.
    Timeout,
    /// Another writer got there first.
    Conflict,
    /// The store asks to slow down, or is out of a resource; or a local disk is full.
    ResourceExhausted,
    /// The answer to a commit was lost: the load may or may not have been published.
    CommitUnknown,
    /// Row counts or checksums of source, store and report differ.
    Verification,
    /// The load was stopped because another destination of the same run failed.
    Stopped,
    /// A local file could not be read or written.
    Io,
    /// A defect, in this library or in what it talks to.
    Unexpected,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let debug = format!("{self:?}");
        for (index, letter) in debug.chars().enumerate() {
            if letter.is_uppercase() && index > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{}", letter.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

/// Whether the same call may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retry {
    /// Repeating it changes nothing.
    #[default]
    Never,
    /// It may pass if repeated, after this long if the other side said so.
    Transient {
        /// How long the other side asked to wait.
        after: Option<Duration>,
    },
    /// The same rows must be opened again, at once: a value does not fit the type that a sample of the input gave its column. The
    /// source has remembered the type that it needs.
    Reopen,
}

/// What went wrong, where, and what to do.
///
/// The message is one sentence that says what to do where that is known. [`Error::with`] adds what was being worked on (`column`,
/// `row`, `target`, …), [`Error::with_source`] the error that caused it. `{}` prints message and context on one line, and what
/// happened to the target where a load failed; `{:#}` adds the chain of causes.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    source: Option<std::sync::Arc<dyn StdError + Send + Sync>>,
    retry: Retry,
    row: Option<u64>,
    code: Option<Cow<'static, str>>,
    exhausted: bool,
    aftermath: Option<Aftermath>,
}

impl Error {
    /// An error for which a retry does not help.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: without_frames(message.into()),
            context: Vec::new(),
            source: None,
            retry: Retry::Never,
            row: None,
            code: None,
            exhausted: false,
            aftermath: None,
        }))
    }

    /// Adds what was being worked on. The first value of a key stays.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        if self.get(key).is_none() {
            self.0.context.push((key, value.to_string()));
        }
        self
    }

    /// Adds the row it happened at, counted from 0 over all rows handed to [`write`](crate::LoadSession::write).
    /// The first one stays.
    #[must_use]
    pub fn at_row(mut self, row: u64) -> Self {
        self.0.row.get_or_insert(row);
        self
    }

    /// Adds the other side's own code for the error: an SQLSTATE, a gRPC code, the first word of a Redis error. The first one
    /// stays.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.code.get_or_insert(code.into());
        self
    }

    /// Replaces the row's number, for an outer level that counts rows differently.
    pub(crate) fn moved_to_row(mut self, row: u64) -> Self {
        self.0.row = Some(row);
        self
    }

    /// Marks it as the outcome of retries that are used up: no outer level retries it.
    pub(crate) fn exhausted(mut self) -> Self {
        self.0.exhausted = true;
        self
    }

    /// Says what happened to the target. The first one stays.
    pub(crate) fn with_aftermath(mut self, aftermath: Aftermath) -> Self {
        self.0.aftermath.get_or_insert(aftermath);
        self
    }

    /// Sets the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(std::sync::Arc::new(source));
        self
    }

    /// Marks it as transient: a retry may help.
    #[must_use]
    pub fn transient(self) -> Self {
        self.with_retry(Retry::Transient { after: None })
    }

    /// Sets whether a retry may help.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence, without context and causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What was being worked on, in the order in which it was added.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    /// One value of the context.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.context.iter().find(|(known, _)| *known == key);
        found.map(|(_, value)| value.as_str())
    }

    /// The row it happened at: for the error of a load, counted from 0 over the rows of its input.
    pub fn row(&self) -> Option<u64> {
        self.0.row
    }

    /// The other side's own code for it.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// Whether retries were tried, and are used up.
    pub fn is_exhausted(&self) -> bool {
        self.0.exhausted
    }

    /// What happened to the target, for the error of a load.
    pub fn aftermath(&self) -> Option<Aftermath> {
        self.0.aftermath
    }

    /// Whether a retry may help, and when.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Whether a retry may help.
    pub fn is_transient(&self) -> bool {
        matches!(self.0.retry, Retry::Transient { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let row = self.0.row.map(|row| ("row", row.to_string()));
        let code = self.code().map(|code| ("code", code.to_owned()));
        let facts = self.0.context.iter().cloned().chain(row).chain(code);
        let mut opening = " (";
        for (key, value) in facts {
            write!(f, "{opening}{key}: {value}")?;
            opening = ", ";
        }
        if opening == ", " {
            f.write_str(")")?;
        }
        if let Some(aftermath) = self.0.aftermath {
            write!(f, "; {aftermath}")?;
        }
        if f.alternate() {
            let mut cause = StdError::source(self);
            while let Some(error) = cause {
                write!(f, ": {}", without_frames(error.to_string()))?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

/// `fn main() -> Result<()>` prints this: kind, message, context and causes, for a person.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.0.kind)?;
        let mut cause = StdError::source(self);
        while let Some(error) = cause {
            write!(f, "\n  caused by: {}", without_frames(error.to_string()))?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_ref()
            .map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}

impl From<arrow_schema::ArrowError> for Error {
    fn from(error: arrow_schema::ArrowError) -> Self {
        if let arrow_schema::ArrowError::IoError(_, cause) = error {
            return cause.into();
        }
        Self::new(ErrorKind::Unexpected, "an Arrow operation failed").with_source(error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ErrorKind::ResourceExhausted
            }
            _ => ErrorKind::Io,
        };
        let what = match kind {
            ErrorKind::ResourceExhausted => "a local file does not fit on its disk",
            _ => "a local file could not be used",
        };
        Self::new(kind, format!("{what}: {error}")).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_what_and_where_and_the_alternate_form_why() {
        let cause = std::io::Error::other("disk on fire");
        let error = Error::new(ErrorKind::InvalidData, "42 does not fit")
            .with("column", "a")
            .at_row(7)
            .with_source(cause);
        assert_eq!(error.to_string(), "42 does not fit (column: a, row: 7)");
        assert_eq!(
            format!("{error:#}"),
            "42 does not fit (column: a, row: 7): disk on fire"
        );
        assert!(format!("{error:?}").starts_with("invalid data: 42 does not fit"));
    }

    #[test]
    fn facts_are_typed_and_shown() {
        let error = Error::new(ErrorKind::InvalidData, "no")
            .with_code("22003")
            .with_code("other")
            .at_row(3)
            .with_aftermath(Aftermath::Unchanged)
            .with_aftermath(Aftermath::Unknown);
        assert_eq!((error.code(), error.row()), (Some("22003"), Some(3)));
        assert_eq!(
            error.to_string(),
            "no (row: 3, code: 22003); the target is unchanged"
        );
    }

    #[test]
    fn a_full_disk_is_named() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let written = arrow_schema::ArrowError::from(full());
        for error in [Error::from(full()), Error::from(written)] {
            assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
            assert!(error.message().contains("does not fit on its disk"));
        }
    }

    #[test]
    fn the_innermost_context_wins() {
        let error = Error::new(ErrorKind::Io, "x")
            .with("file", "inner")
            .with("file", "outer");
        assert_eq!(error.get("file"), Some("inner"));
    }
}
