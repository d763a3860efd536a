//! The client: a source to query, the connections to load into, and the registry of loaders and sources.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrowload_connections::Connections;
use arrowload_core::{
    BatchStream, Error, ErrorKind, Input, Listing, LoadOptions, LoaderDescriptor, Mode, Query,
    Registry, Result, Settings, Source, SourceDescriptor, read_dead_letters, url_scheme,
};
use futures::FutureExt;
use serde_json::{Map, Value};

use crate::connected::ConnectedLoaders;
use crate::destination::log_connecting;
use crate::{Destination, LoadBuilder, QueryBuilder, ReadBuilder, replay};

/// The source that a client without a URL queries, if it is linked in.
const DEFAULT_SOURCE: &str = "datafusion";

/// Queries one source, and loads into any number of stores. Clones share connections, and the last one that is dropped closes them.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    connections: Connections,
    source: Option<(SourceDescriptor, Settings)>,
    connected_source: tokio::sync::OnceCell<Source>,
    loaders: ConnectedLoaders,
}

impl Client {
    /// Connects to a source: a URL (`grpc://localhost:8080`, `datafusion://./data`, `postgresql://…`), the name of a
    /// connection, or the name of a source.
    ///
    /// # Errors
    /// [`ErrorKind::SourceNotFound`] or [`ErrorKind::ConnectionNotFound`] if nothing is called so, [`ErrorKind::InvalidOption`] for
    /// malformed keys, and any error of the source.
    pub async fn connect(url_or_name: impl AsRef<str>) -> Result<Self> {
        Self::builder().source(url_or_name.as_ref()).connect().await
    }

    /// Sets up a client step by step.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Names a connection, over what files and environment say of it: connection keys and load defaults side by side.
    ///
    /// # Errors
    /// [`ErrorKind::LoaderNotFound`] if no loader or source has this name, [`ErrorKind::InvalidOption`] if `config` is not an
    /// object.
    pub fn configure_connection(
        &self,
        name: &str,
        loader_or_source: &str,
        config: impl Into<Value>,
    ) -> Result<()> {
        let registry = &self.inner.registry;
        if registry.source(loader_or_source).is_err() {
            registry.loader(loader_or_source)?;
        }
        self.inner
            .connections
            .configure(name, loader_or_source, config.into())
    }

