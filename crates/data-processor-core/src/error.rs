//! One error type with the same words as the Python tree: code, retry, hint, facts.

use std::fmt;

/// The classes of errors; each is one Python exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A plan that cannot be compiled.
    Plan,
    /// A request body that is not what it says it is.
    Body,
    /// A format or encoding we do not know.
    Format,
    /// The kernel could not judge a batch: wrong columns, too much, a defect.
    Process,
    /// A Parquet file that cannot be read or written.
    Parquet,
    /// The log did not answer; whether the append is stored may be unknown.
    LogUnavailable,
    /// The log asks to wait; nothing was stored.
    LogThrottled,
    /// What the log holds cannot be what was written.
    LogCorrupt,
    /// Retention deleted what was asked for.
    LogExpired,
    /// An idempotency key came again with another body.
    IdempotencyMismatch,
    /// The file of the live windows did not answer; nothing was stored.
    WindowUnavailable,
    /// The live windows changed since their head was read.
    WindowConflict,
    /// What the file of the live windows holds cannot be what was written.
    WindowCorrupt,
}

/// How a caller should react.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call fails again.
    Never,
    /// Wait, then do the same again.
    Backoff,
    /// Look at the new state, then decide again.
    Reload,
}

impl Retry {
    /// The word used in Python and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Retry::Never => "never",
            Retry::Backoff => "backoff",
            Retry::Reload => "reload",
        }
    }
}

/// A fact of an error, kept with its type on the way to Python.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A count, an offset, a size.
    Int(i64),
    /// A name, a path, a text.
    Text(String),
}

/// What went wrong, with its facts.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// Class of the error.
    pub kind: ErrorKind,
    /// Stable slug, `stage.what_is_wrong`.
    pub code: &'static str,
    /// What is true, in one sentence.
    pub message: String,
    /// What to do now; may be empty.
    pub hint: String,
    /// The facts by name.
    pub context: Vec<(&'static str, Fact)>,
}

/// The kernel's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error without a hint or facts yet.
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Error { kind, code, message: message.into(), hint: String::new(), context: Vec::new() }
    }

    /// Adds what to do now.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Adds a text fact.
    pub fn text(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.context.push((name, Fact::Text(value.into())));
        self
    }

    /// Adds a number fact.
    pub fn int(mut self, name: &'static str, value: impl TryInto<i64>) -> Self {
        self.context.push((name, Fact::Int(value.try_into().unwrap_or(i64::MAX))));
        self
    }

    /// How to react: only what is unavailable or throttled is worth the same call again.
    pub fn retry(&self) -> Retry {
        match self.kind {
            ErrorKind::LogUnavailable | ErrorKind::LogThrottled | ErrorKind::WindowUnavailable => Retry::Backoff,
            ErrorKind::WindowConflict => Retry::Reload,
            _ => Retry::Never,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}
