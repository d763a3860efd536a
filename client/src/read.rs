//! Files to read with the embedded engine: their options, as the values of a table function.

use std::fmt::Write;

use arrow_schema::SchemaRef;
use arrowload_core::{BatchStream, Query, Result};
use serde_json::Value;

use crate::{Client, LoadBuilder, QueryBuilder, Table};

/// Files that a [`Client`] of the embedded engine reads as one table. Nothing is opened before one of the last methods is awaited.
#[derive(Debug, Clone)]
#[must_use = "files are read when they are loaded, streamed or collected"]
pub struct ReadBuilder {
    client: Client,
    places: Vec<String>,
    format: Option<String>,
    options: Vec<(String, Value)>,
}

impl ReadBuilder {
    pub(crate) fn new(client: Client, place: String) -> Self {
        Self {
            client,
            places: vec![place],
            format: None,
            options: Vec::new(),
        }
    }

    /// Adds a file, folder, pattern or URL to the table. Columns go by their names.
    pub fn and(mut self, place: impl Into<String>) -> Self {
        self.places.push(place.into());
        self
    }

    /// Declares the format: `csv`, `json`, `arrow` or `parquet`. By default it is recognised by content.
    pub fn format(mut self, format: impl Into<String>) -> Self {
        self.format = Some(format.into());
        self
    }

    /// Sets an option of the format, such as `delim` or `types`. `arrowload describe csv` lists them.
    pub fn option(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.options.push((key.into(), value.into()));
        self
    }

    /// All rows, as a query.
    pub fn query(self) -> QueryBuilder {
        let sql = format!("SELECT * FROM {}", self.call());
        QueryBuilder::new(self.client, Query::new(sql))
    }

    /// Loads all rows into a target, by the name of a loader. Awaiting it runs the load.
    pub fn load(self, loader: impl Into<String>, target: impl Into<String>) -> LoadBuilder {
        self.query().load(loader, target)
    }

    /// The batches, as they are asked for.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub async fn stream(self) -> Result<BatchStream> {
        self.query().stream().await
    }

    /// All rows, in memory.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub async fn to_arrow(self) -> Result<Table> {
        self.query().to_arrow().await
    }

    /// The columns.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub async fn schema(self) -> Result<SchemaRef> {
        self.query().schema().await
    }

    /// The call of the table function.
    fn call(&self) -> String {
        let mut call = String::from("read");
        if let Some(format) = &self.format {
            call.push('_');
            // A name that is not a format is refused by the engine, whatever it holds.
            call.extend(
                format
                    .chars()
                    .filter(|letter| letter.is_ascii_alphanumeric()),
            );
        }
        call.push('(');
        let places = self.places.iter().map(|place| Value::from(place.as_str()));
        literal(&Value::Array(places.collect()), &mut call);
        for (key, value) in &self.options {
            let _ = write!(call, ", \"{}\" => ", key.replace('"', "\"\""));
            literal(value, &mut call);
        }
        call.push(')');
        call
    }
}

/// A value as SQL writes it.
fn literal(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("NULL"),
        Value::String(text) => {
            let _ = write!(out, "'{}'", text.replace('\'', "''"));
        }
        Value::Bool(_) | Value::Number(_) => {
            let _ = write!(out, "{value}");
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                literal(item, out);
            }
            out.push(']');
        }
        Value::Object(entries) => {
            out.push('{');
            for (index, (key, item)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                let _ = write!(out, "'{}': ", key.replace('\'', "''"));
                literal(item, out);
            }
            out.push('}');
        }
    }
}