    /// The loaders that are linked in, sorted by name.
    pub fn available_loaders(&self) -> Vec<&'static str> {
        self.inner
            .registry
            .loaders()
            .map(LoaderDescriptor::name)
            .collect()
    }

    /// The sources that are linked in, sorted by name.
    pub fn available_sources(&self) -> Vec<&'static str> {
        self.inner
            .registry
            .sources()
            .map(SourceDescriptor::name)
            .collect()
    }

    /// Everything that is linked in.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// The named connections.
    pub fn connections(&self) -> &Connections {
        &self.inner.connections
    }

    /// A query. Nothing runs before it is loaded, streamed or collected.
    pub fn sql(&self, sql: impl Into<String>) -> QueryBuilder {
        QueryBuilder::new(self.clone(), Query::new(sql))
    }

    /// Files to read with the embedded engine: a file, folder, pattern or URL.
    ///
    /// ```
    /// use arrowload::Client;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> arrowload::Result<()> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("prices.csv");
    /// # std::fs::write(&path, "zip;price\n02134;1,50\n90210;NA\n")?;
    /// # let path = path.display().to_string();
    /// let client = Client::connect("datafusion://").await?;
    /// let prices = client.read(path)
    ///     .option("delim", ";")
    ///     .option("decimal_separator", ",")
    ///     .option("null_text", "NA")
    ///     .option("types", serde_json::json!({ "price": "decimal(20,2)" }))
    ///     .to_arrow()
    ///     .await?;
    /// assert_eq!(prices.num_rows(), 2);
    /// assert_eq!(prices.schema().field(0).data_type().to_string(), "Utf8");   // it has leading zeros
    /// # Ok(())
    /// # }
    /// ```
    pub fn read(&self, place: impl Into<String>) -> ReadBuilder {
        ReadBuilder::new(self.clone(), place.into())
    }

    /// Runs a query and loads its answer: what `.sql(..).load(..)` comes to.
    pub fn query_and_load(
        &self,
        query: Query,
        loader: impl Into<String>,
        target: impl Into<String>,
    ) -> LoadBuilder {
        self.load(self.input(query), Destination::new(loader, target))
    }

    /// Loads batches that come from elsewhere. The stream is read once, so a load that fails midway is not run again.
    pub fn load_stream(
        &self,
        stream: BatchStream,
        loader: impl Into<String>,
        target: impl Into<String>,
    ) -> LoadBuilder {
        self.load(Input::stream(stream), Destination::new(loader, target))
    }

    /// Loads batches that are in memory. All must have the same schema. The list must not be empty, because it would have no
    /// schema.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if there are no batches: use [`Client::load_stream`] to load no rows of a schema.
    pub fn load_table(
        &self,
        batches: Vec<RecordBatch>,
        loader: impl Into<String>,
        target: impl Into<String>,
    ) -> Result<LoadBuilder> {
        let message =
            "there are no batches, so there is no schema; use load_stream to load no rows";
        let schema = batches
            .first()
            .ok_or_else(|| Error::new(ErrorKind::InvalidOption, message))?
            .schema();
        let input = Input::table(schema, batches);
        Ok(self.load(input, Destination::new(loader, target)))
    }

    /// Loads the rows of a dead-letter file again, where they were to go: under the named connection they had, with the loader's
    /// options and, for `upsert`, the keys. Rows of a load in another mode are appended, as `create` and `overwrite` are over. A
    /// replay that committed is not repeated: its `load_id` is the first load's with `.replay` at the end.
    ///
    /// Rows that could not be parsed are parsed again, with the types and the dialect of their file;
    /// [`replay_reading`](Self::replay_reading) reads them otherwise.
    ///
    /// A connection that was a URL, or given with the load, is not kept: name it again, or the load is refused.
    ///
    /// # Errors
    /// If the file is missing or no dead-letter file.
    pub fn replay(&self, path: impl Into<PathBuf>) -> Result<LoadBuilder> {
        self.replay_reading(path, Map::new())
    }

    /// Replays a dead-letter file of rows that could not be parsed, read with these options over those of the load: `ragged = "pad"`
    /// for rows that were too short, say.
    ///
    /// # Errors
    /// As for [`replay`](Self::replay); [`ErrorKind::InvalidOption`] for options where rows were parsed, and the store refused them.
    pub fn replay_reading(
        &self,
        path: impl Into<PathBuf>,
        read: Map<String, Value>,
    ) -> Result<LoadBuilder> {
        let path = path.into();
        let (_, origin) = read_dead_letters(&path)?;
        if origin.is_of_query() {
            let message =
                "these rows were set aside by a query, which has no target: say where they go";
            return Err(Error::new(ErrorKind::InvalidOption, message).with("file", path.display()));
        }
        let (replay_id, unparsed) = (origin.replay_id(), origin.unparsed);
        let from = "the load that set the rows aside";
        let mut options = Settings::from_map(origin.options, from);
        if origin.mode == Mode::Upsert {
            options.set("mode", origin.mode.name(), from);
            options.set("keys", origin.keys, from);
            options.set("null_keys", origin.null_keys.name(), from);
        }
        let mut to = Destination::new(origin.loader, origin.target)
            .load_id(replay_id)
            .with_options(options);
        if !origin.connection_is_kept {
            to.require_connection();
        } else if let Some(connection) = origin.connection {
            to = to.connection(connection);
        }
        let input = self.set_aside_rows(path, read, unparsed)?;
        Ok(self.load(input, to))
    }

    /// Loads the rows of a dead-letter file into another destination. Nothing of the load that set them aside is used, except its
    /// id, which is made as for [`replay`](Self::replay) unless the destination has one. Rows that a query has set aside have no
    /// other place.
    ///
    /// # Errors
    /// As for [`replay_reading`](Self::replay_reading).
    pub fn replay_into(
        &self,
        path: impl Into<PathBuf>,
        read: Map<String, Value>,
        to: Destination,
    ) -> Result<LoadBuilder> {
        let path = path.into();
        let (_, origin) = read_dead_letters(&path)?;
        let to = to.with_default_load_id(origin.replay_id());
        let input = self.set_aside_rows(path, read, origin.unparsed)?;
        Ok(self.load(input, to))
    }

    /// The rows of a dead-letter file.
    fn set_aside_rows(
        &self,
        path: PathBuf,
        read: Map<String, Value>,
        unparsed: bool,
    ) -> Result<Input> {
        match unparsed {
            false if !read.is_empty() => {
                let message = "the rows of this file were parsed, and refused by the store: no option of a reader changes them";
                Err(Error::new(ErrorKind::InvalidOption, message).with("file", path.display()))
            }
            false => Ok(Input::dead_letters(path)),
            true => {
                // Only what the file says decides how it is read.
                let connections = Connections::builder()
                    .no_config_file()
                    .environment(std::iter::empty());
                let engine = Self::builder()
                    .registry(self.inner.registry.clone())
                    .connections(connections.build()?)
                    .source(DEFAULT_SOURCE)
                    .build()?;
                Ok(replay::unparsed(engine, path, read))
            }
        }
    }

    /// Lists what the source has: catalogs, schemas, tables. The columns are the source's own.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the source cannot; whatever it says.
    pub async fn list(&self, listing: impl Into<Listing>) -> Result<BatchStream> {
        self.source().await?.list(&listing.into()).await
    }

    /// Connects to the source, and checks that it answers.
    ///
    /// # Errors
    /// Any error of the source.
    pub async fn ping(&self) -> Result<()> {
        self.source().await?.ping().await
    }

    /// The source, connected at the first query.
    pub(crate) async fn source(&self) -> Result<&Source> {
        let missing = || {
            let message = "this client has no source to query; name one in Client::connect, or switch on the feature `source-datafusion`";
            Error::new(ErrorKind::SourceNotFound, message)
        };
        let (descriptor, config) = self.inner.source.as_ref().ok_or_else(missing)?;
        let connect = || {
            let connection = self
                .connections()
                .effective(&descriptor.config_schema(), config);
            log_connecting(descriptor.name(), &connection);
            Source::connect(descriptor, config, LoadOptions::default().max_retries)
        };
        self.inner.connected_source.get_or_try_init(connect).await
    }

    pub(crate) fn loaders(&self) -> &ConnectedLoaders {
        &self.inner.loaders
    }

    /// The rows of a query. The source is connected to when they are asked for.
    pub(crate) fn input(&self, query: Query) -> Input {
        let definition = query.definition();
        let source = self.inner.source.as_ref();
        let finds_types = source.is_some_and(|(descriptor, _)| descriptor.finds_types());
        let asked = (self.clone(), Arc::new(query));
        let schema_of = asked.clone();
        Input::repeatable(move |reading| {
            let (client, query) = asked.clone();
            async move {
                let query = Query::clone(&query).with_reading(reading);
                client.source().await?.query(&query).await
            }
            .boxed()
        })
        .with_schema(move |reading| {
            let (client, query) = schema_of.clone();
            async move {
                let query = Query::clone(&query).with_reading(reading);
                client.source().await?.schema(&query).await
            }
            .boxed()
        })
        .finding_types(finds_types)
        .defined_as(definition)
    }

    fn load(&self, input: Input, to: Destination) -> LoadBuilder {
        LoadBuilder::new(self.clone(), input, to)
    }
}

