//! The one mapping from the engine's errors to ours.

use std::error::Error as StdError;

use arrow_schema::ArrowError;
use arrowload_core::{Error, ErrorKind};
use datafusion::error::DataFusionError;
use datafusion::object_store::Error as StoreError;
use datafusion::parquet::errors::ParquetError;
use datafusion::sql::sqlparser::parser::ParserError;

/// Maps an error of DataFusion, by its type, never by its text. An error of ours that went through the engine comes back as
/// it was.
pub fn from_datafusion(error: DataFusionError) -> Error {
    if let Some(ours) = find::<Error>(&error) {
        return ours.clone();
    }
    let place = place(&error);
    if let Some(store) = find::<StoreError>(&error) {
        let kind = store_kind(store);
        let message = format!("{place}{store}");
        let transient = matches!(store, StoreError::Generic { .. });
        let mapped = Error::new(kind, message).with_source(error);
        return if transient {
            mapped.transient()
        } else {
            mapped
        };
    }
    let root = root(&error);
    let kind = kind(root);
    let message = match (kind, root) {
        (ErrorKind::Query, DataFusionError::SQL(error, _)) => {
            format!("the SQL is malformed: {}", parser_text(error))
        }
        (ErrorKind::ResourceExhausted, root) => {
            format!("{root}; raise memory_limit, or give it a spill_folder with room")
        }
        (ErrorKind::InvalidData, root) => format!(
            "{place}a file is broken, not of the format that its ending says, or holds a value unlike its first rows: {root}"
        ),
        (_, root) => format!("{place}{root}"),
    };
    Error::new(kind, message).with_source(error)
}

/// The first error of a type in a chain of causes.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// What the parser says, without the name of its error's kind.
fn parser_text(error: &ParserError) -> String {
    match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
        ParserError::RecursionLimitExceeded => "it is nested too deeply".into(),
    }
}

/// The file that an error is about, where a source named it: context that begins with a backtick.
fn place(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Context(place, _) if place.starts_with('`') => format!("{place}: "),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => place(inner),
        DataFusionError::Shared(inner) => place(inner),
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

fn kind(root: &DataFusionError) -> ErrorKind {
    match root {
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::Execution(_) => ErrorKind::Query,
        DataFusionError::NotImplemented(_) => ErrorKind::Unsupported,
        DataFusionError::ResourcesExhausted(_) => ErrorKind::ResourceExhausted,
        DataFusionError::Configuration(_) => ErrorKind::InvalidOption,
        DataFusionError::ParquetError(_) => ErrorKind::InvalidData,
        DataFusionError::External(inner) if inner.is::<ParquetError>() => ErrorKind::InvalidData,
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::ParseError(_)
            | ArrowError::ParquetError(_)
            | ArrowError::CsvError(_)
            | ArrowError::JsonError(_)
            | ArrowError::IpcError(_) => ErrorKind::InvalidData,
            _ => ErrorKind::Query,
        },
        DataFusionError::IoError(error) => match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            std::io::ErrorKind::StorageFull => ErrorKind::ResourceExhausted,
            _ => ErrorKind::Io,
        },
        _ => ErrorKind::Unexpected,
    }
}

fn store_kind(error: &StoreError) -> ErrorKind {
    match error {
        StoreError::NotFound { .. } => ErrorKind::NotFound,
        StoreError::PermissionDenied { .. } => ErrorKind::PermissionDenied,
        StoreError::Unauthenticated { .. } => ErrorKind::Authentication,
        _ => ErrorKind::Connection,
    }
}
