//! The rows of a load: a query, a stream, batches in memory or a dead-letter file, and the operators that transform them.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{Schema, SchemaRef};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::sync::Mutex;

use crate::dead_letter::read_dead_letters;
use crate::{BatchStream, Error, ErrorKind, Query, Reading, Result, Source};

/// The rows of a load. It knows their schema, whether they can be read again, and what they are (for the
/// [`Definition`](crate::Definition) of a load).
pub struct Input {
    rows: Rows,
    definition: Option<String>,
    origin: Option<String>,
    finds_types: bool,
}

enum Rows {
    Again {
        open: Box<dyn Fn(Reading) -> Opening + Send + Sync>,
        schema: Option<Box<FindSchema>>,
    },
    Once(Mutex<Option<BatchStream>>),
    Through(Box<Input>, Arc<dyn Operator>),
}

type FindSchema = dyn Fn(Reading) -> BoxFuture<'static, Result<SchemaRef>> + Send + Sync;

type Opening = BoxFuture<'static, Result<BatchStream>>;

/// A transformation of rows between source and store: columns renamed, cast or masked, rows filtered or deduplicated.
pub trait Operator: Send + Sync + 'static {
    /// What distinguishes it from other operators, with its parameters: a part of the definition of a load.
    fn definition(&self) -> String;

    /// The schema of what comes out. [`apply`](Self::apply) announces the same.
    ///
    /// # Errors
    /// Whatever keeps it from rows of this schema.
    fn schema(&self, input: &SchemaRef) -> Result<SchemaRef>;

    /// Applies itself to a stream.
    ///
    /// # Errors
    /// Whatever keeps it from rows of this schema.
    fn apply(&self, stream: BatchStream) -> Result<BatchStream>;

    /// Whether rows would be other ones without it. A row that could not be parsed has not come through it, and a replay does not
    /// apply it: it refuses such rows. `false` is for operators that touch the metadata of a schema only.
    fn changes_rows(&self) -> bool {
        true
    }
}

impl Input {
    /// Rows that can be read again, by calling `open` again; the [`Reading`] takes how far a query is. Without
    /// [`with_schema`](Self::with_schema) the schema is found by opening.
    pub fn repeatable(
        open: impl Fn(Reading) -> BoxFuture<'static, Result<BatchStream>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            rows: Rows::Again {
                open: Box::new(open),
                schema: None,
            },
            definition: None,
            origin: None,
            finds_types: false,
        }
    }

    /// The answer to a query, which is run again if the whole load has to be.
    pub fn query(source: Source, query: Query) -> Self {
        let definition = query.definition();
        let finds_types = source.descriptor().finds_types();
        let (source, query) = (Arc::new(source), Arc::new(query));
        let (asked, schema_of) = (Arc::clone(&source), Arc::clone(&query));
        Self::repeatable(move |reading| {
            let (source, query) = (Arc::clone(&source), Query::clone(&query));
            async move { source.query(&query.with_reading(reading)).await }.boxed()
        })
        .with_schema(move |reading| {
            let (source, query) = (Arc::clone(&asked), Query::clone(&schema_of));
            async move { source.schema(&query.with_reading(reading)).await }.boxed()
        })
        .finding_types(finds_types)
        .defined_as(definition)
    }

    /// A stream, which cannot be read twice: the load ends at its first transient error after the first row.
    pub fn stream(stream: BatchStream) -> Self {
        Self {
            rows: Rows::Once(Mutex::new(Some(stream))),
            definition: None,
            origin: None,
            finds_types: false,
        }
    }

    /// Batches in memory, all of this schema.
    pub fn table(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let announced = Arc::clone(&schema);
        Self::repeatable(move |_| {
            let stream = BatchStream::from_batches(Arc::clone(&schema), batches.clone());
            async move { Ok(stream) }.boxed()
        })
        .with_schema(move |_| {
            let schema = Arc::clone(&announced);
            async move { Ok(schema) }.boxed()
        })
    }

    /// The rows of a dead-letter file.
    pub fn dead_letters(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self::repeatable(move |_| {
            let opened = read_dead_letters(&path).map(|(stream, _)| stream);
            async move { opened }.boxed()
        })
    }

    /// Says how to find the schema without opening. It serves rows that can be read again; a stream has its schema.
    #[must_use]
    pub fn with_schema(
        mut self,
        find: impl Fn(Reading) -> BoxFuture<'static, Result<SchemaRef>> + Send + Sync + 'static,
    ) -> Self {
        if let Rows::Again { schema, .. } = &mut self.rows {
            *schema = Some(Box::new(find));
        }
        self
    }

    /// Says what the rows are, such as the text of their query: a `load_id` that comes back with other rows is refused.
    #[must_use]
    pub fn defined_as(mut self, definition: impl Into<String>) -> Self {
        self.definition = Some(definition.into());
        self
    }

    /// Says what rows these are a part of, such as the query of an incremental load without its window: it is recorded in the
    /// [`Definition`](crate::Definition) beside what the rows are.
    #[must_use]
    pub fn part_of(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// Says whether `open` uses [`Reading::types`]: only then is a target asked for them.
    #[must_use]
    pub fn finding_types(mut self, finds: bool) -> Self {
        self.finds_types = finds;
        self
    }

    /// These rows, transformed by an operator.
    #[must_use]
    pub fn through(self, operator: impl Operator) -> Self {
        let definition = self
            .definition
            .as_ref()
            .map(|before| format!("{before}\u{0}{}", operator.definition()));
        Self {
            // An operator may change what a column is.
            finds_types: false,
            origin: self.origin.clone(),
            rows: Rows::Through(Box::new(self), Arc::new(operator)),
            definition,
        }
    }

    /// What the rows are, where that is known.
    pub fn definition(&self) -> Option<&str> {
        self.definition.as_deref()
    }

    /// What they are a part of, where that is known.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    pub(crate) fn finds_types(&self) -> bool {
        self.finds_types
    }

    /// Whether they can be read again.
    pub fn is_repeatable(&self) -> bool {
        match &self.rows {
            Rows::Again { .. } => true,
            Rows::Once(_) => false,
            Rows::Through(input, _) => input.is_repeatable(),
        }
    }

    /// The schema of the rows. Reads none of a stream that can be read only once.
    ///
    /// # Errors
    /// Any error of the source; [`ErrorKind::Unexpected`] if the stream was read already.
    pub fn schema(&self, reading: Reading) -> BoxFuture<'_, Result<SchemaRef>> {
        async move {
            match &self.rows {
                Rows::Again {
                    schema: Some(find), ..
                } => find(reading).await,
                Rows::Again { open, schema: None } => Ok(open(reading).await?.schema().clone()),
                Rows::Once(stream) => {
                    let stream = stream.lock().await;
                    let stream = stream.as_ref().ok_or_else(read_already)?;
                    Ok(stream.schema().clone())
                }
                Rows::Through(input, operator) => operator.schema(&input.schema(reading).await?),
            }
        }
        .boxed()
    }

    /// Opens the rows.
    pub(crate) fn open(&self, reading: Reading) -> BoxFuture<'_, Result<BatchStream>> {
        async move {
            match &self.rows {
                Rows::Again { open, .. } => open(reading).await,
                Rows::Once(stream) => stream.lock().await.take().ok_or_else(read_already),
                Rows::Through(input, operator) => {
                    let mut reading = reading;
                    if operator.changes_rows() {
                        reading.unparsed = reading.unparsed.of_changed_rows();
                    }
                    let stream = input.open(reading).await?;
                    operator.apply(stream)
                }
            }
        }
        .boxed()
    }
}