/// Sets up a [`Client`].
#[derive(Default)]
pub struct ClientBuilder {
    registry: Option<Registry>,
    connections: Option<Connections>,
    source: Option<String>,
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL may hold a password.
        let source = self
            .source
            .as_deref()
            .map(|source| url_scheme(source).unwrap_or_else(|| source.to_owned()));
        f.debug_struct("ClientBuilder")
            .field("source", &source)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// The source to query: a URL, a connection's name, or a source's name. The default is the embedded engine, over the
    /// working directory.
    #[must_use]
    pub fn source(mut self, url_or_name: impl Into<String>) -> Self {
        self.source = Some(url_or_name.into());
        self
    }

    /// The connections, in place of what the config file and the environment say.
    #[must_use]
    pub fn connections(mut self, connections: Connections) -> Self {
        self.connections = Some(connections);
        self
    }

    /// The loaders and sources, in place of what is linked in.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Makes the client. The source is found, but not connected to before its first query.
    ///
    /// # Errors
    /// As for [`Client::connect`], before any I/O but reading the config file.
    pub fn build(self) -> Result<Client> {
        let registry = self.registry.map_or_else(Registry::linked, Ok)?;
        let connections = self.connections.map_or_else(Connections::discover, Ok)?;
        let source = match self.source {
            Some(source) => Some(connections.for_source(&registry, &source)?),
            None if registry.source(DEFAULT_SOURCE).is_ok() => {
                Some(connections.for_source(&registry, DEFAULT_SOURCE)?)
            }
            None => None,
        };
        let source = source.map(|(descriptor, settings)| {
            let config = descriptor.split(settings, registry.loader(descriptor.name()).ok())?;
            Ok::<_, Error>((descriptor, config))
        });
        let (connected_source, loaders) = Default::default();
        Ok(Client {
            inner: Arc::new(Inner {
                registry,
                connections,
                source: source.transpose()?,
                connected_source,
                loaders,
            }),
        })
    }

    /// Makes the client and connects to its source.
    ///
    /// # Errors
    /// As for [`Client::connect`].
    pub async fn connect(self) -> Result<Client> {
        let client = self.build()?;
        client.source().await?.ping().await?;
        Ok(client)
    }
}
