//! The one mapping from the engine's errors to ours.

use arrow_schema::ArrowError;
use arrowload_common_object_store::Fault;
use arrowload_core::{Error, ErrorKind};
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use datafusion::sql::sqlparser::parser::ParserError;

/// Maps an error of DataFusion, by its type, never by its text. An error of ours that went through the engine comes back as
/// it was.
pub fn from_datafusion(error: DataFusionError) -> Error {
    let root = root(&error);
    if let DataFusionError::External(inner) = root
        && let Some(ours) = inner.downcast_ref::<Error>()
    {
        return ours.clone();
    }
    let place = place(&error);
    if let Some(fault) = Fault::beneath(&error) {
        return fault.error(format!("{place}{root}"), error);
    }
    let kind = kind(root);
    let message = match (kind, root) {
        (ErrorKind::Query, DataFusionError::SQL(error, _)) => {
            format!("the SQL is malformed: {}", parser_text(error))
        }
        (ErrorKind::ResourceExhausted, root) => {
            format!("{root}; raise memory_limit, or give it a spill_folder with room")
        }
        (ErrorKind::InvalidData, root) => {
            format!("{place}a file is broken, or is not what its footer says: {root}")
        }
        (_, root) => format!("{place}{root}"),
    };
    Error::new(kind, message).with_source(error)
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

/// The original error, without contexts, diagnostics and lists around it.
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
        _ => ErrorKind::Unexpected,
    }
}