fn read_already() -> Error {
    let message = "the stream was already read; a load from a stream cannot be repeated";
    Error::new(ErrorKind::Unexpected, message)
}

/// An operator that renames columns.
#[derive(Debug, Clone)]
pub struct Rename(Vec<(String, String)>);

impl Rename {
    /// From each first name to its second one.
    pub fn new<A: Into<String>, B: Into<String>>(names: impl IntoIterator<Item = (A, B)>) -> Self {
        let pairs = names.into_iter().map(|(from, to)| (from.into(), to.into()));
        Self(pairs.collect())
    }
}

impl Operator for Rename {
    fn definition(&self) -> String {
        format!("rename {:?}", self.0)
    }

    fn schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        let mut fields = input.fields().to_vec();
        for (from, to) in &self.0 {
            let Some(index) = input.fields().iter().position(|field| field.name() == from) else {
                let hint = crate::settings::suggestion(
                    from,
                    input.fields().iter().map(|field| field.name().as_str()),
                );
                let message = format!("there is no column `{from}` to rename{hint}");
                return Err(Error::new(ErrorKind::InvalidOption, message).with("column", from));
            };
            fields[index] = Arc::new(input.field(index).clone().with_name(to));
        }
        let metadata = input.metadata().clone();
        Ok(Arc::new(Schema::new_with_metadata(fields, metadata)))
    }

    fn apply(&self, stream: BatchStream) -> Result<BatchStream> {
        let schema = self.schema(stream.schema())?;
        let expected = stream.expected_rows();
        let renamed = Arc::clone(&schema);
        let batches = stream.map(move |batch| {
            let (_, columns, rows) = batch?.into_parts();
            let options = RecordBatchOptions::new()
                .with_row_count(Some(rows))
                .with_match_field_names(false);
            Ok(RecordBatch::try_new_with_options(
                Arc::clone(&renamed),
                columns,
                &options,
            )?)
        });
        let stream = BatchStream::new(schema, batches);
        Ok(match expected {
            Some(rows) => stream.with_expected_rows(rows),
            None => stream,
        })
    }
}
