//! The one mapping from the engine's errors to ours.

use arrow_schema::ArrowError;
use arrowload_core::{Error, ErrorKind};
use datafusion::error::DataFusionError;
use datafusion::object_store::Error as StoreError;
use datafusion::parquet::errors::ParquetError;

/// Maps an error of the engine, by its type, never by its text.
pub(crate) fn from_datafusion(error: DataFusionError) -> Error {
    let kind = kind(&error);
    let transient = is_transient(&error);
    let place = beneath(&error);
    let message = match kind {
        ErrorKind::Query if let DataFusionError::SQL(error, _) = root(&error) => {
            format!("the SQL is malformed: {}", parser_text(error))
        }
        ErrorKind::ResourceExhausted => format!(
            "{}; raise memory_limit, or give it a spill_folder with room",
            root(&error)
        ),
        ErrorKind::InvalidData => {
            format!(
                "{place}a file is broken, not of the format that its ending says, or holds a value unlike its first rows: {}",
                root(&error)
            )
        }
        _ => format!("{place}{}", root(&error)),
    };
    let ours = match root(&error) {
        DataFusionError::External(inner) if inner.downcast_ref::<Error>().is_some() => {
            inner.downcast_ref::<Error>().cloned()
        }
        _ => None,
    };
    let error = ours.unwrap_or_else(|| Error::new(kind, message).with_source(error));
    if transient { error.transient() } else { error }
}

/// What the parser says, without the name of its error's kind.
fn parser_text(error: &datafusion::sql::sqlparser::parser::ParserError) -> String {
    use datafusion::sql::sqlparser::parser::ParserError as P;
    match error {
        P::TokenizerError(text) | P::ParserError(text) => text.clone(),
        P::RecursionLimitExceeded => "it is nested too deeply".into(),
    }
}

/// The file that an error is about, where it is known.
fn beneath(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Context(place, _) if place.starts_with('`') => format!("{place}: "),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            beneath(inner)
        }
        DataFusionError::Shared(inner) => beneath(inner),
        _ => String::new(),
    }
}

/// The error beneath contexts, diagnostics and lists.
fn root(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => root(inner),
        DataFusionError::Shared(inner) => root(inner),
        DataFusionError::Collection(errors) if !errors.is_empty() => root(&errors[0]),
        other => other,
    }
}

fn kind(error: &DataFusionError) -> ErrorKind {
    match root(error) {
        DataFusionError::SQL(..) | DataFusionError::Plan(_) | DataFusionError::SchemaError(..) => {
            ErrorKind::Query
        }
        DataFusionError::NotImplemented(_) => ErrorKind::Unsupported,
        DataFusionError::ResourcesExhausted(_) => ErrorKind::ResourceExhausted,
        DataFusionError::Configuration(_) => ErrorKind::InvalidOption,
        DataFusionError::ParquetError(_) => ErrorKind::InvalidData,
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::ParseError(_)
            | ArrowError::ParquetError(_)
            | ArrowError::CsvError(_)
            | ArrowError::JsonError(_)
            | ArrowError::IpcError(_) => ErrorKind::InvalidData,
            _ => ErrorKind::Query,
        },
        DataFusionError::Execution(_) => ErrorKind::Query,
        DataFusionError::External(inner) if inner.is::<ParquetError>() => ErrorKind::InvalidData,
        DataFusionError::ObjectStore(error) => match error.as_ref() {
            StoreError::NotFound { .. } => ErrorKind::NotFound,
            StoreError::PermissionDenied { .. } => ErrorKind::PermissionDenied,
            StoreError::Unauthenticated { .. } => ErrorKind::Authentication,
            _ => ErrorKind::Connection,
        },
        DataFusionError::IoError(error) => match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            _ => ErrorKind::Io,
        },
        _ => ErrorKind::Unexpected,
    }
}

fn is_transient(error: &DataFusionError) -> bool {
    matches!(root(error), DataFusionError::ObjectStore(error) if matches!(error.as_ref(), StoreError::Generic { .. }))
}
