//! A query: parameters bound, then loaded, streamed or collected.

use std::path::Path;

use arrow_schema::SchemaRef;
use arrowload_core::{BatchStream, Mode, Param, Params, Query, Result, Unparsed};
use futures::TryStreamExt;

use crate::{Client, Destination, LoadAllBuilder, LoadBuilder, Table};

/// A query of a [`Client`]. Nothing runs before one of the last methods is awaited.
#[derive(Debug, Clone)]
#[must_use = "a query does nothing until it is loaded, streamed or collected"]
pub struct QueryBuilder {
    client: Client,
    query: Query,
}

impl QueryBuilder {
    pub(crate) fn new(client: Client, query: Query) -> Self {
        Self { client, query }
    }

    /// Binds the next positional parameter: the first is `$1`.
    pub fn param(mut self, value: impl Into<Param>) -> Self {
        match &mut self.query.params {
            Params::Positional(values) => values.push(value.into()),
            _ => self.query.params = Params::Positional(vec![value.into()]),
        }
        self
    }

    /// Binds a named parameter: `$name` in the text. Positional ones are dropped, as a query has one kind.
    pub fn named_param(mut self, name: impl Into<String>, value: impl Into<Param>) -> Self {
        match &mut self.query.params {
            Params::Named(values) => values.push((name.into(), value.into())),
            _ => self.query.params = Params::Named(vec![(name.into(), value.into())]),
        }
        self
    }

    /// Binds more positional parameters.
    pub fn params<P: Into<Param>>(self, values: impl IntoIterator<Item = P>) -> Self {
        values.into_iter().fold(self, Self::param)
    }

    /// The parameters, in place of any bound before.
    pub fn with_params(mut self, params: Params) -> Self {
        self.query.params = params;
        self
    }

    /// Sets aside rows of files that cannot be parsed, instead of ending the return an error. They are in their file once the
    /// answer has been read to its end and [`Unparsed::publish`] was called. For [`stream`](Self::stream) and
    /// [`to_arrow`](Self::to_arrow): a load does so with `on_error = skip`.
    ///
    /// ```
    /// # #[cfg(feature = "source-datafusion")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> arrowload::Result<()> {
    /// # use arrowload::Client;
    /// # use arrowload::core::Unparsed;
    /// # let folder = tempfile::tempdir()?;
    /// # let (file, letters) = (folder.path().join("a.csv"), folder.path().join("letters"));
    /// # std::fs::write(&file, "id,name\n1,a\n2\n")?;
    /// let client = Client::connect("datafusion://").await?;
    /// let unparsed = Unparsed::in_folder(&letters);
    /// let sql = format!("SELECT * FROM '{}'", file.display());
    /// let table = client.sql(sql).set_aside(unparsed.clone()).to_arrow().await?;
    /// assert_eq!((table.num_rows(), unparsed.rows()), (1, 1));
    /// let file = unparsed.publish()?.expect("a row was set aside");
    /// # let to = arrowload::Destination::new("memory", "set_aside_by_a_query");
    /// # let read = serde_json::Map::from_iter([("ragged".to_owned(), "pad".into())]);
    /// # assert_eq!(client.replay_into(file, read, to)?.await?.rows, 1);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "source-datafusion"))]
    /// # fn main() {}
    /// ```
    pub fn set_aside(mut self, unparsed: Unparsed) -> Self {
        let mut reading = self.query.reading.clone();
        reading.unparsed = unparsed;
        self.query = self.query.with_reading(reading);
        self
    }

    /// Loads the answer into a target, by the name of a loader. Awaiting it runs the load.
    pub fn load(self, loader: impl Into<String>, target: impl Into<String>) -> LoadBuilder {
        self.client.query_and_load(self.query, loader, target)
    }

    /// Loads the answer into several targets at once, each batch read once. Awaiting it runs the load, and returns one outcome for
    /// each destination.
    ///
    /// ```
    /// use arrowload::{Client, Destination, Mode};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> arrowload::Result<()> {
    /// # use arrowload::core::memory::put_table;
    /// # let ids: arrow_array::ArrayRef = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1]));
    /// # let batch = arrow_array::RecordBatch::try_from_iter([("id", ids)])?;
    /// # put_table("default", "events", &batch.schema(), vec![batch]);
    /// let client = Client::connect("memory://").await?;
    /// let outcomes = client.sql("SELECT * FROM events")
    ///     .load_all([
    ///         Destination::new("memory", "events_copy"),
    ///         Destination::new("memory", "events").config(serde_json::json!({ "database": "archive" })).mode(Mode::Overwrite),
    ///     ])
    ///     .await?;
    /// for outcome in outcomes {
    ///     match outcome.result {
    ///         Ok(report) => println!("{}: {} rows", report.target, report.rows),
    ///         Err(error) => eprintln!("{error}"),     // with what became of this target
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn load_all(self, destinations: impl IntoIterator<Item = Destination>) -> LoadAllBuilder {
        let input = self.client.input(self.query);
        LoadAllBuilder::new(self.client, input, destinations.into_iter().collect())
    }

    /// Runs the query; batches come as they are asked for, and dropping the stream cancels it.
    ///
    /// # Errors
    /// Any error of the source.
    pub async fn stream(self) -> Result<BatchStream> {
        self.client.source().await?.query(&self.query).await
    }

    /// Runs the statement for its effect, and returns how many rows it changed, if the source knows.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if the source only answers queries; whatever it says.
    pub async fn execute(self) -> Result<Option<u64>> {
        self.client.source().await?.execute(&self.query).await
    }

    /// Runs the query and collects its whole answer in memory.
    ///
    /// # Errors
    /// Any error of the source.
    pub async fn to_arrow(self) -> Result<Table> {
        let stream = self.stream().await?;
        let schema = stream.schema().clone();
        Ok(Table::new(schema, stream.try_collect().await?))
    }

    /// The schema of the answer.
    ///
    /// # Errors
    /// Any error of the source.
    pub async fn schema(self) -> Result<SchemaRef> {
        self.client.source().await?.schema(&self.query).await
    }

    /// Writes the answer to a Parquet file, replacing an existing one.
    pub fn to_parquet(self, path: impl AsRef<Path>) -> LoadBuilder {
        self.into_file(path.as_ref(), "parquet")
    }

    /// Writes the answer to a CSV file, replacing an existing one.
    pub fn to_csv(self, path: impl AsRef<Path>) -> LoadBuilder {
        self.into_file(path.as_ref(), "csv")
    }

    /// Writes the answer to a file of one JSON object a line, replacing an existing one.
    pub fn to_json(self, path: impl AsRef<Path>) -> LoadBuilder {
        self.into_file(path.as_ref(), "ndjson")
    }

    fn into_file(self, path: &Path, format: &str) -> LoadBuilder {
        self.load("file", path.to_string_lossy())
            .option("format", format)
            .mode(Mode::Overwrite)
    }
}
