//! What can go wrong while Parquet files are written, and whether trying again may help.

use std::fmt;
use std::path::{Path, PathBuf};

use arrow_schema::{ArrowError, DataType};
use parquet::errors::ParquetError;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a file could not be written, staged or published.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A column's type cannot be stored in Parquet; known before the first write.
    UnsupportedType {
        /// The column, by its name in the schema.
        column: String,
        /// Its Arrow type.
        data_type: DataType,
        /// What Parquet, or its Rust implementation, lacks.
        reason: String,
    },
    /// The options contradict each other or the schema; known before the first write.
    InvalidOptions(String),
    /// A batch does not have the columns that were announced.
    SchemaMismatch(String),
    /// A value of a partition column has no faithful form in a path.
    PartitionValue {
        /// The partition column.
        column: String,
        /// Why the value was refused.
        reason: String,
    },
    /// A value does not fit the type it is stored as, such as a timestamp in seconds beyond the range of milliseconds.
    Value {
        /// The column, by its name in the schema.
        column: String,
        /// What Arrow says of the conversion.
        source: ArrowError,
    },
    /// Arrow could not select, slice or compare rows.
    Arrow(ArrowError),
    /// The encoder failed.
    Encode(ParquetError),
    /// A local file could not be created, written, synced, renamed or removed.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The object store refused.
    Store(object_store::Error),
    /// Some files are visible under their final names, others are not.
    Publish {
        /// How many files are visible: which ones is not said, as several go at once.
        published: usize,
        /// How many there are.
        total: usize,
        /// What stopped the next one.
        source: Box<Error>,
    },
    /// A worker stopped without an answer: a bug, or the runtime is shutting down.
    Worker(String),
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    /// Whether the same load may succeed when it is tried again unchanged.
    ///
    /// True for failures of a store or of the network; false for data, types and options.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => is_transient(error),
            Self::Publish { source, .. } => source.is_transient(),
            Self::Io { source, .. } => {
                use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
                matches!(source.kind(), Interrupted | TimedOut | WouldBlock)
            }
            _ => false,
        }
    }
}

fn is_transient(error: &object_store::Error) -> bool {
    use object_store::Error as Store;
    !matches!(
        error,
        Store::NotFound { .. }
            | Store::InvalidPath { .. }
            | Store::NotSupported { .. }
            | Store::AlreadyExists { .. }
            | Store::Precondition { .. }
            | Store::NotModified { .. }
            | Store::NotImplemented { .. }
            | Store::PermissionDenied { .. }
            | Store::Unauthenticated { .. }
            | Store::UnknownConfigurationKey { .. }
    )
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedType {
                column,
                data_type,
                reason,
            } => {
                write!(
                    f,
                    "column '{column}' of type {data_type} cannot be stored in Parquet: {reason}"
                )
            }
            Self::InvalidOptions(message) => {
                write!(f, "the Parquet options are not valid: {message}")
            }
            Self::SchemaMismatch(message) => {
                write!(f, "the batch does not fit the schema: {message}")
            }
            Self::PartitionValue { column, reason } => {
                write!(
                    f,
                    "a value of partition column '{column}' cannot be part of a path: {reason}"
                )
            }
            Self::Value { column, source } => {
                write!(f, "a value of column '{column}' cannot be stored: {source}")
            }
            Self::Arrow(source) => write!(f, "the batch could not be prepared: {source}"),
            Self::Encode(source) => write!(f, "the Parquet encoder failed: {source}"),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Store(source) => write!(f, "the object store failed: {source}"),
            Self::Publish {
                published,
                total,
                source,
            } => {
                write!(
                    f,
                    "only {published} of {total} files were published: {source}"
                )
            }
            Self::Worker(message) => write!(f, "a Parquet worker stopped: {message}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Value { source, .. } | Self::Arrow(source) => Some(source),
            Self::Encode(source) => Some(source),
            Self::Io { source, .. } => Some(source),
            Self::Store(source) => Some(source),
            Self::Publish { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

impl From<ParquetError> for Error {
    fn from(error: ParquetError) -> Self {
        Self::Encode(error)
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}
